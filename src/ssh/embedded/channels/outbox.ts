/**
 * Outgoing packets: they are laid out one after another in a slab, encrypted there, and written
 * with one system call.
 *
 *   reserve() -> channel data are sealed there -> sealed() -------------------------------.
 *   alloc() -> space in the slab -> ssh2 fills it in and encrypts it in place -> take() -> ...
 *        -> flush() -> socket
 *
 * If the socket writes a slab out at once, the slab is used again, so bulk data stay in the
 * processor's cache and make no garbage. If it can't, the slab is kept until it has been written,
 * and another takes its place. Until then `writable` is false and flows wait: their unsent data are
 * never more than one slab here plus what the kernel admits (TCP_NOTSENT_LOWAT).
 *
 * Control messages don't check `writable`. They follow in the same slab, ahead of the data that
 * flows still keep. They are small, but a server that reads nothing could make us queue answers for
 * ever, so a server that leaves MAX_BACKLOG unread is given up.
 */
import { randomFillSync } from 'node:crypto';
import type { Duplex } from 'node:stream';

/** Enough for three packets of the largest size. */
const SLAB_BYTES = 128 * 1024;
/** This much is written out without waiting for the end of the turn. */
const FLUSH_BYTES = 64 * 1024;
/**
 * Random bytes for padding (RFC 4253 §6), generated in bulk: one system call for the few bytes of
 * each packet would cost more than the packet.
 */
const RANDOM_BYTES = 16 * 1024;
/**
 * Several times what the largest number of channels can send at once, and more than any kernel
 * buffers.
 */
export const MAX_BACKLOG = 16 * 1024 * 1024;
/** Slabs kept to be used again. */
const SPARE_SLABS = 2;

export interface OutboxEvents {
  /** `writable` has become true. */
  readonly onWritable: () => void;
  /** This many bytes were written. `blocked`: the kernel has not taken all of them yet. */
  readonly onSent: (bytes: number, blocked: boolean) => void;
  /** More than MAX_BACKLOG waits in the socket. Called once. */
  readonly onOverflow: () => void;
}

export class Outbox {
  readonly #socket: Duplex;
  readonly #events: OutboxEvents;
  readonly #random = Buffer.allocUnsafeSlow(RANDOM_BYTES);
  #randomUsed = RANDOM_BYTES;
  readonly #spare: Buffer[] = [];
  /** Slabs that the socket has not written out yet, without the current one. */
  #unwritten: Buffer[] = [];
  #slab: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /**
   * From `#start` to `#end`: encrypted, but not yet given to the socket. Space has been reserved up
   * to `#reserved`.
   */
  #start = 0;
  #end = 0;
  #reserved = 0;
  #blocked = false;
  #overflowed = false;
  #scheduled = false;

  constructor(socket: Duplex, events: OutboxEvents) {
    this.#socket = socket;
    this.#events = events;
  }

  /** Whether data may be sent now. */
  get writable(): boolean {
    return !this.#blocked && this.#socket.writable;
  }

  /** Bytes that the kernel has not taken. */
  get unsent(): number {
    return this.#socket.writableLength + this.#end - this.#start;
  }

  /** Whether nothing waits here for `flush`. */
  get empty(): boolean {
    return this.#start === this.#end;
  }

  /** Returns space for one packet. */
  alloc(length: number): Buffer {
    if (length > SLAB_BYTES) return Buffer.allocUnsafe(length);
    const from = this.reserve(length);
    return this.#slab.subarray(from, from + length);
  }

  /** Reserves space for a packet of at most SLAB_BYTES; returns where it begins in `memory`. */
  reserve(length: number): number {
    if (this.#reserved + length > SLAB_BYTES) {
      this.flush();
      if (this.#reserved + length > SLAB_BYTES) this.#renew();
    }
    const from = this.#reserved;
    this.#reserved += length;
    return from;
  }

  get memory(): Buffer {
    return this.#slab;
  }

  /** Fills `target` with random bytes. */
  pad(target: Uint8Array): void {
    if (this.#randomUsed + target.length > RANDOM_BYTES) {
      randomFillSync(this.#random);
      this.#randomUsed = 0;
    }
    const next = this.#randomUsed + target.length;
    target.set(this.#random.subarray(this.#randomUsed, next));
    this.#randomUsed = next;
  }

  /** The packet is ready to go. One that was not laid out here is copied. */
  take(packet: Buffer): void {
    if (packet.buffer !== this.#slab.buffer) {
      const copy = this.alloc(packet.length);
      if (copy.buffer !== this.#slab.buffer) {
        this.flush();
        this.#write(packet);
        return;
      }
      copy.set(packet);
      this.take(copy);
      return;
    }
    this.sealed(packet.byteOffset - this.#slab.byteOffset, packet.length);
  }

  /** The packet that was laid out in reserved space is ready to go. */
  sealed(from: number, length: number): void {
    if (from !== this.#end) {
      // The space before it was reserved but not used.
      this.#write(this.#slab.subarray(this.#start, this.#end));
      this.#start = from;
    }
    this.#end = from + length;
    if (this.#end - this.#start >= FLUSH_BYTES) this.flush();
    else this.#schedule();
  }

  flush(): void {
    const bytes = this.#slab.subarray(this.#start, this.#end);
    this.#start = this.#end;
    this.#write(bytes);
    if (!this.#blocked) this.#rewind();
  }

  #write(bytes: Buffer): void {
    const socket = this.#socket;
    if (bytes.length === 0 || !socket.writable) return;
    socket.write(bytes, this.#written);
    // If the kernel has taken all of it, the socket no longer uses the slab, although the callback
    // is still to come.
    this.#blocked = socket.writableLength > 0;
    this.#events.onSent(bytes.length, this.#blocked);
    if (socket.writableLength <= MAX_BACKLOG || this.#overflowed) return;
    this.#overflowed = true;
    this.#events.onOverflow();
  }

  readonly #written = (error?: Error | null): void => {
    // After an error nothing more is written, so the slabs don't matter.
    if (error || !this.#blocked || this.#socket.writableLength > 0) return;
    this.#blocked = false;
    for (const slab of this.#unwritten)
      if (this.#spare.length < SPARE_SLABS) this.#spare.push(slab);
    this.#unwritten = [];
    if (this.#start === this.#end) this.#rewind();
    this.#events.onWritable();
  };

  /**
   * Starts the slab again from its beginning, unless part of it is reserved for a packet that is
   * still to come. Nobody uses the rest.
   */
  #rewind(): void {
    if (this.#reserved > this.#end) return;
    this.#start = 0;
    this.#end = 0;
    this.#reserved = 0;
  }

  /**
   * Takes another slab, because this one is full. This one is used again only if all its reserved
   * space has been taken.
   */
  #renew(): void {
    if (this.#blocked && this.#reserved === this.#end) this.#unwritten.push(this.#slab);
    this.#slab = this.#spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#start = 0;
    this.#end = 0;
    this.#reserved = 0;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // After all sockets that are ready now have been handled: their packets go out together.
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
}
