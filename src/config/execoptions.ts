/**
 * The command line of `tunnel exec`: where the options end and the command begins, and the
 * configuration.
 *
 *   tunnel exec -r REMOTE [options] [TARGET...] -- COMMAND [ARG...]
 *   tunnel exec -r REMOTE [options] COMMAND [ARG...]
 *
 * The first `--` ends the targets. Without any, no TARGET is given: the first word that is neither
 * an option nor an option's value is the command. Where a word may have been meant otherwise, `--`
 * is asked for rather than guessed: an address in the place of the command, and a plain word in the
 * place of a target (`git log -- file` without a `--` of its own). What follows is the command's
 * alone: no option of the tunnel's is looked for in it, and no @FILE expanded.
 */
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import type { Place } from '../net/place.ts';
import type { Configuration } from './configuration.ts';
import { buildConfiguration, type ConnectOptions } from './options.ts';

/** Without targets and cloud, all of both families. */
const EVERYTHING = ['0.0.0.0/0', '::/0'];

export interface ExecOptions extends ConnectOptions {
  readonly isolate?: boolean;
}

export interface ExecConfiguration {
  readonly tunnel: Configuration;
  /** At least one word. */
  readonly command: readonly [string, ...string[]];
  /** --isolate: the command reaches the targets and nothing else. */
  readonly isolate: boolean;
}

/**
 * An option of the command line as it is written: `-r`, `--remote`, and whether it takes a value.
 */
export interface OptionShape {
  readonly short?: string | undefined;
  readonly long?: string | undefined;
  readonly takesValue: boolean;
}

export interface SplitArguments {
  /** Options and targets. */
  readonly own: readonly string[];
  /** undefined: none is given. */
  readonly command: readonly string[] | undefined;
}

/**
 * An address or prefix, well-formed or not, with or without ports, or a wildcard: nothing that a
 * command is called.
 */
const LIKE_A_TARGET =
  /^(\[|\*\.|[0-9]+(\.[0-9]+)*(\/|:|$)|[0-9]+(\.[0-9]+)+|[0-9a-f]*:[0-9a-f:.]*(\/|$))/i;
/** A target only where a search list makes a name of it (resolv.conf(5)). */
export const LIKE_A_COMMAND = /^[a-z_][\w+-]*$/i;

/**
 * Finds the command among the arguments behind `exec`. Throws UsageError where it can't be told
 * from a target.
 */
export function splitCommand(
  args: readonly string[],
  options: readonly OptionShape[],
): SplitArguments {
  let first: number | undefined;
  let index = 0;
  for (; index < args.length; index += 1 + valuesOf(args[index] ?? '', options)) {
    const word = args[index] ?? '';
    if (word === '--') break;
    if (!isOption(word) && !word.startsWith('@')) first ??= index;
  }
  const word = first === undefined ? undefined : args[first];
  if (index < args.length) {
    if (word !== undefined && LIKE_A_COMMAND.test(word)) throw ambiguous(word);
    return { own: args.slice(0, index), command: args.slice(index + 1) };
  }
  if (word === undefined) return { own: args, command: undefined };
  if (LIKE_A_TARGET.test(word)) throw ambiguous(word);
  return { own: args.slice(0, first), command: args.slice(first) };
}

function ambiguous(word: string): UsageError {
  return new UsageError(`${quoted(word)} is a target or the command?`, {
    hint: 'write "--" between the targets and the command, as in: tunnel exec -r user@jumphost 10.0.0.0/8 -- curl http://10.0.0.1/',
  });
}

function isOption(word: string): boolean {
  return word.length > 1 && word.startsWith('-');
}

/** How many of the words that follow are this option's value: 0 or 1. */
function valuesOf(word: string, options: readonly OptionShape[]): number {
  if (!isOption(word) || word === '--') return 0;
  if (word.startsWith('--')) {
    return options.some(({ long, takesValue }) => takesValue && long === word) ? 1 : 0;
  }
  // -vr host: letters up to the first that takes a value; what is left of the word is that value.
  for (let at = 1; at < word.length; at += 1) {
    const option = options.find(({ short }) => short === `-${word.charAt(at)}`);
    if (option?.takesValue === true) return at === word.length - 1 ? 1 : 0;
  }
  return 0;
}

/** Throws UsageError. */
export function buildExecConfiguration(
  targets: readonly string[],
  command: readonly string[] | undefined,
  options: ExecOptions,
  placeOf?: (text: string) => Place | undefined,
): ExecConfiguration {
  const [file, ...args] = command ?? [];
  if (file === undefined) {
    throw new UsageError('no command is given', {
      hint: 'write it behind the targets, as in: tunnel exec -r user@jumphost 10.0.0.0/8 -- curl http://10.0.0.1/',
    });
  }
  if (file === '')
    throw new UsageError('the command is an empty word', {
      hint: 'check it: an empty word often is a variable of the shell that is not set',
    });
  const none =
    targets.length + (options.targetsFrom ?? []).length === 0 && options.osCloud === undefined;
  const wanted = none ? EVERYTHING : targets;
  return {
    tunnel: buildConfiguration(wanted, options, placeOf),
    command: [file, ...args],
    isolate: options.isolate ?? false,
  };
}
