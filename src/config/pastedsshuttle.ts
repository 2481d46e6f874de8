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
  const subnets = readWords(words, OPTIONS, draft, 'all operands');
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

/** sshuttle takes a password there; it must not be printed, and sshd would log it. */
function remote(value: string, draft: Draft, name: string): void {
  const [, user, password, host] = /^([^:@]+):(.*)@([^@]+)$/.exec(value) ?? [];
  draft.add(name, '-r', password === undefined ? value : `${user}@${host}`);
  if (password !== undefined) draft.note('a password is asked for when it is needed');
}
