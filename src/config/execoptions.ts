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
import type { Configuration } from './configuration.ts';
import { type GivenArguments, readOptions, toggle } from './option.ts';
import { buildConfiguration, TUNNEL_GROUPS } from './options.ts';
import { isOption, type OptionShape, readOptionWord } from './words.ts';

const COMMAND_OPTIONS = {
  heading: 'Command:',
  options: {
    isolate: toggle('--isolate', 'let the command reach the targets and nothing else'),
  },
} as const;

/** In the order of help. There are no proxies: the command has a network of its own. */
export const EXEC_GROUPS = [COMMAND_OPTIONS, ...TUNNEL_GROUPS] as const;

export interface ExecConfiguration {
  readonly tunnel: Configuration;
  /** At least one word. */
  readonly command: readonly [string, ...string[]];
  /** --isolate: the command reaches the targets and nothing else. */
  readonly isolate: boolean;
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

/** How many of the words that follow are this option's value: 0 or 1. */
function valuesOf(word: string, options: readonly OptionShape[]): number {
  return isOption(word) && readOptionWord(word, options).value === 'next' ? 1 : 0;
}

/** `command`: its words. Throws UsageError. */
export function buildExecConfiguration(
  given: GivenArguments,
  command: readonly string[] | undefined,
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
  return {
    tunnel: buildConfiguration(given, 'exec'),
    command: [file, ...args],
    isolate: readOptions(COMMAND_OPTIONS, given.options).isolate !== undefined,
  };
}
