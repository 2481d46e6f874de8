/**
 * The program's side of the privileged helper (native/helper/). The helper makes the TUN device and
 * the routes, so this process can keep the user's rights.
 *
 *   startHelper()  connects to systemd, if it listens for the helper (HELPER_SOCKET). Otherwise
 *                  listens on a socket in a new private directory (0700), starts the helper as root
 *                  (system/programs/privileges.ts), waits until it has connected and sudo (if it
 *                  was needed) has ended, and removes the directory
 *   create()       makes the device; returns its descriptor, name and addresses (CREATE)
 *   setRoutes()    replaces the whole set of captured prefixes; if that fails, the old set stays
 *                  (ROUTES)
 *   setUnreachable()  what stays unreachable when the device is gone (UNREACHABLE)
 *   close()        ends the requests: the helper deletes the device and ends, and its socket closes
 *
 * States: starting -> serving -> ended. One request is under way at a time; others wait. `ended`
 * resolves when the helper is gone: with `helper-lost` if that was unexpected or a request wasn't
 * answered in time, with `capture-device-lost` if the helper saw somebody else remove the device,
 * an address or a route, with `capture-not-permitted` if the machine has joined a network of which
 * this user may capture nothing, and setRoutes() hasn't left it out in time; its routes are gone at
 * once. If the helper is killed, the device lives on while its descriptor is open, so the owner of
 * the descriptor must close it then.
 *
 * errors.ts turns what the helper reports (step, errno, detail) into a TunnelError with a hint.
 */
import { closeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { within } from '../../base/within.ts';
import { TunnelError } from '../../errors/errors.ts';
import { addon, type LinkHandle } from '../../native/addon.ts';
import type { RoutedPrefix } from '../../net/prefix.ts';
import { type Observer, silentObserver } from '../../observe/observer.ts';
import { helperPath } from '../programs/path.ts';
import { type Elevation, elevation } from '../programs/privileges.ts';
import { runElevated } from './elevated.ts';
import {
  endsSession,
  failedError,
  lostError,
  protocolError,
  refusedStart,
  systemErrorName,
  versionError,
  withGroupAdvice,
} from './errors.ts';
import {
  type CreateRequest,
  decodeMessage,
  encodeCreate,
  encodeRoutes,
  encodeUnreachable,
  HELPER_MAX_PREFIXES,
  HELPER_SOCKET,
  HELPER_VERSION,
  type HelperMessage,
  messageVersion,
} from './protocol.ts';
import { makeDirectory } from './socketdirectory.ts';

const { errno: ERRNO } = constants;

/**
 * From the exit of the process that was started (it has connected by then) to the first message.
 */
const HELLO_TIMEOUT_MS = 5_000;
/**
 * From a request (including the time it waits for others) to its answer. Thousands of routes take a
 * fraction of a second.
 */
const REQUEST_TIMEOUT_MS = 10_000;
/**
 * The time that the helper has to delete the device and end. After that we no longer wait for it.
 */
const CLOSE_TIMEOUT_MS = 2_000;

export interface HelperOptions {
  readonly observer?: Observer;
  /** Aborts the start, even while sudo asks for a password. */
  readonly signal?: AbortSignal;
  /** A helper to use instead of the one that helperPath() finds. */
  readonly path?: string;
  /** Where systemd may listen for it (HELPER_SOCKET); by default nowhere with a `path`. */
  readonly unitSocket?: string;
  /** Who starts the helper, where this process is the program's own part without privileges. */
  readonly starter?: HelperStarter | undefined;
}

/** Starts the helper as root for this process's user: the privileged part, under sudo and doas. */
export interface HelperStarter {
  /** Makes a private directory of this user's for the socket `helper`, and later removes it. */
  directory(): Promise<string>;
  /** Resolves with the status, and what was printed, when what was started has ended. */
  start(): Promise<{ readonly status: number | string; readonly complaint: string }>;
}

export interface HelperDevice {
  /**
   * Non-blocking and close-on-exec. It is the only one: the device lives as long as it is open. The
   * caller must close it.
   */
  readonly fd: number;
  readonly name: string;
  readonly ifindex: number;
  /**
   * The device's own addresses. The caller may use the /24 and the /64 around them. Undefined for a
   * family that wasn't requested.
   */
  readonly address4: string | undefined;
  readonly address6: string | undefined;
}

export interface Helper {
  /** May be called once. If it fails, the helper ends. */
  create(request: CreateRequest): Promise<HelperDevice>;
  setRoutes(prefixes: readonly RoutedPrefix[]): Promise<void>;
  /**
   * Replaces the whole set of prefixes that stay unreachable when the device is gone, however that
   * comes: all must be captured. Removes what tunnels that are gone have left. An empty set may
   * come before create().
   */
  setUnreachable(prefixes: readonly RoutedPrefix[]): Promise<void>;
  /**
   * Resolves with the reason why the helper ended, or with undefined after close(). Never rejects.
   */
  readonly ended: Promise<TunnelError | undefined>;
  /**
   * Resolves when the device and its routes are gone, or after CLOSE_TIMEOUT_MS. Requests that are
   * under way fail at once. May be called more than once; never rejects.
   */
  close(): Promise<void>;
}

/**
 * Starts the helper and waits for it. Rejects with a TunnelError: `capture-privileges`,
 * `capture-failed`, `helper-version`, `helper-rules`, `native-missing`; or with the signal's
 * reason.
 */
export async function startHelper(options: HelperOptions = {}): Promise<Helper> {
  const { observer = silentObserver, signal, path, starter } = options;
  signal?.throwIfAborted();
  if (starter !== undefined)
    return startThrough(starter, { path: path ?? helperPath(observer), observer, signal });
  const unitSocket = options.unitSocket ?? (path === undefined ? HELPER_SOCKET : undefined);
  // Root needs nobody's help, and is refused nothing.
  const unit =
    unitSocket === undefined || process.geteuid?.() === 0
      ? 'missing'
      : connectedToUnit(unitSocket, observer);
  if (unit instanceof LinkedHelper) return started(unit, unit.greet('systemd', signal));
  try {
    return await startedByProgram({ path: path ?? helperPath(observer), observer, signal });
  } catch (error) {
    throw unit === 'refused' ? withGroupAdvice(error) : error;
  }
}

interface Starting {
  readonly path: string;
  readonly observer: Observer;
  readonly signal: AbortSignal | undefined;
}

/** The helper that systemd starts for a connection, or why there is none for us. */
function connectedToUnit(socket: string, observer: Observer): LinkedHelper | 'missing' | 'refused' {
  const connect = (received: Received) => addon().linkConnect(socket, received);
  try {
    return new LinkedHelper(connect, `of the unit at ${socket}`, observer);
  } catch (error) {
    if (error instanceof TunnelError) throw error;
    const errno = error instanceof Error && 'errno' in error ? Number(error.errno) : 0;
    // Not installed; or it doesn't permit this user, whom sudo may permit.
    const level = errno === ERRNO.ENOENT || errno === ERRNO.ECONNREFUSED ? 'debug' : 'info';
    observer.log(level, `no helper from ${socket} (${systemErrorName(errno)})`);
    return errno === ERRNO.EACCES ? 'refused' : 'missing';
  }
}

async function startedByProgram({ path, observer, signal }: Starting): Promise<Helper> {
  const directory = await makeDirectory();
  try {
    const socket = join(directory, 'helper');
    const elevated = elevation(path, [socket]);
    const helper = new LinkedHelper(listenAt(socket), path, observer);
    const run = () => runElevated(elevated, observer, signal);
    return await started(helper, helper.start(elevated.via, run));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The same, by somebody who is root already, and who removes the directory. */
async function startThrough(
  starter: HelperStarter,
  { path, observer, signal }: Starting,
): Promise<Helper> {
  const socket = join(await within({ signal }, () => starter.directory()), 'helper');
  const helper = new LinkedHelper(listenAt(socket), path, observer);
  const start = helper.start('root', async () => {
    const { status, complaint } = await within({ signal }, () => starter.start());
    const elevated = { via: 'root', command: path, args: [socket] } as const;
    if (status !== 0) throw refusedStart(elevated, status, complaint);
  });
  return started(helper, start);
}

async function started(helper: LinkedHelper, start: Promise<void>): Promise<Helper> {
  try {
    await start;
    return helper;
  } catch (error) {
    helper.drop();
    throw error;
  }
}

function listenAt(socket: string): (received: Received) => LinkHandle {
  return (received) => {
    try {
      return addon().linkListen(socket, received);
    } catch (cause) {
      if (cause instanceof TunnelError) throw cause;
      throw new TunnelError('capture-failed', `can't make a socket for the helper at ${socket}`, {
        hint: 'set TMPDIR to a directory with a short path that can be written to',
        cause,
      });
    }
  };
}

/** What a link calls with each message (src/native/addon.ts). */
type Received = (message: Uint8Array | null, fd: number, errno: number) => void;

interface Answer {
  readonly message: HelperMessage;
  /** -1: none came with the message. */
  readonly fd: number;
}

interface Waiter {
  resolve(answer: Answer): void;
  reject(error: TunnelError): void;
}

class LinkedHelper implements Helper {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #path: string;
  readonly #observer: Observer;
  readonly #link: LinkHandle;
  readonly #end: (error: TunnelError | undefined) => void;
  #state: 'serving' | 'closing' | 'ended' = 'serving';
  /** Why it ended, if that was unexpected. */
  #error: TunnelError | undefined;
  /** Gets the next message. */
  #waiter: Waiter | undefined;
  /** Resolves when the last request has ended, even if it failed. */
  #last: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  constructor(open: (received: Received) => LinkHandle, path: string, observer: Observer) {
    this.#path = path;
    this.#observer = observer;
    let end: (error: TunnelError | undefined) => void = () => {};
    this.ended = new Promise((resolve) => {
      end = resolve;
    });
    this.#end = end;
    this.#link = open((message, fd, errno) => this.#received(message, fd, errno));
  }

  /**
   * `run` starts the helper, and resolves when what was started has ended well. Then its greeting
   * is awaited.
   */
  async start(via: Elevation['via'], run: () => Promise<void>): Promise<void> {
    const hello = this.#nextMessage();
    // It is awaited below. Until then its rejection must not count as unhandled.
    hello.catch(() => {});
    await run();
    await this.#greeted(hello, via, undefined);
  }

  /** Awaits the greeting of one that systemd starts. */
  greet(via: string, signal: AbortSignal | undefined): Promise<void> {
    return this.#greeted(this.#nextMessage(), via, signal);
  }

  async #greeted(
    hello: Promise<Answer>,
    via: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const late = () => protocolError('it was started but did not say hello');
    const time = { milliseconds: HELLO_TIMEOUT_MS, late };
    const { message, fd } = await within({ time, ...(signal && { signal }) }, () => hello);
    discard(fd);
    if (message.type === 'failed') throw failedError(message);
    if (message.type !== 'hello') throw protocolError(`${message.type} instead of hello`);
    if (message.removed.length > 0) {
      this.#observer.count('tunnel_recovered_total', message.removed.length);
      this.#observer.log('notice', removedSentence(message.removed));
    }
    this.#observer.log('debug', 'the helper is connected', { pid: message.pid, via });
  }

  async create(request: CreateRequest): Promise<HelperDevice> {
    try {
      const device = await this.#request(encodeCreate(request), readCreated);
      const { name, address4, address6 } = device;
      this.#observer.log('debug', 'the device is made', { device: name, address4, address6 });
      return device;
    } catch (error) {
      // The helper ends after a failure; close() keeps `ended` from reporting that as well.
      await this.close();
      throw error;
    }
  }

  async setRoutes(prefixes: readonly RoutedPrefix[]): Promise<void> {
    await this.#setPrefixes(prefixes, encodeRoutes);
    this.#observer.log('debug', 'the routes are set', { routes: prefixes.length });
  }

  async setUnreachable(prefixes: readonly RoutedPrefix[]): Promise<void> {
    await this.#setPrefixes(prefixes, encodeUnreachable);
  }

  async #setPrefixes(
    prefixes: readonly RoutedPrefix[],
    encode: (prefixes: readonly RoutedPrefix[]) => Uint8Array,
  ): Promise<void> {
    const routes = prefixes.flatMap(withoutDefault);
    if (routes.length > HELPER_MAX_PREFIXES) {
      throw new TunnelError(
        'capture-failed',
        `${routes.length} routes would be needed, at most ${HELPER_MAX_PREFIXES} are possible`,
        { hint: 'give fewer or wider targets and exclusions' },
      );
    }
    await this.#request(encode(routes), ({ message, fd }) => {
      discard(fd);
      if (message.type === 'failed') throw failedError(message);
      if (message.type !== 'done') throw protocolError(`${message.type} instead of done`);
    });
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Ends at once, without waiting for the helper. */
  drop(): void {
    this.#finish(undefined);
  }

  async #close(): Promise<void> {
    if (this.#state === 'serving') {
      this.#state = 'closing';
      this.#waiter?.reject(lostError('it was stopped'));
      this.#waiter = undefined;
      try {
        addon().linkShutdown(this.#link);
      } catch {
        // The other side has already closed; the end event will follow.
      }
      const late = () => lostError('it does not exit');
      await within({ time: { milliseconds: CLOSE_TIMEOUT_MS, late } }, () => this.ended).catch(() =>
        this.#observer.log('warning', 'the helper does not exit'),
      );
    }
    this.#finish(undefined);
  }

  #request<T>(message: Uint8Array, read: (answer: Answer) => T): Promise<T> {
    // Without a limit, a helper that is stopped or stuck would block the program for ever, even
    // after the user's SIGINT.
    const timer = setTimeout(() => {
      this.#finish(lostError(`it has not answered for ${REQUEST_TIMEOUT_MS / 1000} s`));
    }, REQUEST_TIMEOUT_MS);
    const result = this.#last
      .then(async () => {
        if (this.#state !== 'serving') throw this.#error ?? lostError('it has ended');
        const answer = this.#nextMessage();
        try {
          addon().linkSend(this.#link, message);
        } catch (cause) {
          // This request gets no answer. The end of the link will say what is wrong with it.
          this.#waiter?.reject(lostError(`a request could not be sent (${String(cause)})`));
          this.#waiter = undefined;
        }
        return read(await answer);
      })
      .finally(() => clearTimeout(timer));
    this.#last = result.catch(() => {
      // The caller handles the error; the next request only waits.
    });
    return result;
  }

  #nextMessage(): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }

  #received(bytes: Uint8Array | null, fd: number, errno: number): void {
    if (bytes === null) {
      this.#finish(lostError(errno === 0 ? 'it was ended from outside' : systemErrorName(errno)));
      return;
    }
    const message = decodeMessage(bytes);
    if (message?.type === 'failed' && endsSession(message)) {
      // Comes instead of an answer, or at any time: the helper deletes the device and ends. While
      // this side is closing, it is ignored.
      discard(fd);
      if (this.#state === 'serving') this.#finish(failedError(message));
      return;
    }
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (message !== undefined && waiter !== undefined) {
      waiter.resolve({ message, fd });
      return;
    }
    discard(fd);
    // While closing, a late answer is ignored.
    if (this.#state === 'serving') {
      const error =
        message === undefined
          ? this.#malformed(bytes)
          : protocolError(`an unexpected ${message.type}`);
      waiter?.reject(error);
      this.#finish(error);
    }
  }

  #malformed(bytes: Uint8Array): TunnelError {
    const version = messageVersion(bytes);
    return version === undefined || version === HELPER_VERSION
      ? protocolError('a malformed message')
      : versionError(this.#path, version);
  }

  /** Ends the link. `error`: the reason, undefined if we asked for it. */
  #finish(error: TunnelError | undefined): void {
    if (this.#state === 'ended') return;
    const wanted = this.#state === 'closing' || error === undefined;
    this.#state = 'ended';
    this.#error = error;
    addon().linkClose(this.#link);
    this.#waiter?.reject(error ?? lostError('it was stopped'));
    this.#waiter = undefined;
    this.#end(wanted ? undefined : error);
  }
}

/** `left by a tunnel that was killed: removed tun0` */
function removedSentence(devices: readonly string[]): string {
  return `left by a tunnel that was killed: removed ${devices.join(', ')}`;
}

function readCreated({ message, fd }: Answer): HelperDevice {
  if (message.type === 'created' && fd !== -1) {
    const { name, ifindex, address4, address6 } = message;
    return { fd, name, ifindex, address4, address6 };
  }
  discard(fd);
  if (message.type === 'failed') throw failedError(message);
  throw protocolError(fd === -1 ? 'no descriptor' : `${message.type} instead of created`);
}

function discard(fd: number): void {
  if (fd !== -1) closeSync(fd);
}

/**
 * A default route is captured by its two halves. The machine's own default route stays for
 * everything that isn't captured, and the halves are more specific, whatever its metric.
 */
function withoutDefault(prefix: RoutedPrefix): RoutedPrefix[] {
  if (prefix.length !== 0) return [prefix];
  const { family } = prefix;
  return family === 4
    ? [
        { family, address: '0.0.0.0', length: 1 },
        { family, address: '128.0.0.0', length: 1 },
      ]
    : [
        { family, address: '::', length: 1 },
        { family, address: '8000::', length: 1 },
      ];
}
