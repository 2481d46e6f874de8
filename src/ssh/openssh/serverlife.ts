/**
 * Judges whether the server still answers ssh, from outside of ssh.
 *
 * ssh asks the server for an answer after each interval of silence (ServerAliveInterval), but it
 * would also give up a server that answers no such request at all. So ssh is told never to give up
 * (arguments.ts), and it is done here, with what can be seen of ssh: how many bytes it has read.
 * These come from the server, or from us through the SOCKS socket. A sign of life is, since the
 * last look:
 *
 *   a flow has received something             it comes from the server
 *   ssh has read, and we wrote nothing        so that came from the server
 *   ssh has read more than we wrote           the same, compared with the most seen so far
 *   ssh goes on reading what we had to queue  the server has admitted more
 *
 * | silence for               | the server is known to answer  | it has never answered           |
 * |---------------------------|--------------------------------|---------------------------------|
 * | an interval               | ssh asks                       | ssh asks; TCP is looked at      |
 * | `count` intervals         | the link is lost               | it is told, and the link stays  |
 * | TCP sends again, as long  |                                | the link is lost                |
 *
 * An answer is what ssh reads soon after it has asked, when no flow has sent or received anything
 * since the last sign of life. A server that is never idle so long can't be seen to answer, so
 * OpenSSH's is taken to do so (`expected`), until it has been given up for that alone. One that
 * sends something by itself in every interval may be taken for one that answers: it isn't silent
 * either.
 *
 * After MAX_UNANSWERED_REQUESTS the server must not be asked any more. ssh can't be told that, but
 * it asks only after an interval of silence. So the server is then asked for a channel that can't
 * be opened, a little before that. Its refusal is an answer: from then on its silence counts.
 *
 * What ssh has read may be hidden (its program has capabilities, for example). Then the server is
 * asked for such a channel from the beginning, and signs of life are its refusals and what flows
 * receive.
 */
import { type Clock, type ClockTimer, systemClock } from '../../base/clock.ts';
import { MAX_UNANSWERED_REQUESTS, mustAnswer, type ServerAnswers } from '../answers.ts';
import type { SshSettings } from '../settings.ts';

/** What all flows together have done so far. */
export interface FlowBytes {
  /** Written to ssh, including what still waits in this process. */
  readonly written: number;
  /** Received from the server through ssh. */
  readonly received: number;
  /** Some of what was written waits in this process. */
  readonly waiting: boolean;
  /**
   * How often the server has ended a flow's data, or a flow has ended. What that had written may
   * never be read.
   */
  readonly ends: number;
}

export interface ServerLifeOptions {
  readonly keepalive: SshSettings['keepalive'];
  /** What is known about the server. `seen` and `doubted` are set here. */
  readonly answers: ServerAnswers;
  /** knownToAnswer() of the server's software. */
  readonly expected: boolean;
  /** Bytes that ssh has read so far; undefined: that can't be seen. */
  readonly read: () => number | undefined;
  readonly flows: () => FlowBytes;
  /** TCP sends the same data again and again; undefined: ssh's connection can't be seen. */
  readonly stuck: () => boolean | undefined;
  /** Asks for a channel that can't be opened. Resolves to whether the server answered. */
  readonly ask: () => Promise<boolean>;
  /** `count` intervals have passed, and the server has never answered. Called once. */
  readonly unanswering: () => void;
  /** It has left MAX_UNANSWERED_REQUESTS unanswered. Called once. */
  readonly limited: () => void;
  /** The server is given up. Called once. */
  readonly lost: (why: string) => void;
  /**
   * Milliseconds by which what ssh has read may be seen late. ssh asks as much later
   * (arguments.ts).
   */
  readonly delay: number;
  readonly clock?: Clock;
}

/** How often it is looked: this part of an interval, in these bounds. */
const LOOKS = 15;
const LEAST_STEP_MS = 200;
const MOST_STEP_MS = 1_000;
/** ssh counts whole seconds (arguments.ts), and so asks up to this late. */
const LATE_MS = 1_000;
/** A server has at least this long to answer, however short the interval is. */
const LEAST_ANSWER_MS = 1_000;
/** What comes later than this after ssh has asked isn't taken for an answer. */
const MOST_ANSWER_MS = 5_000;
/** TCP is looked at so often in an interval: that reads the machine's whole table. */
const TCP_LOOKS = 5;
/** The server is asked for a channel after this part of an interval. */
const ASK_AT = 0.7;

export class ServerLife {
  readonly #options: ServerLifeOptions;
  readonly #clock: Clock;
  readonly #interval: number;
  /** So much silence of a server that is known to answer ends the link. */
  readonly #limit: number;
  /** TCP must have sent again for so long. */
  readonly #stuckLimit: number;
  readonly #step: number;
  #timer: ClockTimer | undefined;
  #lookedAt: number;
  #silence = 0;
  /** How long TCP has been sending again. */
  #stuck = 0;
  #read: number | undefined;
  #hidden = false;
  #flows: FlowBytes;
  /** How long ago a flow last did anything, was written to, and ended. */
  #sinceActivity = 0;
  #sinceWrite = 0;
  #sinceEnd = 0;
  /** What was last read may be an answer, if no flow shows at the next look that it was its own. */
  #perhapsAnswered = false;
  /** The most that ssh had read beyond what we wrote. */
  #most = Number.NEGATIVE_INFINITY;
  #requests = 0;
  #asking = false;
  #refuses = false;
  #told = false;
  #limited = false;
  #stopped = false;

  constructor(options: ServerLifeOptions) {
    const { keepalive, clock = systemClock } = options;
    this.#options = options;
    this.#clock = clock;
    // ssh takes whole seconds (arguments.ts).
    this.#interval = Math.ceil(keepalive.interval) * 1_000;
    this.#stuckLimit = keepalive.count * this.#interval;
    const least = this.#interval + LATE_MS + LEAST_ANSWER_MS + 2 * options.delay;
    this.#limit = Math.max(this.#stuckLimit, least);
    this.#step = Math.min(MOST_STEP_MS, Math.max(LEAST_STEP_MS, this.#interval / LOOKS));
    this.#lookedAt = clock.now();
    this.#flows = options.flows();
    if (this.#interval > 0) this.#wait();
  }

  /** From now on nothing is looked at. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #wait(): void {
    this.#timer = this.#clock.after(this.#step, () => this.#look());
  }

  #look(): void {
    const now = this.#clock.now();
    // If this process was stopped, ssh may have been stopped as well.
    const passed = Math.min(now - this.#lookedAt, 2 * this.#step);
    this.#lookedAt = now;
    const flows = this.#options.flows();
    this.#compare(flows, passed);
    if (this.#perhapsAnswered && this.#sinceActivity > 0) this.#options.answers.seen = true;
    this.#perhapsAnswered = false;
    const read = this.#options.read();
    this.#hidden = read === undefined;
    if (this.#isLife(read, flows)) this.#alive(passed);
    else this.#silent(passed);
    this.#remember(read, flows, passed);
    if (!this.#stopped) this.#wait();
  }

  #compare({ written, received, waiting, ends }: FlowBytes, passed: number): void {
    const before = this.#flows;
    const since = (time: number, same: boolean): number => (same ? time + passed : 0);
    this.#sinceWrite = since(this.#sinceWrite, written === before.written);
    this.#sinceEnd = since(this.#sinceEnd, ends === before.ends);
    const quiet = this.#sinceWrite > 0 && this.#sinceEnd > 0 && received === before.received;
    this.#sinceActivity = since(this.#sinceActivity, quiet && !waiting);
  }

  #isLife(read: number | undefined, flows: FlowBytes): boolean {
    const before = this.#flows;
    if (flows.received > before.received) return true;
    if (read === undefined) return false;
    // The first time that it can be seen.
    if (this.#read === undefined) return true;
    const grown = read > this.#read;
    if (grown && (this.#sinceWrite > this.#options.delay || flows.waiting)) return true;
    return read - flows.written > this.#most;
  }

  #remember(read: number | undefined, flows: FlowBytes, passed: number): void {
    if (read !== undefined) {
      const beyond = read - flows.written;
      // What a flow had written is read by now, or never will be.
      const ended = this.#sinceEnd > this.#options.delay;
      const justEnded = ended && this.#sinceEnd - passed <= this.#options.delay;
      this.#most = justEnded ? beyond : Math.max(this.#most, beyond);
    }
    this.#read = read;
    this.#flows = flows;
  }

  #alive(passed: number): void {
    const silence = this.#silence + passed;
    const latest = this.#interval + LATE_MS + MOST_ANSWER_MS + 2 * this.#options.delay;
    const inTime = silence >= this.#interval - this.#step && silence <= latest;
    const idle = this.#sinceActivity >= silence + this.#options.delay;
    this.#perhapsAnswered = inTime && idle && !this.#hidden;
    this.#restart();
  }

  #restart(): void {
    this.#silence = 0;
    this.#stuck = 0;
  }

  #silent(passed: number): void {
    const before = this.#silence;
    this.#silence += passed;
    if (this.#mustAnswer) {
      if (this.#silence >= this.#limit) this.#giveUp();
      else this.#askInstead();
      return;
    }
    const passes = (part: number): boolean =>
      Math.floor(this.#silence / part) > Math.floor(before / part);
    if (passes(this.#interval)) this.#requests++;
    if (this.#silence >= this.#interval && passes(this.#interval / TCP_LOOKS)) this.#judgeTcp();
    if (this.#stopped) return;
    if (this.#silence >= this.#limit && !this.#told) {
      this.#told = true;
      this.#options.unanswering();
    }
    this.#askInstead();
  }

  get #asksForChannels(): boolean {
    return this.#limited || this.#hidden;
  }

  /** Its silence says that it is gone. */
  get #mustAnswer(): boolean {
    const { answers, expected } = this.#options;
    const refuses = this.#refuses && this.#asksForChannels;
    return refuses || mustAnswer(answers, expected);
  }

  #giveUp(): void {
    const { answers } = this.#options;
    answers.doubted ||= !answers.seen && !this.#refuses;
    this.#lose('the jump host no longer answers keepalives');
  }

  #judgeTcp(): void {
    const stuck = this.#options.stuck() === true;
    this.#stuck = stuck ? this.#stuck + this.#interval / TCP_LOOKS : 0;
    if (this.#stuck >= this.#stuckLimit)
      this.#lose(`nothing was acknowledged for ${Math.round(this.#stuckLimit / 1_000)} s`);
  }

  #askInstead(): void {
    const limited = this.#requests >= MAX_UNANSWERED_REQUESTS && !this.#options.answers.seen;
    if (limited && !this.#limited) this.#options.limited();
    this.#limited = limited;
    if (this.#asking || !this.#asksForChannels) return;
    if (this.#silence < ASK_AT * this.#interval) return;
    this.#asking = true;
    void this.#options.ask().then((answered) => {
      // Otherwise the request still waits in ssh, and another would wait beside it.
      if (!answered) return;
      this.#asking = false;
      this.#refuses = true;
      this.#restart();
    });
  }

  #lose(why: string): void {
    this.stop();
    this.#options.lost(why);
  }
}
