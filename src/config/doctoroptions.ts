/**
 * The command line of `tunnel doctor`: that of `tunnel connect`, so that a line that doesn't work
 * can be examined as it stands, and the form of the report.
 */
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, formatPlace, placeOfOption } from '../net/place.ts';
import type { Level } from '../observe/observer.ts';
import type { Configuration, TargetRules } from './configuration.ts';
import {
  type GivenArguments,
  type GivenOptions,
  isAnyGiven,
  type OptionGroup,
  once,
  readOptions,
  toggle,
} from './option.ts';
import { buildConfiguration, CONNECT_GROUPS } from './options.ts';
import { PROFILE_OPTIONS, SAVE_OPTIONS } from './profileoptions.ts';
import { VERBOSITY_OPTIONS } from './runoptions.ts';
import { JUMP_HOST_OPTIONS } from './sshoptions.ts';
import { readTargetRules, TARGET_OPTIONS } from './targetoptions.ts';

/** Addresses of each range that may be tried. */
const MAX_PROBES = 16;

const REPORT_OPTIONS = {
  heading: 'Report:',
  options: {
    json: toggle('--json', 'print the report as JSON'),
    quiet: toggle('-q, --quiet', 'print one line only, for monitoring'),
    offline: toggle('--offline', 'do not log in to the jump host'),
    probe: once(
      '--probe <count>',
      `try this many addresses of each range (1 to ${MAX_PROBES})`,
      (text, place) => {
        const count = Number(text);
        if (/^\d{1,2}$/.test(text) && count >= 1 && count <= MAX_PROBES) return count;
        throw new UsageError(
          `${formatPlace(place)}: ${quoted(text)} is not a number from 1 to ${MAX_PROBES}`,
          { hint: 'to try certain addresses, name them as TARGETs with their port' },
        );
      },
    ),
  },
} as const;

/** connect's, but -q has its own meaning here. */
const CONNECTING_GROUPS = CONNECT_GROUPS.filter((group) => group !== SAVE_OPTIONS).map((group) =>
  group === VERBOSITY_OPTIONS
    ? { heading: group.heading, options: { verbose: VERBOSITY_OPTIONS.options.verbose } }
    : group,
);

/** In the order of help. */
export const DOCTOR_GROUPS = [REPORT_OPTIONS, ...CONNECTING_GROUPS];

export interface DoctorConfiguration {
  /** As for connect, but it may have no targets. undefined: no jump host is given. */
  readonly tunnel: Configuration | undefined;
  /** What would be carried: for the checks of this machine. */
  readonly rules: TargetRules;
  /** --offline: the jump host is looked up, but not connected to. */
  readonly offline: boolean;
  /** --probe: addresses that are tried of each range. */
  readonly probes: number;
  readonly json: boolean;
  /** --quiet: one line. */
  readonly quiet: boolean;
  readonly logLevel: Level;
}

/** Throws UsageError. */
export function buildDoctorConfiguration(given: GivenArguments): DoctorConfiguration {
  const { options } = given;
  const { json, quiet, offline, probe } = readOptions(REPORT_OPTIONS, options);
  const remote = isAnyGiven(JUMP_HOST_OPTIONS, options);
  const tunnel = remote ? buildConfiguration(given, 'doctor') : undefined;
  if (tunnel === undefined) refuseWithoutRemote(options);
  if (probe !== undefined && (tunnel === undefined || offline !== undefined))
    throw new UsageError(
      `${filePrefix(probe.place)}--probe tries addresses through the jump host`,
      {
        hint: offline === undefined ? 'name the jump host with -r' : 'leave --offline out',
      },
    );
  return {
    tunnel,
    rules: tunnel ?? readTargetRules(given, true).rules,
    offline: offline !== undefined,
    probes: probe?.value ?? 1,
    json: json !== undefined,
    quiet: quiet !== undefined,
    logLevel: logLevel(options, json === undefined && quiet === undefined),
  };
}

const NEEDS_NO_REMOTE: ReadonlySet<OptionGroup> = new Set<OptionGroup>([
  TARGET_OPTIONS,
  PROFILE_OPTIONS,
  VERBOSITY_OPTIONS,
]);

/** Without a jump host only targets have a meaning. Throws UsageError. */
function refuseWithoutRemote(given: GivenOptions): void {
  for (const group of CONNECT_GROUPS) {
    if (NEEDS_NO_REMOTE.has(group)) continue;
    for (const option of Object.values(group.options)) {
      const [first] = given.get(option) ?? [];
      if (first === undefined) continue;
      const place = placeOfOption(first.place, option.name);
      throw new UsageError(`${filePrefix(place)}${option.name} is given, but no jump host`, {
        hint: 'name it with -r, or leave the option out',
      });
    }
  }
}

/**
 * The report says most of what a log would. `watched`: somebody reads along, who must see what the
 * server says (a banner may have the address of a login) and what is waited for.
 */
function logLevel(options: GivenOptions, watched: boolean): Level {
  const { verbose } = readOptions(VERBOSITY_OPTIONS, options);
  if (verbose.length === 0 && !watched) return 'error';
  return (['notice', 'info'] as const)[verbose.length] ?? 'debug';
}
