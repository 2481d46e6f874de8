/**
 * Keeps a link to the jump host: one transport after another, behind the same interface. A
 * transport may be lost at any time. Its flows are then reset, and nothing else is.
 *
 *            start()                    a connect
 *   (new) ──────────► connecting ◄──────────────────── idle ◄── start() on demand
 *                      │  ▲   │                         ▲
 *          established │  │   │ failed                  │ closed in order, no flow was open;
 *                      ▼  │   ▼                         │ on demand: no flow for a while, or
 *                     up  │  waiting                    │ time to dial, and no connect waits
 *   disturbed() ►  probing│   │ redialschedule.ts       │
 *                      │  └───┘ ▲                       │
 *                      └────────┴── lost ───────────────┘
 *
 *   failed   a host key was not accepted, the login was refused LOGIN_TRIES times, or the error
 *            is not one of the jump host's. A question that nobody answers is no such end: the next
 *            reconnect() asks again
 *   closed   close()
 *
 * - `start` resolves only if the first dial succeeds: a typing mistake is an error, not an outage.
 *   After that, every lost link is dialled again until that is of no use. `ended` then has the
 *   error.
 * - With --on-demand, `start` dials nobody. A connect dials, and waits; a dial that fails is
 *   repeated only while a connect waits, no sooner than the schedule permits. A link without flows
 *   for --idle-disconnect seconds is closed. What comes while it closes waits for the next one.
 * - While a refused login can't be tried again in time, no connect waits for it.
 * - With --wait-auth, a refused login is tried again within the same dial (loginwait.ts). The state
 *   is `connecting` meanwhile. On demand that ends when an attempt is due and no connect waits.
 * - A lost link is dialled again at once if it had lasted for a while, and otherwise after a wait.
 *   A link that the server closed while nobody used it (UnusedConnectionTimeout) is dialled again
 *   when it is needed.
 * - Each link limits how many flows are opened at a time, and shares these (openqueue.ts). A
 *   connect that waits there counts its time from when it was asked for, so it doesn't start a new
 *   wait when the link is lost.
 * - connect() waits while there is no link (waitingconnects.ts). So does a connect whose link was
 *   lost before it answered: the application has not had an answer yet.
 * - A link notices by its keepalive that its peer no longer answers. `disturbed` reports other
 *   signs: the network has changed, or the machine has slept. The link is then probed, and given up
 *   if nothing comes back within PROBE_TIMEOUT_MS; a wait is cut short. But no event makes us
 *   bother an sshd more often that is busy or that refused a login.
 * - At most one dial is under way at a time.
 *
 * Time is that of `clock`, which stands still while the machine sleeps, as timers do.
 */
import { type Clock, systemClock } from '../base/clock.ts';
import type { GiveUpSignal } from '../base/giveup.ts';
import { TunnelError } from '../errors/errors.ts';
import type { Conduit } from '../flow/conduit.ts';
import { ConnectError, type ConnectOptions, LinkGoneError } from '../flow/connector.ts';
import type { Destination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import { isDescribable } from '../ssh/established.ts';
import { isLoaded, isProbing, type Transport } from '../ssh/transport.ts';
import { LinkInUse, OpensOfAllLinks } from './linkinuse.ts';
import {
  closedError,
  dateOf,
  describeFailure,
  inSeconds,
  type LinkView,
  Listeners,
  meaningOf,
  NO_OPENS,
  unexpected,
} from './linkstate.ts';
import { LoginWait } from './loginwait.ts';
import { RedialSchedule } from './redialschedule.ts';
import type { Demand, SupervisorOptions } from './supervisoroptions.ts';
import { WaitingConnects } from './waitingconnects.ts';

/** How long a link that has been up may take to answer: a few round trips of a bad network. */
export const PROBE_TIMEOUT_MS = 3_000;
/**
 * A link that was used more recently than this was not closed for being unused: a flow that ends
 * with its link may end a moment before the link does.
 */
const IDLE_MS = 1_000;
/**
 * Connects wait at least this long for a link that is dialled on demand: nothing is wrong until
 * that dial fails.
 */
const DEMAND_SECONDS = 10;

type State =
  | { readonly name: 'connecting' | 'up' | 'probing' | 'idle' | 'waiting' | 'closed' }
  | { readonly name: 'failed'; readonly error: TunnelError };

export class Supervisor implements Transport {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #options: SupervisorOptions;
  readonly #observer: Observer;
  readonly #clock: Clock;
  readonly #waiting: WaitingConnects;
  readonly #redial: RedialSchedule;
  readonly #logins: LoginWait;
  readonly #opens: OpensOfAllLinks;
  readonly #closing = new AbortController();
  #state: State = { name: 'connecting' };
  /** When it became that, in ms since 1970. */
  #stateSince = Date.now();
  #upSince: number | undefined;
  readonly #changes = new Listeners();
  #end: (error: TunnelError | undefined) => void = () => {};
  /** Of links that were lost: their close() is under way. */
  readonly #closingLinks = new Set<Promise<void>>();
  /** In states up and probing. */
  #link: LinkInUse | undefined;
  /** When the link was lost. */
  #downSince = 0;
  #attempt = 0;
  #lastDialMs: number | undefined;
  #lastError: TunnelError | undefined;
  /** The link was lost, and that has been logged. */
  #inOutage = false;
  /** A dial has succeeded. */
  #everUp = false;
  /** A user has asked for a new link, and it has not been dialled since. */
  #requested = false;
  #started = false;
  /** The dial that is under way; never rejects. */
  #dialling: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    const { observer, clock = systemClock, waitAuth = 0 } = options;
    this.#options = options;
    this.#observer = observer;
    this.#clock = clock;
    this.#waiting = new WaitingConnects({ observer, clock });
    this.#logins = new LoginWait({ seconds: waitAuth, observer, clock });
    this.#opens = new OpensOfAllLinks({ observer, clock, finder: options.finder });
    this.#redial = new RedialSchedule({
      dial: () => this.#dialIfWanted(),
      wanted: () => this.#waiting.size > 0,
      clock,
      random: options.random,
    });
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /**
   * Call it once. Resolves when the first link is up, or on demand when it could be dialled.
   * Rejects with the error of `dial`; there is nothing to close then.
   */
  async start(): Promise<void> {
    let failure: unknown;
    const { demand } = this.#options;
    this.#downSince = this.#clock.now();
    const begun = demand === undefined ? this.#dialUntilAccepted() : this.#waitForDemand(demand);
    this.#dialling = begun.catch((error: unknown) => {
      failure = error;
      this.#finish({ name: 'closed' }, undefined);
    });
    await this.#dialling;
    if (failure !== undefined) throw failure;
    this.#started = true;
  }

  /** `start` has succeeded. Until then, an error of the dial is the end. */
  get started(): boolean {
    return this.#started;
  }

  connect(destination: Destination, options: ConnectOptions = {}): Promise<Conduit> {
    return this.#connect(destination, options, this.#clock.now());
  }

  /** `since`: when it was asked for. */
  #connect(destination: Destination, options: ConnectOptions, since: number): Promise<Conduit> {
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const link = this.#link;
    if (link === undefined)
      return this.#waitForLink(destination, since, signal).then(() =>
        this.#connect(destination, options, since),
      );
    return link.connect(destination, options, since).catch((error: unknown) => {
      if (!(error instanceof ConnectError)) throw error;
      // A link may report LinkGoneError before `ended` resolves. An error from a link that is
      // already lost may be a result of the loss, so it is not passed on.
      if (error instanceof LinkGoneError)
        this.#lost(link, error.cause instanceof TunnelError ? error.cause : error);
      else if (this.#link === link) throw error;
      return this.#connect(destination, options, since);
    });
  }

  /**
   * Something has happened that links don't always survive, or that may have brought the network
   * back. `what` completes "probing the link: ...".
   */
  disturbed(what: string): void {
    const { name } = this.#state;
    if (name === 'up') {
      if (this.#link !== undefined) void this.#probe(this.#link, what);
    } else if (name === 'connecting' || name === 'waiting') {
      const wait = this.#redial.hurry();
      if (wait !== undefined && name === 'waiting')
        this.#observer.log('debug', `${what}: trying again in ${inSeconds(wait)}`);
    }
  }

  /** Calls `listener` after each change of the state. Returns what ends that. */
  onChange(listener: () => void): () => void {
    return this.#changes.add(listener);
  }

  get channels(): number {
    return this.#link?.transport.channels ?? 0;
  }

  view(): LinkView {
    const transport = this.#link?.transport;
    const established = transport && isDescribable(transport) ? transport.describe() : undefined;
    return {
      state: this.#state.name,
      since: this.#stateSince,
      upSince: this.#link && this.#upSince,
      attempt: this.#attempt,
      error: this.#state.name === 'failed' ? this.#state.error : this.#lastError,
      hold: this.#hold,
      held: this.#waiting.size,
      holdEndsAt: dateOf(this.#waiting.firstEnd, this.#clock),
      redialAt: dateOf(this.#redial.dialsAt, this.#clock),
      established,
      roundTripMs: transport && isProbing(transport) ? transport.roundTripMs : undefined,
      opens: this.#link?.opens ?? NO_OPENS,
      load: transport && isLoaded(transport) ? transport.load : undefined,
    };
  }

  /**
   * Gives the link up and dials again, as soon as the jump host may be bothered; where one is
   * waited for, the wait is cut short. A login that only lacked an answer is tried again at once.
   * Throws the error with which the link has ended for good.
   */
  reconnect(): void {
    const state = this.#state;
    if (state.name === 'failed') throw state.error;
    if (state.name === 'closed') throw closedError();
    if (this.#link !== undefined)
      this.#lost(this.#link, new TunnelError('link-lost', 'a user wants a new one'));
    this.#requested = true;
    if (this.#state.name === 'idle') this.#dialAgain();
    else this.#redial.requested();
  }

  /**
   * Closes the link and refuses all waiting connects. May be called more than once; never rejects.
   */
  async close(): Promise<void> {
    const link = this.#link;
    this.#finish({ name: 'closed' }, undefined);
    await Promise.all([link?.close(), this.#dialling, ...this.#closingLinks]);
  }

  /** Resolves when there may be a link again. Rejects as WaitingConnects.wait does. */
  #waitForLink(
    destination: Destination,
    since: number,
    signal: GiveUpSignal | undefined,
  ): Promise<void> {
    const state = this.#state;
    if (state.name === 'failed' || state.name === 'closed') {
      const cause = state.name === 'failed' ? state.error : closedError();
      return Promise.reject(new ConnectError('refused', cause.message, { cause }));
    }
    if (state.name === 'idle') {
      this.#downSince = since;
      this.#dialAgain();
    }
    const hold = this.#hold;
    const wait = this.#waiting.wait(destination, {
      since,
      seconds: this.#inOutage ? hold : Math.max(hold, DEMAND_SECONDS),
      signal,
      cause: () => this.#lastError,
    });
    // Also when it was refused at once: the next one comes soon.
    this.#redial.demanded();
    return wait;
  }

  /** Seconds that a connect may wait in an outage: none for a login that comes too late. */
  get #hold(): number {
    const { hold } = this.#options;
    return this.#redial.untilLogin > hold * 1_000 ? 0 : hold;
  }

  async #waitForDemand({ prepare }: Demand): Promise<void> {
    const { signal } = this.#closing;
    await prepare(signal);
    signal.throwIfAborted();
    this.#become({ name: 'idle' });
  }

  /**
   * As #dial; with --wait-auth, a refused login is not the end of it. On demand it may resolve
   * without a link, in the state `idle`, when nobody waits for one.
   */
  async #dialUntilAccepted(): Promise<void> {
    const { signal } = this.#closing;
    for (;;) {
      try {
        await this.#dial();
        this.#logins.succeeded();
        return;
      } catch (error) {
        const wait = signal.aborted ? undefined : this.#logins.failed(error);
        if (wait === undefined) throw this.#logins.outcome(error);
        if (error instanceof TunnelError) this.#notAccepted(error);
        await this.#logins.pause(wait, signal);
        signal.throwIfAborted(); // after the timer, but before this continues
        if (this.#isWanted) continue;
        this.#logins.leaveOut();
        this.#rest();
        this.#observer.log('info', 'nobody waits for the link: it is dialled again when needed');
        return;
      }
    }
  }

  /** A login is waited for, so connections wait for a link only as long as in any outage. */
  #notAccepted(error: TunnelError): void {
    if (error.code === 'auth-failed') this.#redial.loginWasRefused();
    this.#lastError = error;
    const { demand } = this.#options;
    if ((this.#everUp || demand !== undefined) && !this.#inOutage) {
      this.#waiting.allow(this.#options.hold);
      this.#inOutage = true;
    }
  }

  /**
   * Resolves when there is a link. Rejects with the error of the dial; the state is then still
   * `connecting`.
   */
  async #dial(): Promise<void> {
    const { signal } = this.#closing;
    const begin = this.#clock.now();
    const { dial, demand } = this.#options;
    this.#attempt++;
    const transport = await dial({ signal, attempt: this.#attempt, lastDialMs: this.#lastDialMs });
    if (signal.aborted) {
      await transport.close();
      throw signal.reason;
    }
    const now = this.#clock.now();
    const link = new LinkInUse(transport, this.#opens);
    this.#link = link;
    this.#lastDialMs = now - begin;
    this.#attempt = 0;
    this.#lastError = undefined;
    this.#redial.succeeded();
    const how = `${this.#everUp ? 'reconnected' : 'connected'} after ${inSeconds(now - this.#downSince)}`;
    if (this.#inOutage) this.#observer.log('notice', how);
    else if (demand !== undefined) this.#observer.log('info', `${how} (on demand)`);
    this.#inOutage = false;
    this.#everUp = true;
    this.#become({ name: 'up' });
    void transport.ended.then((error) => this.#lost(link, error));
    this.#waiting.release();
    const { idleDisconnect = 0 } = demand ?? {};
    if (idleDisconnect > 0)
      link.whenIdle(idleDisconnect * 1_000, () => this.#disconnect(link, idleDisconnect));
  }

  /** Nobody has used it. A connect that comes from here on waits for the next link. */
  #disconnect(link: LinkInUse, idleSeconds: number): void {
    this.#drop(link);
    this.#become({ name: 'idle' });
    this.#observer.count('tunnel_idle_disconnects_total');
    const why = `not used for ${idleSeconds} s`;
    this.#observer.log('info', `disconnected: ${why}; it is dialled again when needed`);
  }

  /** It is no longer the link, and is being closed. */
  #drop(link: LinkInUse): void {
    this.#link = undefined;
    const closed = link.close();
    this.#closingLinks.add(closed);
    void closed.finally(() => this.#closingLinks.delete(closed));
  }

  /**
   * `error`: why; undefined when somebody else has closed it. May be called more than once for a
   * link; only the first call counts.
   */
  #lost(link: LinkInUse, error: TunnelError | undefined): void {
    if (this.#link !== link) return;
    const unused = link.idleMs >= IDLE_MS;
    this.#drop(link);
    this.#downSince = this.#clock.now();
    this.#lastError = error;
    this.#observer.count('tunnel_links_lost_total');
    // Without a cause it says that the server closed the connection in order (ssh/transport.ts).
    if (unused && error?.code === 'link-lost' && error.cause === undefined) {
      this.#observer.log(
        'debug',
        `${error.message}, which nobody used; it is dialled again when needed`,
      );
      this.#become({ name: 'idle' });
      return;
    }
    const reason =
      error ?? new TunnelError('link-lost', 'the connection to the jump host was closed');
    const next = this.#options.demand === undefined ? 'reconnecting' : 'dialled again when needed';
    this.#observer.log('notice', `link lost: ${reason.message}; ${next}`);
    this.#inOutage = true;
    const wait = this.#redial.afterLoss(this.#downSince - link.since);
    if (wait === 0) this.#dialIfWanted();
    else this.#become({ name: 'waiting' });
  }

  #dialIfWanted(): void {
    if (this.#isWanted) this.#dialAgain();
    else this.#rest();
  }

  /** On demand nobody is dialled for whom no connect waits, and no user has asked for it. */
  get #isWanted(): boolean {
    return this.#options.demand === undefined || this.#waiting.size > 0 || this.#requested;
  }

  /** Until the next connect, which begins afresh. */
  #rest(): void {
    this.#become({ name: 'idle' });
    this.#inOutage = false;
  }

  #dialAgain(): void {
    this.#requested = false;
    this.#observer.count('tunnel_redials_total');
    this.#become({ name: 'connecting' });
    this.#dialling = this.#dialUntilAccepted().catch((error: unknown) => this.#dialFailed(error));
  }

  #dialFailed(error: unknown): void {
    if (this.#closing.signal.aborted) return;
    this.#observer.count('tunnel_redial_failures_total');
    const known = error instanceof TunnelError ? error : unexpected(error);
    const wait = this.#redial.afterFailure(meaningOf(known), this.#clock.now() - this.#downSince);
    if (wait === undefined) {
      this.#finish({ name: 'failed', error: known }, known);
      return;
    }
    // The first failure of a kind is news; the same failure again is not.
    const news = !this.#inOutage || this.#lastError?.code !== known.code;
    this.#lastError = known;
    // The jump host is there, but slower than it was: short attempts would only add to its load.
    if (known.code === 'jumphost-slow') this.#lastDialMs = undefined;
    // Also again: a refused login may be tried so late that nobody has to wait for it.
    this.#waiting.allow(this.#hold);
    this.#inOutage = true;
    const text = describeFailure(known, wait, this.#redial.loginRefused);
    this.#observer.log(news ? 'notice' : 'info', text);
    this.#become({ name: 'waiting' });
  }

  async #probe(link: LinkInUse, what: string): Promise<void> {
    const { transport } = link;
    if (!isProbing(transport)) return;
    this.#observer.log('debug', `probing the link: ${what}`);
    this.#observer.count('tunnel_probes_total');
    this.#become({ name: 'probing' });
    const { probe = (one, milliseconds) => one.probe(milliseconds) } = this.#options;
    const alive = await probe(transport, PROBE_TIMEOUT_MS);
    if (this.#link !== link) return;
    if (alive) {
      this.#become({ name: 'up' });
      return;
    }
    this.#observer.count('tunnel_probes_failed_total');
    const silence = `no answer within ${PROBE_TIMEOUT_MS / 1_000} s`;
    this.#lost(link, new TunnelError('link-lost', `${silence} (${what})`, { cause: silence }));
  }

  #become(state: State): void {
    if (state.name !== this.#state.name) this.#stateSince = Date.now();
    if (state.name === 'up' && this.#state.name !== 'probing') this.#upSince = this.#stateSince;
    this.#state = state;
    this.#changes.call();
  }

  /** The end, for whatever reason. */
  #finish(state: State, error: TunnelError | undefined): void {
    if (this.#closing.signal.aborted) return;
    const reason = error ?? closedError();
    this.#closing.abort(reason);
    this.#link = undefined;
    this.#redial.cancel();
    this.#become(state);
    this.#waiting.refuseAll(reason.message, reason);
    this.#end(error);
  }
}
