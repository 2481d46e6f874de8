/**
 * The system log, as syslog(3) writes to it: one datagram a message, to /dev/log, in the form of
 * RFC 3164 that every local daemon reads.
 *
 *   write() ─► nothing waits: sent at once
 *          └─► the daemon is busy, or away: a queue of MAX_WAITING_BYTES ─► a timer tries again
 *
 * States, as in linewriter.ts, except that it is never broken: a daemon that has gone comes back,
 * and each datagram goes to whoever listens at the path by then. What doesn't fit into the queue is
 * left out and counted, and a message says so when the log takes messages again.
 */
import type { Level } from './observer.ts';

/** Messages that wait, in bytes: some 2,500. */
const MAX_WAITING_BYTES = 256 * 1024;
/** Of one message: what rsyslog and journald take whole by default. */
const MAX_MESSAGE_BYTES = 4096;
/** Between two tries, in milliseconds: at first, and at most. */
const RETRY_MS = 20;
const MOST_RETRY_MS = 2_000;
/** At the end of the program. */
const FLUSH_RETRY_MS = 5;
/** LOG_DAEMON, in the bits of syslog(3). */
const FACILITY = 3 << 3;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** Severities of syslog(3). */
export const SEVERITY: Readonly<Record<Level, number>> = {
  error: 3,
  warning: 4,
  notice: 5,
  info: 6,
  debug: 7,
};

export interface SyslogOptions {
  /** Sends a datagram without waiting. Returns 0, or an errno. */
  readonly send: (octets: Uint8Array) => number;
  readonly pid: number;
  /** In milliseconds since 1970. */
  readonly now?: () => number;
}

export class Syslog {
  readonly broken = false;
  readonly #send: (octets: Uint8Array) => number;
  readonly #pid: number;
  readonly #now: () => number;
  readonly #queue: Buffer[] = [];
  #waitingBytes = 0;
  #leftOut = 0;
  #dropped = 0;
  #timer: NodeJS.Timeout | undefined;
  #retry = RETRY_MS;

  constructor({ send, pid, now = Date.now }: SyslogOptions) {
    this.#send = send;
    this.#pid = pid;
    this.#now = now;
  }

  get dropped(): number {
    return this.#dropped;
  }

  /** `line`: as LineWriter's. */
  write(line: string, level: Level = 'notice'): void {
    const message = this.#message(line, level);
    if (this.#leftOut > 0 || this.#waitingBytes + message.length > MAX_WAITING_BYTES) {
      this.#leftOut += 1;
      this.#dropped += 1;
    } else this.#add(message);
  }

  /** The program's last messages: few and short, never left out. */
  writeSurely(text: string): void {
    for (const line of text.split('\n')) if (line !== '') this.#add(this.#message(line, 'error'));
  }

  /** Waits up to `milliseconds` until the log has taken everything. */
  flush(milliseconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const pause = new Int32Array(new SharedArrayBuffer(4));
    const deadline = performance.now() + milliseconds;
    while (!this.#drain() && performance.now() < deadline)
      Atomics.wait(pause, 0, 0, FLUSH_RETRY_MS);
  }

  #add(message: Buffer): void {
    this.#queue.push(message);
    this.#waitingBytes += message.length;
    if (this.#timer === undefined) this.#proceed();
  }

  #proceed(): void {
    const before = this.#queue.length;
    if (this.#drain()) {
      this.#retry = RETRY_MS;
      return;
    }
    this.#retry = this.#queue.length < before ? RETRY_MS : Math.min(2 * this.#retry, MOST_RETRY_MS);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#proceed();
    }, this.#retry).unref();
  }

  /** True: the queue is empty. */
  #drain(): boolean {
    for (;;) {
      const [first] = this.#queue;
      if (first === undefined) {
        if (this.#leftOut === 0) return true;
        const text = `${this.#leftOut} messages were left out: the system log took none for a while`;
        this.#leftOut = 0;
        this.#queue.push(this.#message(text, 'warning'));
        continue;
      }
      // EAGAIN: its queue is full; ECONNREFUSED, ENOENT: it starts again. Both pass.
      if (this.#send(first) !== 0) return false;
      this.#queue.shift();
      this.#waitingBytes = Math.max(0, this.#waitingBytes - first.length);
    }
  }

  #message(line: string, level: Level): Buffer {
    const text = line.replace(/^tunnel: /, '').replace(/\n$/, '');
    const head = `<${FACILITY | SEVERITY[level]}>${timestamp(this.#now())} tunnel[${this.#pid}]: `;
    const bytes = Buffer.from(`${head}${text}`);
    return bytes.length > MAX_MESSAGE_BYTES ? bytes.subarray(0, MAX_MESSAGE_BYTES) : bytes;
  }
}

/** `Nov  9 06:07:08`, in local time (RFC 3164, 4.1.2). */
function timestamp(now: number): string {
  const at = new Date(now);
  const two = (number: number) => String(number).padStart(2, '0');
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':');
  return `${MONTHS[at.getMonth()]} ${String(at.getDate()).padStart(2, ' ')} ${time}`;
}
