/**
 * Divides places for opens among those who ask, on several levels at a time. Whoever holds many
 * gets another one only while many are free (dynamic thresholds, Choudhury and Hahne 1998):
 *
 *   a group gets another place while it has fewer than FACTORS[its level] x what is free
 *
 *   level     who                                  alone, of all places     leaves to others
 *   owner     a user with many processes           4/5                      1/5
 *   process   one of them, or a host behind this   2/3                      1/3
 *   prefix    what that process asks for in a /24  3/5                      2/5
 *   host      of these, one host                   1/2                      1/2
 *
 * RESERVED of the places are left for processes that have fewer than FEW: however many take their
 * shares one after the other, the next one finds a place. The parts above are of the rest.
 *
 * All groups of an open must admit it. So nobody takes all places, whichever way he spreads what he
 * asks for; and whoever has none gets one while any is free. A place is taken until it is given
 * back: nothing takes one away, because an open can't be withdrawn.
 *
 * For its owner a process counts as MOST_FOR_OWNER at the most. Otherwise a browser that has its
 * share would keep a terminal of the same user out, as soon as others take theirs.
 */

/** The groups of an open, from the widest to the narrowest. Each key has those before it in it. */
export type Groups = readonly [owner: string, process: string, prefix: string, host: string];

export const LEVELS = ['owner', 'process', 'prefix', 'host'] as const;
export const FACTORS = [4, 2, 1.5, 1] as const;
export const MOST_FOR_OWNER = 8;
export const RESERVED = 1 / 10;
export const FEW = 4;

export class OpenShares {
  readonly #taken = new Map<string, number>();
  #total = 0;

  /** How many places are taken. */
  get total(): number {
    return this.#total;
  }

  /** How many the group has; of an owner, as they count for it. */
  of(group: string): number {
    return this.#taken.get(group) ?? 0;
  }

  /**
   * Whether a group of this level may have another place, as far as the level tells. `limit`: how
   * many there are now.
   */
  groupMay(group: string, level: number, limit: number): boolean {
    return this.#levelMay(group, level, this.#free(limit, level === 1 ? group : undefined));
  }

  may(groups: Groups, limit: number): boolean {
    const free = this.#free(limit, groups[1]);
    for (let level = 0; level < LEVELS.length; level++)
      if (!this.#levelMay(groups[level] ?? '', level, free)) return false;
    return true;
  }

  /** What is free for this process; undefined: for one that has none. */
  #free(limit: number, process: string | undefined): number {
    const few = process === undefined || this.of(process) < FEW;
    return limit - this.#total - (few ? 0 : Math.floor(RESERVED * limit));
  }

  #levelMay(group: string, level: number, free: number): boolean {
    return free >= 1 && this.of(group) < (FACTORS[level] ?? 1) * free;
  }

  take(groups: Groups): void {
    this.#total++;
    const [owner, process, prefix, host] = groups;
    if (this.of(process) < MOST_FOR_OWNER) this.#change(owner, 1);
    this.#change(process, 1);
    this.#change(prefix, 1);
    this.#change(host, 1);
  }

  /** Gives a place back that was taken for these groups. */
  giveBack(groups: Groups): void {
    this.#total--;
    const [owner, process, prefix, host] = groups;
    if (this.of(process) <= MOST_FOR_OWNER) this.#change(owner, -1);
    this.#change(process, -1);
    this.#change(prefix, -1);
    this.#change(host, -1);
  }

  #change(group: string, by: 1 | -1): void {
    const count = this.of(group) + by;
    if (count > 0) this.#taken.set(group, count);
    else this.#taken.delete(group);
  }
}
