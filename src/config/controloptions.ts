/** The options by which running tunnels are named and asked: `--name`; `tunnel status`. */
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { formatPlace, type Place } from '../net/place.ts';
import type { Level } from '../observe/observer.ts';
import { type GivenArguments, type GivenOptions, once, readOptions, toggle } from './option.ts';
import { readLogLevel, VERBOSITY_OPTIONS } from './runoptions.ts';

export const NAME_OPTIONS = {
  heading: 'Running:',
  options: {
    name: once(
      '--name <name>',
      'what "tunnel status" and "tunnel stop" call it (default: the profile, else the remote)',
      readName,
    ),
  },
} as const;

const STATUS_OPTIONS = {
  heading: 'Output:',
  options: {
    json: toggle('--json', 'print JSON, with every flow and counter'),
    watch: toggle(
      '--watch',
      'show them on the whole screen, renewed every second; no terminal: print them',
    ),
  },
} as const;

export const STATUS_GROUPS = [STATUS_OPTIONS, VERBOSITY_OPTIONS] as const;
export const CONTROL_GROUPS = [VERBOSITY_OPTIONS] as const;

/** What `tunnel status`, `stop` and `reconnect` were given. */
export interface ControlConfiguration {
  /** undefined: all of them, or the caller's only one. */
  readonly name: string | undefined;
  readonly json: boolean;
  /** Again and again: on the whole screen, where there is one. */
  readonly watch: boolean;
  readonly logLevel: Level;
}

/** undefined: it is called after its remote. Throws UsageError. */
export function readTunnelName(given: GivenOptions): string | undefined {
  return readOptions(NAME_OPTIONS, given).name?.value;
}

/** Throws UsageError. */
export function buildControlConfiguration({
  operands,
  options,
}: GivenArguments): ControlConfiguration {
  const [first, second] = operands;
  if (second !== undefined) {
    throw new UsageError(`${quoted(second.text)} is one name too many`, {
      hint: 'name one tunnel; "tunnel status" lists them',
    });
  }
  const { json, watch } = readOptions(STATUS_OPTIONS, options);
  return {
    name: first?.text,
    json: json !== undefined,
    watch: watch !== undefined,
    logLevel: readLogLevel(options),
  };
}

/** As in names of files and of units: no spaces, no slashes, and not a process id. */
function readName(text: string, place: Place): string {
  if (/^[A-Za-z0-9_@][A-Za-z0-9_.@:+-]{0,63}$/.test(text) && !/^[0-9]+$/.test(text)) return text;
  throw new UsageError(`${formatPlace(place)}: ${quoted(text)} is no name for a tunnel`, {
    hint: 'use up to 64 letters, digits and . _ @ : + -, and not digits alone, as in: --name lab',
  });
}
