/**
 * What a flow receives from its application: the window that it offers, and how much of it is used
 * (RFC 9293 §3.8.6).
 *
 *        next                            edge
 *   ------|--- may still be sent ----------|        next: the number of the next byte
 *   - pending: passed to the far side, and not taken yet
 *
 * The window is `limit` minus `pending`. A flow whose far side is stuck therefore keeps at most
 * `limit` bytes, and the application waits in its own kernel. The edge never moves back (RFC 9293
 * §3.8.6.2). The limit grows once the far side has taken that many bytes.
 */
import type { FrameView } from './frame.ts';

/** The limit in bytes: at first, and once the far side has taken FIRST_WINDOW bytes. */
export const FIRST_WINDOW = 128 * 1024;
export const MAX_WINDOW = 1024 * 1024;
/** The limit while many bytes of all flows wait for far sides. */
export const LEAST_WINDOW = 64 * 1024;
/** RFC 7323 §2.3. Windows are offered in units of 128 bytes. */
export const WINDOW_SCALE = 7;
const MOST_UNSCALED = 0xffff;

export class ReceiveSide {
  /** The number of the byte that comes next. */
  next: number;
  pending = 0;
  readonly #scale: number;
  /** The right edge of the window that the application knows. */
  #edge: number;
  #limit = FIRST_WINDOW;
  /** Bytes taken, counted until the limit grows. */
  #taken = 0;

  /** `scales`: the application offers window scaling. */
  constructor(next: number, scales: boolean) {
    this.next = next;
    this.#edge = next;
    this.#scale = scales ? WINDOW_SCALE : 0;
  }

  get limit(): number {
    return this.#limit;
  }

  /**
   * Returns the window field for a segment's header and moves the edge: the application will know
   * this window. `wanted`: the window to offer, in bytes.
   */
  offer(wanted: number, isSyn: boolean): number {
    // The window of a SYN is not scaled (RFC 7323 §2.2).
    const scale = isSyn ? 0 : this.#scale;
    const unit = 1 << scale;
    const open = this.#open;
    // A window that is already open is rounded down: if each segment rounded it up, it would never
    // shut (RFC 7323 §2.4).
    const units = wanted > open ? Math.ceil(wanted / unit) : Math.floor(open / unit);
    const scaled = Math.max(0, Math.min(MOST_UNSCALED, units));
    const edge = (this.next + scaled * unit) | 0;
    if (((edge - this.#edge) | 0) > 0) this.#edge = edge;
    return scaled;
  }

  /** By how much the window would grow if `wanted` were offered now. */
  growth(wanted: number): number {
    return Math.max(0, wanted) - this.#open;
  }

  /** RFC 9293 §3.10.7.4, first step. */
  accepts(frame: FrameView): boolean {
    const window = this.#open;
    const from = (frame.sequence - this.next) | 0;
    const length = frame.segmentLength;
    if (length === 0) return window === 0 ? from === 0 : from >= 0 && from <= window;
    const last = (from + length - 1) | 0;
    return window > 0 && ((from >= 0 && from < window) || (last >= 0 && last < window));
  }

  /** How many bytes of a payload from `from` to `to` fit in the window. */
  fitting(from: number, to: number): number {
    return Math.max(0, Math.min(to - from, this.#open));
  }

  /** The application's FIN has arrived. It takes up one number. */
  end(): void {
    this.next = (this.next + 1) | 0;
    this.#edge = this.next;
  }

  taken(bytes: number): void {
    this.pending -= bytes;
    this.#taken += bytes;
    if (this.#taken < this.#limit || this.#limit === MAX_WINDOW) return;
    this.#taken = 0;
    this.#limit = MAX_WINDOW;
  }

  get #open(): number {
    return (this.#edge - this.next) | 0;
  }
}
