/**
 * Makes the arguments of a command from a command line and the profile that it names: as if all of
 * it had been written on one line. So everything that reads options reads profiles.
 *
 *   GivenArguments ─► --profile, --config ─► files.ts ─► inherit.ts ─► GivenArguments
 */
import { UsageError } from '../../errors/errors.ts';
import { formatPlace, type Place } from '../../net/place.ts';
import type { Entry } from '../argsfile.ts';
import {
  type GivenArguments,
  type GivenOptions,
  type Option,
  type OptionGroup,
  readOptions,
} from '../option.ts';
import { PROFILE_OPTIONS, SAVE_OPTIONS } from '../profileoptions.ts';
import type { Profile, Setting } from './document.ts';
import { configPaths, readConfigFiles, type Surroundings } from './files.ts';
import { type Layer, layersOf, merge } from './inherit.ts';
import { longNameOf, PROFILE_KEYS, requireKey, TARGETS, type TunnelCommand } from './keys.ts';

/** What a command line and its profile say together. */
export interface Asked {
  /** By key. */
  readonly settings: ReadonlyMap<string, Setting>;
  /** The profile's name. undefined: none is named. */
  readonly profile: string | undefined;
  /** What the profile is for. */
  readonly command: Profile['command'];
  /** As if all of it had been written on one line. `groups`: of the command. */
  argumentsFor(groups: readonly OptionGroup[]): GivenArguments;
}

/** Throws UsageError. */
export async function askedBy(line: GivenArguments, surroundings: Surroundings): Promise<Asked> {
  const { profile, config, without } = readOptions(PROFILE_OPTIONS, line.options);
  const lineLayer = layerOfLine(line);
  if (profile === undefined) {
    const place = without[0]?.place ?? (isSaved(line.options) ? undefined : config?.place);
    if (place !== undefined) throw needsProfile(place);
    const settings = merge([lineLayer]);
    return { settings, profile: undefined, command: undefined, argumentsFor: () => line };
  }
  const files = await readConfigFiles(config, surroundings);
  const paths = config === undefined ? configPaths(surroundings) : [config.value];
  const layers = layersOf({ text: profile.value, place: profile.place }, files, paths);
  const settings = merge([lineLayer, ...layers]);
  return {
    settings,
    profile: profile.value,
    command: layers.find(({ command }) => command !== undefined)?.command,
    argumentsFor: (groups) => argumentsOf(line, settings, groups),
  };
}

/** --save writes to the file of --config. */
function isSaved(given: GivenOptions): boolean {
  return (given.get(SAVE_OPTIONS.options.save) ?? []).length > 0;
}

function needsProfile(place: Place): UsageError {
  return new UsageError(`${formatPlace(place)} belongs to a profile, and none is named`, {
    hint: `name it with --profile, or leave the option out`,
  });
}

/** The command line as a source of values like any other. Throws UsageError. */
export function layerOfLine({ operands, options }: GivenArguments): Layer {
  const { without } = readOptions(PROFILE_OPTIONS, options);
  for (const { value, place } of without) requireKey(value, place);
  const settings = new Map<string, Setting>();
  const set = (name: string, entries: readonly Entry[]): void => {
    const [first] = entries;
    if (first !== undefined && PROFILE_KEYS.has(name))
      settings.set(name, { entries, place: first.place });
  };
  set(TARGETS, operands);
  for (const [option, entries] of options) set(longNameOf(option), entries);
  return { settings, without: without.map(({ value: text, place }) => ({ text, place })) };
}

/** Of the settings, those that the command takes. Its options that are no keys stay as they are. */
function argumentsOf(
  { operands, options }: GivenArguments,
  settings: ReadonlyMap<string, Setting>,
  groups: readonly OptionGroup[],
): GivenArguments {
  const taken = new Set<Option>(groups.flatMap((group) => Object.values(group.options)));
  const merged = new Map<Option, readonly Entry[]>(options);
  for (const [name, key] of PROFILE_KEYS) {
    const entries = settings.get(name)?.entries ?? [];
    for (const option of key.options.filter((one) => taken.has(one))) merged.set(option, entries);
  }
  return { operands: settings.get(TARGETS)?.entries ?? operands, options: merged };
}

/**
 * Refuses an option of a line that no command begins, where the profile is for a command that
 * doesn't take it. Throws UsageError.
 */
export function refuseOptionsOfConnect(
  line: GivenOptions,
  command: TunnelCommand,
  groups: readonly OptionGroup[],
): void {
  const taken = new Set<Option>(groups.flatMap((group) => Object.values(group.options)));
  for (const [option, entries] of line) {
    if (entries.length === 0 || taken.has(option)) continue;
    throw new UsageError(
      `${option.name} is no option of "tunnel ${command}", which the profile is for`,
      { hint: 'leave it out; or write "tunnel connect --profile" in place of "tunnel --profile"' },
    );
  }
}
