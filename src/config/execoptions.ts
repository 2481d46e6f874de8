/**
 * The command line of `tunnel exec`: where the options end and the command begins, and the configuration.
 *
 *   tunnel exec -r REMOTE [options] [TARGET...] -- COMMAND [ARG...]
 *   tunnel exec -r REMOTE [options] COMMAND [ARG...]
 *
 * `--` may be left out where no TARGET is given: the first word that is neither an option nor an option's value is the command
 * then. If that word reads as a target, `--` is asked for rather than guessed. What follows is the command's alone: no option
 * of the tunnel's is looked for in it, and no @FILE expanded.
 */
import { UsageError } from '../errors.ts';
import { quoted } from '../net/notation.ts';
import type { Configuration } from './configuration.ts';
import { buildConfiguration, type ConnectOptions } from './options.ts';
import { parseTarget } from './target.ts';
import type { Place } from './usage.ts';

/** Without targets, all of both families. */
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

/** An option of the command line as it is written: `-r`, `--remote`, and whether it takes a value. */
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

/** Finds the command among the arguments behind `exec`. Throws UsageError where it can't be told from a target. */
export function splitCommand(args: readonly string[], options: readonly OptionShape[]): SplitArguments {
  const separator = findSeparator(args, options);
  if (separator !== undefined) {
    return { own: args.slice(0, separator), command: args.slice(separator + 1) };
  }
  const start = findOperand(args, options);
  const word = args[start];
  if (word === undefined) return { own: args, command: undefined };
  if (readsAsTarget(word)) {
    throw new UsageError(`${quoted(word)} is a target or the command?`, {
      hint: 'write "--" before the command, as in: tunnel exec -r user@jumphost 10.0.0.0/8 -- curl http://10.0.0.1/',
    });
  }
  return { own: args.slice(0, start), command: args.slice(start) };
}

/** The first `--`, unless a command without one begins before it: then it is the command's own. */
function findSeparator(args: readonly string[], options: readonly OptionShape[]): number | undefined {
  for (let index = 0; index < args.length; index += 1 + valuesOf(args[index] ?? '', options)) {
    const word = args[index] ?? '';
    if (word === '--') return index;
    if (!isOption(word) && !word.startsWith('@') && !readsAsTarget(word)) break;
  }
  return undefined;
}

function findOperand(args: readonly string[], options: readonly OptionShape[]): number {
  let index = 0;
  while (index < args.length) {
    const word = args[index] ?? '';
    if (!isOption(word) && !word.startsWith('@')) break;
    index += 1 + valuesOf(word, options);
  }
  return index;
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

function readsAsTarget(word: string): boolean {
  try {
    parseTarget(word, 'target');
    return true;
  } catch (error) {
    if (error instanceof UsageError) return false;
    throw error;
  }
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
  if (file === '') throw new UsageError('the command is an empty word');
  const wanted = targets.length + (options.targetsFrom ?? []).length === 0 ? EVERYTHING : targets;
  return {
    tunnel: buildConfiguration(wanted, options, placeOf),
    command: [file, ...args],
    isolate: options.isolate ?? false,
  };
}
