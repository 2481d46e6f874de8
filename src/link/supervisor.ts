/**
 * Keeps a link to the jump host: one transport after the other, behind the same interface. What it
 * wraps may be lost at any time; the flows that were on it are reset with it, and nothing else is.
 *
 *            start()                    a connect
 *   (new) ──────────► connecting ◄──────────────────── idle
 *                      │  ▲   │                         ▲
 *          established │  │   │ failed                  │ closed in order, no flow was open
 *                      ▼  │   ▼                         │
 *                     up  │  waiting                    │
 *   disturbed() ►  probing│   │ redialschedule.ts               │
 *                      │  └───┘ ▲                       │
 *                      └────────┴── lost ───────────────┘
 *
 *   failed   a host key that is not accepted, a login refused LOGIN_TRIES times, what isn't the
 *            jump host's doing
 *   closed   close()
 *
 * - The first dial must succeed for `start` to resolve: what a user mistyped is an error, not an
 *   outage. Whatever comes later is healed until it can't be: `ended` then has the error.
 * - A link that is lost is dialled again at once if it had held for a while, else after a wait. A
 *   link that the server closed while nobody used it (UnusedConnectionTimeout) is dialled when it
 *   is needed.
 * - How many flows are opened at a time is a matter of each link (openqueue.ts): what waits for its
 *   turn there must not go on to wait for a link when the others' hold is over.
 * - connect() while there is no link waits (waitingconnects.ts). A connect that had been passed
 *   to a link that was then lost, without an answer, waits likewise: the application has not been
 *   told anything yet.
 * - A link says itself when its peer no longer answers (its keepalive). `disturbed` is for whoever
 *   knows more: the network has changed, the machine has slept. The link is then probed, and given
 *   up when nothing comes back within PROBE_TIMEOUT_MS; a wait is cut short. But no event makes an
 *   sshd that is busy, or that refused a login, be bothered more often.
 * - At most one dial is under way at a time.
 *
 * Time is that of `now`, which stands still while the machine sleeps, as timers do.
 */
import type { GiveUpSignal } from '../base/giveup.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Conduit } from '../flow/conduit.ts';
import { ConnectError, type ConnectOptions, LinkGoneError } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import { isProbing, type Transport } from '../ssh/transport.ts';
import { OpenQueue } from './openqueue.ts';
import { RedialSchedule } from './redialschedule.ts';
import { WaitingConnects } from './waitingconnects.ts';

/** For an answer of a link that has been up: some round trips of a bad network. */
export const PROBE_TIMEOUT_MS = 3_000;
/** A link that was used less than this ago was not closed for want of use. */
const IDLE_MS = 1_000;
/**
 * Connects wait at least this long for a link that is dialled because it is needed: nothing is
 * wrong until that fails.
 */
const DEMAND_SECONDS = 10;

type State =
  | { readonly name: 'connecting' | 'up' | 'probing' | 'idle' | 'waiting' | 'closed' }
  | { readonly name: 'failed'; readonly error: TunnelError };

export interface DialRequest {
  /** Aborted when the supervisor is closed. */
  readonly signal: AbortSignal;
  /** 1 for the first of an outage (and for the first of all). */
  readonly attempt: number;
  /** How long, in ms, the last dial that succeeded has taken; undefined: none has. */
  readonly usual: number | undefined;
}

export interface SupervisorOptions {
  /**
   * Makes a link, host key verified and authenticated. Rejects with a TunnelError
   * (ssh/embedded/handshake/dial.ts), or with the signal's reason.
   */
  readonly dial: (request: DialRequest) => Promise<Transport>;
  /**
   * --reconnect-hold: seconds that a connect waits while there is no link; 0: it is refused at
   * once.
   */
  readonly hold: number;
  readonly observer: Observer;
  /** Milliseconds on a clock that only goes forward. Default: performance.now(). */
  readonly now?: () => number;
  /** As Math.random, which is the default. */
  readonly random?: () => number;
}

/** One transport while it is in use. */
interface Link {
  readonly transport: Transport;
  readonly opens: OpenQueue;
  readonly since: number;
  /** Flows that are open or being opened. */
  flows: number;
  /**
   * When there last was one, or when the link came up. A flow that ends with its link may end a
   * moment before it.
   */
  lastUse: number;
}

export class Supervisor implements Transport {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #options: SupervisorOptions;
  readonly #observer: Observer;
  readonly #now: () => number;
  readonly #hold: WaitingConnects;
  readonly #redial: RedialSchedule;
  readonly #closing = new AbortController();
  #state: State = { name: 'connecting' };
  #end: (error: TunnelError | undefined) => void = () => {};
  /** In states up and probing. */
  #link: Link | undefined;
  /** Since when there has been no link. */
  #downSince = 0;
  #attempt = 0;
  #usual: number | undefined;
  #lastError: TunnelError | undefined;
  /** The link was lost, and that has been logged. */
  #outage = false;
  /** The dial that is under way; never rejects. */
  #dialling: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    const { observer, now = () => performance.now() } = options;
    this.#options = options;
    this.#observer = observer;
    this.#now = now;
    this.#hold = new WaitingConnects({ observer, now });
    this.#redial = new RedialSchedule({
      dial: () => this.#dialAgain(),
      now,
      random: options.random,
    });
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /**
   * Once. Resolves when the first link is up; rejects with what `dial` did, after which there is
   * nothing to close.
   */
  async start(): Promise<void> {
    let failure: unknown;
    this.#attempt = 1;
    this.#downSince = this.#now();
    this.#dialling = this.#dial().catch((error: unknown) => {
      failure = error;
      this.#finish({ name: 'closed' }, undefined);
    });
    await this.#dialling;
    if (failure !== undefined) throw failure;
  }

  async connect(destination: Destination, options: ConnectOptions = {}): Promise<Conduit> {
    const { signal } = options;
    const since = this.#now();
    for (;;) {
      signal?.throwIfAborted();
      const link = this.#link;
      if (link === undefined) {
        await this.#held(destination, since, signal);
        continue;
      }
      link.flows++;
      try {
        const conduit = await link.opens.connect(destination, options);
        this.#opened(link, conduit, destination, { flow: options.flow, since });
        return conduit;
      } catch (error) {
        this.#over(link);
        if (!(error instanceof ConnectError)) throw error;
        // It may say so before its own end comes. An answer that comes with the link's end may have
        // been made up for it.
        if (error instanceof LinkGoneError)
          this.#lost(link, error.cause instanceof TunnelError ? error.cause : error);
        else if (this.#link === link) throw error;
      }
    }
  }

  /** Follows what has been opened, in the log as well. `since`: when it was asked for. */
  #opened(
    link: Link,
    conduit: Conduit,
    destination: Destination,
    { flow, since }: { readonly flow: number | undefined; readonly since: number },
  ): void {
    const observer = this.#observer;
    if (!(observer.shows?.('debug') ?? true)) {
      conduit.whenOver(() => this.#over(link));
      return;
    }
    const what = formatDestination(destination);
    const after_ms = Math.round(this.#now() - since);
    observer.log('debug', `${what}: channel open`, { flow, after_ms });
    conduit.whenOver((error) => {
      this.#over(link);
      observer.log('debug', `${what}: channel closed`, { flow, error: error?.message });
    });
  }

  /**
   * Something has happened that links don't always survive, or that may have brought the network
   * back; `what` completes "probing the link: ...".
   */
  disturbed(what: string): void {
    const { name } = this.#state;
    if (name === 'up') {
      if (this.#link !== undefined) void this.#probe(this.#link, what);
    } else if (name === 'connecting' || name === 'waiting') {
      const wait = this.#redial.hurry();
      if (wait !== undefined && name === 'waiting')
        this.#observer.log('debug', `${what}: trying again in ${seconds(wait)}`);
    }
  }

  /** Closes the link and refuses whatever waits. May be called more than once; never rejects. */
  async close(): Promise<void> {
    const link = this.#link;
    this.#finish({ name: 'closed' }, undefined);
    await Promise.all([link?.transport.close(), this.#dialling]);
  }

  /** Resolves when there may be a link again; rejects as WaitingConnects.wait does. */
  #held(destination: Destination, since: number, signal: GiveUpSignal | undefined): Promise<void> {
    const state = this.#state;
    if (state.name === 'failed' || state.name === 'closed') {
      const cause = state.name === 'failed' ? state.error : closedError();
      return Promise.reject(new ConnectError('refused', cause.message, { cause }));
    }
    if (state.name === 'idle') {
      this.#downSince = since;
      this.#dialAgain();
    }
    const { hold } = this.#options;
    return this.#hold.wait(destination, {
      since,
      seconds: this.#outage ? hold : Math.max(hold, DEMAND_SECONDS),
      signal,
      cause: () => this.#lastError,
    });
  }

  /** A flow has ended, or has not come about. */
  #over(link: Link): void {
    link.flows--;
    link.lastUse = this.#now();
  }

  /**
   * Resolves when there is a link; rejects with what the dial did, and then the state is still
   * `connecting`.
   */
  async #dial(): Promise<void> {
    const { signal } = this.#closing;
    const begin = this.#now();
    const { dial } = this.#options;
    const transport = await dial({ signal, attempt: this.#attempt, usual: this.#usual });
    if (signal.aborted) {
      await transport.close();
      throw signal.reason;
    }
    const now = this.#now();
    const opens = new OpenQueue({ connector: transport, observer: this.#observer });
    const link = { transport, opens, since: now, flows: 0, lastUse: now };
    this.#link = link;
    this.#usual = now - begin;
    this.#attempt = 0;
    this.#lastError = undefined;
    this.#redial.succeeded();
    if (this.#outage)
      this.#observer.log('notice', `reconnected after ${seconds(now - this.#downSince)}`);
    this.#outage = false;
    this.#state = { name: 'up' };
    void transport.ended.then((error) => this.#lost(link, error));
    this.#hold.release();
  }

  /**
   * `error`: why; undefined when somebody else has closed it. Called more than once for a link, the
   * first time counts.
   */
  #lost(link: Link, error: TunnelError | undefined): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.#downSince = this.#now();
    this.#lastError = error;
    void link.transport.close();
    this.#observer.count('tunnel_links_lost_total');
    const unused = link.flows === 0 && this.#downSince - link.lastUse >= IDLE_MS;
    if (unused && error?.code === 'link-lost' && error.cause === undefined) {
      this.#observer.log(
        'debug',
        `${error.message}, which nobody used; it is dialled again when needed`,
      );
      this.#state = { name: 'idle' };
      return;
    }
    const reason =
      error ?? new TunnelError('link-lost', 'the connection to the jump host was closed');
    this.#observer.log('notice', `link lost: ${reason.message}; reconnecting`);
    this.#outage = true;
    const wait = this.#redial.afterLoss(this.#downSince - link.since);
    if (wait === 0) this.#dialAgain();
    else this.#state = { name: 'waiting' };
  }

  #dialAgain(): void {
    this.#attempt++;
    this.#observer.count('tunnel_redials_total');
    this.#state = { name: 'connecting' };
    this.#dialling = this.#dial().catch((error: unknown) => this.#failed(error));
  }

  #failed(error: unknown): void {
    if (this.#closing.signal.aborted) return;
    this.#observer.count('tunnel_redial_failures_total');
    const known = error instanceof TunnelError ? error : unexpected(error);
    const wait = this.#redial.afterFailure(known.code, this.#now() - this.#downSince);
    if (wait === undefined) {
      this.#finish({ name: 'failed', error: known }, known);
      return;
    }
    // What is the matter is news once; that it still is, isn't.
    const news = !this.#outage || this.#lastError?.code !== known.code;
    this.#lastError = known;
    // It is there, and slower than it was: short attempts would only add to its load.
    if (known.code === 'jumphost-slow') this.#usual = undefined;
    if (!this.#outage) this.#hold.allow(this.#options.hold);
    this.#outage = true;
    const again = known.code.startsWith('auth-')
      ? 'the login is tried again only in'
      : 'trying again in';
    this.#observer.log(news ? 'notice' : 'info', `${known.message}; ${again} ${seconds(wait)}`);
    this.#state = { name: 'waiting' };
  }

  async #probe(link: Link, what: string): Promise<void> {
    const { transport } = link;
    if (!isProbing(transport)) return;
    this.#observer.log('debug', `probing the link: ${what}`);
    this.#observer.count('tunnel_probes_total');
    this.#state = { name: 'probing' };
    const alive = await transport.probe(PROBE_TIMEOUT_MS);
    if (this.#link !== link) return;
    if (alive) {
      this.#state = { name: 'up' };
      return;
    }
    this.#observer.count('tunnel_probes_failed_total');
    const silence = `no answer within ${PROBE_TIMEOUT_MS / 1_000} s`;
    this.#lost(link, new TunnelError('link-lost', `${silence} (${what})`, { cause: silence }));
  }

  /** The end, for whatever reason. */
  #finish(state: State, error: TunnelError | undefined): void {
    if (this.#closing.signal.aborted) return;
    const reason = error ?? closedError();
    this.#closing.abort(reason);
    this.#link = undefined;
    this.#redial.cancel();
    this.#state = state;
    this.#hold.refuseAll(reason.message, reason);
    this.#end(error);
  }
}

function closedError(): TunnelError {
  return new TunnelError('link-closed', 'the connection to the jump host was closed');
}

function unexpected(cause: unknown): TunnelError {
  const text = reasonOf(cause);
  return new TunnelError('unexpected', `dialling the jump host failed unexpectedly: ${text}`, {
    cause,
  });
}

function seconds(ms: number): string {
  return ms < 100_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}
