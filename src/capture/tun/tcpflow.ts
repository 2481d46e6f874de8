/**
 * One captured connection: the far side of the application's TCP (RFC 9293).
 *
 *   held ---- open() ----> answered ---- its ACK ----> open ---- both ended --> gone, or TimeWait
 *     `------ refuse() --> refused ---- the application's SYNs stop ----------> gone
 *
 * | state    | event                            | action                                        |
 * |----------|----------------------------------|-----------------------------------------------|
 * | held     | the SYN again                    | dropped: its connect() waits for the far side |
 * |          | no SYN for SYN_SILENCE, or a RST | given up: the application has                 |
 * |          | a SYN with another number        | given up; the SYN starts a new flow           |
 * |          | defer()                          | forgotten: the next SYN starts a new flow     |
 * | refused  | the SYN again                    | answered as before                            |
 * | answered | the SYN again, the timer         | SYN-ACK again, SYN_ACK_RETRIES times          |
 * |          | an ACK of our SYN                | open                                          |
 * | open     | data in order                    | to the far side; acknowledged once a batch    |
 * |          | data out of order, or repeated   | dropped; a duplicate acknowledgement at once  |
 * |          | data after the far side is shut  | dropped; RST once all our data are delivered  |
 * |          | FIN                              | far.finish(); the other direction goes on     |
 * |          | RST with the very next number    | far.abort()                                   |
 * |          | RST within the window, SYN       | a challenge ACK (RFC 5961), at a limited rate |
 * |          | far finish()                     | FIN after the data                            |
 * |          | far abort()                      | RST                                           |
 * |          | silence both ways                | keepalives; lost after KEEPALIVE_PROBES       |
 *
 * If our FIN was sent before the application's arrived, the flow becomes a TimeWait (endpoint.ts).
 * sendside.ts has what is sent and kept for retransmission, receiveside.ts the window that is
 * offered.
 *
 * Timestamps (RFC 7323) are used when the application offers them, as is window scaling. Selective
 * acknowledgements, ECN and data in a SYN are not negotiated. Urgent data are treated as ordinary
 * data. Simultaneous open can't happen: this side never connects.
 */
import { GiveUp } from '../../base/giveup.ts';
import { both, type Conduit, connectionReset, type OverListener } from '../../flow/conduit.ts';
import type { Slab } from '../../flow/memory.ts';
import type { FlowRequest } from '../../flow/request.ts';
import type { Refusal } from '../../net/refusal.ts';
import { type FlowHost, gaveUp, STATE, type State } from './flowhost.ts';
import { ACK, FIN, type FrameMemory, type FrameView, RST, SYN } from './frame.ts';
import { HALF_CLOSED_KEEPALIVE_MS, Keepalive } from './keepalive.ts';
import { SynPatience } from './patience.ts';
import { LEAST_WINDOW, ReceiveSide, WINDOW_SCALE } from './receiveside.ts';
import { NO_PARTS, type SegmentSink, SendSide } from './sendside.ts';
import { Timestamps } from './timestamps.ts';
import { Tuple } from './tuple.ts';

const MOST_SCALE = 14;
/** RFC 9293 §3.7.1 */
const DEFAULT_MSS = { 4: 536, 6: 1220 } as const;
/**
 * Applies whatever MSS an application names: a smaller one would cost a packet for every few bytes.
 */
const LEAST_SEGMENT = 64;
const HEADERS = { 4: 40, 6: 60 } as const;
const TIMESTAMPS_BYTES = 12;

const SYN_ACK_MS = 1000;
/** As in Linux (tcp_synack_retries): half a minute. */
export const SYN_ACK_RETRIES = 5;
/** Least time between challenge ACKs of one flow (Linux: tcp_invalid_ratelimit). */
export const CHALLENGE_MS = 500;
/** For the application's FIN, once the far side has gone (Linux: tcp_fin_timeout). */
const FIN_WAIT_MS = 60_000;

export class TcpFlow extends Tuple implements FlowRequest, Conduit, SegmentSink {
  readonly id: number;
  readonly host: FlowHost<TcpFlow>;
  state: State = STATE.held;
  received = 0;
  readonly out = new SendSide();
  readonly in: ReceiveSide;
  /** The SYN, until it is answered. ICMP errors quote it. */
  syn: FrameMemory | undefined;
  refusal: Refusal | undefined;
  /** An acknowledgement is to be sent. */
  acknowledgementDue = false;
  /** For the timer wheel (timers.ts). */
  dueAt = 0;
  lookAt = 0;
  finReceived = false;
  /** Our FIN was sent before the application's arrived, so old segments may still arrive. */
  closedFirst = false;
  #signal: GiveUp | undefined;
  #other: Conduit | undefined;
  #over: OverListener | undefined;
  #scale = 0;
  #mss: number;
  readonly #offersScale: boolean;
  readonly timestamps: Timestamps;
  #lastAcknowledged = 0;
  /** The last window update (RFC 9293 §3.10.7.4: SND.WL1, SND.WL2). */
  #updateSequence = 0;
  #updateAcknowledgement = 0;
  #challengedAt = Number.NEGATIVE_INFINITY;
  readonly #keepalive = new Keepalive();
  readonly patience: SynPatience;
  readonly heldSince: number;
  #shut = false;
  #dropped = false;

  /** `frame` is the flow's SYN. */
  constructor(host: FlowHost<TcpFlow>, id: number, frame: FrameView, hash: number) {
    super(frame, hash);
    this.host = host;
    this.id = id;
    this.in = new ReceiveSide((frame.sequence + 1) | 0, frame.scale >= 0);
    this.syn = frame.keep();
    this.#mss = frame.mss === 0 ? DEFAULT_MSS[frame.family] : frame.mss;
    this.#offersScale = frame.scale >= 0;
    this.#scale = frame.scale < 0 ? 0 : Math.min(frame.scale, MOST_SCALE);
    this.timestamps = new Timestamps(frame);
    this.out.setWindow(frame.window);
    this.patience = new SynPatience(host.now);
    this.heldSince = host.now;
    host.arm(this, this.patience.until);
  }

  // FlowRequest

  get signal(): GiveUp {
    this.#signal ??= new GiveUp();
    return this.#signal;
  }

  open(): Conduit | undefined {
    if (this.state !== STATE.held) return undefined;
    const { host } = this;
    host.touch();
    const { sequence, timestampOffset } = host.numbersOf(this);
    this.timestamps.offset = timestampOffset;
    const payload = Math.min(this.#mss, host.mtu - HEADERS[this.family]);
    const segmentSize = Math.max(
      LEAST_SEGMENT,
      payload - (this.timestamps.used ? TIMESTAMPS_BYTES : 0),
    );
    this.out.begin((sequence + 1) | 0, this.out.window, segmentSize);
    this.#enter(STATE.answered);
    this.syn = undefined;
    this.#signal = undefined;
    this.#synAck();
    return this;
  }

  refuse(refusal: Refusal): void {
    if (this.state !== STATE.held) return;
    this.host.touch();
    this.host.refuse(this, refusal);
  }

  defer(): void {
    if (this.state !== STATE.held) return;
    this.syn = undefined;
    this.host.deferred();
    this.#enter(STATE.gone);
  }

  // Conduit

  join(other: Conduit): void {
    this.#other = other;
    if (this.state === STATE.gone) other.abort(gaveUp());
  }

  whenOver(listener: OverListener): void {
    if (this.state === STATE.gone) listener(gaveUp());
    else this.#over = both(this.#over, listener);
  }

  send(data: Buffer, memory: Slab | undefined): void {
    if (this.state === STATE.gone || this.out.finQueued) {
      this.#other?.taken(data.length);
      return;
    }
    this.host.touch();
    if (this.state === STATE.open) this.out.push(data, memory, this);
    else this.out.keep(data, memory);
  }

  finish(): void {
    if (this.out.finQueued) return;
    this.out.finQueued = true;
    if (this.state !== STATE.open) return;
    this.host.touch();
    this.out.output(this);
    this.#advance();
  }

  taken(bytes: number): void {
    if (this.state === STATE.gone) return;
    this.in.taken(bytes);
    this.host.waiting(-bytes);
    if (this.state !== STATE.open || this.finReceived) return;
    // A window that has grown by little isn't worth a segment (RFC 9293 §3.8.6.2.2).
    const worthwhile = this.host.windowLimit(this.in.limit) / 2;
    if (this.in.growth(this.#window) >= worthwhile) this.host.acknowledgeSoon(this);
  }

  shut(): void {
    if (this.#shut) return;
    this.#shut = true;
    if (this.in.pending > 0) this.#dropped = true;
    this.host.touch();
    if (this.state === STATE.open) this.#advance();
  }

  abort(error: Error | undefined): void {
    if (this.state === STATE.gone) return;
    this.host.touch();
    this.reset();
    this.#gone(error ?? connectionReset());
  }

  // SegmentSink

  transmit(
    flags: number,
    sequence: number,
    length: number,
    parts: readonly (Buffer | undefined)[],
  ): void {
    this.#fill(flags, sequence);
    this.host.write(this, length, parts);
  }

  #fill(flags: number, sequence: number): void {
    const { fields } = this.host;
    fields.flags = flags;
    fields.sequence = sequence;
    fields.acknowledgement = this.in.next;
    fields.window = this.in.offer(this.#window, (flags & SYN) !== 0);
    fields.hasTimestamps = this.timestamps.used;
    fields.timestamp = this.timestamps.value(this.host.now);
    fields.timestampEcho = this.timestamps.recent;
    fields.mss = 0;
    fields.scale = -1;
    fields.segmentSize = this.out.segmentSize;
    this.acknowledgementDue = false;
    this.#lastAcknowledged = this.in.next;
  }

  arm(milliseconds: number): void {
    this.host.arm(this, this.host.now + milliseconds);
  }

  // The endpoint's

  acknowledge(): void {
    this.transmit(ACK, this.out.nxt, 0, NO_PARTS);
  }

  /** Sends a RST. It has exactly the next number, so the receiver believes it. */
  reset(): void {
    if (this.state === STATE.open || this.state === STATE.answered)
      this.transmit(RST | ACK, this.out.nxt, 0, NO_PARTS);
  }

  /** The application is still waiting, so it counts as gone later. */
  synAgain(): void {
    this.patience.synAgain(this.host.now);
    if (this.state === STATE.answered) this.#synAck();
    else this.host.arm(this, this.patience.until);
  }

  /** The flow's timer has fired. Returns false if the flow is over and must be forgotten. */
  timerFired(): boolean {
    const { host } = this;
    if (this.state === STATE.held || this.state === STATE.refused) {
      if (host.now >= this.patience.until) return false;
      host.arm(this, this.patience.until);
      return true;
    }
    if (this.state === STATE.answered) {
      this.out.settle();
      if (++this.out.retries > SYN_ACK_RETRIES) return false;
      this.#synAck();
      return true;
    }
    if (this.#shut && this.out.finAcknowledged) return false;
    return this.out.idle ? this.#keepAlive() : this.out.timeout(this);
  }

  /** Returns false if the application no longer answers. */
  #keepAlive(): boolean {
    const { host, out } = this;
    const halfClosed = this.finReceived || out.finSent;
    const next = this.#keepalive.timerFired(host.now, halfClosed, () =>
      this.transmit(ACK, (out.nxt - 1) | 0, 0, NO_PARTS),
    );
    if (next !== undefined) host.arm(this, next);
    return next !== undefined;
  }

  /** The application has given up, reset or vanished. Nothing is sent to it. */
  lost(error: Error): void {
    this.acknowledgementDue = false;
    this.#gone(error);
  }

  /** A segment of a flow that is answered or open, and not a bare SYN. */
  input(frame: FrameView, memory: Slab): void {
    const { flags } = frame;
    this.#keepalive.received(this.host.now);
    if (!this.#acceptable(frame)) {
      if ((flags & RST) === 0) this.#challenge(frame);
      return;
    }
    if ((flags & RST) !== 0) {
      // RFC 5961 §3.2
      if (frame.sequence === this.in.next)
        this.lost(connectionReset('the application has reset the connection'));
      else this.#challenge(frame);
      return;
    }
    if ((flags & SYN) !== 0) this.#challenge(frame);
    if ((flags & (SYN | ACK)) !== ACK) return;
    if (((frame.sequence - this.#lastAcknowledged) | 0) <= 0) this.timestamps.update(frame);
    if (!this.#acknowledged(frame)) return;
    if (frame.payload < frame.end || (flags & FIN) !== 0) this.#data(frame, memory);
    if (this.state === STATE.open) this.#advance();
  }

  /** ICMP: our packet with `sequence` was too large for a link with this MTU. */
  tooBig(sequence: number, mtu: number): void {
    const { out } = this;
    const sent = ((sequence - out.una) | 0) >= 0 && ((sequence - out.nxt) | 0) < 0;
    if (this.state !== STATE.open || !sent) return;
    const overhead = HEADERS[this.family] + (this.timestamps.used ? TIMESTAMPS_BYTES : 0);
    out.shrink(Math.max(mtu - overhead, DEFAULT_MSS[this.family] - TIMESTAMPS_BYTES), this);
  }

  #enter(state: State): void {
    const from = this.state;
    this.state = state;
    this.host.entered(this, from);
  }

  #synAck(): void {
    const { host, out } = this;
    const { fields } = host;
    this.#fill(SYN | ACK, (out.una - 1) | 0);
    fields.mss = host.mtu - HEADERS[this.family];
    fields.scale = this.#offersScale ? WINDOW_SCALE : -1;
    host.write(this, 0, NO_PARTS);
    host.arm(this, host.now + SYN_ACK_MS * 2 ** out.retries);
  }

  /** The window to offer: the limit minus the bytes that the far side has not taken. */
  get #window(): number {
    return this.#shut ? LEAST_WINDOW : this.host.windowLimit(this.in.limit) - this.in.pending;
  }

  /** RFC 9293 §3.10.7.4, first step, and RFC 7323 §5.3. */
  #acceptable(frame: FrameView): boolean {
    const reset = (frame.flags & RST) !== 0;
    if (!reset && this.timestamps.isOutdated(frame)) return false;
    return this.in.accepts(frame);
  }

  /** Answers an unacceptable segment. Without data or FIN: at most once in CHALLENGE_MS. */
  #challenge(frame: FrameView): void {
    const { now } = this.host;
    const repeats = frame.payload < frame.end || (frame.flags & FIN) !== 0;
    if (!repeats && now - this.#challengedAt < CHALLENGE_MS) return;
    this.#challengedAt = now;
    this.acknowledge();
  }

  /** Handles the acknowledgement and the window. Returns false if the segment must be dropped. */
  #acknowledged(frame: FrameView): boolean {
    const { out } = this;
    const { acknowledgement } = frame;
    const beyond = (acknowledgement - out.nxt) | 0;
    const covers = (acknowledgement - out.una) | 0;
    if (this.state === STATE.answered) {
      if (covers !== 0) {
        this.transmit(RST, acknowledgement, 0, NO_PARTS);
        return false;
      }
      out.peerAnswered();
      this.#enter(STATE.open);
      this.#updateWindow(frame, true);
      out.output(this);
      return true;
    }
    // RFC 5961 §5.2
    if (beyond > 0 || covers < -MAX_UNSCALED) {
      this.#challenge(frame);
      return false;
    }
    out.peerAnswered();
    if (covers > 0) {
      const roundTrip = this.timestamps.roundTrip(frame, this.host.now);
      if (roundTrip !== undefined) out.measured(roundTrip);
      const bytes = out.acknowledge(acknowledgement, this);
      this.#updateWindow(frame, true);
      if (bytes > 0) this.#other?.taken(bytes);
      // taken() may have ended the flow.
      if (this.state !== STATE.open) return false;
      out.output(this);
      return true;
    }
    const before = out.window;
    this.#updateWindow(frame, false);
    if (covers === 0 && out.window === before) {
      const isPlain = frame.payload === frame.end && (frame.flags & FIN) === 0;
      if (isPlain && out.inFlight > 0) out.duplicate(this);
    } else if (out.window > before) out.output(this);
    return true;
  }

  /** `first`: no earlier segment acknowledged as much, so its window is the newest. */
  #updateWindow(frame: FrameView, first: boolean): void {
    const newer = (frame.sequence - this.#updateSequence) | 0;
    const later = (frame.acknowledgement - this.#updateAcknowledgement) | 0;
    if (!first && (newer < 0 || (newer === 0 && later < 0))) return;
    this.#updateSequence = frame.sequence;
    this.#updateAcknowledgement = frame.acknowledgement;
    const edge = (frame.acknowledgement - this.out.una) | 0;
    this.out.setWindow((frame.window << this.#scale) + edge);
  }

  #data(frame: FrameView, memory: Slab): void {
    const { host } = this;
    const ahead = (frame.sequence - this.in.next) | 0;
    if (ahead > 0 || this.finReceived) {
      // Duplicate acknowledgements make the application's kernel send the missing segment again.
      this.acknowledge();
      return;
    }
    const from = frame.payload - ahead;
    const bytes = this.in.fitting(from, frame.end);
    const to = from + bytes;
    if (bytes > 0) {
      if (this.#shut) this.#dropped = true;
      else if (!host.admits(this.in.pending)) return;
      this.in.next = (this.in.next + bytes) | 0;
      this.received += bytes;
      if (!this.#shut) {
        this.in.pending += bytes;
        host.waiting(bytes);
        this.#other?.send(memory.bytes.subarray(from, to), memory);
        if (this.state !== STATE.open) return;
      }
    }
    if ((frame.flags & FIN) !== 0 && to >= frame.end) {
      this.finReceived = true;
      this.closedFirst = this.out.finSent;
      this.in.end();
      this.#other?.finish();
      if (this.state !== STATE.open) return;
      if (this.out.idle) host.arm(this, host.now + HALF_CLOSED_KEEPALIVE_MS);
    }
    // A segment that was sent during a call above may already carry this acknowledgement. A segment
    // without new data is always answered.
    if (bytes === 0 || this.#lastAcknowledged !== this.in.next) host.acknowledgeSoon(this);
  }

  /** Ends or resets the flow, or starts its last timer, if both directions are that far. */
  #advance(): void {
    const { out } = this;
    if (out.finAcknowledged && this.finReceived) {
      this.#gone(undefined);
    } else if (
      this.#shut &&
      this.#dropped &&
      (out.finAcknowledged || out.bytes + out.inFlight === 0)
    ) {
      // The application has received everything, and nobody takes what it has sent since.
      this.reset();
      this.#gone(connectionReset());
    } else if (this.#shut && out.finAcknowledged) {
      this.host.arm(this, this.host.now + FIN_WAIT_MS);
    }
  }

  #gone(error: Error | undefined): void {
    if (this.state === STATE.gone) return;
    const { host } = this;
    const waited = this.state === STATE.held;
    this.#enter(STATE.gone);
    this.out.clear();
    host.waiting(-this.in.pending);
    this.in.pending = 0;
    if (waited) {
      this.signal.abort(error);
      return;
    }
    const other = this.#other;
    const over = this.#over;
    this.#over = undefined;
    if (error !== undefined) other?.abort(error);
    over?.(error);
  }
}

/** How far an acknowledgement may lie behind `una` (RFC 5961 §5.2: MAX.SND.WND). */
const MAX_UNSCALED = 64 * 1024 * 1024;
