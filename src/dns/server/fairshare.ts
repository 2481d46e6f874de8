/**
 * Divides a limited number of places among users, none of whom can take them all: a user gets
 * another place while it has fewer than are free (dynamic thresholds, Choudhury and Hahne 1998).
 *
 *   users that take all they get    each has    free for the next one
 *   1                               1/2         1/2
 *   2                               1/3         1/3
 *   9                               1/10        1/10
 */
export class FairShare {
  readonly #limit: number;
  readonly #taken = new Map<string, number>();
  #total = 0;

  /** `limit`: how many places there are. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Places that are taken. */
  get taken(): number {
    return this.#total;
  }

  /**
   * Whether so many places are taken that it matters by whom. Before that, whose a place is need
   * not be found out.
   */
  get contended(): boolean {
    return this.#total >= this.#limit / 8;
  }

  /** Takes a place. False: the user has its share, or there is none. */
  take(user: string): boolean {
    const own = this.#taken.get(user) ?? 0;
    if (own >= this.#limit - this.#total) return false;
    this.#total += 1;
    this.#taken.set(user, own + 1);
    return true;
  }

  /** Gives a place back that `take` has given to this user. */
  giveBack(user: string): void {
    this.#total -= 1;
    const own = (this.#taken.get(user) ?? 1) - 1;
    if (own > 0) this.#taken.set(user, own);
    else this.#taken.delete(user);
  }
}
