/**
 * What a flow receives of its application: the window that it offers, and what of it is used (RFC
 * 9293 §3.8.6).
 *
 *        next                            edge
 *   ------|--- may still be sent ----------|        next: the number of the byte that comes next
 *   - pending: with the far side, and not taken yet
 *
 * The window is `limit` less what the far side has not taken: so a flow that can't be carried on
 * holds no more than that, and the application waits in its own kernel. The edge is never taken
 * back (RFC 9293 §3.8.6.2). A limit grows once the far side has taken as much.
 */
import type { FrameView } from './frame.ts';

/**
 * What the far side may have to take of one flow: at first, and once it has taken as much. Bytes.
 */
export const FIRST_WINDOW = 128 * 1024;
export const MAX_WINDOW = 1024 * 1024;
/** When many flows wait for the far side. */
export const LEAST_WINDOW = 64 * 1024;
/** RFC 7323 §2.3. Windows are told in units of 128 bytes. */
export const WINDOW_SCALE = 7;
const MOST_UNSCALED = 0xffff;

export class ReceiveSide {
  /** After the SYN: what comes next. */
  next: number;
  pending = 0;
  readonly #scale: number;
  /** The right edge of the window that the application knows. */
  #edge: number;
  #limit = FIRST_WINDOW;
  /** Taken since the limit has grown last. */
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
   * The application's window, for the header of a segment: from now on it knows of it. `room`: what
   * it is to be, in bytes.
   */
  offer(room: number, isSyn: boolean): number {
    // The window of a SYN is not scaled (RFC 7323 §2.2).
    const scale = isSyn ? 0 : this.#scale;
    const unit = 1 << scale;
    const open = this.#open;
    // What is open already is rounded down: rounded up with each segment, it would never shut (RFC
    // 7323 §2.4).
    const units = room > open ? Math.ceil(room / unit) : Math.floor(open / unit);
    const scaled = Math.max(0, Math.min(MOST_UNSCALED, units));
    const edge = (this.next + scaled * unit) | 0;
    if (((edge - this.#edge) | 0) > 0) this.#edge = edge;
    return scaled;
  }

  /** By how much the window would grow if it were offered now. */
  growth(room: number): number {
    return Math.max(0, room) - this.#open;
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

  /** How many bytes of a payload that begins at `from` and ends at `to` lie within the window. */
  room(from: number, to: number): number {
    return Math.max(0, Math.min(to - from, this.#open));
  }

  /** Nothing more comes: an end of the application's takes a number. */
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
