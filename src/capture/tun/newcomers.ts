/**
 * Keeps forged SYNs from taking the place of others. Whoever forges an address doesn't get what is
 * sent to it, so he never completes a handshake: a source that has done so lately is known, and
 * comes before strangers.
 *
 *   half open   beyond MAX_HALF_OPEN the oldest of a stranger is given up, or the oldest of all
 *   behind      while frames have waited without a break for BEHIND_MS, strangers begin
 *               MAX_STRANGERS connections a batch; what belongs to connections would else wait
 *               behind their SYNs
 */
import { LruMap } from '../../base/lrumap.ts';
import type { FrameView } from './frame.ts';
import type { Tuple } from './tuple.ts';

/** The most whose SYN-ACK has not been acknowledged yet. */
export const MAX_HALF_OPEN = 1024;
/** Connections that strangers may begin in one batch while frames wait. */
export const MAX_STRANGERS = 8;
/** Shorter waits are those of a burst, milliseconds. */
export const BEHIND_MS = 200;
/** Known sources. Beyond it, the one that has completed none for longest is a stranger again. */
export const MAX_KNOWN = 1024;

export class Newcomers<Flow extends Tuple> {
  /** Oldest first. */
  readonly #halfOpen = new Set<Flow>();
  readonly #ofStrangers = new Set<Flow>();
  readonly #known: LruMap<string, true>;
  /** Since when frames have waited after each batch, in ms. */
  #behindSince = Number.POSITIVE_INFINITY;
  /** Begun by strangers in this batch. */
  #strangers = 0;

  /** `forgotten`: called for each source that is a stranger again, for MAX_KNOWN. */
  constructor(forgotten: () => void) {
    this.#known = new LruMap({ limit: MAX_KNOWN, evicted: forgotten });
  }

  /** A batch has ended at `now`. `more`: the device has more frames than it has taken. */
  batchEnded(more: boolean, now: number): void {
    this.#strangers = 0;
    this.#behindSince = more ? Math.min(this.#behindSince, now) : Number.POSITIVE_INFINITY;
  }

  /** Whether the SYN may begin a connection now. */
  admits({ family, source }: FrameView, now: number): boolean {
    if (now - this.#behindSince < BEHIND_MS) return true;
    const [a0 = 0, a1 = 0, a2 = 0, a3 = 0] = source;
    if (this.#known.peek(keyOf({ family, a0, a1, a2, a3 })) !== undefined) return true;
    return ++this.#strangers <= MAX_STRANGERS;
  }

  /** Its SYN has been answered. Returns the flow to give up for it, if there is one. */
  answered(flow: Flow): Flow | undefined {
    const [stranger] = this.#ofStrangers;
    const [oldest] = this.#halfOpen;
    this.#halfOpen.add(flow);
    if (this.#known.peek(keyOf(flow)) === undefined) this.#ofStrangers.add(flow);
    return this.#halfOpen.size > MAX_HALF_OPEN ? (stranger ?? oldest) : undefined;
  }

  /** `completed`: the SYN-ACK has been acknowledged. */
  left(flow: Flow, completed: boolean): void {
    this.#halfOpen.delete(flow);
    this.#ofStrangers.delete(flow);
    if (completed) this.#known.set(keyOf(flow), true);
  }
}

function keyOf({
  family,
  a0,
  a1,
  a2,
  a3,
}: Pick<Tuple, 'family' | 'a0' | 'a1' | 'a2' | 'a3'>): string {
  return family === 4 ? `${a0}` : `${a0} ${a1} ${a2} ${a3}`;
}
