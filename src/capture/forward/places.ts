/**
 * How many clients the forwards of a run may have, together and each.
 *
 *   half of all places   is divided evenly among the forwards that listen, and kept for them
 *   the other half       is for whoever comes first, up to the limit of one forward
 *
 * So whoever fills some forwards keeps nobody from the others. Forwards have at most half of all
 * flows and half of the descriptors, so nobody is kept from what else is captured, either.
 */

/** More than pools and load tests of one service have. */
export const MAX_FORWARD_CONNECTIONS = 2048;
/** Of all forwards: half of MAX_FLOWS. */
export const MAX_FORWARDS_CONNECTIONS = 4096;

export class ForwardPlaces {
  readonly #all: number;
  readonly #each: number;
  readonly #shares = new Set<ForwardShare>();

  /** `descriptors`: how many this process may have. */
  constructor(descriptors: number) {
    this.#all = Math.max(1, Math.min(MAX_FORWARDS_CONNECTIONS, Math.floor(descriptors / 2)));
    this.#each = Math.max(1, Math.min(MAX_FORWARD_CONNECTIONS, Math.floor(descriptors / 4)));
  }

  /** Clients of all forwards. */
  get taken(): number {
    let taken = 0;
    for (const { taken: own } of this.#shares) taken += own;
    return taken;
  }

  /** For a forward that is to listen. */
  share(): ForwardShare {
    const share = new ForwardShare(
      () => this.#hasRoom(share),
      () => this.#shares.delete(share),
    );
    this.#shares.add(share);
    return share;
  }

  #hasRoom(share: ForwardShare): boolean {
    if (share.taken >= this.#each) return false;
    const listening = [...this.#shares].filter(({ listens }) => listens).length;
    const kept = Math.floor(this.#all / 2 / Math.max(1, listening));
    if (share.listens && share.taken < kept) return true;
    let taken = 0;
    for (const { taken: own, listens } of this.#shares)
      taken += listens ? Math.max(own, kept) : own;
    return taken < this.#all;
  }
}

/** The places of one forward. */
export class ForwardShare {
  readonly #hasRoom: () => boolean;
  readonly #end: () => void;
  #taken = 0;
  #listens = true;

  constructor(hasRoom: () => boolean, end: () => void) {
    this.#hasRoom = hasRoom;
    this.#end = end;
  }

  get taken(): number {
    return this.#taken;
  }

  get listens(): boolean {
    return this.#listens;
  }

  /** False: there is no place. */
  take(): boolean {
    if (!this.#hasRoom()) return false;
    this.#taken++;
    return true;
  }

  release(): void {
    this.#taken--;
    this.#endIfOver();
  }

  /** The forward listens no more: nothing is kept for it. Its clients count until they end. */
  retire(): void {
    this.#listens = false;
    this.#endIfOver();
  }

  #endIfOver(): void {
    if (!this.#listens && this.#taken === 0) this.#end();
  }
}
