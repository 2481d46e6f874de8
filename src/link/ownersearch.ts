/**
 * Looks again for whoever owns an open that waits for a place. A look may miss a socket that is
 * there: connections that end move others past whoever reads the kernel's table, and one look reads
 * a limited number of descriptors. All opens of unknown owners share one part of the places, which
 * an attacker may have used up.
 *
 *   missed() -- the pause --> due() -> again() -> found: the open is with its owner's from now on
 *      ^                                  |
 *      `---------- not found -------------'     LOOKS_AGAIN times, each pause twice the one before
 *
 * So an open whose first look failed waits FIRST_PAUSE_MS longer, and the time of a look. A socket
 * that its program has closed is never found, and costs no more than LOOKS_AGAIN looks.
 */
import type { SocketSource } from '../system/socketsources.ts';

/** Looks for one open, after the first one. */
export const LOOKS_AGAIN = 6;
/** The pause before the first of them, in milliseconds. */
export const FIRST_PAUSE_MS = 250;

/** What a look returns: undefined is nobody's. */
export type Found = SocketSource | undefined | Promise<SocketSource | undefined>;

export class OwnerSearch {
  readonly #look: () => Found;
  #left = LOOKS_AGAIN;
  #pause = FIRST_PAUSE_MS;
  /** When to look again; undefined: it is not known to be needed. */
  #next: number | undefined;

  constructor(look: () => Found) {
    this.#look = look;
  }

  /** A look has not found it. Returns whether it will be looked for again. */
  missed(now: number): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    this.#next = now + this.#pause;
    this.#pause *= 2;
    return true;
  }

  due(now: number): boolean {
    return this.#next !== undefined && now >= this.#next;
  }

  /** Looks again. If this fails as well, call missed(). */
  again(): Found {
    this.#next = undefined;
    return this.#look();
  }
}
