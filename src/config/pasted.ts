/**
 * Lines for other programs, pasted after `tunnel`: `ssh -D 1080 user@jump`, `sshuttle -r ...`.
 * Providers' pages have such lines. Each is answered with the line that does the same here.
 *
 *   words ──► the other program's options ──► words of tunnel            pastedssh.ts
 *                                         ├─► what else there is to know  pastedsshuttle.ts
 *                                         └─► what is left out, and why   pasteddraft.ts
 *
 * Nothing is left out in silence, except sudo: the program asks for root itself. Where all words
 * were understood, the line can be run as it is printed. Single options of ssh in a line of tunnel
 * are answered in habits.ts.
 */
import { quoted } from '../net/notation.ts';
import { pasted, TARGET, type Translation, WHAT_TARGETS_ARE } from './pasteddraft.ts';
import { AUTOSSH_OPTIONS, fromSsh, type OptionsOf } from './pastedssh.ts';
import { fromSshuttle } from './pastedsshuttle.ts';
import { isOption } from './words.ts';

const WITHOUT_SSHPASS =
  'sshpass is left out: a password is asked for when it is needed, at the terminal or by the program that SSH_ASKPASS names';

/**
 * Throws UsageError with the line to write if the words are for `ssh`, `autossh` or `sshuttle`,
 * which sshpass may start. `args`: those after `tunnel`. Words of `exec` are not looked at: there
 * ssh may be the command.
 */
export function refusePastedCommand(args: readonly string[], takenBy: OptionsOf): void {
  const [first = ''] = args;
  const named = ['connect', 'proxy', 'doctor'].includes(first) ? first : undefined;
  const words = named === undefined ? args : args.slice(1);
  const line = words[0] === 'sudo' ? words.slice(1) : words;
  const isBelowSshpass = line[0] === 'sshpass';
  const [program = '', ...rest] = isBelowSshpass ? line.slice(sshpassWords(line)) : line;
  const translation = translate(program, named, rest, takenBy);
  if (translation === undefined) return;
  const { notes } = translation;
  const known = { ...translation, notes: isBelowSshpass ? [WITHOUT_SSHPASS, ...notes] : notes };
  throw pasted(
    `${quoted(program)} is not a command of tunnel`,
    named === 'doctor' ? withoutTargets(named, known) : known,
  );
}

/** undefined: the program is none of them. */
function translate(
  program: string,
  named: string | undefined,
  words: readonly string[],
  takenBy: OptionsOf,
): Translation | undefined {
  switch (program.replace(/^\/.*\//, '')) {
    case 'ssh':
      return fromSsh(named, words, takenBy);
    case 'autossh':
      return fromSsh(named, words, takenBy, AUTOSSH_OPTIONS);
    case 'sshuttle':
      return fromSshuttle(words, takenBy('connect'));
    default:
      return undefined;
  }
}

/** How many words are sshpass's: its name and its options, whose values are never shown. */
function sshpassWords(line: readonly string[]): number {
  let count = 1;
  for (let word = line[1]; word !== undefined && isOption(word); word = line[count])
    count += /^-[A-Za-z]*[fdpP]$/.test(word) ? 2 : 1;
  return count;
}

/** The same for a command that needs no targets. */
function withoutTargets(command: string, { words, missing, notes }: Translation): Translation {
  return {
    command: [command],
    words,
    missing: missing.filter((word) => !TARGET.includes(word)),
    notes: notes.filter((note) => note !== WHAT_TARGETS_ARE),
  };
}
