/** Reads exact lengths from a stream, and leaves what comes behind them in it. */
import type { Duplex } from 'node:stream';

/** The stream ended, or was closed, before all of what was asked for had come. */
export class EndedError extends Error {
  constructor() {
    super('the stream ended too early');
    this.name = 'EndedError';
  }
}

/** Holds the stream's 'readable' event from its construction to `release`. */
export class OctetReader {
  readonly #stream: Duplex;
  #wake: () => void = () => {};
  readonly #woken = () => this.#wake();

  constructor(stream: Duplex) {
    this.#stream = stream;
    // For good, not for each wait: a stream tells a new listener also of what has been found too short already.
    for (const event of ['readable', 'end', 'close']) stream.on(event, this.#woken);
  }

  release(): void {
    for (const event of ['readable', 'end', 'close']) this.#stream.off(event, this.#woken);
  }

  /** Exactly this many octets. Rejects with EndedError. */
  async read(length: number): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    for (;;) {
      const octets: Buffer | null = this.#stream.read(length);
      if (octets?.length === length) return octets;
      // At the end a stream gives what is left, however short.
      if (octets !== null || this.#stream.readableEnded || this.#stream.destroyed) throw new EndedError();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async readOctet(): Promise<number> {
    return (await this.read(1)).readUInt8(0);
  }

  /** Up to a NUL, which is left out; undefined if none comes within `limit` octets. Rejects with EndedError. */
  async readThroughNul(limit: number): Promise<Buffer | undefined> {
    const octets: number[] = [];
    for (;;) {
      const next = await this.readOctet();
      if (next === 0) return Buffer.from(octets);
      if (octets.length === limit) return undefined;
      octets.push(next);
    }
  }
}
