/**
 * What a flow sends to its application: data that wait, and data that are on their way (RFC 9293
 * §3.8).
 *
 *        una            nxt                        una: the oldest that is not acknowledged
 *   ------|--- in flight ---|--- waiting ---|       nxt: what is sent next
 *         `------- pieces, kept until acknowledged -'
 *
 * | event                               | action                                                  |
 * |-------------------------------------|---------------------------------------------------------|
 * | data come, the window opens         | segments, as far as the peer's window admits            |
 * | an acknowledgement                  | what it covers is dropped; more is sent                 |
 * | the third duplicate of one          | the oldest segment again; recovery until all that was   |
 * |                                     | in flight is covered                                    |
 * | one that covers a part, in recovery | the oldest segment again                                |
 * | data in flight, no timer yet        | the timer starts; an acknowledgement of more starts it  |
 * |                                     | again                                                   |
 * | the timer, data in flight           | the oldest segment again, recovery, the timer doubles   |
 * | the timer, window shut              | a probe, the timer doubles                              |
 * | MAX_RETRIES timers without answer   | the flow is lost                                        |
 *
 * There is no congestion control: the peer is this machine's own kernel behind a device that loses
 * next to nothing, and its window bounds what is in flight. The timer follows RFC 6298. Pieces are
 * views of the memory that data were decrypted in; those that have not been acknowledged when the
 * timer looks are copied out (`settle`), so that a stalled application keeps no more memory than
 * its data need.
 */
import type { Slab } from '../../flow/memory.ts';
import { PieceQueue } from '../../flow/piecequeue.ts';
import { MAX_PARTS } from './device.ts';
import { ACK, FIN, PSH } from './frame.ts';

/**
 * RFC 6298 §2.1 asks for a second before anything is known; the peer is near, and delays
 * acknowledgements up to 200 ms.
 */
const FIRST_TIMEOUT_MS = 300;
const LEAST_TIMEOUT_MS = 300;
const MOST_TIMEOUT_MS = 60_000;
/** As Linux has it (tcp_retries2): a quarter of an hour. */
export const MAX_RETRIES = 15;
const DUPLICATES = 3;
/** The most that one frame carries, with GSO. */
const MAX_PAYLOAD = 65_535 - 40 - 32;
/** What waits beyond it, and can't be sent, is copied out at once: it will wait for long. */
const MAX_BORROWED = 512 * 1024;

/** What the send side needs of its flow. */
export interface SegmentSink {
  /**
   * Sends a segment of `length` bytes in these parts, with the present acknowledgement and window.
   */
  transmit(
    flags: number,
    sequence: number,
    length: number,
    parts: readonly (Buffer | undefined)[],
  ): void;
  /** Has `timeout` called in so many milliseconds, or later. */
  arm(milliseconds: number): void;
}

const parts: (Buffer | undefined)[] = new Array<Buffer | undefined>(MAX_PARTS).fill(undefined);
export const NO_PARTS: readonly undefined[] = [];

export class SendSide {
  una = 0;
  nxt = 0;
  /** Bytes that the peer takes beyond `una`, and the most that it ever took. */
  window = 0;
  #mostWindow = 0;
  /** Payload of one packet, and of one frame. */
  segmentSize = 0;
  #frameSize = 0;
  finQueued = false;
  finSent = false;
  finAcknowledged = false;
  #pieces: PieceQueue | undefined;
  #duplicates = 0;
  #recovering = false;
  #recover = 0;
  #timeout = FIRST_TIMEOUT_MS;
  /** The timer runs: what is sent meanwhile doesn't put it off (RFC 6298 §5). */
  #running = false;
  #roundTrip = -1;
  #variance = 0;
  retries = 0;

  /** Payload that waits or is in flight. */
  get bytes(): number {
    return this.#pieces?.bytes ?? 0;
  }

  get inFlight(): number {
    return (this.nxt - this.una) | 0;
  }

  /** Nothing waits or is in flight. */
  get idle(): boolean {
    return this.inFlight === 0 && this.bytes === 0;
  }

  /** `sequence` is the number of the first byte. */
  begin(sequence: number, window: number, segmentSize: number): void {
    this.una = sequence;
    this.nxt = sequence;
    this.setWindow(window);
    this.setSegmentSize(segmentSize);
  }

  setWindow(bytes: number): void {
    this.window = bytes;
    if (bytes > this.#mostWindow) this.#mostWindow = bytes;
  }

  setSegmentSize(bytes: number): void {
    this.segmentSize = Math.min(bytes, MAX_PAYLOAD);
    this.#frameSize = Math.floor(MAX_PAYLOAD / this.segmentSize) * this.segmentSize;
  }

  push(data: Buffer, memory: Slab | undefined, sink: SegmentSink): void {
    this.#pieces ??= new PieceQueue();
    this.#pieces.push(data, memory);
    this.output(sink);
    if (this.#pieces.borrowed > MAX_BORROWED && this.bytes > this.inFlight) this.#pieces.settle();
  }

  /** As `push`, while nothing may be sent yet. */
  keep(data: Buffer, memory: Slab | undefined): void {
    this.#pieces ??= new PieceQueue();
    this.#pieces.push(data, memory);
  }

  /** Sends what may be sent. */
  output(sink: SegmentSink): void {
    const wasInFlight = this.inFlight > 0;
    for (;;) {
      const sent = this.#payloadInFlight();
      const waiting = this.bytes - sent;
      if (waiting === 0) break;
      const length = Math.min(waiting, this.window - sent, this.#frameSize);
      // A window that opens by a little is not used for a little (silly window syndrome, RFC 9293
      // §3.8.6.2.1).
      const worthwhile =
        length === waiting ||
        length >= Math.min(this.segmentSize, this.#mostWindow / 2) ||
        sent === 0;
      if (length <= 0 || !worthwhile) break;
      this.#send(sent, length, sink);
    }
    if (this.finQueued && !this.finSent && this.bytes === this.#payloadInFlight()) {
      this.finSent = true;
      sink.transmit(FIN | ACK, this.nxt, 0, NO_PARTS);
      this.nxt = (this.nxt + 1) | 0;
    }
    if (this.idle) return;
    // From probes of a window to data on their way, it begins anew.
    if (this.inFlight > 0 && !wasInFlight) this.#follow();
    else if (this.#running) return;
    this.#start(sink);
  }

  /**
   * An acknowledgement beyond `una`, of something that was sent. Returns how many bytes of payload
   * it covers.
   */
  acknowledge(sequence: number, sink: SegmentSink): number {
    let bytes = (sequence - this.una) | 0;
    this.una = sequence;
    this.#duplicates = 0;
    this.#follow();
    if (this.finSent && sequence === this.nxt) {
      this.finAcknowledged = true;
      bytes--;
    }
    if (bytes > 0) this.#pieces?.drop(bytes);
    // An idle flow keeps no queue.
    if (this.#pieces?.bytes === 0) this.#pieces = undefined;
    this.#running = false;
    if (!this.idle) this.#start(sink);
    if (this.#recovering) {
      if (((sequence - this.#recover) | 0) >= 0) this.#recovering = false;
      else this.#again(sink);
    }
    return bytes;
  }

  /** The peer lives: only silence is counted. */
  heard(): void {
    this.retries = 0;
  }

  /** The same acknowledgement again, while data are in flight. */
  duplicate(sink: SegmentSink): void {
    if (++this.#duplicates !== DUPLICATES || this.#recovering) return;
    this.#recovering = true;
    this.#recover = this.nxt;
    this.#again(sink);
  }

  /** Packets of more than so many bytes of payload don't get through. */
  shrink(segmentSize: number, sink: SegmentSink): void {
    if (segmentSize >= this.segmentSize) return;
    this.setSegmentSize(segmentSize);
    this.#recovering = true;
    this.#recover = this.nxt;
    this.#again(sink);
  }

  measured(milliseconds: number): void {
    if (this.#roundTrip < 0) {
      this.#roundTrip = milliseconds;
      this.#variance = milliseconds / 2;
    } else {
      this.#variance += (Math.abs(this.#roundTrip - milliseconds) - this.#variance) / 4;
      this.#roundTrip += (milliseconds - this.#roundTrip) / 8;
    }
    this.#follow();
  }

  /** The timer that was armed is due. False: nobody has answered for too long. */
  timeout(sink: SegmentSink): boolean {
    this.#pieces?.settle();
    this.#timeout = Math.min(2 * this.#timeout, MOST_TIMEOUT_MS);
    if (++this.retries > MAX_RETRIES) return false;
    if (this.inFlight > 0) {
      this.#recovering = true;
      this.#recover = this.nxt;
      this.#again(sink);
    } else {
      // Not acceptable, so it is answered with the present window (RFC 9293 §3.8.6.1, §3.10.7.4).
      sink.transmit(ACK, (this.una - 1) | 0, 0, NO_PARTS);
    }
    this.#start(sink);
    return true;
  }

  /** Copies out what is still a view of memory that others want. */
  settle(): void {
    this.#pieces?.settle();
  }

  clear(): void {
    this.#pieces?.clear();
    this.#pieces = undefined;
  }

  #payloadInFlight(): number {
    return this.inFlight - (this.finSent && !this.finAcknowledged ? 1 : 0);
  }

  /** From `offset` behind `una`: new data. */
  #send(offset: number, length: number, sink: SegmentSink): void {
    const bytes = this.#pieces?.gather(offset, length, parts) ?? 0;
    const last = offset + bytes === this.bytes;
    const sequence = this.nxt;
    this.nxt = (this.nxt + bytes) | 0;
    let flags = last ? ACK | PSH : ACK;
    if (last && this.finQueued) {
      flags |= FIN;
      this.finSent = true;
      this.nxt = (this.nxt + 1) | 0;
    }
    sink.transmit(flags, sequence, bytes, parts);
  }

  /** The oldest segment once more. */
  #again(sink: SegmentSink): void {
    const payload = this.#payloadInFlight();
    const length = Math.min(payload, this.#frameSize);
    const bytes = length === 0 ? 0 : (this.#pieces?.gather(0, length, parts) ?? 0);
    const fin = this.finSent && bytes === payload ? FIN : 0;
    sink.transmit(
      ACK | fin | (bytes > 0 ? PSH : 0),
      this.una,
      bytes,
      bytes === 0 ? NO_PARTS : parts,
    );
  }

  #start(sink: SegmentSink): void {
    this.#running = true;
    sink.arm(this.#timeout);
  }

  #follow(): void {
    if (this.#roundTrip < 0) {
      this.#timeout = FIRST_TIMEOUT_MS;
      return;
    }
    const timeout = this.#roundTrip + Math.max(1, 4 * this.#variance);
    this.#timeout = Math.round(Math.min(Math.max(LEAST_TIMEOUT_MS, timeout), MOST_TIMEOUT_MS));
  }
}
