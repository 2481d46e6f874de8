/**
 * How much a server may send on each channel (RFC 4254 §5.2), and when it may send more.
 *
 *   limit = granted (may still be sent) + held (received, not consumed) + credit (consumed, not
 *   granted again)
 *
 * Credit is what the application has consumed, so a reader that stalls holds no more than its
 * limit.
 *
 * - A channel begins with INITIAL_WINDOW, as with OpenSSH's ssh; with less, down to MIN_WINDOW,
 *   when many are open.
 * - It grows when the server waits for the window: when the first byte that a grant admits comes
 *   within one round trip after it, and not later because others were queueing before it. By an
 *   eighth each time, and no further: what sshd may send and can't, it reads all the same, into a
 *   buffer that it copies as a whole for each packet by which it grows. So not at all on a path of
 *   less than LEAST_RTT_MS, where the first window carries 400 MB/s.
 * - It shrinks for two reasons. Busy channels share the budget; and they share what may be under
 *   way when a queue has been measured (standingqueue.ts). What was granted can't be taken back: a
 *   window shrinks by not being granted again.
 *
 * The sum of the limits is bounded by a budget, and MIN_WINDOW for each channel beside it. Half of
 * the budget is kept for those that grow.
 */
import { DEFAULT_MAX_WINDOW, DEFAULT_WINDOW_BUDGET } from '../../limits.ts';
import { StandingQueue } from './standingqueue.ts';

export const INITIAL_WINDOW = 2 * 1024 * 1024;
/** What each channel has at first, whatever others have. */
export const MIN_WINDOW = 32 * 1024;
/** A new channel gets at most this part of what is left for new ones. */
const INITIAL_PART = 1 / 16;
/**
 * Of what channels have at first that are opened within a second, each gets a quarter of what is
 * left, and this at the least.
 */
const BURST_BYTES = 8 * 1024 * 1024;
const BURST_MS = 1_000;
const BURST_PART = 1 / 4;
const BURST_LEAST = 256 * 1024;
/** What is under way for a busy channel, at the least, when there is a queue. */
const LEAST_SHARE = 4 * 1024;
/**
 * A channel is busy that has got this part of its window or share between two measurements of the
 * round trip.
 */
const BUSY_PART = 1 / 2;
/** The server has waited for the window if what it admits comes within so many round trips. */
const PROMPT = 1.125;
/**
 * Paths shorter than this are taken for as long: what is under way must also outlast the scheduling
 * of processes.
 */
const LEAST_RTT_MS = 5;
const GROWTH = 1.125;
/**
 * Credit is granted in such parts of the limit; but not in pieces smaller than a packet, unless
 * that is a larger part than the last.
 */
const CREDIT_PART = 1 / 16;
const CREDIT_PACKET = 32 * 1024;
const CREDIT_SMALL_PART = 1 / 4;

export interface ReceiveWindowLimits {
  /**
   * Bytes that all channels of a link together may have granted or held. Default:
   * DEFAULT_WINDOW_BUDGET.
   */
  readonly budget?: number | undefined;
  /** Bytes that one may. Default: DEFAULT_MAX_WINDOW. */
  readonly maxWindow?: number | undefined;
}

export interface ReceiveWindowOptions extends ReceiveWindowLimits {
  /** Milliseconds of a monotonic clock. */
  readonly clock?: () => number;
  /** A channel has got less than it needed, for want of budget. */
  readonly onLimited?: () => void;
}

/** The windows of all channels of a link. */
export class ReceiveWindows {
  readonly maxWindow: number;
  readonly #queue = new StandingQueue();
  readonly #clock: () => number;
  readonly #budget: number;
  readonly #onLimited: () => void;
  #used = 0;
  #open = 0;
  #burstSince = Number.NEGATIVE_INFINITY;
  #burstLeft = 0;
  /**
   * Measurements of the round trip; the channels that are busy in this one, and were in the last.
   */
  #round = 0;
  #busy = 0;
  #busyBefore = 0;

  constructor(options: ReceiveWindowOptions = {}) {
    this.maxWindow = options.maxWindow ?? DEFAULT_MAX_WINDOW;
    this.#budget = options.budget ?? DEFAULT_WINDOW_BUDGET;
    this.#clock = options.clock ?? (() => performance.now());
    this.#onLimited = options.onLimited ?? (() => {});
  }

  open(): ReceiveWindow {
    const whole = Math.min(INITIAL_WINDOW, this.maxWindow);
    const least = Math.min(MIN_WINDOW, this.maxWindow);
    const affordable = Math.max(least, (this.#budget / 2 - this.#taken) * INITIAL_PART);
    if (affordable < whole) this.#onLimited();
    const initial = Math.max(least, Math.min(whole, affordable, this.#burst(), this.share(1)));
    this.#open++;
    return new ReceiveWindow(this, Math.floor(initial));
  }

  roundTrip(milliseconds: number): void {
    this.#queue.roundTrip(milliseconds, this.#clock());
    this.#round++;
    this.#busyBefore = this.#busy;
    this.#busy = 0;
  }

  /** Bytes that are granted or held. */
  get used(): number {
    return this.#used;
  }

  // For ReceiveWindow.

  get now(): number {
    return this.#clock();
  }

  get round(): number {
    return this.#round;
  }

  /**
   * Windows may grow: nothing queues, and the path is long enough for the first window to be too
   * small.
   */
  get mayGrow(): boolean {
    return this.#queue.limit === Number.POSITIVE_INFINITY && this.#queue.least >= LEAST_RTT_MS;
  }

  /** There may be a queue: those that have less than others stay so until it is known. */
  get waits(): boolean {
    return this.#queue.suspected;
  }

  /** The server has answered this soon to what has just been asked, or done before it answered. */
  answered(milliseconds: number): void {
    this.#queue.atMost(milliseconds);
  }

  /** Data that come so long after they were admitted have been waiting for that. */
  get promptly(): number {
    return PROMPT * Math.max(this.#queue.least, LEAST_RTT_MS);
  }

  /** Data of some channel have come. */
  delivered(bytes: number): void {
    this.#queue.delivered(bytes, this.#clock());
  }

  /** A channel has become busy in this round. */
  becameBusy(): void {
    this.#busy++;
  }

  /** What a busy channel may have, and `more` beside it. */
  share(more = 0): number {
    const busy = Math.max(1, this.#busy, this.#busyBefore) + more;
    return Math.max(LEAST_SHARE, Math.floor(Math.min(this.#queue.limit, this.#budget) / busy));
  }

  /**
   * Takes up to `bytes` out of the budget, or gives back if it is negative. Returns what it took.
   */
  reserve(bytes: number): number {
    const reserved = bytes > 0 ? Math.max(0, Math.min(bytes, this.#budget - this.#taken)) : bytes;
    if (reserved < bytes) this.#onLimited();
    this.#used += reserved;
    return reserved;
  }

  /** What a new channel needs it gets. */
  reserveInitial(bytes: number): void {
    this.#used += bytes;
  }

  ended(): void {
    this.#open--;
  }

  /** What one may begin with of those that are opened in the same moment. */
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

  /** Out of the budget. */
  get #taken(): number {
    return Math.max(0, this.#used - this.#open * MIN_WINDOW);
  }
}

export class ReceiveWindow {
  readonly #windows: ReceiveWindows;
  readonly #openedAt: number;
  /** Bytes of the budget that it has. Never less than what is granted and held. */
  #limit: number;
  /** What its limit is to be, as far as its share and the budget admit. */
  #wanted: number;
  #granted: number;
  #held = 0;
  #ended = false;
  /**
   * When the grant was made whose first byte is awaited, and how many come before that. None is:
   * infinitely many.
   */
  #markedAt = 0;
  #beforeMark = Number.POSITIVE_INFINITY;
  /** What has come since the round trip was last measured, and when it was much. */
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

  /** What is in memory at most; at first, what CHANNEL_OPEN grants. */
  get limit(): number {
    return this.#limit;
  }

  /** The server has confirmed the channel. */
  confirmed(): void {
    this.#windows.answered(this.#windows.now - this.#openedAt);
  }

  /** Data came. False: more than was granted. */
  receive(bytes: number): boolean {
    if (bytes > this.#granted) return false;
    this.#granted -= bytes;
    this.#held += bytes;
    this.#windows.delivered(bytes);
    this.#noteBusy(bytes);
    this.#beforeMark -= bytes;
    if (this.#beforeMark < 0) this.#grow();
    return true;
  }

  /**
   * Data were consumed. Returns how much is to be granted to the server now, 0 while it has enough.
   */
  consume(bytes: number): number {
    this.#held = Math.max(0, this.#held - bytes);
    if (this.#ended) {
      this.#resize(this.#held);
      return 0;
    }
    this.#catchUp(bytes);
    const wanted = this.#busy ? Math.min(this.#wanted, this.#windows.share()) : this.#wanted;
    const outstanding = this.#granted + this.#held;
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

  /** Nothing more will come: from now on the limit is what is held, and falls as it is consumed. */
  end(): void {
    if (!this.#ended) this.#windows.ended();
    this.#ended = true;
    this.#granted = 0;
    this.#resize(this.#held);
  }

  /** What is held is thrown away as well. */
  close(): void {
    this.#held = 0;
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
   * One that began with less than others has as much as they after a few round trips: each consumed
   * byte admits two.
   */
  #catchUp(bytes: number): void {
    const whole = Math.min(INITIAL_WINDOW, this.#windows.maxWindow);
    if (this.#wanted < whole && !this.#windows.waits)
      this.#wanted = Math.min(this.#wanted + bytes, whole);
  }

  /** What the marked grant has admitted begins to come. */
  #grow(): void {
    this.#beforeMark = Number.POSITIVE_INFINITY;
    const { now, promptly, mayGrow, maxWindow } = this.#windows;
    if (!mayGrow || now - this.#markedAt > promptly) return;
    this.#wanted = Math.floor(Math.min(GROWTH * this.#wanted, maxWindow));
  }

  #resize(limit: number): void {
    this.#limit += this.#windows.reserve(limit - this.#limit);
  }
}
