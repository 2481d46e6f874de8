/**
 * Two descriptors as a conduit: one to read from and one to write to, as with standard input and
 * output. They may be anything: pipes, sockets, a terminal, files.
 *
 *   read(2) -> other.send; the next one begins while less than HIGH_WATER has not been taken
 *   0 octets -> other.finish
 *   send    -> queue -> writev(2), all that waits in one call -> other.taken
 *   finish  -> once all has been written, `endOutput`: whoever reads it sees the end
 *   shut    -> nothing more is read
 *
 * Reads and writes block, each on a thread of libuv's: O_NONBLOCK would be set for every process
 * that shares the descriptors, and the shell or the ssh that has started this one doesn't expect
 * it. Where somebody else has set it, the call is made again after RETRY_MS.
 *
 * A read that is under way can't be cancelled. So this conduit may be over while one waits, and the
 * process must end without waiting for it (Self.end).
 */
import { read, writev } from 'node:fs';
import { systemCodeOf } from '../errors/reason.ts';
import type { Conduit, OverListener } from './conduit.ts';
import { both } from './conduit.ts';
import { type Slab, SlabPool } from './memory.ts';

/** A pipe has 64 KiB at a time, a file as much as is asked for. */
const READ_BYTES = 128 * 1024;
/** How many bytes may wait at the other end before nothing more is read. */
const HIGH_WATER = 1024 * 1024;
/** As many spare slabs as are under way at once. */
const SPARE_SLABS = HIGH_WATER / READ_BYTES;
/** IOV_MAX is 1024. */
const MAX_PIECES = 64;
/** For a descriptor that is not ours to wait for. */
const RETRY_MS = 5;

export interface Descriptors {
  readonly input: number;
  readonly output: number;
  /** Nothing more will be written. Throws the system's error. */
  readonly endOutput: () => void;
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
    this.#read();
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
    if (this.#reading || this.#inputEnded || this.#done || this.#outstanding >= HIGH_WATER) return;
    this.#reading = true;
    const slab = this.#pool.take();
    read(this.#descriptors.input, slab.bytes, 0, READ_BYTES, null, (error, bytes) => {
      this.#reading = false;
      if (error !== null && isAgain(error)) setTimeout(() => this.#read(), RETRY_MS);
      else if (error !== null) this.#lose(error);
      else if (!this.#inputEnded && !this.#done) this.#take(slab, bytes);
      slab.release();
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
    this.#read();
  }

  #write(): void {
    if (this.#writing || this.#done) return;
    if (this.#queue.length === 0) {
      if (this.#finished) this.#endOutput();
      return;
    }
    this.#writing = true;
    const pieces = this.#queue.slice(0, MAX_PIECES).map(({ data }) => data);
    writev(this.#descriptors.output, pieces, null, (error, bytes) => {
      this.#writing = false;
      if (error !== null && !isAgain(error)) {
        this.#lose(error);
        return;
      }
      if (error === null) this.#written(bytes);
      if (error === null) this.#write();
      else setTimeout(() => this.#write(), RETRY_MS);
    });
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
    try {
      this.#descriptors.endOutput();
    } catch (error) {
      this.#lose(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    this.#endIfOver();
  }

  #endIfOver(): void {
    if (this.#inputEnded && this.#outputEnded) this.#end(undefined);
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
    if (!this.#writing) for (const { memory } of this.#queue.splice(0)) memory?.release();
    const over = this.#onOver;
    this.#onOver = undefined;
    over?.(error);
  }
}

function isAgain(error: Error): boolean {
  return systemCodeOf(error) === 'EAGAIN';
}
