/**
 * How fast a host may try passwords.
 *
 * The answer to a wrong password comes after WRONG_PASSWORD_MS. While MAX_GUESSES of a host's wait
 * for that, no further password of it is looked at, right or wrong. So many connections at a time
 * try no more than a few, and a client that gives up frees no place earlier. A right password is
 * never delayed, unless the same host is guessing. Of IPv6, a network of 64 bits counts as a host.
 */
import { addressBytes, isAddress } from '../../net/address.ts';
import type { Observer } from '../../observe/observer.ts';

/** Milliseconds until the answer to a wrong password. */
const WRONG_PASSWORD_MS = 1000;
/** Wrong passwords of one host that wait for their answer. */
export const MAX_GUESSES = 8;
/** Hosts that have any. */
const MAX_GUESSING_HOSTS = 4096;
const NETWORK_BYTES = 8;

export class Guesses {
  readonly #observer: Observer;
  readonly #delay: number;
  readonly #waiting = new Map<string, number>();

  /** `delay`: milliseconds; default WRONG_PASSWORD_MS. */
  constructor(observer: Observer, delay = WRONG_PASSWORD_MS) {
    this.#observer = observer;
    this.#delay = delay;
  }

  /** Whether a password of the client at this address may be looked at now. */
  mayTry(address: string): boolean {
    const waiting = this.#waiting.get(hostOf(address));
    const may =
      waiting === undefined ? this.#waiting.size < MAX_GUESSING_HOSTS : waiting < MAX_GUESSES;
    if (!may) this.#observer.count('tunnel_proxy_guesses_over_limit_total');
    return may;
  }

  /** Calls `answer` when the client may be told that its password was wrong. */
  wrong(address: string, answer: () => void): void {
    const host = hostOf(address);
    this.#waiting.set(host, (this.#waiting.get(host) ?? 0) + 1);
    setTimeout(() => {
      const left = (this.#waiting.get(host) ?? 1) - 1;
      if (left > 0) this.#waiting.set(host, left);
      else this.#waiting.delete(host);
      answer();
    }, this.#delay).unref();
  }
}

function hostOf(address: string): string {
  if (!isAddress(address) || !address.includes(':')) return address;
  return Buffer.from(addressBytes(address).subarray(0, NETWORK_BYTES)).toString('hex');
}
