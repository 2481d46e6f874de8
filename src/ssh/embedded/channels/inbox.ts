/**
 * Incoming packets: a TCP socket reads into one buffer, packets are decrypted there, and their
 * contents are passed on as views of it.
 *
 *   socket -> slab -> whole packets -> ssh2 decrypts in place -> channels
 *        -> receivers, which may retain the slab
 *
 * The slab is used again as soon as nobody retains it, so bulk data stay in the processor's cache
 * and make no garbage. If somebody still retains it when it is full, another slab takes its place.
 *
 * With AES-GCM, whose packets have their length in clear (RFC 5647 §7.3), ssh2 gets only whole
 * packets, since it would copy parts of packets or keep views of them. With other ciphers it gets a
 * copy of whatever has come.
 */
import type { Duplex } from 'node:stream';
import { type Slab, SlabPool } from '../../../flow/memory.ts';
import { isExchangingKeys, missingInbound, type SshProtocol } from '../ssh2/internals.ts';

const BUFFER_BYTES = 256 * 1024;
/**
 * If less space than this is left after an unfinished packet, the packet is moved to the front, or
 * into another buffer while this one is retained.
 */
const MIN_READ_BYTES = 64 * 1024;
/**
 * Free slabs that are kept to be used again: bulk data that are acknowledged at once need no more.
 */
const SPARE_SLABS = 8;
const LENGTH_BYTES = 4;
const TAG_BYTES = 16;

export class Inbox {
  readonly #pool = new SlabPool(BUFFER_BYTES, SPARE_SLABS);
  #slab = this.#pool.take();
  #buffer = this.#slab.bytes;
  /** Set while packets in the slab are being passed on. */
  #memory: Slab | undefined;
  /** From `#start` to `#end`: received, but not yet given to ssh2. */
  #start = 0;
  #end = 0;
  #parse: ((chunk: Buffer, start: number, end: number) => void) | undefined;
  #protocol: SshProtocol | undefined;
  #earlySocket: Duplex | undefined;

  /** For net.Socket's `onread`: where the next bytes go. */
  readonly space = (): Buffer => this.#buffer.subarray(this.#end);

  /** For net.Socket's `onread`: this many bytes have come. */
  readonly received = (length: number): boolean => {
    this.#end += length;
    if (this.#protocol === undefined) {
      const passed = this.#passEarly();
      if (passed) this.#makeSpace();
      return passed;
    }
    this.#deliver(this.#protocol);
    this.#makeSpace();
    return true;
  };

  /**
   * Until `open` is called, makes `socket` emit received bytes as 'data': a socket with `onread`
   * doesn't do that itself. While it is paused they are kept: a socket that is made of a descriptor
   * reads even then.
   */
  openEarly(socket: Duplex): void {
    this.#earlySocket = socket;
    socket.once('resume', () => this.#passEarly());
  }

  /** Returns whether to read on: not while the bytes are kept. */
  #passEarly(): boolean {
    const socket = this.#earlySocket;
    if (this.#protocol !== undefined) return true;
    if (socket === undefined || socket.isPaused()) return false;
    const bytes = Buffer.from(this.#buffer.subarray(this.#start, this.#end));
    // The socket may have been given the space behind them already.
    this.#start = this.#end;
    if (bytes.length > 0) socket.emit('data', bytes);
    return true;
  }

  /** From now on packets go to `parse`, which must have `protocol` decrypt them. */
  open(protocol: SshProtocol, parse: (chunk: Buffer, start: number, end: number) => void): void {
    this.#protocol = protocol;
    this.#parse = parse;
  }

  /** The slab of the packets that are being passed on; undefined: the receiver may keep them. */
  get memory(): Slab | undefined {
    return this.#memory;
  }

  #deliver(protocol: SshProtocol): void {
    // Complete the packet of which ssh2 already has a part.
    while (this.#start < this.#end) {
      const missing = missingInbound(protocol);
      if (missing === undefined) {
        this.#handCopy(this.#end);
        return;
      }
      if (missing === 0) break;
      this.#handCopy(Math.min(this.#end, this.#start + missing));
    }
    const whole = this.#wholePackets();
    if (whole > this.#start) this.#hand(protocol, whole);
  }

  #wholePackets(): number {
    let at = this.#start;
    while (at + LENGTH_BYTES <= this.#end) {
      const next = at + LENGTH_BYTES + this.#buffer.readUInt32BE(at) + TAG_BYTES;
      // ssh2 itself refuses a packet that is too large.
      if (next - at > BUFFER_BYTES - MIN_READ_BYTES) return this.#end;
      if (next > this.#end) break;
      at = next;
    }
    return at;
  }

  #hand(protocol: SshProtocol, end: number): void {
    const start = this.#start;
    this.#start = end;
    // If ssh2 needs as many bytes as the chunk has, it reads the whole chunk. So the chunk must end
    // here.
    this.#memory = this.#slab;
    this.#parse?.(this.#buffer.subarray(0, end), start, end);
    this.#memory = undefined;
    // ssh2 keeps views of key exchange packets until the exchange is complete. After it, a new
    // cipher may have kept the beginning of a packet.
    if (isExchangingKeys(protocol) || missingInbound(protocol) === undefined) this.#slab.retain();
  }

  /**
   * For bytes that may end within a packet. If a chunk has a packet's text but not its whole tag,
   * ssh2 keeps a view of the text until the rest has come.
   */
  #handCopy(end: number): void {
    const bytes = Buffer.from(this.#buffer.subarray(this.#start, end));
    this.#start = end;
    this.#parse?.(bytes, 0, bytes.length);
  }

  #makeSpace(): void {
    const rest = this.#end - this.#start;
    if (!this.#slab.shared && rest === 0) {
      this.#start = 0;
      this.#end = 0;
      return;
    }
    if (BUFFER_BYTES - this.#end >= MIN_READ_BYTES) return;
    if (this.#slab.shared) {
      const slab = this.#pool.take();
      this.#buffer.copy(slab.bytes, 0, this.#start, this.#end);
      this.#slab.release();
      this.#slab = slab;
      this.#buffer = slab.bytes;
    } else {
      this.#buffer.copyWithin(0, this.#start, this.#end);
    }
    this.#start = 0;
    this.#end = rest;
  }
}
