/**
 * What goes out to the server: packets are laid out one behind the other in a slab, encrypted
 * there, and written with one system call.
 *
 *   reserve() -> channel data are sealed there -> sealed() -------------------------------.
 *   alloc() -> space in the slab -> ssh2 fills it in and encrypts it in place -> take() -> ...
 *        -> flush() -> socket
 *
 * A slab that the socket has written out at once is used again, so that bulk data stay in the
 * processor's cache and make no garbage; one that it could not goes on living until the socket has,
 * and another takes its place. While that is so `writable` is false, and flows wait: unsent data of
 * theirs are never more than a slab here and what the kernel admits (TCP_NOTSENT_LOWAT). Control
 * messages don't ask; they go behind it into the same slab, ahead of what flows still hold. They
 * are small, but a server that reads nothing could be made to be answered for ever: one that leaves
 * MAX_BACKLOG unread is given up.
 */
import { randomFillSync } from 'node:crypto';
import type { Duplex } from 'node:stream';

/** Room for three packets of the largest size. */
const SLAB_BYTES = 128 * 1024;
/** Written out without waiting for the end of the turn. */
const FLUSH_BYTES = 64 * 1024;
/**
 * Random bytes for padding (RFC 4253 §6), drawn in bulk: a system call for each packet's few would
 * cost more than the packet.
 */
const RANDOM_BYTES = 16 * 1024;
/**
 * Several times what the largest number of channels can have to say at once, and more than any
 * kernel buffers.
 */
export const MAX_BACKLOG = 16 * 1024 * 1024;
/** Slabs kept for use again. */
const SPARE_SLABS = 2;

export interface OutboxEvents {
  /** `writable` has become true. */
  readonly onWritable: () => void;
  /** So many bytes have been written. `held`: the kernel has not taken all of them yet. */
  readonly onSent: (bytes: number, held: boolean) => void;
  /** The socket holds more than MAX_BACKLOG. Called once. */
  readonly onOverflow: () => void;
}

export class Outbox {
  readonly #socket: Duplex;
  readonly #events: OutboxEvents;
  readonly #random = Buffer.allocUnsafeSlow(RANDOM_BYTES);
  #randomUsed = RANDOM_BYTES;
  readonly #spare: Buffer[] = [];
  /** Slabs that the socket has not written out yet, without the present one. */
  #held: Buffer[] = [];
  #slab: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /**
   * Encrypted and not yet handed over: from `#start` to `#end`; space has been given out up to
   * `#given`.
   */
  #start = 0;
  #end = 0;
  #given = 0;
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

  /** Space for one packet. */
  alloc(length: number): Buffer {
    if (length > SLAB_BYTES) return Buffer.allocUnsafe(length);
    const from = this.reserve(length);
    return this.#slab.subarray(from, from + length);
  }

  /** Space for a packet of at most SLAB_BYTES in `memory`, from the returned place on. */
  reserve(length: number): number {
    if (this.#given + length > SLAB_BYTES) {
      this.flush();
      if (this.#given + length > SLAB_BYTES) this.#renew();
    }
    const from = this.#given;
    this.#given += length;
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
      // Space before it has been given out and not been used.
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
    // What the kernel has taken at once is no longer held by the socket, although its callback is
    // still to come.
    this.#blocked = socket.writableLength > 0;
    this.#events.onSent(bytes.length, this.#blocked);
    if (socket.writableLength <= MAX_BACKLOG || this.#overflowed) return;
    this.#overflowed = true;
    this.#events.onOverflow();
  }

  readonly #written = (error?: Error | null): void => {
    // After an error nothing more is written, and what the socket held is no matter.
    if (error || !this.#blocked || this.#socket.writableLength > 0) return;
    this.#blocked = false;
    for (const slab of this.#held) if (this.#spare.length < SPARE_SLABS) this.#spare.push(slab);
    this.#held = [];
    if (this.#start === this.#end) this.#rewind();
    this.#events.onWritable();
  };

  /**
   * The slab from its beginning: nobody holds any of it, unless space has been given out that is
   * still to be taken.
   */
  #rewind(): void {
    if (this.#given > this.#end) return;
    this.#start = 0;
    this.#end = 0;
    this.#given = 0;
  }

  /**
   * Another slab: this one is full. It is used again only if the space that was given out has been
   * taken.
   */
  #renew(): void {
    if (this.#blocked && this.#given === this.#end) this.#held.push(this.#slab);
    this.#slab = this.#spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#start = 0;
    this.#end = 0;
    this.#given = 0;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Behind all sockets that are ready now, not behind each: their packets go out together.
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
}
