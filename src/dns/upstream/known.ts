/**
 * Remembers the names for which an address was the answer, so that a connection to the address can
 * still be decided on, and opened, by name.
 *
 *   upstream behind the jump host -> RecordingResolver -> cache -> server
 *                                          └─> KnownNames: 10.77.0.11 -> www.corp.example, ...
 *
 * Both the name that was asked for and the one that its aliases lead to are kept, for the record's
 * TTL and KEPT_AFTER_MS more: programs connect a little later than they ask, and may have been
 * answered from the cache.
 *
 * Answers from behind the jump host and answers from this machine's own resolvers are kept apart
 * (dns/server/nameservice.ts). Only those from behind the jump host decide what goes into the
 * tunnel. Otherwise the local resolvers could send connections for any address there, under any
 * name.
 *
 * Limits: MAX_KNOWN addresses, and MAX_NAMES_OF_AN_ADDRESS for each. Beyond them the one that was
 * answered longest ago is forgotten, and counted.
 */

import { LruMap } from '../../base/lrumap.ts';
import { isCanonicalName } from '../../net/name.ts';
import type { Observer } from '../../observe/observer.ts';
import type { UpstreamAnswer } from '../wire/compose.ts';
import { readMessage, Type } from '../wire/message.ts';
import type { Question } from '../wire/query.ts';
import { type AddressRecord, addressRecords } from './addresses.ts';
import type { Resolver } from './resolver.ts';

export const MAX_KNOWN = 16_384;
export const MAX_NAMES_OF_AN_ADDRESS = 8;
export const KEPT_AFTER_MS = 10_000;

export interface KnownNamesOptions {
  readonly observer: Observer;
  /** Milliseconds, monotonic. Default: performance.now */
  readonly now?: () => number;
}

export class KnownNames {
  readonly #now: () => number;
  readonly #forgotten: () => void;
  /** By address: names to when they expire. */
  readonly #names: LruMap<string, LruMap<string, number>>;

  constructor({ observer, now = () => performance.now() }: KnownNamesOptions) {
    this.#now = now;
    this.#forgotten = () => observer.count('tunnel_dns_known_over_limit_total');
    this.#names = new LruMap({ limit: MAX_KNOWN, evicted: this.#forgotten });
  }

  /** The names of a canonical address, the most recently answered first. */
  of(address: string): string[] {
    const known = this.#names.peek(address);
    if (known === undefined) return [];
    const now = this.#now();
    return [...known]
      .filter(([, expires]) => expires > now)
      .map(([name]) => name)
      .reverse();
  }

  /** Ignores a name that isn't a valid host name, because names kept here may be dialled. */
  add(name: string, { address, ttl }: Pick<AddressRecord, 'address' | 'ttl'>): void {
    if (!isCanonicalName(name)) return;
    let names = this.#names.get(address);
    if (names === undefined) {
      names = new LruMap({ limit: MAX_NAMES_OF_AN_ADDRESS, evicted: this.#forgotten });
      this.#names.set(address, names);
    }
    names.set(name, this.#now() + ttl * 1000 + KEPT_AFTER_MS);
  }
}

/**
 * A tunnel's book of names. Resolvers write to it; the policy and the connector, which decide on
 * and open connections by name, read it. It exists from the start, before any query is answered.
 */
export class NameBook {
  /** What resolvers behind the jump host have answered: decides what goes into the tunnel. */
  readonly behind: KnownNames;
  /** What this machine's own resolvers have answered, if that is kept. */
  readonly here: KnownNames;
  #own: readonly string[] = [];

  constructor(options: KnownNamesOptions) {
    this.behind = new KnownNames(options);
    this.here = new KnownNames(options);
  }

  /** The names for which resolvers behind the jump host have answered a canonical address. */
  namesOf(address: string): readonly string[] {
    return this.behind.of(address);
  }

  /**
   * Those names, and the ones from this machine's own resolvers. Use them only for connections past
   * the tunnel, never to send something into it.
   */
  namesPastTunnel(address: string): readonly string[] {
    return [...this.behind.of(address), ...this.here.of(address)];
  }

  /**
   * The names that are resolved to find the jump host, canonical. Only this machine's own resolvers
   * can be asked for them.
   */
  get own(): readonly string[] {
    return this.#own;
  }

  setOwn(names: readonly string[]): void {
    this.#own = names;
  }
}

/** Passes answers on, and records their addresses. */
export class RecordingResolver implements Resolver {
  readonly #upstream: Resolver;
  readonly #known: KnownNames;

  constructor(upstream: Resolver, known: KnownNames) {
    this.#upstream = upstream;
    this.#known = known;
  }

  async resolve(question: Question): Promise<UpstreamAnswer> {
    const answer = await this.#upstream.resolve(question);
    if (question.type === Type.A || question.type === Type.AAAA) {
      for (const record of addressRecords(answer.message, readMessage(answer.message))) {
        this.#known.add(record.owner, record);
        this.#known.add(question.name, record);
      }
    }
    return answer;
  }

  close(): void {
    this.#upstream.close();
  }
}
