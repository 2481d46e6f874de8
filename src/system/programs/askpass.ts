/**
 * Runs an askpass program (ssh(1), SSH_ASKPASS): it gets the question as its only argument, asks
 * the user in its own window, and prints the answer. It is started directly, not by a shell,
 * because the argument contains text from the server.
 */
import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { TunnelError } from '../../errors/errors.ts';
import { systemCodeOf } from '../../errors/reason.ts';
import { withStreams } from '../../errors/spawned.ts';

type AskpassProcess = ChildProcessByStdio<null, Readable, null>;

/** After SIGTERM. */
const KILL_AFTER_MS = 1000;

export interface AskpassRequest {
  /** A path, or a name to look for in PATH. */
  readonly program: string;
  /** May have several lines. */
  readonly message: string;
  /** How many bytes the answer may have. */
  readonly limit: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * The first line that the program prints. Rejects with TunnelError `no-terminal` if it can't be
 * started, `auth-cancelled` if it fails (the user closed it), or with the signal's reason.
 */
export function runAskpass({ program, message, limit, signal }: AskpassRequest): Promise<string> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const environment = { ...process.env };
    // We may have inherited it from a program that wanted a yes or no.
    delete environment['SSH_ASKPASS_PROMPT'];
    let child: AskpassProcess;
    try {
      child = withStreams(
        spawn(program, [message], { stdio: ['ignore', 'pipe', 'inherit'], env: environment }),
      );
    } catch (cause) {
      // E2BIG: the kernel takes no argument of 128 KiB, and a server may say a lot.
      reject(notStarted(program, cause));
      return;
    }
    const abort = (): void => {
      stop(child);
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', abort, { once: true });

    let printed = Buffer.alloc(0);
    let tooLong = false;
    child.stdout.on('data', (chunk: Buffer) => {
      if (tooLong) return;
      printed = Buffer.concat([printed, chunk]);
      const end = printed.findIndex((octet) => octet === 0x0a || octet === 0x0d);
      if ((end < 0 ? printed.length : end) <= limit) return;
      tooLong = true;
      stop(child);
    });
    child.once('error', (cause) => {
      signal?.removeEventListener('abort', abort);
      reject(notStarted(program, cause));
    });
    child.once('close', (status) => {
      signal?.removeEventListener('abort', abort);
      if (tooLong) reject(cancelled(`${program} printed more than ${limit} bytes`));
      else if (status !== 0) reject(cancelled('a question was not answered'));
      else resolve(printed.toString('utf8').split(/[\r\n]/, 1)[0] ?? '');
    });
  });
}

function stop(child: ChildProcess): void {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
  timer.unref();
  child.once('exit', () => clearTimeout(timer));
}

function notStarted(program: string, cause: unknown): TunnelError {
  const code = systemCodeOf(cause);
  return new TunnelError(
    'no-terminal',
    `there is no terminal to ask at, and ${program} can't be started (${code})`,
    { hint: 'start it from a terminal, or let SSH_ASKPASS name a program that asks', cause },
  );
}

function cancelled(message: string): TunnelError {
  return new TunnelError('auth-cancelled', message, {
    hint: 'start it again and answer, or use a key from an agent',
  });
}
