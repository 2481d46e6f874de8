/** Targets and exclusions: from the command line, from -x, and from the files of -s and -X. */
import { UsageError } from '../errors/errors.ts';
import { filePrefix, formatPlace, type Place, placeOfOption } from '../net/place.ts';
import { ALLOW_OPTIONS } from './allowfile.ts';
import { type Entry, readTargetsFile } from './argsfile.ts';
import type { NameTarget, Target, TargetRules } from './configuration.ts';
import { CLOUD_OPTIONS } from './openstackoptions.ts';
import {
  asText,
  type Given,
  type GivenArguments,
  type GivenOptions,
  type Option,
  readOptions,
  repeated,
} from './option.ts';
import { parseExclusion, parseTarget, placed, separateNames } from './target.ts';

export const TARGET_OPTIONS = {
  heading: 'Targets:',
  options: {
    exclude: repeated(
      '-x, --exclude <target>',
      'leave this out of the targets (repeatable)',
      (text, place): Entry => ({ text, place }),
    ),
    targetsFrom: repeated(
      '-s, --targets-from <file>',
      'read targets from a file, one per line, "-" for stdin (repeatable)',
      asText,
    ),
    excludesFrom: repeated(
      '-X, --excludes-from <file>',
      'read exclusions from a file in the same way (repeatable)',
      asText,
    ),
  },
} as const;

export interface ReadTargets {
  readonly rules: TargetRules;
  /** Whether any targets were named, even if only by an empty file. */
  readonly named: boolean;
  /** Notes about input that may have meant something else, one sentence each. */
  readonly notices: readonly string[];
}

/**
 * `routed`: targets become routes, so a target that no route can capture is refused. `otherFiles`:
 * the command's other options whose file may be standard input. Throws UsageError.
 */
export function readTargetRules(
  { operands, options }: GivenArguments,
  routed: boolean,
  otherFiles: readonly Option[] = [],
): ReadTargets {
  requireOneStdin(options, otherFiles);
  const { exclude, targetsFrom, excludesFrom } = readOptions(TARGET_OPTIONS, options);
  const wanted = readEntries(
    [...operands.map(asTarget), ...targetsFrom.flatMap(readFile)],
    routed ? parseTarget : parseExclusion,
  );
  const excluded = readEntries(
    [...exclude.map(({ value }) => value), ...excludesFrom.flatMap(readFile)],
    parseExclusion,
  );
  return {
    rules: {
      targets: wanted.targets,
      nameTargets: wanted.names,
      exclusions: excluded.targets,
      nameExclusions: excluded.names,
    },
    named: operands.length + targetsFrom.length > 0,
    notices: [...wanted.notices, ...excluded.notices],
  };
}

/** Marks a command line word as a target, for messages. */
export function asTarget({ text, place }: Entry): Entry {
  return place.kind === 'argument'
    ? { text, place: { kind: 'argument', name: 'target' } }
    : { text, place };
}

function readFile({ value, place }: Given<string>): Entry[] {
  return readTargetsFile(value, place);
}

interface ReadEntries {
  readonly targets: readonly Target[];
  readonly names: readonly NameTarget[];
  readonly notices: readonly string[];
}

function readEntries(entries: readonly Entry[], parse: typeof parseTarget): ReadEntries {
  const { addresses, names } = separateNames(entries);
  const parsed = addresses.map(({ text, place }) => ({ ...parse(text, place), place }));
  return {
    targets: parsed.map(({ target, place }) => placed(target, place)),
    names,
    notices: parsed.flatMap(({ notes, place }) =>
      notes.map((note) => `${filePrefix(place)}${note}`),
    ),
  };
}

function requireOneStdin(options: GivenOptions, otherFiles: readonly Option[]): void {
  const { targetsFrom, excludesFrom } = TARGET_OPTIONS.options;
  const { osCatalogFile } = CLOUD_OPTIONS.options;
  const files = [targetsFrom, excludesFrom, ALLOW_OPTIONS.options.allow, osCatalogFile];
  const [first, second] = [...files, ...otherFiles]
    .flatMap((option) => (options.get(option) ?? []).map((entry) => ({ ...entry, option })))
    .filter(({ text }) => text === '-')
    .map(({ place, option }) => placeOfOption(place, option.name));
  if (first === undefined || second === undefined) return;
  throw new UsageError(
    `${filePrefix(second)}standard input ("-") is named by ${optionOf(first)} and by ${optionOf(second)}; it can be read only once`,
    { hint: 'give one of them in a file' },
  );
}

function optionOf(place: Place): string {
  return place.kind === 'file' ? (place.option ?? '') : formatPlace(place);
}
