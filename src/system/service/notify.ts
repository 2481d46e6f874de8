/**
 * Tells systemd how the service is (sd_notify(3)), over the socket that $NOTIFY_SOCKET names.
 *
 *   take()         finds it; programs that are started later don't see the variables
 *   send()         variables, one datagram; one that can't be taken now is tried again, in order
 *   keepAlive()    WATCHDOG=1, twice in the time that systemd waits for it: from a timer of this
 *                  thread, so it fails to come when the event loop is stuck
 *
 * systemd knows the sender by its process id, which the kernel adds. Without a socket nothing is
 * done. Nothing waits: while systemd is busy, a few messages are kept.
 */
import { addon } from '../../native/addon.ts';

/** Messages that wait. A newer STATUS replaces nothing, so the oldest ones are dropped. */
const MAX_WAITING = 32;
const RETRY_MS = 100;
const MICROSECONDS = 1_000;
const EAGAIN = 11;
const ENOBUFS = 105;

export interface NotifierOptions {
  /** Default: a datagram to the socket. Returns 0, or an errno. */
  readonly send?: (path: Uint8Array, octets: Uint8Array) => number;
}

export class Notifier {
  readonly #path: Uint8Array | undefined;
  /** Milliseconds; undefined: systemd expects nothing. */
  readonly #watchdog: number | undefined;
  readonly #send: (path: Uint8Array, octets: Uint8Array) => number;
  readonly #waiting: string[] = [];
  #retry: NodeJS.Timeout | undefined;
  #alive: NodeJS.Timeout | undefined;

  private constructor(
    path: Uint8Array | undefined,
    watchdog: number | undefined,
    send: (path: Uint8Array, octets: Uint8Array) => number,
  ) {
    this.#path = path;
    this.#watchdog = watchdog;
    this.#send = send;
  }

  /** Takes the variables out of `env`. */
  static take(env: NodeJS.ProcessEnv, { send }: NotifierOptions = {}): Notifier {
    const socket = env['NOTIFY_SOCKET'];
    const microseconds = Number(env['WATCHDOG_USEC']);
    const isOurs = env['WATCHDOG_PID'] === undefined || env['WATCHDOG_PID'] === `${process.pid}`;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
    const watchdog =
      isOurs && Number.isSafeInteger(microseconds) && microseconds > 0
        ? microseconds / MICROSECONDS
        : undefined;
    const native = (path: Uint8Array, octets: Uint8Array) => addon().sendDatagram(path, octets);
    return new Notifier(addressOf(socket), watchdog, send ?? native);
  }

  /** Whether systemd, or somebody in its place, listens. */
  get active(): boolean {
    return this.#path !== undefined;
  }

  /** Each is `NAME=value`, and has no newline. */
  send(...variables: readonly string[]): void {
    if (this.#path === undefined) return;
    this.#waiting.push(variables.join('\n'));
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift();
    if (this.#retry === undefined) this.#proceed();
  }

  /** From now on systemd sees that the event loop turns. */
  keepAlive(): void {
    if (this.#path === undefined || this.#watchdog === undefined || this.#alive !== undefined)
      return;
    this.send('WATCHDOG=1');
    this.#alive = setInterval(() => this.send('WATCHDOG=1'), this.#watchdog / 2).unref();
  }

  /** What waits is tried once more. */
  close(): void {
    clearInterval(this.#alive);
    clearTimeout(this.#retry);
    this.#proceed();
    clearTimeout(this.#retry);
  }

  #proceed(): void {
    const { path } = { path: this.#path };
    if (path === undefined) return;
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined) return;
      const error = this.#send(path, Buffer.from(first));
      if (error === EAGAIN || error === ENOBUFS) break;
      // Anything else doesn't pass: nobody listens there any more.
      this.#waiting.shift();
    }
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#proceed();
    }, RETRY_MS).unref();
  }
}

/** Of the socket's name: `@` stands for the zero of an abstract one. Undefined: there is none. */
function addressOf(name: string | undefined): Uint8Array | undefined {
  if (name === undefined || !/^[/@]./s.test(name)) return undefined;
  const octets = Buffer.from(name);
  if (name.startsWith('@')) octets[0] = 0;
  // With its zero at the end, a path is as long as an abstract name may be (unix(7)).
  return octets.length > 107 ? undefined : octets;
}
