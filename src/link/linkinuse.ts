/**
 * One transport while it is the link: opens flows over it, a limited number at a time
 * (openqueue.ts), and knows for how long nobody has used it. A flow counts from the moment that it
 * is asked for, so a link that is idle has nothing under way that could be lost with it.
 */
import type { Clock, ClockTimer } from '../base/clock.ts';
import type { Conduit } from '../flow/conduit.ts';
import type { ConnectOptions } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import type { Transport } from '../ssh/transport.ts';
import type { AnsweredDestinations } from './answereddestinations.ts';
import type { OpensView } from './linkstate.ts';
import { OpenQueue, rememberAnswers } from './openqueue.ts';
import type { SourceFinder } from './opensources.ts';
import { OpenStall } from './openstall.ts';
import { SlowOpens } from './slowopens.ts';

interface OpensOptions {
  readonly observer: Observer;
  readonly clock: Clock;
  readonly finder?: SourceFinder | undefined;
}

/** For all links of a run: what has answered lately, and what was told about slow opens. */
export class OpensOfAllLinks {
  readonly observer: Observer;
  readonly clock: Clock;
  readonly finder: SourceFinder | undefined;
  readonly answered: AnsweredDestinations;
  readonly stall: OpenStall;
  readonly slow: SlowOpens;

  constructor({ observer, clock, finder }: OpensOptions) {
    this.observer = observer;
    this.clock = clock;
    this.finder = finder;
    this.answered = rememberAnswers(observer);
    this.stall = new OpenStall(observer);
    this.slow = new SlowOpens(observer, clock);
  }
}

export class LinkInUse {
  readonly transport: Transport;
  /** When it came up, in ms of the clock. */
  readonly since: number;
  readonly #all: OpensOfAllLinks;
  readonly #opens: OpenQueue;
  /** Open, or being opened. */
  #flows = 0;
  /** When there last was a flow, or when the link came up. */
  #lastUse: number;
  #timer: ClockTimer | undefined;

  constructor(transport: Transport, all: OpensOfAllLinks) {
    const { observer, clock, answered, finder, stall } = all;
    this.transport = transport;
    this.since = clock.now();
    this.#all = all;
    this.#opens = new OpenQueue({
      connector: transport,
      observer,
      clock,
      answered,
      finder,
      stall,
    });
    this.#lastUse = this.since;
  }

  /** As Connector.connect. `since`: when it was asked for. */
  connect(destination: Destination, options: ConnectOptions, since: number): Promise<Conduit> {
    this.#flows++;
    const progress = this.#all.slow.begin(destination);
    return this.#opens.connect(destination, options, progress).then(
      (conduit) => {
        progress.ended(true);
        this.#follow(conduit, destination, { flow: options.flow, since });
        return conduit;
      },
      (error: unknown) => {
        this.#ended();
        progress.ended(false);
        throw error;
      },
    );
  }

  /** What is being opened over it. */
  get opens(): OpensView {
    return this.#opens.view;
  }

  /** Milliseconds without a flow; 0 while there is one. */
  get idleMs(): number {
    return this.#flows > 0 ? 0 : this.#all.clock.now() - this.#lastUse;
  }

  /**
   * Calls `idle` once, when there has been no flow for `ms`. No flow begins between the last look
   * and the call.
   */
  whenIdle(ms: number, idle: () => void): void {
    const left = ms - this.idleMs;
    if (left <= 0) {
      idle();
      return;
    }
    this.#timer = this.#all.clock.after(left, () => this.whenIdle(ms, idle));
  }

  /** It is no longer the link: `idle` is not called any more. Never rejects. */
  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.transport.close();
  }

  /** Counts the flow until it ends, and logs both ends of it. */
  #follow(
    conduit: Conduit,
    destination: Destination,
    { flow, since }: { readonly flow: number | undefined; readonly since: number },
  ): void {
    const { observer, clock } = this.#all;
    if (!(observer.shows?.('debug') ?? true)) {
      conduit.whenOver(this.#ended);
      return;
    }
    const what = formatDestination(destination);
    const after_ms = Math.round(clock.now() - since);
    observer.log('debug', `${what}: channel open`, { flow, after_ms });
    conduit.whenOver((error) => {
      this.#ended();
      observer.log('debug', `${what}: channel closed`, { flow, error: error?.message });
    });
  }

  readonly #ended = (): void => {
    this.#flows--;
    this.#lastUse = this.#all.clock.now();
  };
}
