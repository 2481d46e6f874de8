/**
 * A run as a service: what systemd, --pidfile and -D make of it.
 *
 *   checked     the pidfile is no other tunnel's
 *   follow()    systemd hears STATUS, and EXTEND_TIMEOUT_USEC while the first link is dialled: how
 *               long that may take is up to the tunnel's own limits, and not to TimeoutStartSec
 *   prepare()   the pidfile is written
 *   ready()     systemd hears READY=1, and from now on WATCHDOG=1
 *               -D: the terminal is left, the root part's first; messages go to the system log;
 *               the process that was started is let go
 *   during()    a reload: RELOADING=1, and READY=1 when it is over
 *   stopping    STOPPING=1
 *   close()     the pidfile is removed
 */
import { answerBy, askedAt, lacksAnswer } from '../cli/status.ts';
import type { ServiceOptions } from '../config/serviceoptions.ts';
import type { AskedStatus } from '../control/status.ts';
import { reasonOf } from '../errors/reason.ts';
import { addon } from '../native/addon.ts';
import type { Observer } from '../observe/observer.ts';
import { printable } from '../observe/printable.ts';
import type { FollowedLink, FollowedQuestions, RunService } from '../session/ready.ts';
import { Pidfile } from '../system/service/pidfile.ts';
import type { Self } from './self.ts';
import type { Stop } from './signals.ts';

/** Characters of a STATUS: what fits into a line of `systemctl status`. */
const MAX_STATUS = 200;
/** For messages that wait for the terminal when it is left. */
const FLUSH_MS = 1000;
/** What is asked for while the first link is dialled, and how often. */
const EXTENSION_MS = 90_000;
const EXTEND_EVERY_MS = 20_000;
/** --wait-online and --wait-auth take an hour each at most. After this TimeoutStartSec counts. */
const LONGEST_START_MS = 3 * 3600 * 1000;
const MICROSECONDS = 1000;

export class Service implements RunService {
  readonly #self: Self;
  readonly #options: ServiceOptions;
  readonly #pidfile: Pidfile | undefined;
  readonly #observer: Observer;
  #status = '';
  #isReady = false;
  #extending: NodeJS.Timeout | undefined;

  /** Throws TunnelError `already-running`, or UsageError. */
  constructor(self: Self, options: ServiceOptions, stop: Stop, observer: Observer) {
    this.#self = self;
    this.#options = options;
    this.#observer = observer;
    this.#pidfile = options.pidfile === undefined ? undefined : new Pidfile(options.pidfile);
    this.#pidfile?.check();
    // Whoever started it has gone before it was ready, as when a terminal is closed.
    self.daemon?.watch(() => stop.now());
    stop.signal.addEventListener('abort', () => this.#stopping('Stopping'), { once: true });
  }

  follow(link: FollowedLink, questions: FollowedQuestions, name: string): () => void {
    const tell = () => this.#tell(describeAsked(questions.question) ?? describe(link, name));
    tell();
    this.#extendStart(link);
    const ends = [link.onChange(tell), questions.onChange(tell)];
    return () => {
      for (const end of ends) end();
    };
  }

  waitsFor(what: string): void {
    this.#tell(`Waiting for the network: ${what}`);
  }

  prepare(): void {
    this.#pidfile?.write();
  }

  /** Whether the run has once been ready. */
  get isReady(): boolean {
    return this.#isReady;
  }

  async ready(): Promise<void> {
    this.#isReady = true;
    const { notifier, daemon } = this.#self;
    clearInterval(this.#extending);
    notifier.send('READY=1');
    notifier.keepAlive();
    if (daemon !== undefined) await this.#leaveTerminal();
    else if (this.#options.syslog) this.#self.logToSystem(FLUSH_MS);
  }

  /** A reload: systemd is told that it begins, and that it is over (sd_notify(3)). */
  async during<T>(reload: () => Promise<T>): Promise<T> {
    const { notifier } = this.#self;
    const now = process.hrtime.bigint() / 1_000n; // CLOCK_MONOTONIC
    notifier.send('RELOADING=1', `MONOTONIC_USEC=${now}`);
    try {
      return await reload();
    } finally {
      notifier.send('READY=1');
    }
  }

  /** May be called more than once. `error`: why the run has ended, if not in order. */
  close(error?: unknown): void {
    clearInterval(this.#extending);
    if (error !== undefined) this.#stopping(reasonOf(error));
    this.#pidfile?.remove();
    this.#self.notifier.close();
  }

  /** By a timer of this thread: a program that hangs isn't given more time. */
  #extendStart(link: FollowedLink): void {
    const { notifier } = this.#self;
    if (!notifier.active) return;
    const begin = performance.now();
    const extend = () => {
      const { state } = link.view();
      if (state !== 'connecting' || performance.now() - begin > LONGEST_START_MS) return;
      notifier.send(`EXTEND_TIMEOUT_USEC=${EXTENSION_MS * MICROSECONDS}`);
    };
    extend();
    this.#extending = setInterval(extend, EXTEND_EVERY_MS).unref();
  }

  async #leaveTerminal(): Promise<void> {
    await this.#self.privileged?.detach();
    this.#self.logToSystem(FLUSH_MS);
    addon().detach();
    this.#self.daemon?.detached();
    this.#observer.log('info', 'it runs on without its terminal', { pid: process.pid });
  }

  #stopping(why: string): void {
    this.#self.notifier.send('STOPPING=1', `STATUS=${oneLine(why)}`);
  }

  #tell(status: string): void {
    const text = oneLine(status);
    if (text !== this.#status) this.#self.notifier.send(`STATUS=${text}`);
    this.#status = text;
  }
}

/** undefined: nothing is asked. */
function describeAsked(asked: AskedStatus | undefined): string | undefined {
  if (asked === undefined) return undefined;
  return `Waiting for an answer at ${askedAt(asked)}: ${asked.text}`;
}

function describe(link: FollowedLink, name: string): string {
  const { state, attempt, error, established } = link.view();
  switch (state) {
    case 'up':
    case 'probing': {
      const { at, login, via } = established ?? {};
      if (at === undefined) return 'Connected';
      return `Connected to ${login?.user}@${at}${via?.length ? `, through ${via.join(', ')}` : ''}`;
    }
    case 'idle':
      return 'Waiting for a connection to carry';
    case 'connecting':
      return attempt > 1 ? `Connecting, attempt ${attempt}` : 'Connecting';
    case 'waiting':
      // What to do comes first: the end may be cut.
      if (error !== undefined && lacksAnswer(error))
        return `Not connected: ${answerBy(name)}: ${error.message}`;
      return `Not connected: ${error?.message ?? 'the link was lost'}`;
    case 'failed':
    case 'closed':
      return error === undefined ? 'Closed' : `Not connected: ${error.message}`;
  }
}

function oneLine(text: string): string {
  return printable(text).slice(0, MAX_STATUS);
}
