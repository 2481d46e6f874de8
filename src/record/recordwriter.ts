/**
 * Writes a record as octets into a piece of memory. Each part goes there by itself: a string of the
 * whole record would be garbage, of thousands of connections in a second.
 *
 * What doesn't fit is not written; `fits` then says so, and the record is to be written again
 * somewhere else.
 */

const FIRST_PRINTABLE = 0x20;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LAST_PRINTABLE = 0x7e;
const ZERO = 0x30;

export class RecordWriter {
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;

  /** The next record begins there. */
  begin(bytes: Buffer, at: number): void {
    this.#bytes = bytes;
    this.#at = at;
  }

  /** Where what was written ends. */
  get end(): number {
    return this.#at;
  }

  get fits(): boolean {
    return this.#at <= this.#bytes.length;
  }

  /** Text that is ASCII. What is behind the end of a typed array is not written. */
  ascii(text: string): void {
    const bytes = this.#bytes;
    let at = this.#at;
    for (let index = 0; index < text.length; index++) bytes[at++] = text.charCodeAt(index);
    this.#at = at;
  }

  /** A number as JSON has it. */
  number(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) {
      this.ascii(JSON.stringify(value));
      return;
    }
    const bytes = this.#bytes;
    let end = this.#at + 1;
    for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) end++;
    this.#at = end;
    let rest = value;
    do {
      const less = Math.floor(rest / 10);
      bytes[--end] = ZERO + rest - 10 * less;
      rest = less;
    } while (rest > 0);
  }

  /** Any text, as UTF-8. */
  text(text: string): void {
    const length = Buffer.byteLength(text);
    if (this.#at + length <= this.#bytes.length) this.#bytes.write(text, this.#at);
    this.#at += length;
  }

  /** A text as JSON has it. */
  json(text: string): void {
    const bytes = this.#bytes;
    const begin = this.#at;
    let at = begin;
    bytes[at++] = QUOTE;
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(index);
      const asItIs =
        unit >= FIRST_PRINTABLE && unit <= LAST_PRINTABLE && unit !== QUOTE && unit !== BACKSLASH;
      if (!asItIs) {
        this.text(JSON.stringify(text));
        return;
      }
      bytes[at++] = unit;
    }
    bytes[at++] = QUOTE;
    this.#at = at;
  }
}
