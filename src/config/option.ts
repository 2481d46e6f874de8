/**
 * Options as values. Each is declared once: how it is written, what its help says, how often it may
 * be given, and how its text is read. A group contains options that belong together. A command
 * lists the groups that it takes (cli/command.ts).
 *
 *   declared   once('-p, --port <port>', ...)            of a group, with the group's heading
 *   given      GivenOptions: texts, each with its place  from the command line and @FILEs
 *   read       readOptions(group, given)                 typed values, each with its place
 *
 * A value knows where it comes from (net/place.ts), so a message can name the file and the line.
 */
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, formatPlace, type Place, placeOfOption } from '../net/place.ts';
import type { Entry } from './argsfile.ts';

/** A value that the user has given, and where. */
export interface Given<T> {
  readonly value: T;
  readonly place: Place;
}

interface Declaration {
  /** As shown in help: `-p, --port <port>`. */
  readonly flags: string;
  readonly help: string;
  /** As written in messages: `-p`, or `--dns` if there is no short form. */
  readonly name: string;
  /** All words that its value may be, for completion. */
  readonly choices?: readonly string[];
}

/** Throws UsageError that names the place. */
export type Reader<T> = (text: string, place: Place) => T;

/** Has a value, and may be given once: a second one would silently replace the first. */
export interface OnceOption<T> extends Declaration {
  readonly kind: 'once';
  readonly read: Reader<T>;
}

/** Has a value, and may be given any number of times. */
export interface RepeatedOption<T> extends Declaration {
  readonly kind: 'repeated';
  readonly read: Reader<T>;
}

/** Has no value. */
export interface SwitchOption extends Declaration {
  readonly kind: 'switch';
}

/** Has no value; the number of times that it is given counts. */
export interface CountedOption extends Declaration {
  readonly kind: 'counted';
}

export type Option = OnceOption<unknown> | RepeatedOption<unknown> | SwitchOption | CountedOption;

export interface OptionGroup<Options = Readonly<Record<string, Option>>> {
  /** Shown above its options in help. Groups may share a heading. */
  readonly heading: string;
  readonly options: Options;
}

/** What was given, in order. An option without a value has an entry per use, without text. */
export type GivenOptions = ReadonlyMap<Option, readonly Entry[]>;

/** The arguments of one command. */
export interface GivenArguments {
  /** The arguments that belong to no option. */
  readonly operands: readonly Entry[];
  readonly options: GivenOptions;
}

type ValueOf<O> =
  O extends OnceOption<infer T>
    ? Given<T> | undefined
    : O extends RepeatedOption<infer T>
      ? readonly Given<T>[]
      : O extends SwitchOption
        ? Place | undefined
        : readonly Place[];

/**
 * once: its value, or undefined; repeated: all values, in order; switch: its place, or undefined;
 * counted: the place of each use.
 */
export type ValuesOf<Options> = { readonly [Name in keyof Options]: ValueOf<Options[Name]> };

export function once<T>(
  flags: string,
  help: string,
  read: Reader<T>,
  choices: readonly string[] = [],
): OnceOption<T> {
  return { kind: 'once', ...declare(flags, help), read, choices };
}

export function repeated<T>(flags: string, help: string, read: Reader<T>): RepeatedOption<T> {
  return { kind: 'repeated', ...declare(flags, help), read };
}

export function toggle(flags: string, help: string): SwitchOption {
  return { kind: 'switch', ...declare(flags, help) };
}

export function counted(flags: string, help: string): CountedOption {
  return { kind: 'counted', ...declare(flags, help) };
}

function declare(flags: string, help: string): Declaration {
  const [name = ''] = flags.split(/[ ,]/);
  return { flags, help, name };
}

/** Takes a text as it is: a name, or a path. */
export const asText: Reader<string> = (text) => text;

/** Reads the given options of a group. Throws UsageError. */
export function readOptions<Options extends Readonly<Record<string, Option>>>(
  { options }: OptionGroup<Options>,
  given: GivenOptions,
): ValuesOf<Options> {
  const values = Object.entries(options).map(([name, option]) => [
    name,
    readOption(option, given.get(option) ?? []),
  ]);
  // readOption returns for each kind what ValueOf says, but fromEntries loses these types.
  return Object.fromEntries(values) as ValuesOf<Options>;
}

/** Whether any option of a group is given. */
export function isAnyGiven({ options }: OptionGroup, given: GivenOptions): boolean {
  return Object.values(options).some((option) => (given.get(option) ?? []).length > 0);
}

function readOption(option: Option, entries: readonly Entry[]): unknown {
  const placed = entries.map(({ text, place }) => ({
    text,
    place: placeOfOption(place, option.name),
  }));
  const [first, second] = placed;
  switch (option.kind) {
    case 'switch':
      return first?.place;
    case 'counted':
      return placed.map(({ place }) => place);
    case 'repeated':
      return placed.map((entry) => readEntry(option, entry));
    case 'once':
      if (second !== undefined) throw givenTwice(first ?? second, second);
      return first && readEntry(option, first);
  }
}

function readEntry<T>({ read }: { readonly read: Reader<T> }, { text, place }: Entry): Given<T> {
  return { value: read(text, place), place };
}

function givenTwice(first: Entry, second: Entry): UsageError {
  const before = filePrefix(first.place).replace(/: $/, '');
  const where = before === '' ? '' : `, the first time at ${before}`;
  return new UsageError(
    `${formatPlace(second.place)} is given twice (${first.text} and ${second.text})${where}`,
    { hint: 'leave one of them out; it may also be in an @FILE' },
  );
}

/** For names of files and the like. Throws UsageError. */
export function nonEmpty(what: string): Reader<string> {
  return (text, place) => {
    if (text !== '') return text;
    throw new UsageError(`${formatPlace(place)}: ${what} is empty`, {
      hint: 'write a name; an empty one is often an unset shell variable',
    });
  };
}

/**
 * For files that are written while the tunnel runs. `standardOutput`: what to do in place of "-",
 * which is the name of a file as well. Throws UsageError.
 */
export function writtenFile(standardOutput: string): Reader<string> {
  return (text, place) => {
    if (text !== '-') return notAUrl(nonEmpty('the name of the file')(text, place), place);
    throw new UsageError(`${formatPlace(place)}: "-", standard output, is no file`, {
      hint: standardOutput,
    });
  };
}

/** Throws UsageError for what is no path: `file:///...`, `unix:/...`, `http://...`. */
export function notAUrl(text: string, place: Place): string {
  if (!/^(?:[a-z][a-z0-9+.-]*:\/\/|(?:file|unix):)/i.test(text)) return text;
  throw new UsageError(`${formatPlace(place)}: ${quoted(text)} is a URL, and no path`, {
    hint: 'leave what is before the path out, as in: /tmp/file for file:///tmp/file',
  });
}

/** A number of seconds. `least`: `above 0`, or `from 0`, where 0 means "off". */
export function seconds(option: string, least: 'above 0' | 'from 0', most: number): Reader<number> {
  return (text, place) => {
    const value = Number(text);
    const valid = /^[0-9]+(\.[0-9]+)?$/.test(text) && value <= most;
    if (valid && (value > 0 || least === 'from 0')) return value;
    const range = least === 'above 0' ? `above 0 and up to ${most}` : `from 0 to ${most}`;
    const off = least === 'above 0' ? '' : '; 0 switches it off';
    throw new UsageError(
      `${formatPlace(place)}: ${quoted(text)} is not a number of seconds ${range}`,
      { hint: `write it without a unit, as in: ${option} 15${off}` },
    );
  };
}
