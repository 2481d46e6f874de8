/**
 * Keeps the place of each argument on its way through commander. Commander knows only texts, and
 * the same text may occur in two places.
 *
 *   entries   -r u@h 10/8 -v         each with its place
 *   words -r \0 0 \0 1 -v for commander: options unchanged, a mark for everything else
 *   back      \0 0 -> entry of u@h   entryOf, for a value or an operand
 *             -v -> its places placesOf, in order: an option without a value has no mark
 *
 * A process argument can't contain a NUL, and a text from a file is itself replaced by a mark. So
 * no other text can be mistaken for a mark. A mark doesn't begin with a dash, so words after `--`
 * don't become options.
 */
import type { Entry } from '../config/argsfile.ts';
import { isOption, isValue, type OptionShape, readOptionWord } from '../config/words.ts';
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, type Place } from '../net/place.ts';

const MARK = /^\0 ([0-9]+)$/;
const MARKS = /\0 [0-9]+/g;
const UNKNOWN: Place = { kind: 'argument', name: 'argument' };

export class MarkedArguments {
  /** For commander. */
  readonly words: readonly string[];
  readonly #entries: Entry[] = [];
  readonly #places = new Map<string, Place[]>();

  /**
   * `literal`: how many entries at the beginning stay unchanged, because they name commands.
   * `shapes`: the options of the command. Throws UsageError if one of them lacks its value.
   */
  constructor(entries: readonly Entry[], literal: number, shapes: readonly OptionShape[]) {
    const words = entries.slice(0, literal).map(({ text }) => text);
    const rest = entries.slice(literal).values();
    for (const entry of rest) {
      if (entry.text === '--') {
        words.push('--', ...[...rest].map((operand) => this.#mark(operand)));
        break;
      }
      if (!isOption(entry.text)) {
        words.push(this.#mark(entry));
        continue;
      }
      const { options, value } = readOptionWord(entry.text, shapes);
      for (const option of options) if (!option.takesValue) this.#note(option, entry.place);
      if (typeof value === 'number') {
        const text = entry.text.slice(value);
        words.push(entry.text.slice(0, value) + this.#mark({ ...entry, text }));
        continue;
      }
      words.push(entry.text);
      if (value === 'none') continue;
      const next = rest.next();
      if (next.done === true || !isValue(next.value.text, shapes))
        throw missingValue(entry, options.at(-1), next.value?.text);
      words.push(this.#mark(next.value));
    }
    this.words = words;
  }

  /** The entry that a word from commander stands for; for a word of its own, the word itself. */
  entryOf(word: string): Entry {
    return this.#entries[Number(MARK.exec(word)?.[1])] ?? { text: word, place: UNKNOWN };
  }

  /** The places of an option without a value, in order. */
  placesOf({ long, short }: Pick<OptionShape, 'long' | 'short'>): readonly Place[] {
    return this.#places.get(long ?? short ?? '') ?? [];
  }

  /** A text from commander, with its marks replaced by the original texts. */
  unmarked(text: string): string {
    return text.replaceAll(MARKS, (mark) => this.entryOf(mark).text);
  }

  #mark(entry: Entry): string {
    this.#entries.push(entry);
    return `\0 ${this.#entries.length - 1}`;
  }

  #note({ long, short }: OptionShape, place: Place): void {
    const name = long ?? short ?? '';
    const places = this.#places.get(name);
    if (places === undefined) this.#places.set(name, [place]);
    else places.push(place);
  }
}

/** `next`: what is in the value's place. */
function missingValue(
  { text, place }: Entry,
  option: OptionShape | undefined,
  next: string | undefined,
): UsageError {
  const isLong = text.startsWith('--');
  const name = (isLong ? option?.long : option?.short) ?? text;
  const instead = next === undefined ? '' : `, but ${quoted(next)} after it`;
  return new UsageError(`${filePrefix(place)}${name} has no value${instead}`, {
    hint:
      next === undefined || next === '--'
        ? `write it after ${name}; --help says what it is`
        : `write it after ${name}; if ${quoted(next)} is the value, write ${name}${isLong ? '=' : ''}${next}`,
  });
}
