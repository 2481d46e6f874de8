/**
 * Warnings about what the allow-list has denied: each destination once a minute, with the rule that
 * would permit it. A program that tries again and again, or scans a network, must not fill the log.
 */
import { LruMap } from '../base/lrumap.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';

/** Milliseconds between two messages about one destination. */
export const DENIAL_INTERVAL_MS = 60_000;
/**
 * The most destinations remembered. Beyond it the oldest is forgotten, and may be logged again
 * sooner.
 */
export const MAX_DENIED_DESTINATIONS = 1024;
/**
 * The most messages in one interval. The rest are only counted, and a message after the interval
 * says how many there were.
 */
export const MAX_DENIAL_MESSAGES = 100;

interface Denied {
  readonly loggedAt: number;
  /** Denials since then. */
  repeated: number;
}

export class DenialLog {
  readonly #observer: Observer;
  readonly #now: () => number;
  readonly #denied: LruMap<string, Denied>;
  #interval = Number.NEGATIVE_INFINITY;
  #messages = 0;
  #suppressed = 0;

  constructor({ observer, now }: { readonly observer: Observer; readonly now: () => number }) {
    this.#observer = observer;
    this.#now = now;
    this.#denied = new LruMap({
      limit: MAX_DENIED_DESTINATIONS,
      evicted: () => observer.count('tunnel_allowlist_forgotten_total'),
    });
  }

  /** `rule`: the rule that would permit it, as a destination. For an address it may be a name. */
  add(destination: Destination, rule: Destination = destination): void {
    this.#observer.count('tunnel_allowlist_denied_total');
    const denied = formatDestination(destination);
    const now = this.#now();
    const known = this.#denied.peek(denied);
    if (known !== undefined && now - known.loggedAt < DENIAL_INTERVAL_MS) {
      known.repeated += 1;
      return;
    }
    this.#denied.set(denied, { loggedAt: now, repeated: 0 });
    if (!this.#mayLog(now)) return;
    const before =
      known === undefined || known.repeated === 0
        ? ''
        : ` (and ${known.repeated} more times before)`;
    this.#observer.log(
      'warning',
      `${denied} is denied by the allow-list${before}; the rule to add: ${formatDestination(rule)}`,
    );
  }

  #mayLog(now: number): boolean {
    if (now - this.#interval >= DENIAL_INTERVAL_MS) {
      if (this.#suppressed > 0) {
        this.#observer.log(
          'warning',
          `${this.#suppressed} more destinations were denied by the allow-list`,
        );
      }
      this.#interval = now;
      this.#messages = 0;
      this.#suppressed = 0;
    }
    this.#messages += 1;
    if (this.#messages <= MAX_DENIAL_MESSAGES) return true;
    this.#suppressed += 1;
    return false;
  }
}
