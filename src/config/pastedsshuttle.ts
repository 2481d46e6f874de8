/** Lines of `sshuttle`, up to 2.0, as lines of tunnel (pasted.ts). */
import {
  Draft,
  keep,
  keepSwitch,
  lacks,
  leaveOut,
  type PastedOption,
  REMOTE,
  type Rule,
  readWords,
  TARGET,
  type Translation,
  WHAT_TARGETS_ARE,
} from './pasteddraft.ts';
import { SSHUTTLE, type SshuttleOption } from './sshuttle.ts';
import type { OptionShape } from './words.ts';

const OPTIONS: readonly PastedOption[] = SSHUTTLE.map((option) => ({
  short: option.short,
  long: option.long,
  takesValue: option.takesValue,
  rule: ruleOf(option),
}));

function ruleOf({ becomes, takesValue }: SshuttleOption): Rule {
  if (becomes.own === undefined) return (becomes.isNeeded ? lacks : leaveOut)(becomes.why);
  if (becomes.own === '-r') return remote;
  return (takesValue ? keep : keepSwitch)(becomes.own);
}

/** `words`: those after `sshuttle`. `options`: those of `connect`. */
export function fromSshuttle(
  words: readonly string[],
  options: readonly OptionShape[],
): Translation {
  const draft = new Draft();
  const subnets = readWords(words.map(inFull), OPTIONS, draft, 'all operands');
  const isTargets = subnets.length > 0 || draft.has('-s');
  // An @FILE may have anything.
  const isWhole = subnets.some((word) => word.startsWith('@'));
  const jumpHost = draft.has('-r') || isWhole ? [] : REMOTE;
  const translated = draft.wordsFor('connect', options);
  return {
    command: [],
    words: [...translated, ...subnets],
    missing: [...jumpHost, ...(isTargets ? [] : TARGET)],
    notes: isTargets ? draft.notes : [...draft.notes, WHAT_TARGETS_ARE],
  };
}

/** sshuttle takes the beginning of a long name, if no other begins with it: `--auto-h`. */
function inFull(word: string): string {
  const [, name = '', value = ''] = /^(--[^=]+)(=.*)?$/s.exec(word) ?? [];
  if (name === '' || SSHUTTLE.some(({ long }) => long === name)) return word;
  const [only, ...others] = SSHUTTLE.filter(({ long }) => long?.startsWith(name));
  return only?.long === undefined || others.length > 0 ? word : `${only.long}${value}`;
}

/** sshuttle takes a password there; it must not be printed, and sshd would log it. */
function remote(value: string, draft: Draft, name: string): void {
  if (value === '') return;
  const [, user, password, host] =
    /^((?:ssh:\/\/)?[^:@]+):(?!\/\/)(.*)@([^@]+)$/is.exec(value) ?? [];
  draft.add(name, '-r', password === undefined ? value : `${user}@${host}`);
  if (password !== undefined) draft.note('a password is asked for when it is needed');
}
