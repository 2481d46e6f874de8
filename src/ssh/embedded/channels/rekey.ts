/**
 * When keys are exchanged again (RFC 4253 §9). ssh2 answers a server that begins a key exchange,
 * but never begins one itself. OpenSSH's sshd does, with the same limits; other servers may not.
 *
 * While keys are being exchanged flows wait (Multiplexer), but data that the server had under way
 * still arrive. ssh2 queues our answers to them, without a limit of size or time. So a server that
 * goes on sending and never finishes the exchange is given up after EXCHANGE_SECONDS, or when more
 * than MAX_QUEUED packets wait for it.
 */
import { isExchangingKeys, queuedPackets, type SshProtocol } from '../ssh2/internals.ts';

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
 * Seconds during which the program runs. Many, because on a slow path everything that the server
 * has already queued comes before its part of the exchange.
 */
export const EXCHANGE_SECONDS = 300;
/** More than all channels together can send while none of them may send data. */
export const MAX_QUEUED = 128 * 1024;

/** Why an exchange that doesn't end is given up. */
export type Stuck = 'time' | 'queue';

export class Rekeying {
  readonly #protocol: SshProtocol;
  readonly #limits: RekeyLimits;
  readonly #clock: () => number;
  readonly #onStuck: (why: Stuck) => void;
  /** Runs while keys are being exchanged. */
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #since = 0;
  #bytes = 0;
  /** Keys are exchanged again after this many bytes. */
  #byteLimit = 0;

  /**
   * `onStuck` is called once for an exchange that doesn't end. `clock`: milliseconds, monotonic.
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
      if (this.#stopped) return;
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
    if (queuedPackets(this.#protocol) > MAX_QUEUED) this.#giveUp('queue');
    else this.#timer ??= this.#startTimer();
  }

  /**
   * Counts second by second, so that a time in which the program stood still counts as one second.
   */
  #startTimer(): NodeJS.Timeout {
    let left = EXCHANGE_SECONDS;
    return setInterval(() => {
      if (--left <= 0) this.#giveUp('time');
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
    this.#countFromZero();
  }

  #countFromZero(): void {
    this.#bytes = 0;
    this.#since = this.#clock();
    const allowed = /^AES/.test(this.#protocol._cipher.constructor.name) ? AES_BYTES : OTHER_BYTES;
    this.#byteLimit = Math.min(this.#limits.bytes ?? allowed, allowed);
  }
}
