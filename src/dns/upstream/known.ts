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
 * (dns/server/names.ts). Only the former decides what goes into the tunnel: the latter could
 * otherwise send connections for any address there, under any name.
 *
 * Limits: MAX_KNOWN addresses, beyond which the one that was answered longest ago goes;
 * MAX_NAMES_OF_AN_ADDRESS. Counted.
 */
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
  readonly #observer: Observer;
  readonly #now: () => number;
  /** By address, the one that was answered longest ago first: names to when they expire. */
  readonly #names = new Map<string, Map<string, number>>();

  constructor({ observer, now = () => performance.now() }: KnownNamesOptions) {
    this.#observer = observer;
    this.#now = now;
  }

  /** Addresses that are known. */
  get size(): number {
    return this.#names.size;
  }

  /** The names of a canonical address, the one that was answered last first. */
  of(address: string): string[] {
    const now = this.#now();
    const names = [...(this.#names.get(address) ?? [])];
    return names
      .filter(([, expires]) => expires > now)
      .map(([name]) => name)
      .reverse();
  }

  add(name: string, { address, ttl }: Pick<AddressRecord, 'address' | 'ttl'>): void {
    const names = this.#names.get(address) ?? new Map<string, number>();
    this.#names.delete(address);
    this.#names.set(address, names);
    names.delete(name);
    names.set(name, this.#now() + ttl * 1000 + KEPT_AFTER_MS);
    if (names.size > MAX_NAMES_OF_AN_ADDRESS) dropOldest(names);
    if (this.#names.size <= MAX_KNOWN) return;
    this.#observer.count('tunnel_dns_known_over_limit_total');
    dropOldest(this.#names);
  }
}

function dropOldest(map: Map<string, unknown>): void {
  const [oldest] = map.keys();
  if (oldest !== undefined) map.delete(oldest);
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
