/**
 * The places for opens that the jump host has not answered: who gets one. Pure; time is passed in.
 *
 * SSH can't withdraw an open. One to a silent destination takes a descriptor and a channel of sshd
 * until connect(2) gives up there, about 130 s later, whether or not anybody still waits for it. So
 * the places are divided before they are taken, and an open that was given up keeps its place, in
 * the share of whoever asked for it.
 *
 *   take() -> trusted   the destination has answered lately (answereddestinations.ts): the opens
 *                       under way to it may be as many as its answers, and LEAST_TRUST in any case
 *          -> untried   all others, at most UNTRIED_SHARE of what the server can have open
 *          -> none      the shares of its groups are used up (openshares.ts): it waits
 *
 *   place   fresh -- SILENT_MS without an answer --> silent: the destination is not trusted any
 *     |       |                                      more, and gets MAX_SILENT such opens at most
 *     `-------`-- answered() --> given back, once
 *
 * What sshd can have open is its limit of descriptors, and nothing tells it: ASSUMED_DESCRIPTORS,
 * of the usual 1024, until more have been seen at a time, or until it has said that it has no more
 * (`short`). Connections that are open take descriptors, too.
 *
 * Opens by name cost more: sshd looks a name up with getaddrinfo(3), during which it does nothing
 * else. So few are looked up at a time, and fewer of one name. sshd handles opens in order: an
 * answer to a later one shows that a lookup is over.
 */
import { LinkedList, ListEntry } from '../base/linkedlist.ts';
import type { AnsweredDestinations } from './answereddestinations.ts';
import { type Groups, OpenShares } from './openshares.ts';

/** Opens that the server is asked for at a time. */
export const MAX_OPENS = 2048;
/** How many of these may be looking a name up, and how many of those the same name. */
export const MAX_OPENS_BY_NAME = 32;
export const MAX_OPENS_OF_A_NAME = 8;
/** What an sshd with 1024 descriptors has for connections. */
export const ASSUMED_DESCRIPTORS = 1000;
/** Of these, what opens to destinations may take that have not answered lately. */
export const UNTRIED_SHARE = 3 / 4;
/** Whatever is open already. */
export const LEAST_UNTRIED = 64;
/** Opens to one destination that may be under way although it answered only once. */
export const LEAST_TRUST = 16;
/** After this many milliseconds without an answer an open counts as silent. */
export const SILENT_MS = 2_000;
/** Silent opens to one destination. */
export const MAX_SILENT = 16;
/** With fewer connections, a server that says it has no descriptors means something else. */
const LEAST_SHORT = 128;
/**
 * An answer to an open that was sent this much later shows that a lookup is over: through the
 * system's ssh, opens may overtake each other by a moment.
 */
const ORDER_MS = 50;

/** What somebody asks for. */
export interface OpenRequest {
  groups: Groups;
  /** Host and port, as text. */
  readonly destination: string;
  /** undefined: the host is an address. */
  readonly name: string | undefined;
}

/** A place that is taken. */
export class Place {
  readonly request: OpenRequest;
  readonly groups: Groups;
  readonly trusted: boolean;
  readonly since: number;
  silent = false;
  /** For OpenPlaces: among those that are not silent, and among lookups. */
  readonly fresh = new ListEntry<Place>(this);
  readonly lookup: ListEntry<Place> | undefined;

  constructor(request: OpenRequest, trusted: boolean, since: number) {
    this.request = request;
    this.groups = request.groups;
    this.trusted = trusted;
    this.since = since;
    this.lookup = request.name === undefined ? undefined : new ListEntry<Place>(this);
  }
}

/** `opened`, `refused`: by the server. `unanswered`: by something else, such as the link's end. */
export type Outcome = 'opened' | 'refused' | 'unanswered';

export class OpenPlaces {
  readonly #answered: AnsweredDestinations;
  readonly #trusted = new OpenShares();
  readonly #untried = new OpenShares();
  /** Not silent yet, the oldest first. */
  readonly #fresh = new LinkedList<Place>();
  readonly #silent = new Set<Place>();
  /** By destination. */
  readonly #trustedTo = new Map<string, number>();
  readonly #silentTo = new Map<string, number>();
  /** Of names that may still be being looked up, the oldest first. */
  readonly #lookups = new LinkedList<Place>();
  readonly #lookupsOf = new Map<string, number>();
  /** The most connections that were seen at a time, opens under way among them. */
  #seen = ASSUMED_DESCRIPTORS;
  /** What the server has said it can't exceed. */
  #ceiling = Number.POSITIVE_INFINITY;
  /** Connections that are open. */
  #open = 0;

  constructor(answered: AnsweredDestinations) {
    this.#answered = answered;
  }

  /** Opens that are under way. */
  get total(): number {
    return this.#trusted.total + this.#untried.total;
  }

  /** All that the server has not answered, the oldest first. */
  get taken(): Iterable<Place> {
    return [...this.#silent, ...this.#fresh.values];
  }

  /** Of these, how many have been silent for a while. */
  get silent(): number {
    return this.#silent.size;
  }

  /** Whether so many places are taken, by what is silent among others, that it matters by whom. */
  get contended(): boolean {
    return this.#silent.size > 0 && 3 * this.#untried.total >= this.untriedLimit;
  }

  /** How many opens there may be. */
  get limit(): number {
    return Math.min(MAX_OPENS, Math.max(this.#ceiling - this.#open, LEAST_UNTRIED));
  }

  /** Of these, to destinations that have not answered lately. */
  get untriedLimit(): number {
    const descriptors = Math.min(this.#seen, this.#ceiling) - this.#open;
    const share = Math.floor(UNTRIED_SHARE * descriptors);
    return Math.min(UNTRIED_SHARE * MAX_OPENS, Math.max(share, LEAST_UNTRIED));
  }

  /** Finds out which opens are silent now. */
  age(now: number): void {
    for (let place = this.#fresh.first; place !== undefined; place = this.#fresh.first) {
      if (now - place.since < SILENT_MS) break;
      const { destination } = place.request;
      this.#fresh.delete(place.fresh);
      this.#silent.add(place);
      place.silent = true;
      add(this.#silentTo, destination, 1);
      this.#answered.silent(destination);
    }
    // The server has had time to say that it has no descriptor for them.
    const seen = this.#open + this.#silent.size;
    if (seen > this.#seen) this.#seen = seen;
  }

  /** When the oldest lookup began that may still go on. */
  get oldestLookup(): number | undefined {
    return this.#lookups.first?.since;
  }

  /**
   * Takes a place. undefined: there is none for it now. `trustedOnly`: none of those for what has
   * not answered lately.
   */
  take(request: OpenRequest, now: number, trustedOnly = false): Place | undefined {
    this.age(now);
    if (!this.destinationMay(request)) return undefined;
    const trusted = this.#mayTrust(request, now);
    if (!trusted && (trustedOnly || !this.#mayTry(request.groups))) return undefined;
    const place = new Place(request, trusted, now);
    (trusted ? this.#trusted : this.#untried).take(place.groups);
    this.#fresh.add(place.fresh);
    if (trusted) add(this.#trustedTo, request.destination, 1);
    if (request.name !== undefined && place.lookup !== undefined) {
      this.#lookups.add(place.lookup);
      add(this.#lookupsOf, request.name, 1);
    }
    return place;
  }

  /** Gives the place back. Call it once for each. */
  answered(place: Place, outcome: Outcome, now: number): void {
    const { request } = place;
    this.#fresh.delete(place.fresh);
    if (place.silent && this.#silent.delete(place)) add(this.#silentTo, request.destination, -1);
    (place.trusted ? this.#trusted : this.#untried).giveBack(place.groups);
    if (place.trusted) add(this.#trustedTo, request.destination, -1);
    this.#lookedUp(place);
    if (outcome === 'unanswered') return;
    this.reached(place.since);
    if (outcome !== 'opened') return;
    // It was asked for when as many were open as the server is said not to exceed.
    if (this.#open + this.total >= this.#ceiling) this.#ceiling = Number.POSITIVE_INFINITY;
    if (now - place.since < SILENT_MS) this.#answered.opened(request.destination, now);
  }

  /** The server has answered what was sent at this time, so lookups from before it are over. */
  reached(sent: number): void {
    for (let earlier = this.#lookups.first; earlier; earlier = this.#lookups.first) {
      if (earlier.since > sent - ORDER_MS) break;
      this.#lookedUp(earlier);
    }
  }

  /** A connection has opened, or has ended. */
  connections(change: 1 | -1): void {
    this.#open += change;
  }

  /**
   * The server may have no descriptors left. Returns whether that is likely; the limits then follow
   * it.
   */
  short(): boolean {
    const used = this.#open + this.total;
    if (used < LEAST_SHORT || this.#silent.size === 0) return false;
    this.#ceiling = Math.min(this.#ceiling, used);
    return true;
  }

  /** Whether the destination itself admits another open, whoever asks for it. */
  destinationMay({ destination, name }: OpenRequest): boolean {
    if ((this.#silentTo.get(destination) ?? 0) >= MAX_SILENT) return false;
    if (name === undefined) return true;
    return (
      this.#lookups.size < MAX_OPENS_BY_NAME &&
      (this.#lookupsOf.get(name) ?? 0) < MAX_OPENS_OF_A_NAME
    );
  }

  /** Whether the group may have another place for an untried destination. */
  groupMay(group: string, level: number): boolean {
    return this.total < this.limit && this.#untried.groupMay(group, level, this.untriedLimit);
  }

  /** Whether the destination has answered lately. */
  trusts(destination: string, now: number): boolean {
    return this.#answered.lately(destination, now) > 0;
  }

  #mayTrust({ destination, groups }: OpenRequest, now: number): boolean {
    const answers = this.#answered.lately(destination, now);
    if (answers === 0) return false;
    const trust = Math.max(LEAST_TRUST, answers);
    return (
      (this.#trustedTo.get(destination) ?? 0) < trust &&
      this.#trusted.may(groups, this.limit - this.#untried.total)
    );
  }

  #mayTry(groups: Groups): boolean {
    return this.total < this.limit && this.#untried.may(groups, this.untriedLimit);
  }

  #lookedUp(place: Place): void {
    const { lookup } = place;
    const { name } = place.request;
    if (name !== undefined && lookup !== undefined && this.#lookups.delete(lookup))
      add(this.#lookupsOf, name, -1);
  }
}

function add(counts: Map<string, number>, key: string, change: number): void {
  const count = (counts.get(key) ?? 0) + change;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
}
