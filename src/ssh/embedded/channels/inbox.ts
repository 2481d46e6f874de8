/**
 * What comes in from the server: a TCP socket reads into one buffer, packets are decrypted there,
 * and what they carry is handed on as views of it.
 *
 *   socket -> slab -> whole packets -> ssh2 decrypts in place -> channels
 *        -> whoever retains the slab
 *
 * The slab is used again as soon as nobody holds a view of it: so bulk data stay in the processor's
 * cache and make no garbage. While somebody does, another takes its place when this one is full.
 *
 * Only whole packets are handed to ssh2 while the cipher is AES-GCM, whose packets say their length
 * in clear (RFC 5647 §7.3): it would copy the pieces of others, or keep them as views. With other
 * ciphers it gets a copy of what there is.
 */
import type { Duplex } from 'node:stream';
import { type Slab, SlabPool } from '../../../flow/memory.ts';
import { isExchangingKeys, missingInbound, type SshProtocol } from '../ssh2/internals.ts';

const BUFFER_BYTES = 256 * 1024;
/**
 * With less room than this behind an unfinished packet, it is moved to the front; or into another
 * buffer while this one is held.
 */
const MIN_READ_BYTES = 64 * 1024;
/** Slabs that nobody holds and that are kept: bulk that is acknowledged at once needs no more. */
const SPARE_SLABS = 8;
const LENGTH_BYTES = 4;
const TAG_BYTES = 16;

export class Inbox {
  readonly #pool = new SlabPool(BUFFER_BYTES, SPARE_SLABS);
  #slab = this.#pool.take();
  #buffer = this.#slab.bytes;
  /** Set while packets are being handed on that lie in the slab. */
  #memory: Slab | undefined;
  /** Received and not yet handed to ssh2: from `#start` to `#end`. */
  #start = 0;
  #end = 0;
  #parse: ((chunk: Buffer, start: number, end: number) => void) | undefined;
  #protocol: SshProtocol | undefined;
  #early: Duplex | undefined;

  /** For net.Socket's `onread`: where the next bytes go. */
  readonly space = (): Buffer => this.#buffer.subarray(this.#end);

  /** For net.Socket's `onread`: so many bytes have come. */
  readonly received = (length: number): boolean => {
    this.#end += length;
    if (this.#protocol === undefined) {
      const bytes = Buffer.from(this.#buffer.subarray(this.#start, this.#end));
      this.#start = 0;
      this.#end = 0;
      this.#early?.emit('data', bytes);
    } else {
      this.#deliver(this.#protocol);
      this.#makeRoom();
    }
    return true;
  };

  /**
   * Until `open` is called, what comes is emitted as 'data' by `socket`, which with `onread`
   * doesn't do so by itself.
   */
  openEarly(socket: Duplex): void {
    this.#early = socket;
  }

  /** From now on packets go to `parse`, which is to let `protocol` decrypt them. */
  open(protocol: SshProtocol, parse: (chunk: Buffer, start: number, end: number) => void): void {
    this.#protocol = protocol;
    this.#parse = parse;
  }

  /**
   * What the packets that are being handed on are views of; undefined: whoever gets them may keep
   * them.
   */
  get memory(): Slab | undefined {
    return this.#memory;
  }

  #deliver(protocol: SshProtocol): void {
    // Until the packet that has been begun is complete.
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
      // One that is larger than any may be is for ssh2 to refuse.
      if (next - at > BUFFER_BYTES - MIN_READ_BYTES) return this.#end;
      if (next > this.#end) break;
      at = next;
    }
    return at;
  }

  #hand(protocol: SshProtocol, end: number): void {
    const start = this.#start;
    this.#start = end;
    // ssh2 takes a chunk for all that is to be read when it needs as many bytes as there are: so it
    // must end there.
    this.#memory = this.#slab;
    this.#parse?.(this.#buffer.subarray(0, end), start, end);
    this.#memory = undefined;
    // ssh2 keeps views of key exchange packets until it is complete; and after it another cipher
    // may have begun a packet.
    if (isExchangingKeys(protocol) || missingInbound(protocol) === undefined) this.#slab.retain();
  }

  /**
   * For what may end within a packet: of one whose text is in one chunk and whose tag isn't whole,
   * ssh2 keeps the text as a view until the rest has come.
   */
  #handCopy(end: number): void {
    const bytes = Buffer.from(this.#buffer.subarray(this.#start, end));
    this.#start = end;
    this.#parse?.(bytes, 0, bytes.length);
  }

  #makeRoom(): void {
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
