/**
 * When keys are exchanged anew (RFC 4253 §9): ssh2 answers a server that asks for it and never asks
 * itself. OpenSSH's sshd does, by the same limits; other servers may not.
 *
 * While keys are exchanged flows wait (Multiplexer); what the server had under way still arrives.
 * What has to be answered then is queued by ssh2, without a bound or a time limit of its own. A
 * server that goes on talking and never finishes the exchange is given up after EXCHANGE_SECONDS,
 * or when MAX_QUEUED packets wait for it.
 */
import { isExchangingKeys, queuedPackets, type SshProtocol } from '../ssh2/internals.ts';

export interface RekeyLimits {
  /** Both directions together; undefined: as the cipher allows. */
  readonly bytes: number | undefined;
  /** undefined: no limit, as ssh's RekeyLimit has it by default. */
  readonly seconds: number | undefined;
}

/**
 * 2^32 blocks of AES (RFC 4344 §3.2), which is also fewer than 2^31 packets, the bound that a
 * packet's sequence number sets (§3.1); ChaCha20-Poly1305 and anything else as OpenSSH has it, 1
 * GiB (RFC 4253 §9).
 */
const AES_BYTES = 2 ** 36;
const OTHER_BYTES = 2 ** 30;

/**
 * Seconds that the program runs. Much, because all that a server has already queued on a slow path
 * comes before its part of the exchange.
 */
export const EXCHANGE_SECONDS = 300;
/** Above what all channels together can have to say while none of them may send data. */
export const MAX_QUEUED = 128 * 1024;

/** What an exchange that doesn't end is given up for. */
export type Stuck = 'time' | 'queue';

export class Rekeying {
  readonly #protocol: SshProtocol;
  readonly #limits: RekeyLimits;
  readonly #clock: () => number;
  readonly #stuck: (why: Stuck) => void;
  /** Runs while keys are exchanged. */
  #patience: NodeJS.Timeout | undefined;
  #stopped = false;
  #since = 0;
  #bytes = 0;
  /** Keys are exchanged anew after so many bytes. */
  #volume = 0;

  /**
   * `stuck` is called once for an exchange that doesn't end. `clock`: milliseconds, monotonic.
   */
  constructor(
    protocol: SshProtocol,
    limits: RekeyLimits,
    stuck: (why: Stuck) => void,
    clock: () => number = () => performance.now(),
  ) {
    this.#protocol = protocol;
    this.#limits = limits;
    this.#stuck = stuck;
    this.#clock = clock;
    this.renewed();
  }

  /** So many bytes have been sent or received; begins a key exchange if it is time. */
  count(bytes: number): void {
    this.#bytes += bytes;
    this.#watch();
    const { seconds } = this.#limits;
    const late = seconds !== undefined && this.#clock() - this.#since >= seconds * 1000;
    if (!late && this.#bytes < this.#volume) return;
    // Once is enough: the next one is due when so much has gone by again.
    this.renewed();
    // Not in the midst of a packet.
    process.nextTick(() => {
      this.#protocol.rekey();
      this.#watch();
    });
  }

  /** The link has ended. */
  stop(): void {
    this.#stopped = true;
    this.#forget();
  }

  #watch(): void {
    if (this.#stopped || !isExchangingKeys(this.#protocol)) return;
    if (queuedPackets(this.#protocol) > MAX_QUEUED) this.#giveUp('queue');
    else this.#patience ??= this.#wait();
  }

  /** Second by second: of a time in which the program stood still one second counts. */
  #wait(): NodeJS.Timeout {
    let left = EXCHANGE_SECONDS;
    return setInterval(() => {
      if (--left <= 0) this.#giveUp('time');
    }, 1000);
  }

  #giveUp(why: Stuck): void {
    if (this.#stopped) return;
    this.stop();
    this.#stuck(why);
  }

  #forget(): void {
    clearInterval(this.#patience);
    this.#patience = undefined;
  }

  /** Keys have been exchanged, whoever asked for it. */
  renewed(): void {
    this.#forget();
    this.#bytes = 0;
    this.#since = this.#clock();
    const allowed = /^AES/.test(this.#protocol._cipher.constructor.name) ? AES_BYTES : OTHER_BYTES;
    this.#volume = Math.min(this.#limits.bytes ?? allowed, allowed);
  }
}
