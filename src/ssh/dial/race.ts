/**
 * Chooses the address for the connection with a race, as in Happy Eyeballs Version 2 (RFC 8305 §4,
 * §5). The contenders are the addresses of one jump host, or of several jump hosts that can replace
 * each other.
 *
 *   jump host 0:  v6 a ──250 ms──► v4 b ──250 ms──► v6 c
 *   jump host 1:                                     └──2 s──► v4 d ──250 ms──► ...
 *
 * Contenders start in order, each some time after the one before it. When one fails, the next
 * address of the same jump host starts at once. The next jump host starts early only when no
 * attempt for the jump hosts before it is still running, because the user chose the order of jump
 * hosts, but the resolver chose that of the addresses. The first one to connect wins, and the
 * others are aborted. These and those that haven't started are the `rest`: they can race again if
 * the winner turns out not to work.
 *
 * Contenders race only until they are open: a TCP connection is established, or a program has
 * started. SSH runs only on the winner, because a server limits unauthenticated connections
 * (MaxStartups) and penalises clients that drop them (PerSourcePenalties).
 */
import { isIPv6 } from 'node:net';
import type { Duplex } from 'node:stream';
import { TunnelError } from '../../errors/errors.ts';

/** RFC 8305 §5, "Connection Attempt Delay". */
export const ATTEMPT_DELAY_MS = 250;
/**
 * How long a silent jump host runs alone before the next one starts. This allows for one lost SYN,
 * which is sent again after 1 s (RFC 6298 §2).
 */
export const JUMP_HOST_DELAY_MS = 2_000;

export interface Contender {
  /** Contenders of one jump host have the same number. */
  readonly jumpHost: number;
  /** Rejects with a TunnelError, or with the signal's reason, and then leaves nothing open. */
  open(signal: AbortSignal): Promise<Duplex>;
}

export interface RaceResult<C> {
  /** undefined: all have failed. */
  readonly winner:
    | {
        readonly contender: C;
        readonly stream: Duplex /** performance.now() */;
        readonly began: number;
      }
    | undefined;
  /** Those that neither won nor failed, in order. */
  readonly rest: readonly C[];
  readonly failures: readonly TunnelError[];
}

/** Rejects with the signal's reason, or with a contender's error that isn't a TunnelError. */
export function race<C extends Contender>(
  contenders: readonly C[],
  signal?: AbortSignal,
): Promise<RaceResult<C>> {
  return new ConnectionRace(contenders).run(signal);
}

class ConnectionRace<C extends Contender> {
  readonly #contenders: readonly C[];
  readonly #waiting: C[];
  /** The value is the time at which each was started. */
  readonly #running = new Map<C, number>();
  readonly #failures: TunnelError[] = [];
  readonly #over = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #resolve: (result: RaceResult<C>) => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor(contenders: readonly C[]) {
    this.#contenders = contenders;
    this.#waiting = [...contenders];
  }

  async run(signal: AbortSignal | undefined): Promise<RaceResult<C>> {
    signal?.throwIfAborted();
    const abort = (): void => this.#reject(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await new Promise<RaceResult<C>>((resolve, reject) => {
        this.#resolve = resolve;
        this.#reject = reject;
        this.#startNext();
      });
    } finally {
      signal?.removeEventListener('abort', abort);
      clearTimeout(this.#timer);
      this.#over.abort();
    }
  }

  #startNext(): void {
    clearTimeout(this.#timer);
    const contender = this.#waiting.shift();
    if (contender === undefined) {
      if (this.#running.size === 0)
        this.#resolve({ winner: undefined, rest: [], failures: this.#failures });
      return;
    }
    this.#running.set(contender, performance.now());
    contender.open(this.#over.signal).then(
      (stream) => this.#opened(contender, stream),
      (error: unknown) => this.#failed(contender, error),
    );
    const [next] = this.#waiting;
    if (next === undefined) return;
    const delay = next.jumpHost === contender.jumpHost ? ATTEMPT_DELAY_MS : JUMP_HOST_DELAY_MS;
    this.#timer = setTimeout(() => this.#startNext(), delay);
  }

  #opened(contender: C, stream: Duplex): void {
    const began = this.#running.get(contender);
    if (this.#over.signal.aborted || began === undefined) {
      // It opened at the same moment as the winner, or as the race ended.
      stream.destroy();
      return;
    }
    this.#over.abort();
    const rest = this.#contenders.filter((other) => other !== contender && this.#isInRace(other));
    this.#resolve({ winner: { contender, stream, began }, rest, failures: this.#failures });
  }

  #isInRace(contender: C): boolean {
    return this.#running.has(contender) || this.#waiting.includes(contender);
  }

  #failed(contender: C, error: unknown): void {
    if (this.#over.signal.aborted) return;
    this.#running.delete(contender);
    if (!(error instanceof TunnelError)) {
      this.#reject(error);
      return;
    }
    this.#failures.push(error);
    const [next] = this.#waiting;
    if (this.#running.size === 0 || next?.jumpHost === contender.jumpHost) this.#startNext();
  }
}

/**
 * Alternates between the address families, beginning with that of the first address (RFC 8305 §4
 * with a First Address Family Count of 1). Within a family, the order stays the same.
 */
export function interleave<A extends { readonly host: string }>(addresses: readonly A[]): A[] {
  const [first] = addresses;
  if (first === undefined) return [];
  const preferred = isIPv6(first.host);
  const ours = addresses.filter(({ host }) => isIPv6(host) === preferred);
  const others = addresses.filter(({ host }) => isIPv6(host) !== preferred);
  return Array.from({ length: Math.max(ours.length, others.length) }, (_, i) => [
    ours[i],
    others[i],
  ])
    .flat()
    .filter((address) => address !== undefined);
}
