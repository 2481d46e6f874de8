/**
 * The transport through the system's ssh: `ssh -N -D SOCKET` as a child, one SOCKS5 dialogue for
 * each flow. Whatever that ssh can do (certificates, security keys, GSSAPI, PKCS#11, ProxyCommand,
 * Match) works. This file brings it up; link.ts is the link once it is up.
 *
 *   arguments.ts -> launch.c -> ssh ---- log (FIFO) ----> log.ts: phases, reasons of refused flows,
 *                                |  |                     that it ends
 *                                |  `--- stderr --------> the server's banner, hops, ProxyCommand
 *                                `------ SOCKS socket --> socksdialogue.ts -> flowstream.ts, one
 *                                                         a flow
 *   all in a directory of our own (ssh/privatedirectory.ts)
 *
 * States: starting -> authenticated (the log says so) -> up (its SOCKS socket, which it makes after
 * that, has accepted a connection) -> ended. Until it is up, its exit is a failed start
 * (errors/errors.ts).
 *
 * ssh verifies host keys and asks people, on the terminal that it shares with us or through
 * SSH_ASKPASS. A log that stays silent for longer than its phase may last, and somebody's answer,
 * ends the attempt (silence.ts).
 *
 * ssh can't be left behind: the kernel kills it with us (launch.c); where a custom command stands
 * between, as sudo does, a guard that ssh itself has started does (guard.c). A directory that stays
 * after that is removed by the next start. A running ControlMaster is not made use of
 * (docs/decisions/0013).
 *
 * Limits: MAX_CHANNELS flows, OPEN_TIMEOUT_MS for one to open, GREETING_LIMIT at once that ssh has
 * not yet accepted.
 */
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { within } from '../../base/within.ts';
import { TunnelError, UsageError } from '../../errors/errors.ts';
import { GUARD_PATH, HOSTPIN_PATH } from '../../native/addon.ts';
import { formatDestination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import { slowError, timeoutError } from '../dial/tcp.ts';
import type { ReplicaKey, ReplicaKeys } from '../hostkeys/replicas.ts';
import { makePrivateDirectory, type PrivateDirectory } from '../privatedirectory.ts';
import { serverText } from '../servertext.ts';
import type { SshSettings } from '../settings.ts';
import type { Transport } from '../transport.ts';
import {
  type GivenOptions,
  hopConfiguration,
  type OpensshVersion,
  opensshArguments,
  pinnedKnownHosts,
} from './arguments.ts';
import { expiredCertificates, namedFiles } from './certificate.ts';
import { startError } from './errors.ts';
import { OpensshLink } from './link.ts';
import { SshLog } from './log.ts';
import { type Exit, opensshVersion, SshProcess } from './process.ts';
import { longestSilence } from './silence.ts';

export type { GivenOptions } from './arguments.ts';

export interface OpensshOptions {
  /**
   * ssh reads the same configuration by itself; of these, what doesn't stand there or must hold is
   * passed to it.
   */
  readonly settings: SshSettings;
  readonly given: GivenOptions;
  readonly observer: Observer;
  readonly signal?: AbortSignal;
  /** Shared by all addresses of one jump host (several -r): all must show the same key. */
  readonly replicas?: ReplicaKeys;
}

/** ssh listens right after authentication, before anything that can take time. */
const LISTEN_TIMEOUT_MS = 5_000;
const LISTEN_POLL_MS = 10;
const MAX_STDERR_LINES = 40;

/**
 * Rejects with a TunnelError: jumphost-dns, -refused, -unreachable, -timeout, -slow, -closed,
 * -not-ssh, -no-common-algorithm; host-key-unknown, -changed, -revoked, -differs; auth-failed,
 * auth-timeout; openssh-not-found, -unusable, -configuration, -directory, -failed; usage. Or with
 * the signal's reason.
 */
export async function dialOpenssh(options: OpensshOptions): Promise<Transport> {
  const { given, observer, signal } = options;
  signal?.throwIfAborted();
  const version = await opensshVersion(given.command ?? ['ssh'], signal);
  const directory = makePrivateDirectory(observer);
  try {
    const argv = prepare(options, version, directory);
    observer.log('debug', `starting ${argv[0]} (OpenSSH ${version.join('.')})`);
    return await new SshStart(options, directory, argv).run();
  } catch (error) {
    directory.remove();
    throw error;
  }
}

function prepare(
  { settings: wanted, given, replicas }: OpensshOptions,
  version: OpensshVersion,
  directory: PrivateDirectory,
): [string, ...string[]] {
  const replica = replicas?.first?.fingerprint;
  const settings = pinnedTo(replica, wanted);
  const argv = opensshArguments({
    settings,
    given,
    files: directory,
    hostpin: HOSTPIN_PATH,
    guard: GUARD_PATH,
    version,
    replica,
  });
  if (settings.hostKeys.pins.length > 0)
    writeFileSync(directory.knownHosts, pinnedKnownHosts(settings) + revokedLines(settings), {
      mode: 0o600,
    });
  if (settings.proxy.kind === 'jump') {
    if (given.configFile !== undefined && given.configFile !== 'none')
      mustBeReadable(given.configFile);
    writeFileSync(directory.hopConfiguration, hopConfiguration(settings, given), { mode: 0o600 });
  }
  return argv;
}

/** Of several pins only the one that the jump host has shown under another address. */
function pinnedTo(replica: string | undefined, settings: SshSettings): SshSettings {
  const { hostKeys } = settings;
  const pins = hostKeys.pins.filter(({ fingerprint }) => fingerprint === replica);
  return pins.length === 0 ? settings : { ...settings, hostKeys: { ...hostKeys, pins } };
}

/** What known_hosts marks as revoked is refused with pins as well (ssh/hostkeys/verifier.ts). */
function revokedLines({ hostKeys }: SshSettings): string {
  const lines = [...hostKeys.userFiles, ...hostKeys.globalFiles].flatMap((path) => {
    try {
      return readFileSync(path, 'utf8').split('\n');
    } catch {
      return []; // ssh passes over files that it can't read, too
    }
  });
  return lines
    .filter((line) => /^\s*@revoked\s/.test(line))
    .map((line) => `${line}\n`)
    .join('');
}

/**
 * ssh passes over an included file that isn't there. What it is, and how large, is ssh's affair.
 */
function mustBeReadable(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (cause) {
    throw new UsageError(`-F ${path} can't be read`, { hint: 'check the path', cause });
  }
}

class SshStart {
  readonly #options: OpensshOptions;
  readonly #settings: SshSettings;
  readonly #directory: PrivateDirectory;
  readonly #argv: readonly [string, ...string[]];
  readonly #at: string;
  readonly #log: SshLog;
  readonly #said: string[] = [];
  #link: OpensshLink | undefined;
  #timer: NodeJS.Timeout | undefined;
  #phaseChanged: () => void = () => {};
  #refuse: (error: unknown) => void = () => {};

  constructor(
    options: OpensshOptions,
    directory: PrivateDirectory,
    argv: readonly [string, ...string[]],
  ) {
    this.#options = options;
    this.#settings = options.settings;
    this.#directory = directory;
    this.#argv = argv;
    this.#at = formatDestination({ host: options.settings.hostName, port: options.settings.port });
    this.#log = new SshLog({
      refused: (host, port, text) => this.#link?.refused(host, port, text),
    });
  }

  async run(): Promise<Transport> {
    const { observer, signal } = this.#options;
    const process = await SshProcess.start({
      argv: this.#argv,
      log: this.#directory.log,
      onLog: (line) => this.#follow(line),
      onStderr: (line) => this.#heard(line),
    });
    const up = (): Promise<void> =>
      new Promise((resolve, reject) => {
        this.#refuse = reject;
        this.#phaseChanged = () => {
          if (this.#log.phase === 'up') this.#listening(process).then(resolve, reject);
        };
        process.exited.then((exit) => this.#failure(exit)).then(reject, reject);
        this.#watch();
      });
    try {
      await within({ signal }, up);
    } catch (error) {
      await process.end();
      throw error;
    } finally {
      // Not before: what ssh says while it ends is followed, too, and sets it anew.
      clearTimeout(this.#timer);
    }
    // ssh listens, and so it has verified the key: lines of its log alone don't say so, a server
    // can forge them (log.ts).
    const shown = this.#shownKey;
    if (shown !== undefined) this.#options.replicas?.prove(shown);
    // The banner came before.
    this.#said.length = 0;
    this.#link = new OpensshLink({
      process,
      log: this.#log,
      directory: this.#directory,
      said: this.#said,
      at: this.#at,
      observer,
    });
    return this.#link;
  }

  #follow(line: string): void {
    const before = this.#log.phase;
    this.#log.line(line);
    if (this.#link !== undefined) return;
    this.#options.observer.log('debug', `ssh: ${serverText(withoutCommand(line))}`);
    this.#watch();
    this.#checkReplica();
    if (this.#log.phase !== before) this.#phaseChanged();
  }

  /**
   * The key that is to be that of all addresses of the jump host; undefined where an authority
   * vouches for each.
   */
  get #shownKey(): ReplicaKey | undefined {
    const { hostKey, hostKeyCertified } = this.#log;
    const [type, fingerprint] = hostKey?.split(' ') ?? [];
    if (hostKeyCertified || type === undefined || fingerprint === undefined) return undefined;
    return { at: this.#at, type: serverText(type), fingerprint: serverText(fingerprint) };
  }

  #checkReplica(): void {
    const shown = this.#shownKey;
    if (shown === undefined) return;
    try {
      this.#options.replicas?.check(shown);
    } catch (error) {
      this.#refuse(error);
    }
  }

  #heard(line: string): void {
    this.#said.push(line);
    if (this.#said.length > MAX_STDERR_LINES) this.#said.shift();
    const text = serverText(line);
    if (text !== '')
      this.#options.observer.log(this.#link === undefined ? 'notice' : 'debug', text);
  }

  /** A log that is silent for too long is the end. */
  #watch(): void {
    clearTimeout(this.#timer);
    const { phase } = this.#log;
    const seconds = longestSilence(this.#log, this.#settings);
    if (seconds === undefined) return;
    this.#timer = setTimeout(() => {
      if (phase !== 'authentication') {
        this.#refuse((this.#log.accepted ? slowError : timeoutError)(this.#at, seconds, phase));
        return;
      }
      this.#refuse(
        new TunnelError(
          'auth-timeout',
          `${this.#at} did not decide about the login within ${seconds} s`,
          {
            hint: 'try again, or allow more time with --auth-timeout',
          },
        ),
      );
    }, seconds * 1000);
  }

  async #listening(process: SshProcess): Promise<void> {
    const deadline = performance.now() + LISTEN_TIMEOUT_MS;
    while (process.alive && performance.now() < deadline) {
      if (await accepts(this.#directory.socks)) {
        // What ssh wrote before it listened is at most a pipe (64 KiB), which is read within one
        // turn (link.ts, fate).
        await turn();
        await turn();
        return;
      }
      await delay(LISTEN_POLL_MS);
    }
    // If it is ending, its exit says more.
    if (!process.alive) await process.exited;
    throw new TunnelError('openssh-failed', `ssh to ${this.#at} does not listen for flows`, {
      hint: 'try the same with "ssh -v -D SOCKET"',
      cause: new Error(this.#log.kept.map((line) => serverText(line)).join('\n')),
    });
  }

  async #failure(exit: Exit): Promise<TunnelError> {
    const { phase, accepted, hostKey, greeting, kept, certificates, offered, acceptedKey } =
      this.#log;
    const { given } = this.#options;
    const files = namedFiles(this.#settings.authentication, [
      ...given.identityFiles,
      ...(given.defaultIdentities ?? []),
    ]);
    return startError({
      at: this.#at,
      lines: kept,
      stderr: this.#said,
      exit,
      phase,
      accepted,
      offered,
      acceptedKey,
      custom: given.command !== undefined,
      byCommand: this.#settings.proxy.kind === 'command',
      throughHops: this.#settings.proxy.kind === 'jump',
      seconds: this.#settings.connectTimeout,
      hostKey,
      greeting,
      pins: this.#settings.hostKeys.pins.map(({ fingerprint }) => fingerprint),
      certificates: await expiredCertificates(certificates, files, new Date()),
      keyFiles: files.keys,
    });
  }
}

/** ssh logs the whole ProxyCommand, and there may be a password in it (ncat --proxy-auth). */
function withoutCommand(line: string): string {
  return line.replace(/^(debug1: Executing proxy command: ).*/, '$1...');
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const settle = (open: boolean): void => {
      socket.destroy();
      resolve(open);
    };
    socket.once('connect', () => settle(true));
    socket.once('error', () => settle(false));
  });
}
