/**
 * Options of ssh in a line of tunnel: `tunnel -D 1080 -r jumphost`, `tunnel -fN -L ... user@host`.
 * Some letters mean something else here, or nothing. Such a line is answered with the one that does
 * the same.
 *
 *   words ──► letter by letter: tunnel's own option, ssh's, or either by what follows it
 *         ──► none is ssh's: the line stands
 *         ──► pastedssh.ts: the line of tunnel, and what was left out
 */
import { isIP } from 'node:net';
import { quoted, shellWord } from '../net/notation.ts';
import {
  Draft,
  type PastedOption,
  pasted,
  TARGET,
  type Translation,
  WHAT_TARGETS_ARE,
} from './pasteddraft.ts';
import { type OptionsOf, SSH_OPTIONS, translate } from './pastedssh.ts';
import { isOption, isValue, type OptionShape, readOptionWord } from './words.ts';

export interface OwnWords {
  /** The command of tunnel, if its name is written. */
  readonly named: string | undefined;
  /** Its options and targets. */
  readonly words: readonly string[];
  /** What follows the targets of `exec`. */
  readonly command: readonly string[];
  /** The options of a command, with those of sshuttle that it answers. */
  readonly optionsOf: OptionsOf;
  readonly takenBy: OptionsOf;
}

/** Throws UsageError with the line to write if it has an option of ssh, or lacks the -r. */
export function refuseHabits({ named, words, command, optionsOf, takenBy }: OwnWords): void {
  const line = new MixedLine(words, optionsOf(named ?? 'connect'));
  if (!line.read()) return; // what can't be read is said by who reads it
  const { draft, hasRemote, hasOtherTargets, operands } = line;
  const names = hasRemote ? [] : operands.filter((word) => LIKE_A_REMOTE.test(word));
  const isForeign = line.isForeign(hasRemote);
  // Of ssh, a single word is the host.
  if (!hasRemote && operands.length === 1 && (isForeign || draft.has('-L')))
    names.push(...operands);
  const [host] = names;
  const what = host === undefined ? undefined : `no jump host is given: ${quoted(host)} needs -r`;
  if (isForeign) {
    const lacksHost = !hasRemote && host === undefined;
    const targets = operands.filter((_, index) => index !== operands.indexOf(host ?? ''));
    const known = { named, draft, host, lacksHost, targets, hasOtherTargets, takenBy };
    throw pasted(what ?? sayForeign(line.foreign), withCommand(translate(known), command));
  }
  if (host === undefined) return;
  const at = words.indexOf(host);
  const isIdle = operands.length === 1 && !hasOtherTargets && !draft.has('-L');
  const wants = (named ?? 'connect') === 'connect' && isIdle;
  const translation = {
    command: named === undefined ? [] : [named],
    words: [...words.slice(0, at), '-r', ...words.slice(at)],
    missing: wants ? TARGET : [],
    notes: wants ? [WHAT_TARGETS_ARE] : [],
  };
  throw pasted(`${what} before it`, withCommand(translation, command));
}

function sayForeign(options: readonly string[]): string {
  const [, ...others] = options;
  return others.length === 0
    ? `${options[0]} is an option of ssh`
    : `${options.join(', ')} are options of ssh`;
}

function withCommand(translation: Translation, command: readonly string[]): Translation {
  if (command.length === 0 || translation.command[0] !== 'exec') return translation;
  const { words, missing } = translation;
  return missing.length === 0
    ? { ...translation, words: [...words, '--', ...command] }
    : { ...translation, missing: [...missing, '--', ...command.map(shellWord)] };
}

/** A line of tunnel that may have options of ssh. */
class MixedLine {
  readonly draft = new Draft();
  readonly operands: string[] = [];
  /** Options of ssh, as they were written, with their values. */
  readonly foreign: string[] = [];
  /** By -r, a profile, or a file that may have them. */
  hasRemote = false;
  /** In a file, a cloud or a profile. */
  hasOtherTargets = false;
  readonly #words: readonly string[];
  readonly #own: readonly OptionShape[];
  #index = 0;

  constructor(words: readonly string[], own: readonly OptionShape[]) {
    this.#words = words;
    this.#own = own;
  }

  /** Whether there are options of ssh. -N alone is sshuttle's, beside -r. */
  isForeign(hasRemote: boolean): boolean {
    const others = this.foreign.filter((option) => option !== '-N').length;
    return others > 0 || (this.foreign.length > 0 && (!hasRemote || this.draft.has('-L')));
  }

  /** False: it has an option that nobody knows, or that lacks its value. */
  read(): boolean {
    for (; this.#index < this.#words.length; this.#index += 1) {
      const word = this.#words[this.#index] ?? '';
      if (word === '--') break;
      if (!isOption(word)) {
        if (word.startsWith('@')) this.hasRemote = this.hasOtherTargets = true;
        this.operands.push(word);
      } else if (!(word.startsWith('--') ? this.#long(word) : this.#letters(word))) return false;
    }
    this.operands.push(...this.#words.slice(this.#index + 1));
    return true;
  }

  #long(word: string): boolean {
    const { options, value } = readOptionWord(word, this.#own);
    const [option] = options;
    const attached = typeof value === 'number' ? word.slice(value) : undefined;
    return option?.long !== undefined && this.#take(option, option.long, attached);
  }

  #letters(word: string): boolean {
    for (let at = 1; at < word.length; at += 1) {
      const letter = `-${word.charAt(at)}`;
      const rest = word.slice(at + 1);
      const ssh = this.#ofSsh(letter, rest);
      const option = ssh ?? this.#own.find(({ short }) => short === letter);
      if (option === undefined) return false;
      const attached = option.takesValue && rest !== '' ? rest : undefined;
      const taken =
        ssh === undefined
          ? this.#take(option, letter, attached)
          : this.#takeForeign(ssh, letter, attached);
      if (!taken) return false;
      if (option.takesValue) break;
    }
    return true;
  }

  /** undefined: the letter is tunnel's own, or unknown. `rest`: what follows it in its word. */
  #ofSsh(letter: string, rest: string): PastedOption | undefined {
    if (letter === '-V') return undefined;
    const option = SSH_OPTIONS.find(({ short }) => short === letter);
    if (!this.#own.some(({ short }) => short === letter)) return option;
    const next = this.#words[this.#index + 1];
    // At the end of the options a value was forgotten.
    if (rest === '' && (next === undefined || next === '--') && option?.takesValue === false) {
      return letter === '-N' || letter === '-t' ? option : undefined;
    }
    const value = rest !== '' || isValue(next, this.#own) ? rest || next : undefined;
    return IS_OF_SSH[letter]?.(value, rest !== '') === true ? option : undefined;
  }

  #takeForeign(option: PastedOption, name: string, attached: string | undefined): boolean {
    const value = option.takesValue ? (attached ?? this.#next()) : '';
    if (value === undefined) return false;
    this.foreign.push(option.takesValue ? `${name} ${value}` : name);
    option.rule(value, this.draft, name);
    return true;
  }

  /** An option of tunnel, in a form in which the answer can have it. */
  #take(option: OptionShape, name: string, attached: string | undefined): boolean {
    const { long = '' } = option;
    this.hasRemote ||= long === '--remote' || long === '--profile';
    this.hasOtherTargets ||= /^--(targets-from|os-cloud|profile)$/.test(long);
    if (!option.takesValue) {
      this.draft.add(name, name);
      return true;
    }
    const value = attached ?? this.#next();
    if (value === undefined) return false;
    this.draft.add(name, SHOWN_SHORT.get(long) ?? name, value);
    return true;
  }

  #next(): string | undefined {
    const next = this.#words[this.#index + 1];
    if (!isValue(next, this.#own)) return undefined;
    this.#index += 1;
    return next;
  }
}

/** The draft is asked for them by their letter. */
const SHOWN_SHORT = new Map([
  ['--remote', '-r'],
  ['--local-forward', '-L'],
]);

const LIKE_A_REMOTE = /^([^@/[\]]+@[^@/]|ssh:\/\/)/i;

/** A port, or an address and a port, which can be nothing else than where ssh -D listens. */
const LISTENS = /^((localhost|127\.[0-9.]+|0\.0\.0\.0|\*|\[::1?\])?:)?[0-9]+$/;

/**
 * Of letters that tunnel has as well, or that it answers because sshuttle has them: whether one is
 * ssh's. `value`: what would be its value; `attached`: in the same word.
 */
const IS_OF_SSH: Readonly<
  Record<string, (value: string | undefined, attached: boolean) => boolean>
> = {
  // A single number up to 255 is a target: 10 is 10.0.0.0/8.
  '-D': (value = '', attached) => LISTENS.test(value) && (attached || !(Number(value) <= 255)),
  // sshuttle's is an address, or a port.
  '-l': (value = '') =>
    !/^[0-9]*$/.test(value) &&
    isIP(value.replace(/:[0-9]+$/, '').replace(/^\[(.*)\]$/, '$1')) === 0,
  // sshuttle's is a mark.
  '-t': (value = '') => !/^(0x)?[0-9a-f]+$/i.test(value),
  // Without a value they are about X11 and subsystems.
  '-x': (value) => value === undefined,
  '-X': (value) => value === undefined,
  '-s': (value) => value === undefined,
  // An escape character.
  '-e': (value = '') => /^(none|\^.|[^\w./])$/.test(value),
  '-N': () => true,
};
