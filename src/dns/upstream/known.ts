/**
 * Which names an address was answered for: so that a connection to the address can still be
 * decided, and opened, by name.
 *
 *   upstream behind the jump host -> RecordingResolver -> cache -> server
 *                                          └─> KnownNames: 10.77.0.11 -> www.corp.example, ...
 *
 * Both the name that was asked for and the one that its aliases lead to are kept, for as long as
 * the record's TTL says, and KEPT_AFTER_MS more, because programs connect a little later than they
 * ask, and may have been answered out of the cache.
 *
 * What resolvers behind the jump host say and what this machine's own say are kept apart
 * (dns/server/nameservice.ts). Only the former decides what goes into the tunnel: the latter could
 * otherwise send connections for any address there, under any name.
 *
 * Limits: MAX_KNOWN addresses, beyond which the one that was answered longest ago goes;
 * MAX_NAMES_OF_AN_ADDRESS. Counted.
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

  /** The names of a canonical address, the one that was answered last first. */
  of(address: string): string[] {
    const now = this.#now();
    const names = [...(this.#names.peek(address) ?? [])];
    return names
      .filter(([, expires]) => expires > now)
      .map(([name]) => name)
      .reverse();
  }

  /** A name that no host has is not kept: what is kept may be dialled. */
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
 * The book of names of a tunnel. It is there from the start, also before anybody answers queries:
 * what decides and opens connections by name reads in it, and resolvers write into it.
 */
export class NameBook {
  /** What resolvers behind the jump host have answered: decides what goes into the tunnel. */
  readonly behind: KnownNames;
  /** What this machine's own resolvers have answered, as far as that is kept. */
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
   * The same, and what this machine's own resolvers have said: good for what goes past the tunnel,
   * never for sending something into it.
   */
  namesPastTunnel(address: string): readonly string[] {
    return [...this.behind.of(address), ...this.here.of(address)];
  }

  /**
   * The names that are resolved to find the jump host, canonical: only this machine's own resolvers
   * can be asked for them.
   */
  get own(): readonly string[] {
    return this.#own;
  }

  setOwn(names: readonly string[]): void {
    this.#own = names;
  }
}

/** Passes answers on, and keeps what they say. */
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
