/**
 * Starts the command of `tunnel exec`, in its own network or, if that isn't possible, in the
 * host's.
 *
 *   startLauncher()  spawns native/launcher/ with one end of a socket pair. The launcher makes
 *                    namespaces with a TUN in them, and sends the TUN's descriptor. Rejects with
 *                    `namespace-...` if that is refused
 *   startInPlace()   the same without namespaces, for a command in the host's network
 *   execute()        the launcher becomes the command; resolves when it runs, rejects with
 *                    `command-...` if it can't run
 *   close()          before execute(): the launcher ends without running anything
 *   ended            tells of a launcher that is lost before it has become the command
 *
 * States: starting -> ready -> executing -> running | ended. The command is this process's child,
 * in its process group and on its terminal. It inherits standard input, output and error, and the
 * descriptors that its arguments name as /dev/fd/N (a shell's process substitution). doctor's probe
 * is a launcher without a command: it ends after `ready`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, closeSync, constants as FILE, fstatSync } from 'node:fs';
import { requireLinux } from '../../base/platform.ts';
import { within } from '../../base/within.ts';
import { TunnelError } from '../../errors/errors.ts';
import { addon, LAUNCHER_PATH, type LinkHandle } from '../../native/addon.ts';
import { nativeFault } from '../../native/files.ts';
import { type Observer, silentObserver } from '../../observe/observer.ts';
import { installedPath } from '../programs/path.ts';
import {
  INSTALLED_LAUNCHERS,
  launcherError,
  launcherLost,
  launcherVersionError,
  notSpawned,
} from './errors.ts';
import {
  type CommandSetup,
  type CommandUser,
  decodeLauncherMessage,
  encodeGo,
  encodeSetup,
  encodeSetupInPlace,
  LAUNCHER_VERSION,
  type LauncherMessage,
  type LauncherSetup,
  launcherVersion,
  type Variables,
} from './protocol.ts';

/**
 * The kernel makes namespaces within milliseconds; a launcher that is silent for this long is
 * stuck.
 */
const READY_TIMEOUT_MS = 10_000;
const FIRST_FREE_FD = 3;
const MAX_NAMED_FD = 1023;

export interface CommandStatus {
  /** null if a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Command {
  readonly pid: number;
  readonly exited: Promise<CommandStatus>;
  /** Sends a signal. Does nothing once the command has ended. */
  kill(signal: NodeJS.Signals): void;
}

/** What the launcher has made. */
export interface LaunchedNetwork {
  readonly device: string;
  /** Whether the kernel has IPv6 and the device has an IPv6 address. */
  readonly hasIPv6: boolean;
  /** Whether the command sees the resolv.conf of the setup. */
  readonly hasResolvConf: boolean;
}

/** A launcher that is ready to run the command. */
export interface PreparedCommand {
  /** The launcher, which becomes the command. */
  readonly command: Command;
  /**
   * The user that the command will run as: this process's user, or under sudo and doas their
   * caller.
   */
  readonly user: CommandUser;
  /**
   * Resolves with the error when the launcher ends before it has become the command, and with
   * undefined when it has become the command or is closed.
   */
  readonly ended: Promise<TunnelError | undefined>;
  /**
   * May be called once. `variables`: changes to the environment that this process was started with.
   * Also resolves if a signal ends the launcher at that moment; `command.exited` then says so.
   * Rejects with `command-...` if the command can't run, or with the error of `ended`.
   */
  execute(variables?: Variables): Promise<void>;
  /**
   * Ends the launcher before it runs the command; does nothing after that. May be called more than
   * once.
   */
  close(): void;
}

export interface Launcher extends PreparedCommand {
  readonly network: LaunchedNetwork;
  /**
   * The TUN's descriptor; may be called once. The caller must close it; without this call close()
   * does. It is non-blocking. It is the only one: the device lives as long as it is open. Throws
   * the error of `ended`.
   */
  takeTun(): number;
}

export interface LaunchOptions<Setup = LauncherSetup> {
  /** The command and its arguments; empty: a probe. */
  readonly command: readonly string[];
  readonly setup: Setup;
  readonly observer?: Observer;
  readonly signal?: AbortSignal;
  /** A launcher to use instead of the one that launcherPath() finds. */
  readonly path?: string;
  /**
   * Open descriptors that the command inherits, with their numbers. Default: those that the command
   * names.
   */
  readonly descriptors?: readonly number[];
}

/**
 * An installed launcher that only root can replace, for which there may be an AppArmor profile. If
 * there is none, or this user may not execute it, the program's own.
 */
function launcherPath(observer: Observer): string {
  const installed = installedPath(INSTALLED_LAUNCHERS, observer);
  return installed !== undefined && isExecutable(installed) ? installed : LAUNCHER_PATH;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, FILE.X_OK);
    return true;
  } catch {
    return false; // EACCES
  }
}

/** Rejects with a TunnelError (`namespace-...`, `launcher-...`), or with the signal's reason. */
export function startLauncher(options: LaunchOptions): Promise<Launcher> {
  return start(options, encodeSetup(options.setup), false);
}

/** Rejects with a TunnelError (`launcher-...`), or with the signal's reason. */
export function startInPlace(options: LaunchOptions<CommandSetup>): Promise<PreparedCommand> {
  return start(options, encodeSetupInPlace(options.setup), true);
}

/**
 * Prepares this program's own command line, once more, for the caller of sudo or doas: with that
 * user's rights, without capabilities and with no_new_privs. Where there is no such caller the
 * command would run as root: `user` says so. Rejects like startInPlace.
 */
export function startAsCaller(options: LaunchOptions<CommandSetup>): Promise<PreparedCommand> {
  return start(options, encodeSetupInPlace(options.setup, true), true);
}

/** An installed launcher may be of another version than this program: then its own is used. */
async function start(
  options: LaunchOptions<unknown>,
  setup: Uint8Array,
  inPlace: boolean,
): Promise<Launcher> {
  const { observer = silentObserver, signal } = options;
  signal?.throwIfAborted();
  requireLinux(inPlace ? 'a command of another user' : 'a network for one command');
  const path = options.path ?? launcherPath(observer);
  try {
    return await startAt(path, options, setup, inPlace);
  } catch (error) {
    const isOthers = error instanceof TunnelError && error.code === 'launcher-version';
    if (!isOthers || options.path !== undefined || !isExecutable(LAUNCHER_PATH)) throw error;
    observer.log('warning', `${path} is not used: ${error.message}`);
    return startAt(LAUNCHER_PATH, options, setup, inPlace);
  }
}

async function startAt(
  path: string,
  { command, signal, descriptors = namedDescriptors(command) }: LaunchOptions<unknown>,
  setup: Uint8Array,
  inPlace: boolean,
): Promise<Launcher> {
  const launcher = new LinkedLauncher(path, command, descriptors, inPlace);
  const late = () => launcherLost(`it has not answered for ${READY_TIMEOUT_MS / 1000} s`);
  try {
    return await within({ signal, time: { milliseconds: READY_TIMEOUT_MS, late } }, () =>
      launcher.prepare(setup),
    );
  } catch (error) {
    launcher.close();
    throw error;
  }
}

/**
 * The caller of sudo or doas, for a process that is root; a root that nobody has called is its own.
 * Rejects like startInPlace.
 */
export async function findCaller(observer: Observer): Promise<CommandUser> {
  const launcher = await startAsCaller({
    command: [],
    setup: { descriptors: undefined },
    observer,
  });
  launcher.close();
  return launcher.user;
}

/**
 * Checks that a launcher can make all that `tunnel exec` needs. Rejects like startLauncher if not.
 */
export async function probeNamespaces(setup: LauncherSetup): Promise<{ readonly ipv6: boolean }> {
  const probe: LaunchOptions = { command: [], setup };
  const launcher = await startLauncher(probe);
  launcher.close();
  return { ipv6: launcher.network.hasIPv6 };
}

interface Outcome<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

function outcome<T>(): Outcome<T> {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((...both) => {
    [resolve, reject] = both;
  });
  promise.catch(() => {}); // whoever awaits it gets the error
  return { promise, resolve, reject };
}

class LinkedLauncher implements Launcher {
  readonly #path: string;
  readonly #inPlace: boolean;
  readonly #link: LinkHandle;
  readonly #child: ChildProcess;
  readonly #exited: Promise<CommandStatus>;
  readonly #ready = outcome<void>();
  readonly #executed = outcome<void>();
  readonly #ended = outcome<TunnelError | undefined>();
  /** Why it has ended without becoming the command. */
  #failure: TunnelError | undefined;
  /** The TUN's descriptor, until takeTun(). */
  #tun: number | undefined;
  #network: LaunchedNetwork | undefined;
  #user: CommandUser | undefined;
  #state: 'starting' | 'ready' | 'executing' | 'running' | 'ended' = 'starting';

  constructor(
    path: string,
    command: readonly string[],
    descriptors: readonly number[],
    inPlace: boolean,
  ) {
    this.#path = path;
    this.#inPlace = inPlace;
    const pair = addon().linkPair((message, fd, errno) => this.#received(message, fd, errno));
    this.#link = pair.link;
    let control = FIRST_FREE_FD;
    while (descriptors.includes(control)) control += 1;
    const stdio: ('ignore' | number)[] = [0, 1, 2];
    for (const fd of descriptors) stdio[fd] = fd;
    stdio[control] = pair.fd;
    try {
      // A gap in the list is a descriptor that the child doesn't get.
      this.#child = spawn(path, [String(control), ...command], {
        stdio: Array.from(stdio, (fd) => fd ?? 'ignore'),
      });
    } catch (cause) {
      addon().linkClose(this.#link);
      throw notSpawned(command[0] ?? path, cause);
    } finally {
      closeSync(pair.fd);
    }
    this.#exited = exitOf(this.#child);
    this.#child.on('error', (cause) => this.#fail(this.#missing(cause)));
  }

  get network(): LaunchedNetwork {
    if (this.#network === undefined) throw new TypeError('the launcher has made no network');
    return this.#network;
  }

  get ended(): Promise<TunnelError | undefined> {
    return this.#ended.promise;
  }

  takeTun(): number {
    if (this.#failure !== undefined) throw this.#failure;
    const tun = this.#tun;
    if (tun === undefined) throw new TypeError('the launcher no longer has the TUN');
    this.#tun = undefined;
    return tun;
  }

  get user(): CommandUser {
    if (this.#user === undefined) throw new TypeError('the launcher is not ready');
    return this.#user;
  }

  async prepare(setup: Uint8Array): Promise<this> {
    if (this.#child.pid !== undefined) this.#send(setup);
    await this.#ready.promise;
    return this;
  }

  get command(): Command {
    return {
      pid: this.#child.pid ?? 0,
      exited: this.#exited,
      // Node checks that the child hasn't been reaped; its pid may belong to another process by
      // then.
      kill: (signal) => void this.#child.kill(signal),
    };
  }

  async execute(variables: Variables = {}): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#state !== 'ready') throw new TypeError('the launcher is not ready');
    const message = encodeGo(variables);
    this.#state = 'executing';
    this.#send(message);
    await this.#executed.promise;
  }

  close(): void {
    if (this.#state === 'running' || this.#state === 'ended') return;
    this.#ended.resolve(undefined);
    this.#fail(launcherLost('it was stopped before the command could start'));
    this.#child.kill('SIGKILL');
  }

  #send(message: Uint8Array): void {
    try {
      addon().linkSend(this.#link, message);
    } catch {
      // It has ended; the link's end event says why.
    }
  }

  #received(bytes: Uint8Array | null, fd: number, errno: number): void {
    if (bytes === null) {
      this.#linkEnded(errno);
      return;
    }
    const message = decodeLauncherMessage(bytes);
    if (
      message?.type === 'descriptor' &&
      fd !== -1 &&
      this.#tun === undefined &&
      this.#state === 'starting'
    ) {
      this.#tun = fd;
      return;
    }
    if (fd !== -1) closeSync(fd);
    if (message === undefined) this.#fail(this.#malformed(bytes));
    else if (message.type === 'failed') this.#fail(launcherError(message));
    else if (message.type === 'ready') this.#becomeReady(message);
  }

  #becomeReady(message: LauncherMessage & { readonly type: 'ready' }): void {
    const { device, hasResolvConf, hasIPv6, user } = message;
    const tun = this.#tun;
    if (this.#state !== 'starting' || (tun !== undefined) === this.#inPlace) {
      this.#fail(launcherLost('it does not follow the protocol'));
      return;
    }
    this.#state = 'ready';
    this.#user = user;
    if (tun !== undefined) this.#network = { device, hasIPv6, hasResolvConf };
    this.#ready.resolve();
  }

  /** The other end closes when the launcher ends or becomes the command. */
  #linkEnded(errno: number): void {
    if (this.#state !== 'executing') {
      this.#fail(launcherLost(errno === 0 ? 'it was ended from outside' : `errno ${errno}`));
      return;
    }
    this.#state = 'running';
    addon().linkClose(this.#link);
    this.#executed.resolve();
    this.#ended.resolve(undefined);
  }

  #fail(error: TunnelError): void {
    if (this.#state === 'running' || this.#state === 'ended') return;
    this.#state = 'ended';
    this.#failure = error;
    addon().linkClose(this.#link);
    if (this.#tun !== undefined) closeSync(this.#tun);
    this.#tun = undefined;
    this.#ready.reject(error);
    this.#executed.reject(error);
    this.#ended.resolve(error);
  }

  #missing(cause: Error): TunnelError {
    const { reason, hint } = nativeFault(this.#path, cause);
    return new TunnelError('launcher-failed', `${this.#path} can't be run: ${reason}`, {
      hint,
      cause,
    });
  }

  #malformed(bytes: Uint8Array): TunnelError {
    const version = launcherVersion(bytes);
    return version === LAUNCHER_VERSION
      ? launcherLost('it does not follow the protocol')
      : launcherVersionError(this.#path, version);
  }
}

export function exitOf(child: ChildProcess): Promise<CommandStatus> {
  return new Promise((resolve) => {
    child.once('exit', (status, signal) => resolve({ status, signal }));
  });
}

/**
 * The open descriptors that arguments name as /dev/fd/N or /proc/self/fd/N, except the standard
 * ones.
 */
export function namedDescriptors(args: readonly string[]): number[] {
  const numbers = args.flatMap((text) =>
    [...text.matchAll(/\/(?:dev|proc\/self)\/fd\/(\d{1,4})(?!\d)/g)].map(([, digits]) =>
      Number(digits),
    ),
  );
  return [...new Set(numbers)].filter(
    (fd) => fd >= FIRST_FREE_FD && fd <= MAX_NAMED_FD && isOpen(fd),
  );
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false; // EBADF: the command will say so itself
  }
}
