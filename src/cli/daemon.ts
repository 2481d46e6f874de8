/**
 * Whether a command line asks for a tunnel that runs on by itself. Known from the words alone: the
 * program starts itself again for it, and what it reads from a pipe (`-s <(...)`) is there once.
 */
import { SERVICE_OPTIONS } from '../config/serviceoptions.ts';
import { isOption, isValue, readOptionWord } from '../config/words.ts';
import { optionShapeOf, optionShapes } from './command.ts';
import { COMMANDS, type CommandName, commandNamed } from './commands.ts';

const DAEMON = optionShapeOf(SERVICE_OPTIONS.options.daemon).long ?? '';
/** They only print something. */

const HELP = ['-h', '--help', '-V', '--version'];

/** `args`: without node and script. What an @FILE or a profile says is not looked at. */
export function asksForDaemon(args: readonly string[]): boolean {
  const [first, ...others] = args;
  const named = commandNamed(first) ?? 'connect';
  if (named !== 'up' && named !== 'connect' && named !== 'proxy') return false;
  const given = optionsAmong(named === first ? others : args, named);
  if (HELP.some((option) => given.has(option))) return false;
  return named === 'up' ? !given.has('--foreground') : given.has(DAEMON);
}

/** The options among the words of a command, by their long names. */
function optionsAmong(words: readonly string[], command: CommandName): ReadonlySet<string> {
  const shapes = optionShapes(COMMANDS[command]);
  const given = new Set<string>();
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    if (word === '--') break;
    if (!isOption(word)) continue;
    given.add(word);
    const { options, value } = readOptionWord(word, shapes);
    for (const { long } of options) if (long !== undefined) given.add(long);
    if (value === 'next' && isValue(words[index + 1], shapes)) index += 1;
  }
  return given;
}
