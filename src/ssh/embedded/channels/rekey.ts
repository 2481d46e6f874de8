/**
 * When keys are exchanged anew (RFC 4253 §9): ssh2 answers a server that asks for it and never asks
 * itself. OpenSSH's sshd does, by the same limits; other servers may not.
 *
 * While keys are exchanged flows wait (Multiplexer), so nothing queues up; what the server had
 * under way still arrives.
 */
import type { SshProtocol } from '../ssh2/internals.ts';

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

export class Rekeying {
  readonly #protocol: SshProtocol;
  readonly #limits: RekeyLimits;
  readonly #clock: () => number;
  #since = 0;
  #bytes = 0;
  /** Keys are exchanged anew after so many bytes. */
  #volume = 0;

  /** `clock`: milliseconds, monotonic. */
  constructor(
    protocol: SshProtocol,
    limits: RekeyLimits,
    clock: () => number = () => performance.now(),
  ) {
    this.#protocol = protocol;
    this.#limits = limits;
    this.#clock = clock;
    this.renewed();
  }

  /** So many bytes have been sent or received; begins a key exchange if it is time. */
  count(bytes: number): void {
    this.#bytes += bytes;
    const { seconds } = this.#limits;
    const late = seconds !== undefined && this.#clock() - this.#since >= seconds * 1000;
    if (!late && this.#bytes < this.#volume) return;
    // Once is enough: the next one is due when so much has gone by again.
    this.renewed();
    // Not in the midst of a packet.
    process.nextTick(() => this.#protocol.rekey());
  }

  /** Keys have been exchanged, whoever asked for it. */
  renewed(): void {
    this.#bytes = 0;
    this.#since = this.#clock();
    const allowed = /^AES/.test(this.#protocol._cipher.constructor.name) ? AES_BYTES : OTHER_BYTES;
    this.#volume = Math.min(this.#limits.bytes ?? allowed, allowed);
  }
}
