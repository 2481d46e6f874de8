/**
 * Makes a server that leaves Nagle's algorithm on send the data that it delays, when flushtiming.ts
 * says that it is time.
 *
 *   9.5 and later: announces ping@openssh.com   one ping of a segment's size; its answer is as long
 *   before that                                 enough global requests that the answers fill one
 *
 * The answers to global requests carry no number. LivenessProbe sends the same requests, so it
 * counts all of them in order.
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
  readonly liveness: LivenessProbe;
  /** `host:port`, for the log. */
  readonly at: string;
  readonly observer: Observer;
}

export class Flusher {
  readonly #options: FlusherOptions;
  readonly #timing = new FlushTiming();
  /** The numbers of the last ping sent and of the last ping answered. */
  #pinged = 0;
  #ponged = 0;
  /** Flushes that will be sent at the end of this turn. */
  #pending = 0;
  #logged = false;
  #stopped = false;

  constructor(options: FlusherOptions) {
    this.#options = options;
    options.protocol._handlers.PONG = (_, number) => {
      if (number <= this.#ponged || number > this.#pinged) return;
      this.#timing.answered((number - this.#ponged) * SEGMENT_BYTES);
      this.#ponged = number;
    };
  }

  /** A global request was answered after this time. */
  roundTrip(milliseconds: number): void {
    this.#timing.roundTrip(milliseconds);
  }

  /** This many bytes were received. */
  received(bytes: number): void {
    this.#timing.received(bytes);
  }

  /** The received bytes included the answer to a global request. */
  answered(): void {
    this.#timing.answered(shortAnswerBytes(this.#options.protocol));
  }

  /** This many bytes were given to the socket. */
  sent(bytes: number): void {
    const { protocol, liveness, observer } = this.#options;
    const requests = Math.ceil(SEGMENT_BYTES / shortAnswerBytes(protocol));
    const unanswered = this.#pending + liveness.unanswered / requests + this.#pinged - this.#ponged;
    const verdict = this.#timing.sent(bytes, performance.now(), unanswered);
    if (verdict === 'limited') observer.count('tunnel_flush_limit_total');
    if (verdict !== 'ask') return;
    this.#pending++;
    // Not in the middle of a packet.
    process.nextTick(() => this.#flush(requests));
  }

  /** The connection ends: from now on nothing is asked. */
  stop(): void {
    this.#stopped = true;
  }

  #flush(requests: number): void {
    const { protocol, liveness, at, observer } = this.#options;
    this.#pending--;
    // While keys are being exchanged, requests would be queued and pings not answered.
    if (this.#stopped || isExchangingKeys(protocol)) return;
    const ping = answersPings(protocol);
    if (!this.#logged) {
      this.#logged = true;
      const means = ping ? 'pings' : 'requests';
      observer.log(
        'info',
        `${at} leaves Nagle's algorithm on; while data go up, answers to ${means} make it send what it delays (--no-flush turns that off)`,
      );
    }
    observer.count('tunnel_flushes_total');
    if (ping) sendPing(protocol, ++this.#pinged, SEGMENT_BYTES);
    else liveness.askUntimed(requests);
  }
}
