/**
 * How an argument keeps its place on its way through commander, which knows texts only: the same
 * text may stand in two places.
 *
 *   entries   -r u@h 10/8 -v         each with its place
 *   words     -r \0 0 \0 1 -v        for commander: options as they are, for all else a mark
 *   back      \0 0 -> entry of u@h   entryOf, for a value or an operand
 *             -v -> its places       placesOf, in order: an option without value has no mark
 *
 * No argument of a process has a NUL in it, and whatever a file has there gets a mark itself, so a
 * mark can't be mistaken. It begins with no dash, so what stood behind `--` remains no option.
 */
import type { Entry } from '../config/argsfile.ts';
import { isOption, type OptionShape, readOptionWord } from '../config/words.ts';
import type { Place } from '../net/place.ts';

const MARK = /^\0 ([0-9]+)$/;
const MARKS = /\0 [0-9]+/g;
const UNKNOWN: Place = { kind: 'argument', name: 'argument' };

export class MarkedArguments {
  /** For commander. */
  readonly words: readonly string[];
  readonly #entries: Entry[] = [];
  readonly #places = new Map<string, Place[]>();

  /**
   * `literal`: so many entries at the beginning stay as they are, names of commands. `shapes`: the
   * options of the command.
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
      if (next.done !== true) words.push(this.#mark(next.value));
    }
    this.words = words;
  }

  /** What a word of commander's stands for; for one that it made up itself, the word. */
  entryOf(word: string): Entry {
    return this.#entries[Number(MARK.exec(word)?.[1])] ?? { text: word, place: UNKNOWN };
  }

  /** Where an option without value stands, in order. */
  placesOf({ long, short }: Pick<OptionShape, 'long' | 'short'>): readonly Place[] {
    return this.#places.get(long ?? short ?? '') ?? [];
  }

  /** A text of commander's with what the marks in it stand for. */
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
