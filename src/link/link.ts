/**
 * The link to the jump host as the rest of the program sees it: one Connector that is always there,
 * even when the connections under it come and go.
 *
 *   Dialler (addresses, settings, one connection) -> OpenQueue (limits opens under way)
 *        -> Supervisor (dials again whenever the connection is lost)
 *
 * The tunnel must never capture its own connection. Mostly a connection is bound to a device, past
 * the captured routes (ssh/dial/device.ts). Where it can't be, the addresses that it goes to are
 * excluded from the captured prefixes before it is dialled. Those of the previous connection stay
 * excluded until the new one is up.
 */
import type { Clock } from '../base/clock.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Destination } from '../net/destination.ts';
import { hostPrefix, type Prefix } from '../net/prefix.ts';
import type { Observer } from '../observe/observer.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import type { JumpHostServers } from '../policy/jumphost.ts';
import type { Patience } from '../ssh/dial/addresses.ts';
import type { SshOptions } from '../ssh/options.ts';
import { isProbing, type Probing, type Transport } from '../ssh/transport.ts';
import { watchClock } from '../system/watch/clock.ts';
import { watchNetwork } from '../system/watch/network.ts';
import { dialPatience } from './backoff.ts';
import { type Dialler, type Located, withPatience } from './dialler.ts';
import type { OnlineWait } from './onlinewait.ts';
import type { SourceFinder } from './opensources.ts';
import { Supervisor } from './supervisor.ts';
import type { DialRequest } from './supervisoroptions.ts';

/** Finds the jump host and makes one connection to it: a Dialler, or its stand-in in tests. */
export type LinkDialler = Pick<Dialler, 'prepare' | 'locate' | 'dial'> &
  Partial<Pick<Dialler, 'forwards'>>;

/** A few retransmissions of TCP. */
const REVIVAL_MS = 5_000;

export interface LinkParts {
  readonly dialler: LinkDialler;
  readonly clock: Clock;
  readonly observer: Observer;
  /** The prefixes that must not capture the link itself; undefined: nothing is captured. */
  readonly captured: CapturedPrefixes | undefined;
  /** Gets the servers that are dialled past the captured routes. */
  readonly servers?: JumpHostServers | undefined;
  /** Of these, those whose answers are dropped while they are captured. Default: none. */
  readonly filtered?: ((server: Destination) => boolean) | undefined;
  /** Gets the names that are resolved to find the jump host, before anything is dialled. */
  readonly book: { setOwn(names: readonly string[]): void };
  /** --wait-online. Default: a jump host that can't be reached at the start is the end. */
  readonly online?: OnlineWait | undefined;
  /** Whose the opens are that come from this machine. */
  readonly finder?: SourceFinder | undefined;
}

/** --reconnect-hold, --wait-auth, --on-demand */
export type LinkTimes = Pick<SshOptions, 'reconnectHold' | 'waitAuth' | 'onDemand'>;

export function createLink(times: LinkTimes, parts: LinkParts): Supervisor {
  const { onDemand } = times;
  const { observer, clock, online } = parts;
  const dials = new LinkDials(parts);
  return new Supervisor({
    hold: times.reconnectHold,
    waitAuth: times.waitAuth,
    observer,
    clock,
    finder: parts.finder,
    demand: onDemand && { ...onDemand, prepare: (signal) => dials.prepare(signal) },
    dial: (request) =>
      online === undefined
        ? dials.dial(request)
        : online.dial(request.signal, () => dials.dial(request)),
    probe: (transport, milliseconds) => dials.probe(transport, milliseconds),
  });
}

/** Makes one connection after another. */
class LinkDials {
  readonly #parts: LinkParts;
  /** Where the last link that came up was found. */
  #lastLocated: Located | undefined;
  /** Answers are dropped as long as the servers are captured; or they are known to come. */
  #filtered = false;
  #unfiltered = false;
  /** The last dial of captured servers had no answer. */
  #timedOut = false;

  constructor(parts: LinkParts) {
    this.#parts = parts;
  }

  /**
   * What a dial tells the other parts before it connects, as far as it is known without looking
   * anything up: queries for the jump host's name must not wait for the link.
   */
  async prepare(signal: AbortSignal): Promise<void> {
    const { dialler, book, captured, servers } = this.#parts;
    const names = await dialler.prepare(signal);
    book.setOwn(names);
    const located = names.length === 0 ? await dialler.locate(signal) : undefined;
    if (located !== undefined) await servers?.dialling(located.servers);
    // Also with nothing: from here on it is known what is captured.
    await captured?.leaveOutToo(located === undefined ? [] : this.#leftOut(located, false));
  }

  async dial({ signal, attempt, lastDialMs }: DialRequest): Promise<Transport> {
    const { captured, servers, book } = this.#parts;
    const patience = (limit: number) => dialPatience(limit, attempt, lastDialMs);
    const located = await this.#locate(signal, patience);
    signal.throwIfAborted();
    book.setOwn(located.names);
    await servers?.dialling(located.servers);
    // A filter and a path that drops everything look the same: both ways are tried in turn.
    const withoutServers = this.#filtered || this.#timedOut;
    const own = this.#leftOut(located, withoutServers);
    await captured?.leaveOutToo(own);
    signal.throwIfAborted();
    const transport = await this.#dialled(withPatience(located, patience), withoutServers, signal);
    this.#lastLocated = located;
    await servers?.dialled(located.servers);
    try {
      await captured?.leaveOutOnly(own);
      if (withoutServers && !this.#filtered) await this.#captureAgain(transport, located);
    } catch (error) {
      await transport.close();
      throw error;
    }
    return transport;
  }

  /**
   * Whether the link answers. If it is silent since its servers are captured, they are left out: a
   * packet filter may drop what comes from them. Never rejects.
   */
  async probe(transport: Transport & Probing, milliseconds: number): Promise<boolean> {
    if (await transport.probe(milliseconds)) {
      this.#answered();
      return true;
    }
    const { captured, observer } = this.#parts;
    const located = this.#lastLocated;
    if (located === undefined || captured === undefined || this.#filtered || this.#unfiltered)
      return false;
    const without = this.#leftOut(located, true);
    if (!without.some(({ address }) => captured.contains(address))) return false;
    try {
      await captured.leaveOutOnly(without);
      if (await answers(transport)) {
        this.#isFiltered(located);
        return true;
      }
      await captured.leaveOutOnly(this.#leftOut(located, false));
    } catch (error) {
      observer.log('debug', `the jump host can't be left out: ${reasonOf(error)}`);
    }
    return false;
  }

  /** A server that may be captured has answered. */
  #answered(): void {
    if (this.#parts.captured?.deviceName !== undefined && !this.#filtered) this.#unfiltered = true;
  }

  async #dialled(
    located: Located,
    withoutServers: boolean,
    signal: AbortSignal,
  ): Promise<Transport> {
    try {
      const transport = await this.#parts.dialler.dial(located, signal);
      this.#timedOut = false;
      if (!withoutServers) this.#answered();
      return transport;
    } catch (error) {
      const late = error instanceof TunnelError && error.code === 'jumphost-timeout';
      this.#timedOut = late && !withoutServers;
      throw error;
    }
  }

  /** A link has come up while its servers were left out: now it is known whether they must be. */
  async #captureAgain(transport: Transport, located: Located): Promise<void> {
    const { captured } = this.#parts;
    await captured?.leaveOutOnly(this.#leftOut(located, false));
    if (await answers(transport)) return;
    await captured?.leaveOutOnly(this.#leftOut(located, true));
    this.#isFiltered(located);
  }

  #isFiltered({ servers }: Located): void {
    this.#filtered = true;
    const { observer } = this.#parts;
    const hosts = [...new Set(servers.map(({ host }) => host))].join(', ');
    observer.log(
      'notice',
      `not captured: ${hosts}, because this machine drops the jump host's answers otherwise`,
      { hint: 'its packet filter checks the reverse path (rpfilter, fib saddr)' },
    );
  }

  /** `withoutServers`: those that are dialled past the capture as well. */
  #leftOut({ own, servers }: Located, withoutServers: boolean): Prefix[] {
    const { filtered = () => false } = this.#parts;
    const more = servers.filter((server) => withoutServers || filtered(server));
    return [...own, ...more.map(({ host }) => hostPrefix(host))];
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

/** Also after what was sent meanwhile had to be sent again. */
async function answers(transport: Transport): Promise<boolean> {
  return !isProbing(transport) || transport.probe(REVIVAL_MS);
}

function isDnsFailure(error: unknown): error is TunnelError {
  return error instanceof TunnelError && error.code === 'jumphost-dns';
}
