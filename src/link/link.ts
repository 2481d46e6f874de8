/**
 * The link to the jump host as the rest of the program sees it: one Connector that is always there,
 * even when the connections under it come and go.
 *
 *   Dialler (addresses, settings, one connection) -> OpenQueue (limits opens under way)
 *        -> Supervisor (dials again whenever the connection is lost)
 *
 * Before a connection is dialled, the addresses that it goes to are excluded from the captured
 * prefixes. The addresses of the previous connection stay excluded until the new one is up. So the
 * tunnel never captures its own connection.
 */
import type { Clock } from '../base/clock.ts';
import { TunnelError } from '../errors/errors.ts';
import type { Observer } from '../observe/observer.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import type { Patience } from '../ssh/dial/addresses.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { Transport } from '../ssh/transport.ts';
import { watchClock } from '../system/watch/clock.ts';
import { watchNetwork } from '../system/watch/network.ts';
import { dialPatience } from './backoff.ts';
import { type Dialler, type Located, withPatience } from './dialler.ts';
import type { SourceFinder } from './opensources.ts';
import { type DialRequest, Supervisor } from './supervisor.ts';

/** Finds the jump host and makes one connection to it: a Dialler, or its stand-in in tests. */
export type LinkDialler = Pick<Dialler, 'locate' | 'dial'>;

export interface LinkParts {
  readonly dialler: LinkDialler;
  readonly clock: Clock;
  readonly observer: Observer;
  /** The prefixes that must not capture the link itself; undefined: nothing is captured. */
  readonly captured: CapturedPrefixes | undefined;
  /** Gets the names that are resolved to find the jump host, before anything is dialled. */
  readonly book: { setOwn(names: readonly string[]): void };
  /** Whose the opens are that come from this machine. */
  readonly finder?: SourceFinder | undefined;
}

/** Seconds: --reconnect-hold and --wait-auth. */
export type LinkTimes = Pick<SshOptions, 'reconnectHold' | 'waitAuth'>;

export function createLink(times: LinkTimes, parts: LinkParts): Supervisor {
  const { observer, clock } = parts;
  const dials = new LinkDials(parts);
  return new Supervisor({
    hold: times.reconnectHold,
    waitAuth: times.waitAuth,
    observer,
    clock,
    finder: parts.finder,
    dial: (request) => dials.dial(request),
  });
}

/** Makes one connection after another. */
class LinkDials {
  readonly #parts: LinkParts;
  /** Where the last link that came up was found. */
  #lastLocated: Located | undefined;

  constructor(parts: LinkParts) {
    this.#parts = parts;
  }

  async dial({ signal, attempt, lastDialMs }: DialRequest): Promise<Transport> {
    const { dialler, captured, book } = this.#parts;
    const patience = (limit: number) => dialPatience(limit, attempt, lastDialMs);
    const located = await this.#locate(signal, patience);
    signal.throwIfAborted();
    book.setOwn(located.names);
    await captured?.leaveOutToo(located.own);
    signal.throwIfAborted();
    const transport = await dialler.dial(withPatience(located, patience), signal);
    this.#lastLocated = located;
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
      // The resolver itself may be down. Its last answer is then the best we have.
      if (this.#lastLocated === undefined || signal.aborted || !isDnsFailure(error)) throw error;
      this.#parts.observer.log('info', `${error.message}; trying the addresses that it had before`);
      return this.#lastLocated;
    }
  }
}

/**
 * Tells the link when the network or the clock has changed, so that it checks itself. Returns a
 * function that ends this. `device`: our own, whose changes are ignored.
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
