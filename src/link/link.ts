/**
 * The link to the jump host as everything else sees it: one Connector that is there all the time,
 * whatever becomes of the connections under it.
 *
 *   Dialler (addresses, settings, one connection) -> Opens (how many flows at a time)
 *        -> Supervisor (again, as often as it is lost)
 *
 * Before a connection is dialled, the addresses that it goes to are left out of the captured
 * prefixes, and those of the one before only after it stands: the tunnel never swallows its own
 * connection.
 */
import { TunnelError } from '../errors/errors.ts';
import type { Observer } from '../observe/observer.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import type { Patience } from '../ssh/dial/addresses.ts';
import type { Transport } from '../ssh/transport.ts';
import { watchClock } from '../system/watch/clock.ts';
import { watchNetwork } from '../system/watch/network.ts';
import { dialPatience } from './backoff.ts';
import { type Dialler, type Located, withPatience } from './dialler.ts';
import { type DialRequest, Supervisor } from './supervisor.ts';

/** Finds the jump host, and makes one connection to it: a Dialler, or its twin in tests. */
export type LinkDialler = Pick<Dialler, 'locate' | 'dial'>;

export interface LinkParts {
  readonly dialler: LinkDialler;
  readonly observer: Observer;
  /** What the link must not fall into; undefined: nothing is captured that it could. */
  readonly captured: CapturedPrefixes | undefined;
  /** Is told the names that are resolved to find the jump host, before anything is dialled. */
  readonly book: { setOwn(names: readonly string[]): void };
}

/** `hold`: --reconnect-hold, in seconds. */
export function createLink(hold: number, parts: LinkParts): Supervisor {
  const { observer } = parts;
  const dials = new LinkDials(parts);
  return new Supervisor({ hold, observer, dial: (request) => dials.dial(request) });
}

/** One connection after the other. */
class LinkDials {
  readonly #parts: LinkParts;
  /** Where the link was that stood last. */
  #known: Located | undefined;

  constructor(parts: LinkParts) {
    this.#parts = parts;
  }

  async dial({ signal, attempt, usual }: DialRequest): Promise<Transport> {
    const { dialler, captured, book } = this.#parts;
    const patience = (limit: number) => dialPatience(limit, attempt, usual);
    const located = await this.#locate(signal, patience);
    signal.throwIfAborted();
    book.setOwn(located.names);
    await captured?.leaveOutToo(located.own);
    signal.throwIfAborted();
    const transport = await dialler.dial(withPatience(located, patience), signal);
    this.#known = located;
    try {
      await captured?.leaveOutOnly(located.own);
    } catch (error) {
      await transport.close();
      throw error;
    }
    return transport;
  }

  async #locate(signal: AbortSignal, patience: Patience): Promise<Located> {
    try {
      return await this.#parts.dialler.locate(signal, patience);
    } catch (error) {
      // The resolver may be what is down; then its last answer is the best that there is.
      if (this.#known === undefined || signal.aborted || !isDnsFailure(error)) throw error;
      this.#parts.observer.log('info', `${error.message}; the addresses that it had are tried`);
      return this.#known;
    }
  }
}

/**
 * Has the link looked after when there is a reason to. Returns what ends that. `device`: our own,
 * whose changes are none.
 */
export function watchDisturbances(
  link: Pick<Supervisor, 'disturbed'>,
  device: string,
  observer: Observer,
): () => void {
  const endings = [
    watchNetwork({
      ignoredDevice: device,
      changed: () => link.disturbed('the network has changed'),
      observer,
    }),
    watchClock({ jumped: () => link.disturbed('the clock has jumped') }),
  ];
  return () => {
    for (const end of endings) end();
  };
}

function isDnsFailure(error: unknown): error is TunnelError {
  return error instanceof TunnelError && error.code === 'jumphost-dns';
}
