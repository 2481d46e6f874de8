/**
 * How much the server may send on each channel (RFC 4254 §5.2), and when it may send more.
 *
 *   limit = granted (may still be sent) + buffered (received, not consumed) + credit (consumed,
 *   not granted again)
 *
 * Only consumed bytes are granted again, so at most `limit` bytes wait for a reader that stalls.
 *
 * - A channel begins with INITIAL_WINDOW, as with OpenSSH's ssh. When many are open it begins with
 *   less, down to MIN_WINDOW.
 * - It grows when the server waits for the window: when the first byte that a grant admits comes
 *   within one round trip of the grant. If that byte comes later, it was queueing behind others. A
 *   window grows by an eighth at a time, because too large a window is costly: sshd reads what the
 *   window admits even if it can't send it yet, into a buffer that it copies as a whole for each
 *   packet that is added. On a path shorter than LEAST_RTT_MS windows don't grow: there the first
 *   window carries 400 MB/s.
 * - It shrinks for two reasons. Busy channels share the budget. And when a queue has been measured
 *   (standingqueue.ts), they share what may be under way. A grant can't be taken back, so a window
 *   shrinks by granting less than was consumed.
 *
 * The limits add up to at most the budget, plus MIN_WINDOW for each channel. Half of the budget is
 * reserved for channels that grow.
 */
import { DEFAULT_MAX_WINDOW, DEFAULT_WINDOW_BUDGET } from '../../limits.ts';
import { StandingQueue } from './standingqueue.ts';

export const INITIAL_WINDOW = 2 * 1024 * 1024;
/** What each channel gets at first at the least, whatever others have. */
export const MIN_WINDOW = 32 * 1024;
/** A new channel gets at most this part of what is left for new channels. */
const INITIAL_PART = 1 / 16;
/**
 * Channels that are opened within the same BURST_MS share BURST_BYTES: each gets BURST_PART of what
 * is left, but at least BURST_LEAST.
 */
const BURST_BYTES = 8 * 1024 * 1024;
const BURST_MS = 1_000;
const BURST_PART = 1 / 4;
const BURST_LEAST = 256 * 1024;
/** The smallest share of a busy channel when there is a queue. */
const LEAST_SHARE = 4 * 1024;
/**
 * A channel is busy if it received this part of its window or share between two measurements of the
 * round trip.
 */
const BUSY_PART = 1 / 2;
/**
 * The server was waiting for the window if the data that a grant admits come within this many round
 * trips.
 */
const PROMPT = 1.125;
/**
 * Shorter paths count as this long: what is under way must also last while processes wait to be
 * scheduled.
 */
const LEAST_RTT_MS = 5;
const GROWTH = 1.125;
/**
 * Credit is granted once it is CREDIT_PART of the limit and at least CREDIT_PACKET, or
 * CREDIT_SMALL_PART of a limit so small that this is less than CREDIT_PACKET.
 */
const CREDIT_PART = 1 / 16;
const CREDIT_PACKET = 32 * 1024;
const CREDIT_SMALL_PART = 1 / 4;

export interface ReceiveWindowLimits {
  /**
   * Bytes that may be granted or buffered for all channels of a link together. Default:
   * DEFAULT_WINDOW_BUDGET.
   */
  readonly budget?: number | undefined;
  /** The same for one channel. Default: DEFAULT_MAX_WINDOW. */
  readonly maxWindow?: number | undefined;
}

export interface ReceiveWindowOptions extends ReceiveWindowLimits {
  /** Milliseconds of a monotonic clock. */
  readonly clock?: () => number;
  /** A channel got less than it needed, because the budget is used up. */
  readonly onLimited?: () => void;
}

/** The windows of all channels of a link. */
export class ReceiveWindows {
  readonly maxWindow: number;
  /** Bytes. */
  readonly budget: number;
  readonly #queue = new StandingQueue();
  readonly #clock: () => number;
  readonly #onLimited: () => void;
  #used = 0;
  #open = 0;
  #burstSince = Number.NEGATIVE_INFINITY;
  #burstLeft = 0;
  /**
   * The number of round trip measurements so far; the channels that are busy since the last one,
   * and that were busy before it.
   */
  #round = 0;
  #busy = 0;
  #busyBefore = 0;

  constructor(options: ReceiveWindowOptions = {}) {
    this.maxWindow = options.maxWindow ?? DEFAULT_MAX_WINDOW;
    this.budget = options.budget ?? DEFAULT_WINDOW_BUDGET;
    this.#clock = options.clock ?? (() => performance.now());
    this.#onLimited = options.onLimited ?? (() => {});
  }

  open(): ReceiveWindow {
    const whole = Math.min(INITIAL_WINDOW, this.maxWindow);
    const least = Math.min(MIN_WINDOW, this.maxWindow);
    const affordable = Math.max(least, (this.budget / 2 - this.taken) * INITIAL_PART);
    if (affordable < whole) this.#onLimited();
    const initial = Math.max(least, Math.min(whole, affordable, this.#burst(), this.share(1)));
    this.#open++;
    return new ReceiveWindow(this, Math.floor(initial));
  }

  roundTrip(milliseconds: number): void {
    this.#queue.roundTrip(milliseconds, this.#clock());
    this.roundPassed();
  }

  /**
   * A round is over although no round trip can be measured. Without it, channels that were busy
   * once would count as busy for ever, and the others' shares would only shrink.
   */
  roundPassed(): void {
    this.#round++;
    this.#busyBefore = this.#busy;
    this.#busy = 0;
  }

  /** Bytes that are granted or buffered. */
  get used(): number {
    return this.#used;
  }

  /** Of these, what is taken out of the budget: without MIN_WINDOW for each channel. */
  get taken(): number {
    return Math.max(0, this.#used - this.#open * MIN_WINDOW);
  }

  // For ReceiveWindow.

  get now(): number {
    return this.#clock();
  }

  get round(): number {
    return this.#round;
  }

  /**
   * Windows may grow: there is no queue, and the path is so long that the first window may be too
   * small.
   */
  get mayGrow(): boolean {
    return this.#queue.limit === Number.POSITIVE_INFINITY && this.#queue.least >= LEAST_RTT_MS;
  }

  /** There may be a queue. Until that is known, channels that began with less don't catch up. */
  get queueSuspected(): boolean {
    return this.#queue.suspected;
  }

  /** The server took this long to answer, including what it had to do first. */
  answered(milliseconds: number): void {
    this.#queue.atMost(milliseconds);
  }

  /** In ms: data that come this soon after they were granted had been waiting for the grant. */
  get promptMs(): number {
    return PROMPT * Math.max(this.#queue.least, LEAST_RTT_MS);
  }

  /** Data of some channel were received. */
  delivered(bytes: number): void {
    this.#queue.delivered(bytes, this.#clock());
  }

  /** A channel has become busy in this round. */
  becameBusy(): void {
    this.#busy++;
  }

  /** What each busy channel may have, counting `more` channels that are not busy yet. */
  share(more = 0): number {
    const busy = Math.max(1, this.#busy, this.#busyBefore) + more;
    return Math.max(LEAST_SHARE, Math.floor(Math.min(this.#queue.limit, this.budget) / busy));
  }

  /**
   * Takes up to `bytes` out of the budget; a negative number gives bytes back. Returns what it
   * took.
   */
  reserve(bytes: number): number {
    const reserved = bytes > 0 ? Math.max(0, Math.min(bytes, this.budget - this.taken)) : bytes;
    if (reserved < bytes) this.#onLimited();
    this.#used += reserved;
    return reserved;
  }

  /** For a new channel: takes `bytes` even if the budget is used up. */
  reserveInitial(bytes: number): void {
    this.#used += bytes;
  }

  ended(): void {
    this.#open--;
  }

  /** What a channel may begin with if others are opened in the same second. */
  #burst(): number {
    const now = this.#clock();
    if (now - this.#burstSince > BURST_MS) {
      this.#burstSince = now;
      this.#burstLeft = BURST_BYTES;
    }
    const part = Math.min(INITIAL_WINDOW, Math.max(BURST_LEAST, this.#burstLeft * BURST_PART));
    this.#burstLeft -= part;
    return part;
  }
}

export class ReceiveWindow {
  readonly #windows: ReceiveWindows;
  readonly #openedAt: number;
  /** Bytes that it has reserved. Never less than what is granted and buffered. */
  #limit: number;
  /** What its limit should be, if its share and the budget admit it. */
  #wanted: number;
  #granted: number;
  #buffered = 0;
  #ended = false;
  /**
   * A grant is marked and its first byte awaited: when it was made, and how many bytes come before
   * that byte. Infinity: no grant is marked.
   */
  #markedAt = 0;
  #beforeMark = Number.POSITIVE_INFINITY;
  /**
   * The current round, the bytes received in it, and the last round in which the channel was busy.
   */
  #round = -1;
  #received = 0;
  #busyRound = Number.NEGATIVE_INFINITY;

  constructor(windows: ReceiveWindows, initial: number) {
    this.#windows = windows;
    this.#openedAt = windows.now;
    this.#limit = initial;
    this.#wanted = initial;
    this.#granted = initial;
    windows.reserveInitial(initial);
  }

  /** The most that may be granted and buffered; at first, what CHANNEL_OPEN grants. */
  get limit(): number {
    return this.#limit;
  }

  /** The server has confirmed the channel. */
  confirmed(): void {
    this.#windows.answered(this.#windows.now - this.#openedAt);
  }

  /** Data were received. False: more than was granted. */
  receive(bytes: number): boolean {
    if (bytes > this.#granted) return false;
    this.#granted -= bytes;
    this.#buffered += bytes;
    this.#windows.delivered(bytes);
    this.#noteBusy(bytes);
    this.#beforeMark -= bytes;
    if (this.#beforeMark < 0) this.#grow();
    return true;
  }

  /** Data were consumed. Returns how much to grant to the server now; 0: it has enough. */
  consume(bytes: number): number {
    this.#buffered = Math.max(0, this.#buffered - bytes);
    if (this.#ended) {
      this.#resize(this.#buffered);
      return 0;
    }
    this.#catchUp(bytes);
    const wanted = this.#busy ? Math.min(this.#wanted, this.#windows.share()) : this.#wanted;
    const outstanding = this.#granted + this.#buffered;
    this.#resize(Math.max(wanted, outstanding));
    const limit = Math.min(this.#limit, wanted);
    const credit = limit - outstanding;
    const worthwhile = Math.min(CREDIT_PACKET, limit * CREDIT_SMALL_PART);
    if (credit < Math.max(worthwhile, limit * CREDIT_PART)) return 0;
    if (this.#beforeMark === Number.POSITIVE_INFINITY) {
      this.#beforeMark = this.#granted;
      this.#markedAt = this.#windows.now;
    }
    this.#granted += credit;
    return credit;
  }

  /**
   * Nothing more will come: from now on the limit is what is buffered, and falls as that is
   * consumed.
   */
  end(): void {
    if (!this.#ended) this.#windows.ended();
    this.#ended = true;
    this.#granted = 0;
    this.#resize(this.#buffered);
  }

  /** Buffered data are thrown away as well. */
  close(): void {
    this.#buffered = 0;
    this.end();
  }

  get #busy(): boolean {
    return this.#windows.round - this.#busyRound <= 1;
  }

  #noteBusy(bytes: number): void {
    const { round } = this.#windows;
    if (round !== this.#round) {
      this.#round = round;
      this.#received = 0;
    }
    this.#received += bytes;
    if (this.#busyRound === round) return;
    if (this.#received < BUSY_PART * Math.min(this.#limit, this.#windows.share())) return;
    this.#busyRound = round;
    this.#windows.becameBusy();
  }

  /**
   * A channel that began with less than others catches up within a few round trips: for each byte
   * consumed it is granted two.
   */
  #catchUp(bytes: number): void {
    const whole = Math.min(INITIAL_WINDOW, this.#windows.maxWindow);
    if (this.#wanted < whole && !this.#windows.queueSuspected)
      this.#wanted = Math.min(this.#wanted + bytes, whole);
  }

  /** The first byte that the marked grant admitted has come. */
  #grow(): void {
    this.#beforeMark = Number.POSITIVE_INFINITY;
    const { now, promptMs, mayGrow, maxWindow } = this.#windows;
    if (!mayGrow || now - this.#markedAt > promptMs) return;
    this.#wanted = Math.floor(Math.min(GROWTH * this.#wanted, maxWindow));
  }

  #resize(limit: number): void {
    this.#limit += this.#windows.reserve(limit - this.#limit);
  }
}
