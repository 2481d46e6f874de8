/**
 * Has a server that leaves Nagle's algorithm on flush what it holds back, when flushtiming.ts says
 * that it is time.
 *
 *   9.5 and later: announces ping@openssh.com   one ping of a segment's size, answered with as much
 *   before that                                 so many global requests that the answers fill one
 *
 * The answers to global requests have no names. Pulse, which asks the same, counts them all in
 * their order.
 */
import type { Observer } from '../../../observe/observer.ts';
import {
  answersPings,
  isExchangingKeys,
  type SshProtocol,
  sendPing,
  shortAnswerBytes,
} from '../ssh2/internals.ts';
import { FlushTiming, SEGMENT_BYTES } from './flushtiming.ts';
import type { LivenessProbe } from './livenessprobe.ts';

export interface FlusherOptions {
  readonly protocol: SshProtocol;
  readonly pulse: LivenessProbe;
  /** `host:port`, for the log. */
  readonly at: string;
  readonly observer: Observer;
}

export class Flusher {
  readonly #options: FlusherOptions;
  readonly #timing = new FlushTiming();
  /** Numbers of the last ping that was sent and of the last one that was answered. */
  #pinged = 0;
  #ponged = 0;
  /** Flushes that are due at the end of this turn. */
  #due = 0;
  #told = false;
  #stopped = false;

  constructor(options: FlusherOptions) {
    this.#options = options;
    options.protocol._handlers.PONG = (_, number) => {
      if (number <= this.#ponged || number > this.#pinged) return;
      this.#timing.answered((number - this.#ponged) * SEGMENT_BYTES);
      this.#ponged = number;
    };
  }

  /** A global request was answered after so long. */
  roundTrip(milliseconds: number): void {
    this.#timing.roundTrip(milliseconds);
  }

  /** So many bytes have come. */
  received(bytes: number): void {
    this.#timing.received(bytes);
  }

  /** One of them was the answer to a global request. */
  answered(): void {
    this.#timing.answered(shortAnswerBytes(this.#options.protocol));
  }

  /** So many bytes have been handed to the socket. */
  sent(bytes: number): void {
    const { protocol, pulse, observer } = this.#options;
    const requests = Math.ceil(SEGMENT_BYTES / shortAnswerBytes(protocol));
    const unanswered = this.#due + pulse.unanswered / requests + this.#pinged - this.#ponged;
    const verdict = this.#timing.sent(bytes, performance.now(), unanswered);
    if (verdict === 'limited') observer.count('tunnel_flush_limit_total');
    if (verdict !== 'ask') return;
    this.#due++;
    // Not in the midst of a packet.
    process.nextTick(() => this.#flush(requests));
  }

  /** The connection ends: nothing is asked any more. */
  stop(): void {
    this.#stopped = true;
  }

  #flush(requests: number): void {
    const { protocol, pulse, at, observer } = this.#options;
    this.#due--;
    // What is sent while keys are exchanged would be queued, and pings not answered.
    if (this.#stopped || isExchangingKeys(protocol)) return;
    const ping = answersPings(protocol);
    if (!this.#told) {
      this.#told = true;
      const means = ping ? 'pings' : 'requests';
      observer.log(
        'info',
        `${at} leaves Nagle's algorithm on; while data go up, answers to ${means} push out what it holds back (--no-flush: not)`,
      );
    }
    observer.count('tunnel_flushes_total');
    if (ping) sendPing(protocol, ++this.#pinged, SEGMENT_BYTES);
    else pulse.demand(requests);
  }
}
