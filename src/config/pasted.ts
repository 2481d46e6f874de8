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
import { fromSsh, type OptionsOf } from './pastedssh.ts';
import { fromSshuttle } from './pastedsshuttle.ts';

/**
 * Throws UsageError with the line to write if the words are for `ssh` or `sshuttle`. `args`: those
 * after `tunnel`. Words of `exec` are not looked at: there ssh may be the command.
 */
export function refusePastedCommand(args: readonly string[], takenBy: OptionsOf): void {
  const [first = ''] = args;
  const named = ['connect', 'proxy', 'doctor'].includes(first) ? first : undefined;
  const words = named === undefined ? args : args.slice(1);
  const [program, ...rest] = words[0] === 'sudo' ? words.slice(1) : words;
  if (program !== 'ssh' && program !== 'sshuttle') return;
  const translation =
    program === 'ssh' ? fromSsh(named, rest, takenBy) : fromSshuttle(rest, takenBy('connect'));
  throw pasted(
    `${quoted(program)} is not a command of tunnel`,
    named === 'doctor' ? withoutTargets(named, translation) : translation,
  );
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
