/**
 * The addresses and ports of a connection, and a table of connections by them.
 *
 * The hash is universal (Carter and Wegman 1979): the sum of all 16-bit words, each times a random
 * number, modulo a prime. An attacker who chooses addresses and ports can't make them collide
 * without knowing the random numbers.
 */
import { randomBytes } from 'node:crypto';
import type { Destination } from '../../net/destination.ts';
import { addressFromWords } from './addresses.ts';
import type { FrameView } from './frame.ts';

/**
 * One connection as its application sees it: from a (its own end) to b. Addresses as int32 words;
 * IPv4 uses only the first.
 */
export class Tuple {
  readonly family: 4 | 6;
  readonly a0: number;
  readonly a1: number;
  readonly a2: number;
  readonly a3: number;
  readonly b0: number;
  readonly b1: number;
  readonly b2: number;
  readonly b3: number;
  readonly aPort: number;
  readonly bPort: number;
  readonly hash: number;
  /** The table's link to the next entry with the same hash. */
  next: Tuple | undefined = undefined;

  /** Takes the tuple from one of the application's packets, or copies another tuple. */
  constructor(from: FrameView | Tuple, hash: number) {
    this.family = from.family;
    this.hash = hash;
    if (from instanceof Tuple) {
      ({ a0: this.a0, a1: this.a1, a2: this.a2, a3: this.a3, aPort: this.aPort } = from);
      ({ b0: this.b0, b1: this.b1, b2: this.b2, b3: this.b3, bPort: this.bPort } = from);
      return;
    }
    const { source, destination } = from;
    const six = from.family === 6;
    this.a0 = source[0] ?? 0;
    this.a1 = six ? (source[1] ?? 0) : 0;
    this.a2 = six ? (source[2] ?? 0) : 0;
    this.a3 = six ? (source[3] ?? 0) : 0;
    this.b0 = destination[0] ?? 0;
    this.b1 = six ? (destination[1] ?? 0) : 0;
    this.b2 = six ? (destination[2] ?? 0) : 0;
    this.b3 = six ? (destination[3] ?? 0) : 0;
    this.aPort = from.sourcePort;
    this.bPort = from.destinationPort;
  }

  get source(): Destination {
    return {
      host: addressFromWords(this.family, [this.a0, this.a1, this.a2, this.a3]),
      port: this.aPort,
    };
  }

  get destination(): Destination {
    return {
      host: addressFromWords(this.family, [this.b0, this.b1, this.b2, this.b3]),
      port: this.bPort,
    };
  }

  is(frame: FrameView): boolean {
    const { source, destination } = frame;
    return (
      this.aPort === frame.sourcePort &&
      this.bPort === frame.destinationPort &&
      this.a0 === source[0] &&
      this.b0 === destination[0] &&
      this.family === frame.family &&
      (this.family === 4 ||
        (this.a1 === source[1] &&
          this.a2 === source[2] &&
          this.a3 === source[3] &&
          this.b1 === destination[1] &&
          this.b2 === destination[2] &&
          this.b3 === destination[3]))
    );
  }
}

/** Eight words of 32 bits for two IPv6 addresses, and two ports, in halves of 16 bits. */
const HALVES = 18;
/**
 * The largest prime below 2^32. Sums stay exact: 18 products below 2^48 add up to less than 2^53.
 */
const PRIME = 4_294_967_291;

export class TupleTable<Entry extends Tuple> {
  readonly #factors: readonly number[];
  readonly #chains = new Map<number, Entry>();

  constructor(random: (bytes: number) => Buffer = randomBytes) {
    const bytes = random(4 * HALVES);
    this.#factors = Array.from({ length: HALVES }, (_, i) => bytes.readUInt32BE(4 * i) % PRIME);
  }

  hash({ family, source, destination, sourcePort, destinationPort }: FrameView): number {
    const factors = this.#factors;
    const factor = (i: number): number => factors[i] ?? 0;
    const words = family === 4 ? 1 : 4;
    let sum = sourcePort * factor(0) + destinationPort * factor(1);
    for (let i = 0; i < words; i++) {
      const a = source[i] ?? 0;
      const b = destination[i] ?? 0;
      sum +=
        (a >>> 16) * factor(2 + 4 * i) +
        (a & 0xffff) * factor(3 + 4 * i) +
        (b >>> 16) * factor(4 + 4 * i) +
        (b & 0xffff) * factor(5 + 4 * i);
    }
    return sum % PRIME;
  }

  find(frame: FrameView, hash: number): Entry | undefined {
    let entry = this.#chains.get(hash);
    while (entry !== undefined && !entry.is(frame)) entry = entry.next as Entry | undefined;
    return entry;
  }

  /** The table must not contain an entry with the same addresses and ports. */
  add(entry: Entry): void {
    entry.next = this.#chains.get(entry.hash);
    this.#chains.set(entry.hash, entry);
  }

  remove(entry: Entry): void {
    let before = this.#chains.get(entry.hash);
    if (before === entry) {
      if (entry.next === undefined) this.#chains.delete(entry.hash);
      else this.#chains.set(entry.hash, entry.next as Entry);
    } else {
      while (before !== undefined && before.next !== entry)
        before = before.next as Entry | undefined;
      if (before === undefined) return;
      before.next = entry.next;
    }
    entry.next = undefined;
  }

  *[Symbol.iterator](): Iterator<Entry> {
    for (const first of [...this.#chains.values()])
      for (let entry: Tuple | undefined = first; entry !== undefined; ) {
        const following: Tuple | undefined = entry.next;
        yield entry as Entry;
        entry = following;
      }
  }
}
