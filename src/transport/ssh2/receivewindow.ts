/**
 * How much a server may send on each channel (RFC 4254 §5.2), and when it may send more.
 *
 *   limit = granted (may still be sent) + held (received, not consumed) + credit (consumed, not granted again)
 *
 * Credit is what the application has consumed, so a reader that stalls holds no more than its limit. Every channel begins with
 * INITIAL_WINDOW. One that uses it up within a round trip is busy, and the busy ones share what the path needs under way
 * (path.ts) in equal parts: so one download fills the path, many get the same each, and what is asked for besides doesn't
 * wait behind more of them than the path can carry. A window that has become too large shrinks by not being granted
 * again: what was granted can't be taken back, and counts until it has come and been consumed.
 *
 * The sum of the limits is bounded by a budget: none grows beyond it. New channels begin with MIN_WINDOW when half of it is
 * used, and get that also when all of it is, so the bound is the budget and a MIN_WINDOW for each further channel.
 */
import { DEFAULT_MAX_WINDOW, DEFAULT_WINDOW_BUDGET } from '../limits.ts';
import { PathModel } from './path.ts';

export const INITIAL_WINDOW = 256 * 1024;
/** What new channels have when others have much. */
export const MIN_WINDOW = 32 * 1024;
/** What those have together that are opened before anything is known of the path, before they get MIN_WINDOW. */
const STARTUP_BUDGET = 2 * 1024 * 1024;

export interface ReceiveWindowLimits {
  /** Bytes that all channels of a link together may have granted or held. Default: DEFAULT_WINDOW_BUDGET. */
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
  readonly #path = new PathModel();
  readonly #clock: () => number;
  readonly #budget: number;
  readonly #maxWindow: number;
  readonly #onLimited: () => void;
  #used = 0;
  /** The round trips are counted, to tell which channels are busy. */
  #round = 0;
  #busy = 0;
  #busyBefore = 0;

  constructor(options: ReceiveWindowOptions = {}) {
    this.#budget = options.budget ?? DEFAULT_WINDOW_BUDGET;
    this.#maxWindow = options.maxWindow ?? DEFAULT_MAX_WINDOW;
    this.#clock = options.clock ?? (() => performance.now());
    this.#onLimited = options.onLimited ?? (() => {});
  }

  open(): ReceiveWindow {
    // Not more than all of a path that is known; and when it isn't, many must not fill its queue before it is.
    const enough = this.#path.known ? this.#path.target : STARTUP_BUDGET - this.#used;
    const limited = this.#used >= this.#budget / 2;
    if (limited) this.#onLimited();
    const initial = limited ? 0 : Math.min(INITIAL_WINDOW, enough);
    return new ReceiveWindow(this, Math.floor(Math.min(Math.max(MIN_WINDOW, initial), this.#maxWindow)));
  }

  roundTrip(milliseconds: number): void {
    this.#path.roundTrip(milliseconds, this.#clock());
  }

  /** Bytes that are granted or held. */
  get used(): number {
    return this.#used;
  }

  // For ReceiveWindow.

  get round(): number {
    return this.#round;
  }

  /** Something is known of what the path can carry. */
  get known(): boolean {
    return this.#path.known;
  }

  /** Data of some channel have come. */
  delivered(bytes: number): void {
    if (!this.#path.delivered(bytes, this.#clock(), this.#busy > 0)) return;
    this.#round++;
    this.#busyBefore = this.#busy;
    this.#busy = 0;
  }

  /** A channel has become busy in this round. */
  becameBusy(): void {
    this.#busy++;
  }

  /** A busy channel's part of the path. */
  share(): number {
    const share = this.#path.target / Math.max(1, this.#busy, this.#busyBefore);
    return Math.min(Math.max(this.#path.packet, share), this.#maxWindow);
  }

  /** Takes up to `bytes` out of the budget, or gives back if it is negative. Returns what it took. */
  reserve(bytes: number): number {
    const reserved = bytes > 0 ? Math.max(0, Math.min(bytes, this.#budget - this.#used)) : bytes;
    if (reserved < bytes) this.#onLimited();
    this.#used += reserved;
    return reserved;
  }

  /** What a new channel needs it gets. */
  reserveInitial(bytes: number): void {
    this.#used += bytes;
  }
}

export class ReceiveWindow {
  readonly #windows: ReceiveWindows;
  readonly #initial: number;
  /** Bytes of the budget that it has. Never less than what is granted and held. */
  #limit: number;
  /** What its limit is to be, as far as the budget admits. */
  #wanted: number;
  #granted: number;
  #held = 0;
  #ended = false;
  /** In which round it was busy last, and what it has consumed in the present one. */
  #round = -1;
  #consumed = 0;
  #busyRound = -2;

  constructor(windows: ReceiveWindows, initial: number) {
    this.#windows = windows;
    this.#initial = initial;
    this.#limit = initial;
    this.#wanted = initial;
    this.#granted = initial;
    windows.reserveInitial(initial);
  }

  /** What is in memory at most; at first, what CHANNEL_OPEN grants. */
  get limit(): number {
    return this.#limit;
  }

  /** Data came. False: more than was granted. */
  receive(bytes: number): boolean {
    if (bytes > this.#granted) return false;
    this.#granted -= bytes;
    this.#held += bytes;
    this.#windows.delivered(bytes);
    return true;
  }

  /** Data were consumed. Returns how much is to be granted to the server now, 0 while it has enough. */
  consume(bytes: number): number {
    this.#held = Math.max(0, this.#held - bytes);
    if (this.#ended) {
      this.#resize(this.#held);
      return 0;
    }
    this.#follow(bytes);
    const outstanding = this.#granted + this.#held;
    this.#resize(Math.max(this.#wanted, outstanding));
    const limit = Math.min(this.#limit, this.#wanted);
    const credit = limit - outstanding;
    if (credit < limit / 4) return 0;
    this.#granted += credit;
    return credit;
  }

  /** Nothing more will come: from now on the limit is what is held, and falls as it is consumed. */
  end(): void {
    this.#ended = true;
    this.#granted = 0;
    this.#resize(this.#held);
  }

  /** What is held is thrown away as well. */
  close(): void {
    this.#held = 0;
    this.end();
  }

  #follow(bytes: number): void {
    const { round } = this.#windows;
    if (round !== this.#round) {
      this.#round = round;
      this.#consumed = 0;
    }
    this.#consumed += bytes;
    if (this.#busyRound !== round && this.#consumed >= Math.min(this.#limit, this.#initial) / 2) {
      this.#busyRound = round;
      this.#windows.becameBusy();
    }
    if (round - this.#busyRound > 1) return;
    const share = this.#windows.share();
    // Its first window is left to it while nothing is known of the path.
    this.#wanted = Math.floor(this.#windows.known ? share : Math.max(share, this.#initial));
  }

  #resize(limit: number): void {
    this.#limit += this.#windows.reserve(limit - this.#limit);
  }
}
