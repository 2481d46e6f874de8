/**
 * Limits how many flows are being opened at a time, and shares these places. It sits between the
 * callers of connect() and the transport that opens the channels.
 *
 *   connect() -> prohibited a moment ago? -> refused at once
 *             -> a place (openplaces.ts)  -> the transport; the place is taken until it answers
 *             -> none                     -> whose it is, is looked up, then it waits its turn
 *                                            (waitingopens.ts)
 *
 *   waits -> a place  -> the transport
 *         -> its owner was not found -> is looked for again (ownersearch.ts)
 *         -> given up -> leaves
 *         -> WAIT_MS  -> "timeout": the application sees silence, as from its destination
 *         -> too many wait, and its own group has the most -> BusyError: put off, or refused
 *
 * An open can't be withdrawn. A caller that gives up gets its answer at once, but the place stays
 * taken until the server answers, and counts towards the share of whoever asked.
 *
 * While few places are taken, or none is silent, it hardly matters whose an open is. Else
 * (`contended`), the user of a socket of this machine is found first, and for our own user the
 * process, which takes a moment (opensources.ts): places that nobody knows the owner of can't be
 * shared.
 *
 * When opens wait and the server is silent, a message says once who holds the places. If names
 * wait, the server is also asked for something that it refuses at once (MARKER): its answer shows
 * that the lookups before it are over (openplaces.ts).
 *
 * A destination that the server has prohibited will be prohibited again, so a program that tries in
 * a loop doesn't make us ask each time.
 */
import { isIP } from 'node:net';
import { type Clock, type ClockTimer, systemClock } from '../base/clock.ts';
import type { GiveUpSignal } from '../base/giveup.ts';
import { LruMap } from '../base/lrumap.ts';
import type { Conduit } from '../flow/conduit.ts';
import {
  BusyError,
  ConnectError,
  type ConnectOptions,
  type Connector,
  LinkGoneError,
  ServerShortError,
} from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import type { SocketSource } from '../system/socketsources.ts';
import { AnsweredDestinations } from './answereddestinations.ts';
import type { OpensView } from './linkstate.ts';
import { OpenPlaces, type OpenRequest, type Outcome, type Place } from './openplaces.ts';
import { groupsOf, groupsOfUser, type SourceFinder } from './opensources.ts';
import { OpenStall } from './openstall.ts';
import { type Found, OwnerSearch } from './ownersearch.ts';
import { WaitingOpens } from './waitingopens.ts';

/**
 * Opens that wait for a place. With those that have one fewer than the device holds (MAX_HELD of
 * capture/tun/endpoint.ts), which doesn't know whose they are.
 */
export const MAX_WAITING_OPENS = 2048;
/** For how long one waits. */
export const WAIT_MS = 60_000;
/** For how long nobody is looked for while nothing is silent. */
const BURST_MS = 200;
/** How often the waiting ones are looked at. */
const LOOK_MS = 250;
/** A lookup that takes longer than this may be over without our knowing. */
const LOOKUP_MS = 500;
/** How long a prohibition by the server is remembered, and for how many destinations. */
export const PROHIBITED_MS = 5_000;
export const MAX_PROHIBITED = 1024;
/** Nobody can listen on port 0, so a server refuses it whatever it permits. */
export const MARKER: Destination = { host: '127.0.0.1', port: 0 };

export interface OpenQueueOptions {
  readonly connector: Connector;
  readonly observer: Observer;
  /** Default: systemClock. */
  readonly clock?: Clock | undefined;
  /** What earlier links have shown. Default: nothing yet. */
  readonly answered?: AnsweredDestinations | undefined;
  /** Default: all opens of this machine count as one user's. */
  readonly finder?: SourceFinder | undefined;
  /** Tells stalls, of all links. Default: a new one. */
  readonly stall?: OpenStall | undefined;
}

/** Is told when an open has its place, and the transport is asked. */
interface OpenWatch {
  sent(): void;
}

interface Waiting {
  readonly request: OpenRequest;
  readonly destination: Destination;
  readonly since: number;
  /** undefined: it is not known to have an owner that can be found. */
  readonly search: OwnerSearch | undefined;
  ready: boolean;
  place: Place | undefined;
  start(place: Place): void;
  refuse(error: ConnectError): void;
}

/** Whose it is, if that is not known yet. */
interface Owner {
  readonly search: OwnerSearch;
  /** `missed`: the first look is over. */
  readonly found: SocketSource | Promise<SocketSource | undefined> | 'missed';
}

export class OpenQueue implements Connector {
  readonly #connector: Connector;
  readonly #observer: Observer;
  readonly #clock: Clock;
  readonly #finder: SourceFinder | undefined;
  readonly #stall: OpenStall;
  readonly #places: OpenPlaces;
  readonly #waiting = new WaitingOpens<Waiting>();
  /** Destinations that have answered lately, for which opens wait. */
  readonly #hopeful = new Set<string>();
  #serving = false;
  #looking: ClockTimer | undefined;
  /** A marker is on its way. */
  #marking = false;
  /** By destination: until when the prohibition is remembered. */
  readonly #prohibited: LruMap<string, { readonly until: number; readonly error: ConnectError }>;
  readonly #connectionEnded = (): void => {
    this.#places.connections(-1);
    this.#serveSoon();
  };

  constructor(options: OpenQueueOptions) {
    const { observer, clock = systemClock } = options;
    this.#connector = options.connector;
    this.#observer = observer;
    this.#clock = clock;
    this.#finder = options.finder;
    this.#stall = options.stall ?? new OpenStall(observer);
    this.#places = new OpenPlaces(options.answered ?? rememberAnswers(observer));
    this.#prohibited = new LruMap({
      limit: MAX_PROHIBITED,
      evicted: () => observer.count('tunnel_opens_prohibited_forgotten_total'),
    });
  }

  get view(): OpensView {
    return { waiting: this.#waiting.size, unanswered: this.#places.total };
  }

  connect(
    destination: Destination,
    options: ConnectOptions = {},
    watch?: OpenWatch,
  ): Promise<Conduit> {
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const text = formatDestination(destination);
    const prohibited = this.#prohibited.peek(text);
    if (prohibited !== undefined && prohibited.until > this.#clock.now()) {
      this.#observer.count('tunnel_opens_known_prohibited_total');
      return Promise.reject(prohibited.error);
    }
    // Who has waited longer comes first.
    if (this.#serving) this.#serve();
    const request: OpenRequest = {
      groups: groupsOf(destination, options.originator, this.#finder),
      destination: text,
      name: isIP(destination.host) === 0 ? destination.host : undefined,
    };
    const now = this.#clock.now();
    const { contended } = this.#places;
    let place = this.#places.take(request, now, contended);
    if (place !== undefined) return this.#open(place, destination, options, watch);
    const look = this.#lookFor(destination, options);
    let owner: Owner | undefined;
    if (look !== undefined)
      owner = contended
        ? identify(request, destination, look)
        : { search: new OwnerSearch(look), found: this.#later(request, look) };
    if (owner === undefined || owner.found === 'missed') place = this.#places.take(request, now);
    if (place !== undefined) return this.#open(place, destination, options, watch);
    return this.#turn(request, destination, { signal, owner }).then((taken) =>
      this.#open(taken, destination, options, watch),
    );
  }

  /** Looks for whoever has the socket; undefined: it is none of this machine's. */
  #lookFor(
    destination: Destination,
    { originator, peer = destination }: ConnectOptions,
  ): (() => Found) | undefined {
    const finder = this.#finder;
    if (originator === undefined || !finder?.isHere(originator.host)) return undefined;
    return () => finder.sourceOf(originator, peer);
  }

  /** A burst to what is good is served before anybody is looked for. */
  #later(request: OpenRequest, look: () => Found): Promise<SocketSource | undefined> {
    return new Promise((resolve) => {
      this.#clock.after(BURST_MS, () => {
        const waits = this.#waiting.to(request.destination) !== undefined;
        resolve(waits ? look() : undefined);
      });
    });
  }

  /**
   * Opens a flow in a place that was taken for it; frees the place when the transport has answered.
   * Rejects with the signal's reason as soon as it is aborted; a flow that opens after that is
   * closed.
   */
  #open(
    place: Place,
    destination: Destination,
    options: ConnectOptions,
    watch: OpenWatch | undefined,
  ): Promise<Conduit> {
    const { signal } = options;
    return new Promise((resolve, reject) => {
      // It may have been aborted since its turn came.
      if (signal?.aborted) {
        this.#answered(place, 'unanswered');
        reject(signal.reason);
        return;
      }
      const abort = (): void => {
        this.#observer.count('tunnel_opens_given_up_total');
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort, { once: true });
      watch?.sent();
      // Without the signal: an open can't be withdrawn.
      this.#connector.connect(destination, { ...options, signal: undefined }).then(
        (conduit) => {
          signal?.removeEventListener('abort', abort);
          this.#places.connections(1);
          conduit.whenOver(this.#connectionEnded);
          this.#answered(place, 'opened');
          if (signal?.aborted) conduit.abort(undefined);
          else resolve(conduit);
        },
        (error: unknown) => {
          signal?.removeEventListener('abort', abort);
          reject(this.#failed(place, error));
        },
      );
    });
  }

  /** Returns what the caller is told. */
  #failed(place: Place, error: unknown): unknown {
    const { destination } = place.request;
    const short = error instanceof ServerShortError && this.#places.short();
    if (error instanceof ConnectError && error.refusal === 'prohibited')
      this.#prohibited.set(destination, { until: this.#clock.now() + PROHIBITED_MS, error });
    const byServer =
      error instanceof ConnectError &&
      !(error instanceof LinkGoneError) &&
      !(error instanceof BusyError);
    this.#answered(place, byServer ? 'refused' : 'unanswered');
    if (!short) return error;
    this.#observer.count('tunnel_opens_server_short_total');
    return new BusyError(
      `${destination}: the jump host seems to have no descriptors left; ${this.#stall.describe(this.#places)}`,
      { hint: 'the limit of open files of its sshd may be low (LimitNOFILE)', cause: error },
    );
  }

  /** Gives the place back. */
  #answered(place: Place, outcome: Outcome): void {
    this.#places.answered(place, outcome, this.#clock.now());
    if (this.#waiting.size === 0) return;
    if (outcome === 'opened') this.#hope(place.request.destination);
    this.#serveSoon();
  }

  #hope(destination: string): void {
    if (this.#waiting.to(destination) !== undefined) this.#hopeful.add(destination);
  }

  /** Resolves when a place has been taken. */
  #turn(
    request: OpenRequest,
    destination: Destination,
    {
      signal,
      owner,
    }: { readonly signal: GiveUpSignal | undefined; readonly owner: Owner | undefined },
  ): Promise<Place> {
    this.#observer.count('tunnel_opens_delayed_total');
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(waiting);
        signal?.removeEventListener('abort', abort);
      };
      const abort = (): void => {
        leave();
        reject(signal?.reason);
      };
      const waiting: Waiting = {
        request,
        destination,
        since: this.#clock.now(),
        search: owner?.search,
        ready: owner === undefined || owner.found === 'missed',
        place: undefined,
        start: (place) => {
          leave();
          resolve(place);
        },
        refuse: (error) => {
          leave();
          reject(error);
        },
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.add(waiting);
      if (this.#waiting.size > MAX_WAITING_OPENS) this.#makeRoom();
      this.#looking ??= this.#clock.after(LOOK_MS, () => this.#look());
      if (this.#places.trusts(request.destination, this.#clock.now()))
        this.#hope(request.destination);
      if (owner?.found === 'missed') this.#missed(waiting);
      else if (owner !== undefined) void this.#find(waiting, owner.found);
    });
  }

  /** May be called again while it waits. What was known stays known. */
  async #find(waiting: Waiting, found: Found): Promise<void> {
    const { destination } = waiting;
    const source = await found;
    const process = await this.#processOf(waiting, source);
    if (source !== undefined || !waiting.ready)
      this.#waiting.regroup(waiting, groupsOfUser(destination, source?.user, process));
    if (!isFound(source, process)) this.#missed(waiting);
    if (!waiting.ready) this.#waiting.ready(waiting);
    this.#serveSoon();
  }

  /** Meanwhile it counts as one of its user's. */
  #processOf(
    waiting: Waiting,
    source: SocketSource | undefined,
  ): Promise<string | undefined> | undefined {
    if (source?.process === undefined) return undefined;
    this.#waiting.regroup(waiting, groupsOfUser(waiting.destination, source.user, undefined));
    return source.process;
  }

  #missed({ search }: Waiting): void {
    if (search?.missed(this.#clock.now()) !== true)
      this.#observer.count('tunnel_opens_unknown_total');
  }

  /** Those that wait, and whose owners the last look has not shown. */
  #findAgain(now: number): void {
    for (const waiting of this.#waiting.all) {
      if (waiting.search?.due(now) !== true) continue;
      this.#observer.count('tunnel_opens_looks_again_total');
      void this.#find(waiting, waiting.search.again());
    }
  }

  /** Whoever has most waiting has one less. */
  #makeRoom(): void {
    this.#observer.count('tunnel_opens_over_limit_total');
    const crowded = this.#waiting.crowded();
    crowded?.refuse(
      new BusyError(
        `${crowded.request.destination}: ${MAX_WAITING_OPENS} connections are waiting to be opened, which is the limit`,
        { hint: 'the destinations or the name servers behind the jump host may not answer' },
      ),
    );
  }

  /** Once for all answers that come together. */
  #serveSoon(): void {
    if (this.#serving || this.#waiting.size === 0) return;
    this.#serving = true;
    queueMicrotask(() => {
      if (this.#serving) this.#serve();
    });
  }

  /** Gives places to all who may have one. */
  #serve(): void {
    this.#serving = false;
    const now = this.#clock.now();
    const places = this.#places;
    const take = (waiting: Waiting): boolean => {
      waiting.place = waiting.ready ? places.take(waiting.request, now) : undefined;
      return waiting.place !== undefined;
    };
    for (const destination of this.#hopeful) {
      if (!places.trusts(destination, now)) this.#hopeful.delete(destination);
      for (const waiting of this.#waiting.to(destination) ?? []) {
        waiting.place = places.take(waiting.request, now, !waiting.ready);
        if (waiting.place === undefined) break;
        waiting.start(waiting.place);
      }
      if (this.#waiting.to(destination) === undefined) this.#hopeful.delete(destination);
    }
    const turns = {
      groupMay: (group: string, level: number) => places.groupMay(group, level),
      take: (waiting: Waiting) => places.destinationMay(waiting.request) && take(waiting),
    };
    for (;;) {
      const next = this.#waiting.next(turns);
      if (next?.place === undefined) return;
      next.start(next.place);
    }
  }

  /** Regularly, while some wait. */
  #look(): void {
    this.#looking = undefined;
    const now = this.#clock.now();
    this.#places.age(now);
    for (const waiting of this.#waiting.all) {
      if (now - waiting.since < WAIT_MS) break;
      this.#observer.count('tunnel_opens_wait_timeouts_total');
      waiting.refuse(
        new ConnectError(
          'timeout',
          `${waiting.request.destination}: no place to open it within ${WAIT_MS / 1000} s: ${this.#stall.describe(this.#places)}`,
        ),
      );
    }
    const [longest] = this.#waiting.all;
    if (longest === undefined) return;
    this.#findAgain(now);
    this.#stall.look(this.#places, now - longest.since, this.#waiting.size, now);
    if ([...this.#waiting.all].some(({ request }) => request.name !== undefined)) this.#mark(now);
    this.#serveSoon();
    this.#looking = this.#clock.after(LOOK_MS, () => this.#look());
  }

  /** Finds out whether lookups are over, if none has been answered for a while. */
  #mark(now: number): void {
    const { oldestLookup } = this.#places;
    if (this.#marking || oldestLookup === undefined || now - oldestLookup < LOOKUP_MS) return;
    this.#marking = true;
    const over = (): void => {
      this.#marking = false;
      this.#places.reached(now);
      this.#serveSoon();
    };
    this.#observer.count('tunnel_opens_markers_total');
    this.#connector.connect(MARKER).then((conduit) => {
      conduit.abort(undefined);
      over();
    }, over);
  }
}

/**
 * Looks for whose it is, and sets its groups. Returns what is not known at once; undefined: all is.
 */
function identify(
  request: OpenRequest,
  destination: Destination,
  look: () => Found,
): Owner | undefined {
  const found = look();
  const isPending = found instanceof Promise;
  if (!isPending) request.groups = groupsOfUser(destination, found?.user, undefined);
  if (!isPending && isFound(found, undefined)) return undefined;
  return { search: new OwnerSearch(look), found: found ?? 'missed' };
}

/** Whether all is known that can be: the process, too, if it is one of our own user's. */
function isFound(source: SocketSource | undefined, process: string | undefined): boolean {
  return source !== undefined && (source.process === undefined || process !== undefined);
}

/** What has answered, for one link after another. */
export function rememberAnswers(observer: Observer): AnsweredDestinations {
  return new AnsweredDestinations(() => observer.count('tunnel_opens_answered_forgotten_total'));
}
