/**
 * One end of a connection, controlled by a test: records the other end's calls, and makes the calls
 * that the test wants.
 *
 *   const end = new TestConduit();  joined(end, subject);
 *   end.give('text'), end.other.finish() ...      end.text, end.said, end.take()
 *
 * Calls that conduit.ts forbids are recorded in `wrong`.
 */
import type { Conduit, OverListener } from '../../src/flow/conduit.ts';
import type { Slab } from '../../src/flow/memory.ts';

export class TestConduit implements Conduit {
  received = 0;
  /** `finish`, `shut` and `abort`, with the error's code or message. */
  readonly said: string[] = [];
  readonly wrong: string[] = [];
  /** Bytes that have arrived and have not been taken. */
  untaken = 0;
  /** Bytes of ours that the other end has not taken. */
  outstanding = 0;
  readonly #chunks: Buffer[] = [];
  readonly #automatic: boolean;
  #other: Conduit | undefined;
  readonly #over: OverListener[] = [];

  /** `automatic`: takes all data at once. */
  constructor({ automatic = true } = {}) {
    this.#automatic = automatic;
  }

  get other(): Conduit {
    if (this.#other === undefined) throw new Error('it is not joined');
    return this.#other;
  }

  get data(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get text(): string {
    return this.data.toString();
  }

  /** Data arrive at this end. */
  give(data: Buffer | string, memory?: Slab): void {
    const bytes = Buffer.from(data);
    this.received += bytes.length;
    this.outstanding += bytes.length;
    this.other.send(memory === undefined || typeof data === 'string' ? bytes : data, memory);
  }

  /** By default everything that waits. */
  take(bytes = this.untaken): void {
    this.untaken -= bytes;
    if (bytes > 0) this.other.taken(bytes);
  }

  /** For `whenOver`. */
  end(error?: Error): void {
    for (const listener of this.#over.splice(0)) listener(error);
  }

  join(other: Conduit): void {
    this.#check(this.#other === undefined, 'joined twice');
    this.#other = other;
  }

  whenOver(listener: OverListener): void {
    this.#over.push(listener);
  }

  send(data: Buffer, _memory?: Slab): void {
    this.#check(!this.said.includes('finish'), 'data after the end');
    this.#check(!this.#aborted, 'data after a reset');
    this.#chunks.push(Buffer.from(data));
    this.untaken += data.length;
    if (this.#automatic) this.take(data.length);
  }

  finish(): void {
    this.#say('finish');
  }

  taken(bytes: number): void {
    this.outstanding -= bytes;
    this.#check(bytes >= 0 && this.outstanding >= 0, 'more was taken than was sent');
  }

  shut(): void {
    this.#say('shut');
  }

  abort(error: Error | undefined): void {
    const { code } = (error ?? {}) as NodeJS.ErrnoException;
    this.#say(`abort ${error === undefined ? 'without an error' : (code ?? error.message)}`);
  }

  get #aborted(): boolean {
    return this.said.some((word) => word.startsWith('abort'));
  }

  #say(word: string): void {
    this.#check(!this.said.includes(word), `${word} twice`);
    this.#check(!this.#aborted, `${word} after a reset`);
    this.said.push(word);
  }

  #check(condition: boolean, wrong: string): void {
    if (!condition) this.wrong.push(wrong);
  }
}

/** Returns `subject`, joined to a test's end. */
export function joined(
  subject: Conduit,
  options: { readonly automatic?: boolean } = {},
): TestConduit {
  const end = new TestConduit(options);
  end.join(subject);
  subject.join(end);
  return end;
}
