/**
 * The opens that wait for a place, by whom they are for: everybody's turn comes, whatever the
 * others ask for.
 *
 *   owner -> process -> prefix -> host -> destination -> opens, in the order in which they came
 *
 * `next` goes round on each level: the group that has just had its turn is the last one next time.
 * A group that may have no place now is passed over with all that is in it.
 *
 * Limit: when there are too many, the oldest one of the process that has the most waiting, of the
 * owner that has the most, makes room for the new one (`crowded`). So nobody is kept out by others.
 */
import { type Groups, LEVELS } from './openshares.ts';

export interface WaitingOpen {
  readonly request: { groups: Groups; readonly destination: string };
  /** Its owner is known, so it may have a turn. */
  ready: boolean;
}

interface Group<T> {
  readonly key: string;
  readonly groups: Map<string, Group<T>>;
  /** On the last level. */
  readonly opens: Set<T>;
}

/** Who decides about turns. */
export interface Turns<T> {
  /** Whether the group of this level may have a place now. */
  groupMay(group: string, level: number): boolean;
  /** Takes a place for it, if there is one. */
  take(open: T): boolean;
}

export class WaitingOpens<T extends WaitingOpen> {
  readonly #root: Group<T> = newGroup('');
  /** In the order in which they came. */
  readonly #all = new Set<T>();
  readonly #owners = new Map<string, Map<string, Set<T>>>();
  readonly #destinations = new Map<string, Set<T>>();

  get size(): number {
    return this.#all.size;
  }

  /** In the order in which they came. */
  get all(): ReadonlySet<T> {
    return this.#all;
  }

  add(open: T): void {
    this.#all.add(open);
    const { destination } = open.request;
    const toIt = this.#destinations.get(destination) ?? new Set<T>();
    this.#destinations.set(destination, toIt.add(open));
    this.#join(open);
  }

  delete(open: T): void {
    if (!this.#all.delete(open)) return;
    const { destination } = open.request;
    const toIt = this.#destinations.get(destination);
    toIt?.delete(open);
    if (toIt?.size === 0) this.#destinations.delete(destination);
    this.#leave(open);
  }

  /** Those that wait for this destination, in the order in which they came. */
  to(destination: string): ReadonlySet<T> | undefined {
    return this.#destinations.get(destination);
  }

  /** More is known about whose it is. */
  regroup(open: T, groups: Groups): void {
    // It keeps its turn.
    if (groups.every((group, level) => group === open.request.groups[level])) return;
    this.#leave(open);
    open.request.groups = groups;
    if (this.#all.has(open)) this.#join(open);
  }

  /** All that can be known is: it may have its turn. */
  ready(open: T): void {
    this.#leave(open);
    open.ready = true;
    if (this.#all.has(open)) this.#join(open);
  }

  /** Takes out the next one that gets a place; undefined: none does. */
  next(turns: Turns<T>): T | undefined {
    const open = walk(this.#root, 0, turns);
    if (open !== undefined) this.delete(open);
    return open;
  }

  /** The one that has to make room; undefined if none waits. */
  crowded(): T | undefined {
    const processes = most(this.#owners.values(), (of) =>
      [...of.values()].reduce((sum, { size }) => sum + size, 0),
    );
    const opens = most(processes?.values() ?? [], ({ size }) => size);
    return opens?.values().next().value;
  }

  #join(open: T): void {
    const { groups, destination } = open.request;
    const [owner, process] = groups;
    const processes = this.#owners.get(owner) ?? new Map<string, Set<T>>();
    this.#owners.set(owner, processes);
    const opens = processes.get(process) ?? new Set<T>();
    processes.set(process, opens);
    opens.add(open);
    if (!open.ready) return;
    let group = this.#root;
    for (const key of [...groups, destination]) {
      const narrower = group.groups.get(key) ?? newGroup<T>(key);
      group.groups.set(key, narrower);
      group = narrower;
    }
    group.opens.add(open);
  }

  #leave(open: T): void {
    const { groups, destination } = open.request;
    const [owner, process] = groups;
    const processes = this.#owners.get(owner);
    const opens = processes?.get(process);
    opens?.delete(open);
    if (opens?.size === 0) processes?.delete(process);
    if (processes?.size === 0) this.#owners.delete(owner);
    if (open.ready) prune(this.#root, [...groups, destination], open);
  }
}

function newGroup<T>(key: string): Group<T> {
  return { key, groups: new Map(), opens: new Set() };
}

function walk<T extends WaitingOpen>(
  group: Group<T>,
  level: number,
  turns: Turns<T>,
): T | undefined {
  // All opens of a destination are alike: if the first one gets no place, none does.
  const [first] = group.opens;
  if (first !== undefined) return turns.take(first) ? first : undefined;
  for (const narrower of group.groups.values()) {
    if (level < LEVELS.length && !turns.groupMay(narrower.key, level)) continue;
    const open = walk(narrower, level + 1, turns);
    if (open === undefined) continue;
    group.groups.delete(narrower.key);
    group.groups.set(narrower.key, narrower);
    return open;
  }
  return undefined;
}

/** Removes an open, and the groups that are empty then. */
function prune<T>(group: Group<T>, keys: readonly string[], open: T): void {
  const [key, ...rest] = keys;
  if (key === undefined) {
    group.opens.delete(open);
    return;
  }
  const narrower = group.groups.get(key);
  if (narrower === undefined) return;
  prune(narrower, rest, open);
  if (narrower.groups.size === 0 && narrower.opens.size === 0) group.groups.delete(key);
}

/** The one with the highest measure, the first of several. */
function most<V>(values: Iterable<V>, measure: (value: V) => number): V | undefined {
  let best: V | undefined;
  let highest = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    const is = measure(value);
    if (is <= highest) continue;
    best = value;
    highest = is;
  }
  return best;
}
