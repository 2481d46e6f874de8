/**
 * What a flow sends to its application: data that wait, and data in flight (RFC 9293 §3.8).
 *
 *        una            nxt                        una: the oldest byte not yet acknowledged
 *   ------|--- in flight ---|--- waiting ---|       nxt: the byte to send next
 *         `------- pieces, kept until acknowledged -'
 *
 * | event                               | action                                                  |
 * |-------------------------------------|---------------------------------------------------------|
 * | data arrive, or the window opens    | segments, as far as the peer's window allows            |
 * | an acknowledgement                  | the data it covers are dropped; more are sent           |
 * | its third duplicate                 | the oldest segment again; recovery until all that was   |
 * |                                     | in flight is covered                                    |
 * | one for a part of it, in recovery   | the oldest segment again                                |
 * | data in flight, no timer yet        | the timer starts; it restarts when more is acknowledged |
 * | the timer, data in flight           | the oldest segment again, recovery, the timer doubles   |
 * | the timer, window shut              | a probe, the timer doubles                              |
 * | MAX_RETRIES timers, no answer       | the flow is lost                                        |
 *
 * There is no congestion control: the peer is this machine's own kernel, behind a device that loses
 * almost nothing, and its window limits the data in flight. The timer follows RFC 6298. Pieces are
 * views of the memory that data were decrypted into. Those still unacknowledged when the timer
 * fires are copied out (`settle`): a stalled application ties up no more memory than its data need.
 */
import type { Slab } from '../../flow/memory.ts';
import { PieceQueue } from '../../flow/piecequeue.ts';
import { MAX_PARTS } from './device.ts';
import { ACK, FIN, PSH } from './frame.ts';

/**
 * RFC 6298 §2.1 asks for a second before the first measurement. This peer is near, and delays
 * acknowledgements by at most 200 ms.
 */
const FIRST_TIMEOUT_MS = 300;
const LEAST_TIMEOUT_MS = 300;
const MOST_TIMEOUT_MS = 60_000;
/** As in Linux (tcp_retries2): a quarter of an hour. */
export const MAX_RETRIES = 15;
const DUPLICATES = 3;
/** The most payload that one frame carries, with GSO. */
const MAX_PAYLOAD = 65_535 - 40 - 32;
/**
 * If more borrowed data than this wait and can't be sent, they are copied out at once: they will
 * wait for a long time.
 */
const MAX_BORROWED = 512 * 1024;

/** What the send side needs of its flow. */
export interface SegmentSink {
  /**
   * Sends a segment of `length` bytes in these parts, with the current acknowledgement and window.
   */
  transmit(
    flags: number,
    sequence: number,
    length: number,
    parts: readonly (Buffer | undefined)[],
  ): void;
  /** Has `timeout` called after this many milliseconds, or later. */
  arm(milliseconds: number): void;
}

const parts: (Buffer | undefined)[] = new Array<Buffer | undefined>(MAX_PARTS).fill(undefined);
export const NO_PARTS: readonly undefined[] = [];

export class SendSide {
  una = 0;
  nxt = 0;
  /** Bytes that the peer accepts beyond `una`, and the most that it ever accepted. */
  window = 0;
  #mostWindow = 0;
  /** The largest payload of one packet, and of one frame. */
  segmentSize = 0;
  #frameSize = 0;
  finQueued = false;
  finSent = false;
  finAcknowledged = false;
  #pieces: PieceQueue | undefined;
  #duplicates = 0;
  #recovering = false;
  #recoverUntil = 0;
  #timeout = FIRST_TIMEOUT_MS;
  /** The timer is running. Segments sent meanwhile don't put it off (RFC 6298 §5). */
  #timerRunning = false;
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

  /** `sequence`: the number of the first byte. */
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

  /** Like `push`, while nothing may be sent yet. */
  keep(data: Buffer, memory: Slab | undefined): void {
    this.#pieces ??= new PieceQueue();
    this.#pieces.push(data, memory);
  }

  /** Sends as much as the window allows. */
  output(sink: SegmentSink): void {
    const wasInFlight = this.inFlight > 0;
    for (;;) {
      const sent = this.#payloadInFlight();
      const waiting = this.bytes - sent;
      if (waiting === 0) break;
      const length = Math.min(waiting, this.window - sent, this.#frameSize);
      // Don't send a small segment when the window opens a little (silly window syndrome, RFC 9293
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
    // After window probes, the first data in flight reset the timeout.
    if (this.inFlight > 0 && !wasInFlight) this.#updateTimeout();
    else if (this.#timerRunning) return;
    this.#startTimer(sink);
  }

  /**
   * Handles an acknowledgement of data beyond `una`. Returns how many bytes of payload it covers.
   */
  acknowledge(sequence: number, sink: SegmentSink): number {
    let bytes = (sequence - this.una) | 0;
    this.una = sequence;
    this.#duplicates = 0;
    this.#updateTimeout();
    if (this.finSent && sequence === this.nxt) {
      this.finAcknowledged = true;
      bytes--;
    }
    if (bytes > 0) this.#pieces?.drop(bytes);
    // An idle flow keeps no queue.
    if (this.#pieces?.bytes === 0) this.#pieces = undefined;
    this.#timerRunning = false;
    if (!this.idle) this.#startTimer(sink);
    if (this.#recovering) {
      if (((sequence - this.#recoverUntil) | 0) >= 0) this.#recovering = false;
      else this.#retransmit(sink);
    }
    return bytes;
  }

  /** The peer is alive: only silence counts as retries. */
  peerAnswered(): void {
    this.retries = 0;
  }

  /** Handles a duplicate acknowledgement while data are in flight. */
  duplicate(sink: SegmentSink): void {
    if (++this.#duplicates !== DUPLICATES || this.#recovering) return;
    this.#recovering = true;
    this.#recoverUntil = this.nxt;
    this.#retransmit(sink);
  }

  /** Packets with more than this many bytes of payload don't get through. */
  shrink(segmentSize: number, sink: SegmentSink): void {
    if (segmentSize >= this.segmentSize) return;
    this.setSegmentSize(segmentSize);
    this.#recovering = true;
    this.#recoverUntil = this.nxt;
    this.#retransmit(sink);
  }

  measured(milliseconds: number): void {
    if (this.#roundTrip < 0) {
      this.#roundTrip = milliseconds;
      this.#variance = milliseconds / 2;
    } else {
      this.#variance += (Math.abs(this.#roundTrip - milliseconds) - this.#variance) / 4;
      this.#roundTrip += (milliseconds - this.#roundTrip) / 8;
    }
    this.#updateTimeout();
  }

  /** The timer has fired. Returns false if the peer has not answered for too long. */
  timeout(sink: SegmentSink): boolean {
    this.#pieces?.settle();
    this.#timeout = Math.min(2 * this.#timeout, MOST_TIMEOUT_MS);
    if (++this.retries > MAX_RETRIES) return false;
    if (this.inFlight > 0) {
      this.#recovering = true;
      this.#recoverUntil = this.nxt;
      this.#retransmit(sink);
    } else {
      // A window probe. This number isn't acceptable, so the answer brings the current window (RFC
      // 9293 §3.8.6.1, §3.10.7.4).
      sink.transmit(ACK, (this.una - 1) | 0, 0, NO_PARTS);
    }
    this.#startTimer(sink);
    return true;
  }

  /** Copies out the pieces that are still views of memory that others want. */
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

  /** Sends new data, from `offset` bytes past `una`. */
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

  /** Sends the oldest segment again. */
  #retransmit(sink: SegmentSink): void {
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

  #startTimer(sink: SegmentSink): void {
    this.#timerRunning = true;
    sink.arm(this.#timeout);
  }

  #updateTimeout(): void {
    if (this.#roundTrip < 0) {
      this.#timeout = FIRST_TIMEOUT_MS;
      return;
    }
    const timeout = this.#roundTrip + Math.max(1, 4 * this.#variance);
    this.#timeout = Math.round(Math.min(Math.max(LEAST_TIMEOUT_MS, timeout), MOST_TIMEOUT_MS));
  }
}
