/**
 * Two descriptors as a conduit: one to read from and one to write to, as with standard input and
 * output. They may be anything: pipes, sockets, a terminal, files.
 *
 *   read -> other.send; the next one begins while less than HIGH_WATER has not been taken
 *   0 octets -> other.finish
 *   send    -> queue -> write, all that waits in one call -> other.taken
 *   finish  -> once all has been written, `endOutput`: whoever reads it sees the end
 *   shut    -> nothing more is read
 *
 * O_NONBLOCK would be set for every process that shares the descriptors, and the shell or the ssh
 * that has started this one doesn't expect it. So what can be done at once is done by `atOnce`, in
 * bursts between which others have their turn. What has to wait blocks on a thread of libuv's,
 * which costs more than the encryption of what it reads. Where somebody else has set O_NONBLOCK,
 * that call is made again after RETRY_MS.
 *
 * A read that is under way can't be cancelled. So this conduit may be over while one waits, and the
 * process must end without waiting for it (Self.end).
 */
import { read, writev } from 'node:fs';
import { systemCodeOf } from '../errors/reason.ts';
import type { Conduit, OverListener } from './conduit.ts';
import { both } from './conduit.ts';
import { type Slab, SlabPool } from './memory.ts';

/** A pipe has 64 KiB at a time or more, a file as much as is asked for. */
const READ_BYTES = 128 * 1024;
/** How many bytes may wait at the other end before nothing more is read. */
const HIGH_WATER = 1024 * 1024;
/** As many spare slabs as are under way at once. */
const SPARE_SLABS = HIGH_WATER / READ_BYTES;
/** Reads in a row, and writes. */
const BURST = 4;
/** As many as `atOnce` takes; IOV_MAX is 1024. */
const MAX_PIECES = 32;
/** For a descriptor that is not ours to wait for. */
const RETRY_MS = 5;

export interface Descriptors {
  readonly input: number;
  readonly output: number;
  /** Nothing more will be written. Throws the system's error. */
  readonly endOutput: () => void;
  /** undefined: every call may wait. */
  readonly atOnce?: AtOnce | undefined;
}

/**
 * Calls that never wait. -1: nothing can be done at once, and a call that may wait can tell why.
 * They throw the system's error, with `code` and `syscall`, where that call might not see it again:
 * a socket tells its error once.
 */
export interface AtOnce {
  readonly read: (fd: number, into: Buffer) => number;
  readonly write: (fd: number, parts: readonly Buffer[]) => number;
}

interface Piece {
  data: Buffer;
  readonly memory: Slab | undefined;
}

export class DescriptorConduit implements Conduit {
  received = 0;
  readonly #descriptors: Descriptors;
  readonly #pool = new SlabPool(READ_BYTES, SPARE_SLABS);
  readonly #queue: Piece[] = [];
  #other: Conduit | undefined;
  #onOver: OverListener | undefined;
  #outstanding = 0;
  #reading = false;
  #writing = false;
  #inputEnded = false;
  #finished = false;
  #outputEnded = false;
  #done = false;
  #error: Error | undefined;

  constructor(descriptors: Descriptors) {
    this.#descriptors = descriptors;
  }

  join(other: Conduit): void {
    this.#other = other;
    // Once the other end is joined as well: what it takes before, it could tell nobody.
    setImmediate(() => this.#read());
  }

  whenOver(listener: OverListener): void {
    if (this.#done) listener(this.#error);
    else this.#onOver = both(this.#onOver, listener);
  }

  send(data: Buffer, memory: Slab | undefined): void {
    if (this.#done || this.#finished) {
      this.#other?.taken(data.length);
      return;
    }
    memory?.retain();
    this.#queue.push({ data, memory });
    this.#write();
  }

  finish(): void {
    this.#finished = true;
    this.#write();
  }

  taken(bytes: number): void {
    this.#outstanding -= bytes;
    this.#read();
  }

  shut(): void {
    this.#inputEnded = true;
    this.#endIfOver();
  }

  abort(error: Error | undefined): void {
    this.#end(error ?? new Error('the far side closed the connection'));
  }

  #read(): void {
    if (this.#reading || !this.#wantsMore) return;
    // Until the burst is over, `taken` starts no other.
    this.#reading = true;
    for (let left = BURST; left > 0 && this.#wantsMore; left--) {
      if (this.#readAtOnce()) continue;
      this.#readWaiting();
      return;
    }
    if (this.#wantsMore) setImmediate(() => this.#readOn());
    else this.#reading = false;
  }

  #readOn(): void {
    this.#reading = false;
    this.#read();
  }

  get #wantsMore(): boolean {
    return this.#wantsInput && this.#outstanding < HIGH_WATER;
  }

  get #wantsInput(): boolean {
    return !this.#inputEnded && !this.#done;
  }

  /** False: nothing waits, or it has ended, or this can't read it. #readWaiting tells which. */
  #readAtOnce(): boolean {
    const { atOnce, input } = this.#descriptors;
    if (atOnce === undefined) return false;
    const slab = this.#pool.take();
    const bytes = this.#orLost(() => atOnce.read(input, slab.bytes));
    if (bytes !== undefined && bytes > 0) this.#take(slab, bytes);
    slab.release();
    return bytes === undefined || bytes > 0;
  }

  #readWaiting(): void {
    const slab = this.#pool.take();
    read(this.#descriptors.input, slab.bytes, 0, READ_BYTES, null, (error, bytes) => {
      if (error === null && this.#wantsInput) this.#take(slab, bytes);
      slab.release();
      if (error === null) this.#readOn();
      else if (isAgain(error)) setTimeout(() => this.#readOn(), RETRY_MS);
      else this.#lose(error);
    });
  }

  #take(slab: Slab, bytes: number): void {
    if (bytes === 0) {
      this.#inputEnded = true;
      this.#other?.finish();
      this.#endIfOver();
      return;
    }
    this.received += bytes;
    this.#outstanding += bytes;
    this.#other?.send(slab.bytes.subarray(0, bytes), slab);
  }

  #write(): void {
    if (this.#writing || this.#done) return;
    this.#writing = true;
    for (let left = BURST; left > 0 && this.#queue.length > 0 && !this.#done; left--) {
      if (this.#writeAtOnce()) continue;
      this.#writeWaiting();
      return;
    }
    if (this.#queue.length > 0) {
      setImmediate(() => this.#writeOn());
      return;
    }
    this.#writing = false;
    if (this.#finished && !this.#done) this.#endOutput();
  }

  #writeOn(): void {
    this.#writing = false;
    if (this.#done) this.#dropQueue();
    else this.#write();
  }

  #writeAtOnce(): boolean {
    const { atOnce, output } = this.#descriptors;
    if (atOnce === undefined) return false;
    const bytes = this.#orLost(() => atOnce.write(output, this.#nextPieces()));
    if (bytes !== undefined && bytes > 0) this.#written(bytes);
    return bytes === undefined || bytes > 0;
  }

  #writeWaiting(): void {
    writev(this.#descriptors.output, this.#nextPieces(), null, (error, bytes) => {
      if (error === null) this.#written(bytes);
      if (error === null) this.#writeOn();
      else if (isAgain(error)) setTimeout(() => this.#writeOn(), RETRY_MS);
      else this.#lose(error);
    });
  }

  #nextPieces(): Buffer[] {
    return this.#queue.slice(0, MAX_PIECES).map(({ data }) => data);
  }

  #written(bytes: number): void {
    let left = bytes;
    for (let piece = this.#queue[0]; piece !== undefined && left > 0; piece = this.#queue[0]) {
      if (left < piece.data.length) {
        piece.data = piece.data.subarray(left);
        break;
      }
      left -= piece.data.length;
      piece.memory?.release();
      this.#queue.shift();
    }
    this.#other?.taken(bytes);
  }

  #endOutput(): void {
    if (this.#outputEnded) return;
    this.#outputEnded = true;
    this.#orLost(() => this.#descriptors.endOutput());
    this.#endIfOver();
  }

  #endIfOver(): void {
    if (this.#inputEnded && this.#outputEnded) this.#end(undefined);
  }

  #dropQueue(): void {
    for (const { memory } of this.#queue.splice(0)) memory?.release();
  }

  /** What `call` returns. If it throws, the conduit is over. */
  #orLost<Result>(call: () => Result): Result | undefined {
    try {
      return call();
    } catch (error) {
      this.#lose(error instanceof Error ? error : new Error(String(error)));
      return undefined;
    }
  }

  /** A descriptor can't be used any more. */
  #lose(error: Error): void {
    if (this.#done) return;
    this.#other?.abort(error);
    this.#end(error);
  }

  #end(error: Error | undefined): void {
    if (this.#done) return;
    this.#done = true;
    this.#error = error;
    // What is being written is still in use.
    if (!this.#writing) this.#dropQueue();
    const over = this.#onOver;
    this.#onOver = undefined;
    over?.(error);
  }
}

function isAgain(error: Error): boolean {
  return systemCodeOf(error) === 'EAGAIN';
}
