/**
 * When keys are exchanged again (RFC 4253 §9). ssh2 answers a server that begins a key exchange,
 * but never begins one itself. OpenSSH's sshd does, with the same limits; other servers may not.
 *
 *   quiet -- count(): bytes or seconds are used up --> exchanging -- renewed() --> quiet
 *      `---- the server's KEXINIT ---------------------^    `-- a limit --> given up
 *
 * While keys are being exchanged flows wait (Multiplexer), and so do those who write to them. Data
 * that the server had under way still arrive, and ssh2 queues our answers to them, without a limit
 * of size or time. A server is given up that
 *
 *   time    has not finished an exchange after EXCHANGE_SECONDS, whoever began it
 *   queue   makes more wait for its end than may wait in the socket (MAX_BACKLOG)
 *   storm   begins one exchange after the other, although hardly anything is carried in between
 *
 * An exchange takes some milliseconds of the processor, so a server may begin FREE_EXCHANGES at
 * once and one more each second. One after WORTHWHILE_BYTES is not counted.
 */
import { isExchangingKeys, queuedFrom, type SshProtocol } from '../ssh2/internals.ts';
import { MAX_BACKLOG } from './outbox.ts';

export interface RekeyLimits {
  /** Of both directions together; undefined: what the cipher allows. */
  readonly bytes: number | undefined;
  /** undefined: no limit, which is also the default of ssh's RekeyLimit. */
  readonly seconds: number | undefined;
}

/**
 * AES: 2^32 blocks (RFC 4344 §3.2), which is also fewer than 2^31 packets, the limit for the
 * sequence number (§3.1). ChaCha20-Poly1305 and anything else: 1 GiB, as in OpenSSH (RFC 4253 §9).
 */
const AES_BYTES = 2 ** 36;
const OTHER_BYTES = 2 ** 30;

/**
 * Seconds during which the program runs. On a slow path everything that the server has already
 * queued comes before its part of the exchange.
 */
export const EXCHANGE_SECONDS = 60;
/** What a packet that waits costs besides its own bytes: the objects of a Buffer. */
export const QUEUED_COST = 200;
export const FREE_EXCHANGES = 30;
export const WORTHWHILE_BYTES = 2 ** 20;

/** Why the link is given up. */
export type Stuck = 'time' | 'queue' | 'storm';

export class Rekeying {
  readonly #protocol: SshProtocol;
  readonly #limits: RekeyLimits;
  readonly #clock: () => number;
  readonly #onStuck: (why: Stuck) => void;
  /** Runs while keys are being exchanged. */
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  /** The exchange that is under way was begun here. */
  #ours = false;
  /** Of what waits for the end of the exchange: packets that have been counted, and their bytes. */
  #counted = 0;
  #queued = 0;
  /** How many exchanges the server may begin now, and since when that has not been raised. */
  #allowed = FREE_EXCHANGES;
  #allowedAt = 0;
  #since = 0;
  #bytes = 0;
  /** Keys are exchanged again after this many bytes. */
  #byteLimit = 0;

  /**
   * `onStuck` is called once, when the link must be given up. `clock`: milliseconds, monotonic.
   */
  constructor(
    protocol: SshProtocol,
    limits: RekeyLimits,
    onStuck: (why: Stuck) => void,
    clock: () => number = () => performance.now(),
  ) {
    this.#protocol = protocol;
    this.#limits = limits;
    this.#onStuck = onStuck;
    this.#clock = clock;
    this.#allowedAt = clock();
    this.#countFromZero();
  }

  /** This many bytes were sent or received. Begins a key exchange if it is time. */
  count(bytes: number): void {
    this.#bytes += bytes;
    this.#checkExchange();
    // One that is under way keeps its timer and is not begun again.
    if (this.#stopped || isExchangingKeys(this.#protocol)) return;
    const { seconds } = this.#limits;
    const late = seconds !== undefined && this.#clock() - this.#since >= seconds * 1000;
    if (!late && this.#bytes < this.#byteLimit) return;
    // Begin only one: count from zero for the next one.
    this.#countFromZero();
    // Not in the middle of a packet.
    process.nextTick(() => {
      // A further limit's worth of bytes, or the server, may have begun one in the same turn.
      if (this.#stopped || isExchangingKeys(this.#protocol)) return;
      this.#ours = true;
      this.#protocol.rekey();
      this.#checkExchange();
    });
  }

  /** The link has ended. */
  stop(): void {
    this.#stopped = true;
    this.#stopTimer();
  }

  #checkExchange(): void {
    if (this.#stopped || !isExchangingKeys(this.#protocol)) return;
    this.#timer ??= this.#startTimer();
    this.#checkQueue();
  }

  #checkQueue(): void {
    const added = queuedFrom(this.#protocol, this.#counted);
    this.#counted += added.length;
    for (const packet of added) this.#queued += packet.length + QUEUED_COST;
    if (this.#queued > MAX_BACKLOG) this.#giveUp('queue');
  }

  /**
   * Counts second by second, so that a time in which the program stood still counts as one second.
   */
  #startTimer(): NodeJS.Timeout {
    let left = EXCHANGE_SECONDS;
    return setInterval(() => {
      if (--left <= 0) this.#giveUp('time');
      else this.#checkQueue();
    }, 1000);
  }

  #giveUp(why: Stuck): void {
    if (this.#stopped) return;
    this.stop();
    this.#onStuck(why);
  }

  #stopTimer(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Keys have been exchanged, whichever side began it. */
  renewed(): void {
    this.#stopTimer();
    if (!this.#ours && this.#bytes < WORTHWHILE_BYTES) this.#countBegun();
    this.#ours = false;
    this.#counted = 0;
    this.#queued = 0;
    this.#countFromZero();
  }

  /** The server has begun an exchange that was not due. */
  #countBegun(): void {
    const now = this.#clock();
    const earned = Math.floor((now - this.#allowedAt) / 1000);
    this.#allowedAt += earned * 1000;
    this.#allowed = Math.min(FREE_EXCHANGES, this.#allowed + earned) - 1;
    if (this.#allowed < 0) this.#giveUp('storm');
  }

  #countFromZero(): void {
    this.#bytes = 0;
    this.#since = this.#clock();
    const allowed = /^AES/.test(this.#protocol._cipher.constructor.name) ? AES_BYTES : OTHER_BYTES;
    this.#byteLimit = Math.min(this.#limits.bytes ?? allowed, allowed);
  }
}
