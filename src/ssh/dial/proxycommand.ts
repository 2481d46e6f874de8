/**
 * ProxyCommand (ssh_config(5)): a program whose standard input and output are the connection to
 * sshd.
 *
 *   write ──► stdin   ┌─────────┐
 *                     │ command │ ── its own network connection ──► sshd
 *   read  ◄── stdout  └─────────┘
 *             stderr ──► log, sanitised, at most MAX_STDERR_LINES
 *
 * It is run as ssh runs it: by the user's shell, with `exec` so that no shell stays in between, and
 * in this process's group and session so that it can ask at the terminal. The command comes from
 * the user's configuration. Its tokens are already expanded, and nothing is added here.
 *
 * States: running -> ended (the program has exited: jumphost-proxy or jumphost-refused, with its
 * status), or running -> closed (destroy(): SIGHUP as in ssh, then SIGKILL after KILL_AFTER_MS).
 * The stream is closed when the program is gone, or after 2 * KILL_AFTER_MS if we may not signal
 * it. If this program is killed, the command reads the end of its input.
 *
 * We don't know where the command connects to, so we can't exclude it from the capture. If that
 * destination is among the targets, the tunnel would send its own connection into itself.
 * addressesNamedIn() finds the addresses that appear in the command.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { Duplex, type Readable, type Writable } from 'node:stream';
import type { ErrorCode } from '../../errors/codes.ts';
import { TunnelError } from '../../errors/errors.ts';
import { withStreams } from '../../errors/spawned.ts';
import { systemRefusal } from '../../errors/system.ts';
import { canonicalAddress, isAddress } from '../../net/address.ts';
import type { Observer } from '../../observe/observer.ts';
import { printable } from '../../observe/printable.ts';

/**
 * How long to wait for the exit status after the output has ended, or for the rest of the output
 * after the exit.
 */
const STATUS_GRACE_MS = 500;
/** How long the program may take to exit after SIGHUP. */
export const KILL_AFTER_MS = 1_000;
export const MAX_STDERR_LINES = 100;
const MAX_LINE_CHARACTERS = 300;

/** As nc, ncat, socat and ssh -W say it when nobody listens there. */
const REFUSED = /\bconnection refused\b/i;

/**
 * The error's code for a program that has ended before SSH began. `lastLine`: of its stderr. Most
 * programs only connect: what they were refused is as if it had been refused to us.
 */
export function endedCode(
  lastLine: string | undefined,
): Extract<ErrorCode, 'jumphost-refused' | 'jumphost-proxy'> {
  return lastLine !== undefined && REFUSED.test(lastLine) ? 'jumphost-refused' : 'jumphost-proxy';
}

export interface ProxyCommandOptions {
  readonly observer: Observer;
  /** Applies only to the start. Later, destroy the stream. */
  readonly signal?: AbortSignal;
}

/**
 * Resolves when the program has started. Rejects with TunnelError `jumphost-proxy`, or with the
 * signal's reason.
 */
export async function openProxyCommand(
  command: string,
  { observer, signal }: ProxyCommandOptions,
): Promise<Duplex> {
  signal?.throwIfAborted();
  // As in ssh, the environment names the user's shell.
  const shell = process.env['SHELL'] || '/bin/sh';
  let child: ChildProcessByStdio<Writable, Readable, Readable>;
  try {
    child = withStreams(
      spawn(shell, ['-c', `exec ${command}`], { stdio: ['pipe', 'pipe', 'pipe'] }),
    );
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
  } catch (cause) {
    const refused = systemRefusal(cause);
    if (refused !== undefined) throw refused;
    throw new TunnelError(
      'jumphost-proxy',
      `the shell ${printable(shell)} for the ProxyCommand can't be started`,
      {
        hint: 'check SHELL in the environment, and that the command is not too long',
        cause,
      },
    );
  }
  const stream = new ProxyCommandStream(child, observer);
  if (signal?.aborted) {
    stream.destroy();
    throw signal.reason;
  }
  return stream;
}

/** The addresses that appear in a command, canonical. None of them should be captured. */
export function addressesNamedIn(command: string): string[] {
  const words = command.split(/[\s"'=,;|&()<>@]+/);
  const candidates = words.flatMap((word) => [
    word,
    word.replace(/:\d+$/, ''),
    word.replace(/^\[([^\]]*)\](:\d+)?$/, '$1'),
  ]);
  return [...new Set(candidates.filter(isAddress).map(canonicalAddress))];
}

class ProxyCommandStream extends Duplex {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #stderr: StderrLog;
  /** The program has exited, or we no longer wait for it. Never rejects. */
  readonly #gone: Promise<void>;
  #stopWaiting: () => void = () => {};
  /** It has passed something on. */
  #connected = false;
  #status: string | undefined;

  constructor(child: ChildProcessByStdio<Writable, Readable, Readable>, observer: Observer) {
    super({ allowHalfOpen: true });
    this.#child = child;
    this.#stderr = new StderrLog(observer);
    this.on('error', () => {
      // The stream may fail before its user listens; it keeps the error.
    });
    this.#gone = new Promise((resolve) => {
      this.#stopWaiting = resolve;
      child.once('exit', () => resolve());
    });
    child.on('error', () => {
      // We may not signal a program that runs as another user (sudo). Its input and output are
      // closed anyway.
    });
    child.once('exit', (status, signal) => this.#onExit(status, signal));
    child.stdout.on('data', (chunk: Buffer) => {
      this.#connected = true;
      if (!this.push(chunk)) child.stdout.pause();
    });
    child.stdout.once('end', () => this.#onOutputEnd());
    child.stdout.once('error', () => this.#onOutputEnd());
    child.stdin.on('error', () => {
      // Each write gets the error in its callback.
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.#stderr.add(text));
    child.stderr.once('error', () => {
      // There is nothing more to log.
    });
  }

  override _read(): void {
    this.#child.stdout.resume();
  }

  override _write(
    chunk: Buffer,
    _encoding: string,
    callback: (error?: Error | null) => void,
  ): void {
    this.#child.stdin.write(chunk, (error) => {
      // The program no longer reads. Usually it is about to exit, and its status says more than
      // EPIPE.
      if (error) setTimeout(callback, STATUS_GRACE_MS, error);
      else callback();
    });
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#child.stdin.end(() => callback());
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const { stdin, stdout, stderr } = this.#child;
    stdin.destroy();
    stdout.destroy();
    const done = (): void => {
      stderr.destroy();
      this.#stderr.end();
      callback(error);
    };
    if (this.#status !== undefined) {
      done();
      return;
    }
    this.#child.kill('SIGHUP');
    const kill = setTimeout(() => this.#child.kill('SIGKILL'), KILL_AFTER_MS);
    const giveUp = setTimeout(this.#stopWaiting, 2 * KILL_AFTER_MS);
    void this.#gone.then(() => {
      clearTimeout(kill);
      clearTimeout(giveUp);
      done();
    });
  }

  /** The exit status usually follows at once, and says more than the end of the output. */
  #onOutputEnd(): void {
    setTimeout(() => {
      if (!this.destroyed && this.#status === undefined) this.push(null);
    }, STATUS_GRACE_MS);
  }

  #onExit(status: number | null, signal: NodeJS.Signals | null): void {
    this.#status = signal === null ? `exit status ${status}` : `signal ${signal}`;
    // Its last output may not have been read yet. But a child process of it may keep the output
    // open for ever.
    this.#child.once('close', () => this.#fail());
    setTimeout(() => this.#fail(), STATUS_GRACE_MS);
  }

  #fail(): void {
    if (this.destroyed) return;
    this.#stderr.end();
    const { lastLine } = this.#stderr;
    const words = lastLine === undefined ? '' : `; it says "${lastLine}"`;
    const code = this.#connected ? 'jumphost-proxy' : endedCode(lastLine);
    this.destroy(
      new TunnelError(code, `the ProxyCommand has ended (${this.#status})${words}`, {
        hint: 'run the command alone: it must connect its standard input and output to sshd',
      }),
    );
  }
}

/** Logs whole lines, and no more of them than somebody would read. */
class StderrLog {
  readonly #observer: Observer;
  #rest = '';
  #lines = 0;
  lastLine: string | undefined;

  constructor(observer: Observer) {
    this.#observer = observer;
  }

  add(text: string): void {
    const lines = (this.#rest + text).split(/\r?\n/);
    this.#rest = (lines.pop() ?? '').slice(0, MAX_LINE_CHARACTERS);
    for (const line of lines) this.#line(line);
  }

  end(): void {
    if (this.#rest !== '') this.#line(this.#rest);
    this.#rest = '';
  }

  #line(line: string): void {
    const text = printable(line.slice(0, MAX_LINE_CHARACTERS));
    if (text === '') return;
    this.lastLine = text;
    this.#lines++;
    if (this.#lines <= MAX_STDERR_LINES) this.#observer.log('info', `ProxyCommand: ${text}`);
    else this.#observer.count('tunnel_proxy_lines_dropped_total');
    if (this.#lines === MAX_STDERR_LINES + 1)
      this.#observer.log('info', 'ProxyCommand: further lines are left out');
  }
}
