/**
 * AES-GCM for SSH packets (RFC 5647), done in our addon. It replaces ssh2's own classes, which need
 * a module that npm can't build everywhere.
 *
 *   sending    sealData: encrypts channel data from where they are into the outbox's memory, in
 *              one call
 *              allocPacket ... encrypt: encrypts any other packet of ssh2 in place
 *   receiving  decrypt: opens each packet in place; channel data go to `onData`, the rest to ssh2
 *
 * The classes have those fields and methods of ssh2's own classes that ssh2 uses (internals.ts).
 */
import { randomFillSync } from 'node:crypto';
import { addon, type GcmHandle } from '../../../native/addon.ts';

const LENGTH_BYTES = 4;
const HEAD_BYTES = 5;
const TAG_BYTES = 16;
const BLOCK_BYTES = 16;
const LEAST_PADDING = 4;
/** RFC 4254 §5.2: the message, the channel, the length of the data. */
const DATA_HEAD = 9;
const CHANNEL_DATA = 94;
/** The longest whole packet: RFC 4253 §6.1, and what ssh2 accepts. */
const MAX_PACKET = 35_000;

/**
 * The length of a packet with this much payload, for a cipher that doesn't count the length field
 * in its blocks: RFC 4253 §6, RFC 5647 §7.2, and PROTOCOL.chacha20poly1305 of OpenSSH.
 */
export function packetBytes(payload: number, block = BLOCK_BYTES): number {
  let padding = block - ((1 + payload) % block);
  if (padding < LEAST_PADDING) padding += block;
  return HEAD_BYTES + payload + padding + TAG_BYTES;
}

/**
 * Writes the head of a packet with this much payload. Returns its padding, for the caller to fill.
 */
export function layOut(packet: Buffer, payload: number): Buffer {
  const length = packet.length - LENGTH_BYTES - TAG_BYTES;
  packet.writeUInt32BE(length, 0);
  packet[LENGTH_BYTES] = length - 1 - payload;
  return packet.subarray(HEAD_BYTES + payload, packet.length - TAG_BYTES);
}

/** The length of a packet with this much channel data. */
export function dataPacketBytes(data: number): number {
  return packetBytes(DATA_HEAD + data);
}

export class AESGCMCipher {
  outSeqno: number;
  _onWrite: (packet: Buffer) => void;
  readonly #gcm: GcmHandle;
  #dead = false;

  constructor(gcm: GcmHandle, seqno: number, onWrite: (packet: Buffer) => void) {
    this.#gcm = gcm;
    this.outSeqno = seqno;
    this._onWrite = onWrite;
  }

  free(): void {
    this.#dead = true;
  }

  allocPacket(payloadLength: number): Buffer {
    const packet = Buffer.allocUnsafe(packetBytes(payloadLength));
    randomFillSync(layOut(packet, payloadLength));
    return packet;
  }

  encrypt(packet: Buffer): void {
    if (this.#dead) return;
    if (!addon().gcmSeal(this.#gcm, packet, 0, packet.length)) throw sealingFailed();
    this._onWrite(packet);
    this.outSeqno = (this.outSeqno + 1) >>> 0;
  }

  /**
   * Writes channel data as an encrypted packet into `memory`, between `from` and `to`, which are
   * dataPacketBytes apart. `channel` is the server's number.
   */
  sealData(memory: Buffer, from: number, to: number, channel: number, data: Buffer): void {
    if (!addon().gcmSealData(this.#gcm, memory, from, to, channel, data)) throw sealingFailed();
    this.outSeqno = (this.outSeqno + 1) >>> 0;
  }
}

/** ssh2's handler of a payload; if it returns undefined, decrypting goes on. */
type OnPayload = (payload: Buffer) => number | boolean | undefined;

export class AESGCMDecipher {
  inSeqno: number;
  /** ssh2 replaces it while keys are being exchanged. */
  _onPayload: OnPayload;
  /**
   * Gets channel data, except while keys are being exchanged. Everything else goes to ssh2; without
   * `onData`, so do channel data.
   */
  onData: ((channel: number, data: Buffer) => void) | undefined;
  readonly #gcm: GcmHandle;
  readonly #ordinary: OnPayload;
  /** A packet that has come in part: first its length field, then all of it. */
  #head = Buffer.alloc(LENGTH_BYTES);
  #packet: Buffer | undefined;
  #filled = 0;

  constructor(gcm: GcmHandle, seqno: number, onPayload: OnPayload) {
    this.#gcm = gcm;
    this.inSeqno = seqno;
    this._onPayload = onPayload;
    this.#ordinary = onPayload;
  }

  free(): void {}

  /**
   * How many bytes must still come before the unfinished packet can be read further: the rest of
   * its length field or of the packet.
   */
  get missing(): number {
    if (this.#packet !== undefined) return this.#packet.length - this.#filled;
    return this.#filled === 0 ? 0 : LENGTH_BYTES - this.#filled;
  }

  /**
   * Decrypts what was received: `data` between `from` and `end`. Returns and throws as ssh2's class
   * does.
   */
  decrypt(data: Buffer, from: number, end: number): number | undefined {
    let at = from;
    while (at < end) {
      let packet = data;
      let start = at;
      let length = 0;
      if (this.#filled === 0 && end - at >= LENGTH_BYTES) length = lengthOf(data, at);
      if (length > 0 && end - at >= length) {
        at += length;
      } else {
        at += this.#keep(data, at, end);
        if (this.#packet === undefined || this.#filled < this.#packet.length) continue;
        packet = this.#packet;
        start = 0;
        length = packet.length;
        this.#packet = undefined;
        this.#filled = 0;
      }
      const result = this.#open(packet, start, length);
      if (result !== undefined) return typeof result === 'number' ? result : at;
    }
    return undefined;
  }

  /** Copies what belongs to the incomplete packet. Returns how many bytes that was. */
  #keep(data: Buffer, from: number, end: number): number {
    const whole = this.#packet ?? this.#head;
    const bytes = Math.min(whole.length - this.#filled, end - from);
    data.copy(whole, this.#filled, from, from + bytes);
    this.#filled += bytes;
    if (this.#packet === undefined && this.#filled === LENGTH_BYTES) {
      this.#packet = Buffer.allocUnsafeSlow(lengthOf(this.#head, 0));
      this.#head.copy(this.#packet);
    }
    return bytes;
  }

  #open(packet: Buffer, start: number, length: number): number | boolean | undefined {
    const payload = addon().gcmOpen(this.#gcm, packet, start, start + length);
    if (payload < 0) throw new Error('a packet is not authentic, or malformed');
    this.inSeqno = (this.inSeqno + 1) >>> 0;
    const from = start + HEAD_BYTES;
    const ordinary = this._onPayload === this.#ordinary;
    if (packet[from] === CHANNEL_DATA && this.onData !== undefined && ordinary) {
      const bytes = payload < DATA_HEAD ? -1 : packet.readUInt32BE(from + 5);
      // ssh2 itself refuses a malformed one.
      if (bytes >= 0 && bytes <= payload - DATA_HEAD) {
        this.onData(
          packet.readUInt32BE(from + 1),
          packet.subarray(from + DATA_HEAD, from + DATA_HEAD + bytes),
        );
        return undefined;
      }
    }
    return this._onPayload(packet.subarray(from, from + payload));
  }
}

/** The total length of the packet whose length field is at `at`. Throws if it isn't possible. */
function lengthOf(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32BE(at);
  const whole = LENGTH_BYTES + length + TAG_BYTES;
  if (length < BLOCK_BYTES || length % BLOCK_BYTES !== 0 || whole > MAX_PACKET)
    throw new Error(`Bad packet length: ${length}`);
  return whole;
}

function sealingFailed(): Error {
  return new Error('a packet could not be encrypted');
}
