/**
 * The command line of `tunnel exec`: finds where the options end and the command begins, and builds
 * the configuration.
 *
 *   tunnel exec -r REMOTE [options] [TARGET...] -- COMMAND [ARG...]
 *   tunnel exec -r REMOTE [options] COMMAND [ARG...]
 *
 * The first `--` ends the targets. Without a `--` there is no TARGET, and the first word that is
 * neither an option nor an option's value is the command. Where the meaning of a word is unclear,
 * the user is asked to write `--`; the program doesn't guess. That applies to an address in the
 * place of the command, and to a plain word in the place of a target (`git log -- file` without its
 * own `--`). What follows belongs to the command alone: the tunnel looks for no options in it and
 * expands no @FILE.
 */
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { findProgram } from '../system/path.ts';
import type { Configuration } from './configuration.ts';
import { type GivenArguments, readOptions, toggle } from './option.ts';
import { buildConfiguration, TUNNEL_GROUPS } from './options.ts';
import { isOption, isValue, LIKE_A_COMMAND, type OptionShape, readOptionWord } from './words.ts';

const COMMAND_OPTIONS = {
  heading: 'Command:',
  options: {
    isolate: toggle('--isolate', 'let the command reach the targets and nothing else'),
    proxyShared: toggle(
      '--proxy-shared',
      'a proxy in place of the network serves all users of this machine',
    ),
  },
} as const;

/** In the order of help. The command has its own network, so nobody asks for proxies. */
export const EXEC_GROUPS = [COMMAND_OPTIONS, ...TUNNEL_GROUPS] as const;

export interface ExecConfiguration {
  readonly tunnel: Configuration;
  /** At least one word. */
  readonly command: readonly [string, ...string[]];
  /** --isolate: the command reaches the targets and nothing else. */
  readonly isolate: boolean;
  /** --proxy-shared: other users than the command's may use the proxy that it is told of. */
  readonly proxyShared: boolean;
}

export interface SplitArguments {
  /** Options and targets. */
  readonly own: readonly string[];
  /** undefined: no command is given. */
  readonly command: readonly string[] | undefined;
}

/**
 * An address or prefix, well-formed or not, with or without ports, or a wildcard: no command has
 * such a name.
 */
const LIKE_A_TARGET =
  /^(\[|\*\.|[0-9]+(\.[0-9]+)*(\/|:|$)|[0-9]+(\.[0-9]+)+|[0-9a-f]*:[0-9a-f:.]*(\/|$))/i;

/**
 * Finds the command among the arguments after `exec`. Throws UsageError if it can't be told from a
 * target. A name of one label before a `--` is a target, unless a program has it: then the `--` may
 * be the program's own, as in `git log -- file`.
 */
export function splitCommand(
  args: readonly string[],
  options: readonly OptionShape[],
  isProgram: (word: string) => boolean = (name) => findProgram(name) !== undefined,
): SplitArguments {
  let first: number | undefined;
  let index = 0;
  for (; index < args.length; index += 1 + valuesAt(args, index, options)) {
    const word = args[index] ?? '';
    if (word === '--') break;
    if (!isOption(word) && !word.startsWith('@')) first ??= index;
  }
  const word = first === undefined ? undefined : args[first];
  if (index < args.length) {
    if (word !== undefined && LIKE_A_COMMAND.test(word) && isProgram(word))
      throw ambiguousProgram(word);
    return { own: args.slice(0, index), command: args.slice(index + 1) };
  }
  if (word === undefined) return { own: args, command: undefined };
  if (LIKE_A_TARGET.test(word)) throw ambiguous(word);
  return { own: args.slice(0, first), command: args.slice(first) };
}

function ambiguousProgram(word: string): UsageError {
  return new UsageError(
    `is ${quoted(word)} a target, or the command? There is a program of this name`,
    {
      hint: `for the command, write "--" before it; for a host, write ${word}. with a dot`,
    },
  );
}

function ambiguous(word: string): UsageError {
  return new UsageError(`is ${quoted(word)} a target or the command?`, {
    hint: 'write "--" between the targets and the command, as in: tunnel exec -r user@jumphost 10.0.0.0/8 -- curl http://10.0.0.1/',
  });
}

/** How many of the words after this one are its value: 0 or 1. */
function valuesAt(args: readonly string[], index: number, options: readonly OptionShape[]): number {
  const word = args[index] ?? '';
  if (!isOption(word) || readOptionWord(word, options).value !== 'next') return 0;
  return isValue(args[index + 1], options) ? 1 : 0;
}

/** `command`: its words. Throws UsageError. */
export function buildExecConfiguration(
  given: GivenArguments,
  command: readonly string[] | undefined,
): ExecConfiguration {
  const [file, ...args] = command ?? [];
  if (file === undefined) {
    throw new UsageError('no command is given', {
      hint: 'write it after the targets, as in: tunnel exec -r user@jumphost 10.0.0.0/8 -- curl http://10.0.0.1/',
    });
  }
  if (file === '')
    throw new UsageError('the command is an empty word', {
      hint: 'check it: an empty word is often an unset shell variable',
    });
  const { isolate, proxyShared } = readOptions(COMMAND_OPTIONS, given.options);
  return {
    tunnel: buildConfiguration(given, 'exec'),
    command: [file, ...args],
    isolate: isolate !== undefined,
    proxyShared: proxyShared !== undefined,
  };
}
