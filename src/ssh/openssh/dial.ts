/**
 * The transport that uses the system's ssh. It runs `ssh -N -D SOCKET` as a child process, with one
 * SOCKS5 dialogue for each flow. Everything that ssh can do works: certificates, security keys,
 * GSSAPI, PKCS#11, ProxyCommand, Match. This file starts ssh; link.ts takes over once it is up.
 *
 *   arguments.ts -> launch.c -> ssh ---- log (FIFO) ----> log.ts: phases, why flows were refused,
 *                                |  |                     ssh's end
 *                                |  `--- stderr --------> the server's banner, hops, ProxyCommand
 *                                `------ SOCKS socket --> socksdialogue.ts -> flowstream.ts, one
 *                                                         per flow
 *   all in a private directory (ssh/privatedirectory.ts)
 *
 * States: starting -> authenticated (according to the log) -> up (its SOCKS socket, which it
 * creates after authentication, has accepted a connection) -> ended. If ssh exits before it is up,
 * the start has failed (errors.ts).
 *
 * ssh verifies host keys and asks the user: on the terminal that it shares with us, through
 * SSH_ASKPASS, or, where the user is somewhere else, through us (askpass.ts). The attempt ends if
 * the log is silent for longer than the phase, plus the time for an answer, may take (silence.ts).
 *
 * ssh never outlives us: the kernel kills it when we die (launch.c). If a custom command such as
 * sudo runs ssh, a guard that ssh itself starts does this instead (guard.c). If the directory is
 * left behind, the next start removes it. A running ControlMaster is not used
 * (docs/decisions/0013).
 *
 * Limits: MAX_CHANNELS flows, OPEN_TIMEOUT_MS for one to open, and GREETING_LIMIT connections that
 * ssh has not accepted yet.
 */
import { connect } from 'node:net';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { within } from '../../base/within.ts';
import { TunnelError } from '../../errors/errors.ts';
import { formatDestination } from '../../net/destination.ts';
import type { Level, Observer } from '../../observe/observer.ts';
import { noAnswersYet } from '../answers.ts';
import { slowError, timeoutError } from '../dial/tcp.ts';
import { hopsOf } from '../hops.ts';
import type { ReplicaKey } from '../hostkeys/replicas.ts';
import { makePrivateDirectory, type PrivateDirectory } from '../privatedirectory.ts';
import { ServerWords, serverText } from '../servertext.ts';
import type { SshSettings } from '../settings.ts';
import { progressOf, tellProgress } from '../startprogress.ts';
import type { Transport } from '../transport.ts';
import { atLeast, type OpensshVersion } from './arguments.ts';
import { AskpassServer } from './askpass.ts';
import { expiredCertificates, namedFiles } from './certificate.ts';
import { startError } from './errors.ts';
import { LogFacts } from './facts.ts';
import { type LinkOptions, OpensshLink } from './link.ts';
import { SshLog } from './log.ts';
import type { OpensshOptions } from './options.ts';
import { prepare, seesWhatIsRead } from './prepare.ts';
import { type Exit, opensshVersion, SshProcess } from './process.ts';
import { LONGEST_START_SECONDS, longestSilence, mayBeAsking, Patience } from './silence.ts';

/** ssh listens right after authentication, before it does anything slow. */
const LISTEN_TIMEOUT_MS = 5_000;
const LISTEN_POLL_MS = 10;
const MAX_STDERR_LINES = 40;
/** It knows SSH_ASKPASS_REQUIRE. */
const ASKPASS_REQUIRE: OpensshVersion = [8, 4];
/** native/dial.c */
const DIALLER = 'tunnel-dial: ';
const DIALLED = /^tunnel-dial: connected to /;
/** For a person to answer a question of ssh, before we write to the same terminal. Milliseconds. */
const ANSWER_MS = 30_000;

/**
 * Rejects with a TunnelError: jumphost-dns, -refused, -unreachable, -timeout, -slow, -closed,
 * -not-ssh, -no-common-algorithm; host-key-unknown, -changed, -revoked, -differs; auth-failed,
 * auth-timeout; openssh-not-found, -unusable, -configuration, -directory, -failed; usage. If the
 * signal aborts, rejects with its reason.
 */
export async function dialOpenssh(wanted: OpensshOptions): Promise<Transport> {
  const { given, observer, signal } = wanted;
  signal?.throwIfAborted();
  const version = await opensshVersion(given.command ?? ['ssh'], signal);
  const options = mayRelay(wanted, version) ? wanted : withoutRelay(wanted);
  const directory = makePrivateDirectory(observer);
  try {
    const argv = prepare(options, version, directory);
    observer.log('debug', `starting ${argv[0]} (OpenSSH ${version.join('.')})`);
    return await new SshStart(options, directory, argv, version).run();
  } catch (error) {
    directory.remove();
    throw error;
  }
}

/** A custom command may be another user's, or run ssh without our environment. */
function mayRelay({ given }: OpensshOptions, version: OpensshVersion): boolean {
  return given.command === undefined && atLeast(version, ASKPASS_REQUIRE);
}

/** Where ssh would reach nobody, it is told to ask nothing: it would send an empty answer. */
function withoutRelay({ relay, settings, ...options }: OpensshOptions): OpensshOptions {
  const { authentication } = settings;
  const batch = authentication.batch || relay !== undefined;
  return { ...options, settings: { ...settings, authentication: { ...authentication, batch } } };
}

class SshStart {
  readonly #options: OpensshOptions;
  readonly #settings: SshSettings;
  readonly #directory: PrivateDirectory;
  readonly #argv: readonly [string, ...string[]];
  readonly #at: string;
  readonly #version: OpensshVersion;
  readonly #log: SshLog;
  readonly #facts = new LogFacts();
  readonly #stderrLines: string[] = [];
  readonly #words: ServerWords;
  #link: OpensshLink | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #patience = new Patience();
  #phaseChanged: () => void = () => {};
  #refuse: (error: unknown) => void = () => {};

  constructor(
    options: OpensshOptions,
    directory: PrivateDirectory,
    argv: readonly [string, ...string[]],
    version: OpensshVersion,
  ) {
    this.#options = options;
    this.#settings = options.settings;
    this.#directory = directory;
    this.#argv = argv;
    this.#version = version;
    this.#at = formatDestination({ host: options.settings.hostName, port: options.settings.port });
    this.#words = new ServerWords(options.observer);
    this.#log = new SshLog({
      refused: (host, port, text) => this.#link?.refused(host, port, text),
    });
  }

  async run(): Promise<Transport> {
    const { observer, progress: level, signal } = this.#options;
    const { relay } = this.#options;
    const mayAsk = (): boolean => relay === undefined && !this.#settings.authentication.batch;
    const started = observer.waiting?.({ what: () => undefined, mayAsk });
    const asked =
      relay &&
      (await AskpassServer.start({
        path: this.#directory.askpass,
        prompter: relay,
        observer,
        failed: (error) => this.#refuse(error),
      }));
    try {
      return await this.#run(asked, observer, level, signal);
    } finally {
      asked?.close();
      started?.();
    }
  }

  async #run(
    asked: AskpassServer | undefined,
    observer: Observer,
    level: Level | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Transport> {
    const process = await SshProcess.start({
      argv: this.#argv,
      log: this.#directory.log,
      environment: asked?.environment,
      onLog: (line) => this.#follow(line),
      onStderr: (line) => this.#onStderr(line),
    });
    const up = (): Promise<void> =>
      new Promise((resolve, reject) => {
        this.#refuse = reject;
        this.#phaseChanged = () => {
          if (this.#log.phase === 'up') this.#untilListening(process).then(resolve, reject);
        };
        process.exited.then((exit) => this.#failure(exit)).then(reject, reject);
        this.#restartSilenceTimer();
        whole = setTimeout(() => {
          observer.count('tunnel_start_limit_total');
          reject(undecided(this.#at, LONGEST_START_SECONDS));
        }, LONGEST_START_SECONDS * 1000);
      });
    let whole: NodeJS.Timeout | undefined;
    const progress = tellProgress({ observer, level, what: (elapsed) => this.#progress(elapsed) });
    try {
      await within({ signal }, up);
    } catch (error) {
      await process.end();
      throw error;
    } finally {
      progress.stop();
      // No earlier: log lines that ssh writes while it ends set the timer again.
      clearTimeout(this.#timer);
      clearTimeout(whole);
    }
    // ssh is listening, so it has verified the key. Log lines alone would not prove this, because a
    // server can forge them (log.ts).
    const shown = this.#shownKey;
    if (shown !== undefined) this.#options.replicas?.prove(shown);
    // This drops the server's banner.
    this.#stderrLines.length = 0;
    this.#link = new OpensshLink({
      process,
      log: this.#log,
      directory: this.#directory,
      stderrLines: this.#stderrLines,
      at: this.#at,
      established: this.#facts.established({
        at: this.#at,
        user: this.#settings.user,
        via: hopsOf(this.#settings)
          .slice(0, -1)
          .map(({ name }) => name),
        version: this.#version.join('.'),
        pinned: this.#settings.hostKeys.pins.length > 0,
        log: this.#log,
      }),
      observer,
      life: this.#life(),
    });
    return this.#link;
  }

  #life(): LinkOptions['life'] {
    if (!seesWhatIsRead()) return undefined;
    const { answers, given } = this.#options;
    const { keepalive, port } = this.#settings;
    return {
      keepalive,
      port,
      answers: answers?.of(this.#settings) ?? noAnswersYet(),
      custom: given.command !== undefined,
    };
  }

  #follow(line: string): void {
    const before = this.#log.phase;
    this.#log.line(line);
    if (this.#link !== undefined) return;
    this.#facts.line(line);
    this.#options.observer.log('debug', `ssh: ${serverText(withoutCommand(line))}`);
    this.#restartSilenceTimer(line);
    this.#checkReplica();
    if (this.#log.phase !== before) this.#phaseChanged();
  }

  /**
   * The key that all addresses of the jump host must present. undefined: the server hasn't
   * presented one yet, or a certificate authority vouches for it.
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

  #onStderr(line: string): void {
    if (DIALLED.test(line) && this.#settings.proxy.kind === 'direct') this.#log.connected();
    this.#stderrLines.push(line);
    if (this.#stderrLines.length > MAX_STDERR_LINES) this.#stderrLines.shift();
    const { observer } = this.#options;
    // Before it is up it may be the server's banner; after that, ssh's own remarks.
    if (this.#link !== undefined) {
      if (line !== '') observer.log('debug', serverText(line));
      return;
    }
    const level = line.startsWith(DIALLER) ? 'debug' : 'notice';
    // Marked, or a line of the banner could pass for one of this program's own.
    for (const text of this.#words.lines(line)) observer.log(level, `ssh: ${text}`);
  }

  /**
   * ssh doesn't log when it gets an answer, so it may still be asking the user: a message would
   * appear within the question. It comes when most people have answered.
   */
  #progress(elapsed: number): string | undefined {
    const { phase, accepted } = this.#log;
    if (phase === 'up') return undefined;
    if (mayBeAsking(this.#log, this.#settings))
      return elapsed < ANSWER_MS ? undefined : `your answer to ssh, or for one from ${this.#at}`;
    return progressOf({ phase, at: this.#at, accepted });
  }

  /** The start fails when a step takes too long (silence.ts). */
  #restartSilenceTimer(line = ''): void {
    if (!this.#patience.restarts(this.#log, this.#settings, line)) return;
    clearTimeout(this.#timer);
    const { phase } = this.#log;
    const seconds = longestSilence(this.#log, this.#settings);
    if (seconds === undefined) return;
    this.#timer = setTimeout(() => {
      if (phase === 'authentication') this.#refuse(undecided(this.#at, seconds));
      else this.#refuse((this.#log.accepted ? slowError : timeoutError)(this.#at, seconds, phase));
    }, seconds * 1000);
  }

  async #untilListening(process: SshProcess): Promise<void> {
    const deadline = performance.now() + LISTEN_TIMEOUT_MS;
    while (process.alive && performance.now() < deadline) {
      if (await acceptsConnection(this.#directory.socks)) {
        // Whatever ssh logged before it listened fits in a pipe (64 KiB), which we read within one
        // turn of the event loop (link.ts, fate).
        await turn();
        await turn();
        return;
      }
      await delay(LISTEN_POLL_MS);
    }
    // If ssh is ending, it says more. A server can have forged the login (log.ts).
    if (!process.alive) throw await this.#failure(await process.exited);
    throw new TunnelError('openssh-failed', `ssh to ${this.#at} does not listen for flows`, {
      hint: 'try the same with "ssh -v -D SOCKET"',
      cause: new Error(this.#log.kept.map((line) => serverText(line)).join('\n')),
    });
  }

  async #failure(exit: Exit): Promise<TunnelError> {
    const { phase, accepted, hostKey, greeting, kept, certificates } = this.#log;
    const { offered, unusedKey, refused, refusedSignatures } = this.#log;
    const { given } = this.#options;
    const files = namedFiles(this.#settings.authentication, [
      ...given.identityFiles,
      ...(given.defaultIdentities ?? []),
    ]);
    return startError({
      at: this.#at,
      lines: kept,
      stderr: this.#stderrLines,
      exit,
      // A server can have forged the line that says so.
      phase: phase === 'up' ? 'authentication' : phase,
      accepted,
      offered,
      unusedKey,
      refused,
      refusedSignatures,
      custom: given.command !== undefined,
      unasked: this.#settings.authentication.batch,
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

function undecided(at: string, seconds: number): TunnelError {
  return new TunnelError(
    'auth-timeout',
    `${at} did not decide about the login within ${seconds} s`,
    {
      hint: 'try again, or allow more time with --auth-timeout',
    },
  );
}

/** ssh logs the whole ProxyCommand, which may contain a password (ncat --proxy-auth). */
function withoutCommand(line: string): string {
  return line.replace(/^(debug1: Executing proxy command: ).*/, '$1...');
}

function acceptsConnection(path: string): Promise<boolean> {
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
