/**
 * Keeps answers for as long as their TTLs say, negative answers included (RFC 2308), and failures
 * for a second (RFC 9520). Equal questions at the same time become one query.
 *
 * Answers are kept as octets and served by patching a copy (dns/wire/compose.ts), so a hit costs
 * microseconds.
 *
 * Limits: MAX_ENTRIES and MAX_BYTES. Beyond them the least recently used entry is evicted, and
 * counted.
 */
import { LruMap } from '../../base/lrumap.ts';
import type { Observer } from '../../observe/observer.ts';
import type { UpstreamAnswer } from '../wire/compose.ts';
import { readMessage } from '../wire/message.ts';
import type { Question } from '../wire/query.ts';
import { FAILURE_TTL, lifetime, type Resolver } from './resolver.ts';

export const MAX_ENTRIES = 10_000;
const MAX_BYTES = 8 * 1024 * 1024;

interface Entry {
  readonly answer: UpstreamAnswer | { readonly error: unknown };
  /** Both in ms of `now`. */
  readonly storedAt: number;
  readonly expiresAt: number;
}

export interface CachingResolverOptions {
  readonly upstream: Resolver;
  readonly observer: Observer;
  /** Milliseconds, monotonic. Default: performance.now */
  readonly now?: () => number;
}

export class CachingResolver implements Resolver {
  readonly #upstream: Resolver;
  readonly #observer: Observer;
  readonly #now: () => number;
  readonly #entries: LruMap<string, Entry>;
  readonly #pending = new Map<string, Promise<UpstreamAnswer>>();

  constructor({ upstream, observer, now = () => performance.now() }: CachingResolverOptions) {
    this.#upstream = upstream;
    this.#observer = observer;
    this.#now = now;
    this.#entries = new LruMap({
      limit: MAX_ENTRIES,
      weight: { limit: MAX_BYTES, of: sizeOf },
      evicted: () => observer.count('tunnel_dns_cache_evictions_total'),
    });
  }

  resolve(question: Question): Promise<UpstreamAnswer> {
    const entry = this.#fresh(question.key);
    if (entry !== undefined) {
      this.#observer.count('tunnel_dns_cache_hits_total');
      const { answer } = entry;
      if ('error' in answer) return Promise.reject(answer.error);
      return Promise.resolve({ ...answer, age: Math.floor((this.#now() - entry.storedAt) / 1000) });
    }
    let pending = this.#pending.get(question.key);
    if (pending === undefined) {
      pending = this.#ask(question).finally(() => this.#pending.delete(question.key));
      this.#pending.set(question.key, pending);
    }
    return pending;
  }

  close(): void {
    this.#upstream.close();
  }

  async #ask(question: Question): Promise<UpstreamAnswer> {
    try {
      const answer = await this.#upstream.resolve(question);
      const seconds = lifetime(answer.message, readMessage(answer.message), question, answer.rcode);
      if (seconds > 0) this.#store(question.key, answer, seconds);
      return answer;
    } catch (error) {
      this.#store(question.key, { error }, FAILURE_TTL);
      throw error;
    }
  }

  #fresh(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.expiresAt > this.#now()) return entry;
    this.#entries.delete(key);
    return undefined;
  }

  #store(key: string, answer: Entry['answer'], seconds: number): void {
    const storedAt = this.#now();
    this.#entries.set(key, { answer, storedAt, expiresAt: storedAt + seconds * 1000 });
  }
}

function sizeOf({ answer }: Entry): number {
  return 'error' in answer ? 0 : answer.message.length;
}
