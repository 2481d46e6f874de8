/**
 * The ssh process. It is started through native/launch.c, so the kernel kills it when we die. This
 * file reads its log and its stderr, and ends it in an orderly manner.
 *
 *   start -> running -> (the log says it is ending, or the kernel tears it down) -> exited
 *
 * `exited` resolves when the process is gone and everything it wrote has been read. The log is a
 * FIFO. We keep a write end of it open while the process lives, so the reader sees the end of the
 * log only after the process has ended.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { isLinux, needsLinux } from '../../base/platform.ts';
import { TunnelError } from '../../errors/errors.ts';
import { withStreams } from '../../errors/spawned.ts';
import { systemRefusal } from '../../errors/system.ts';
import { LAUNCH_PATH } from '../../native/addon.ts';
import { nativeFault } from '../../native/files.ts';
import { printable } from '../../observe/printable.ts';
import { runsOn } from '../../system/process.ts';
import { MAX_SERVER_TEXT } from '../servertext.ts';
import { atLeast, OLDEST_OPENSSH, type OpensshVersion } from './arguments.ts';

/** How long ssh may take to exit after it was asked to. */
export const CLOSE_TIMEOUT_MS = 2_000;
/** How long to read what ssh wrote before it ended. */
const DRAIN_TIMEOUT_MS = 500;
/** Characters of a line of the log, and of one on stderr, which may be the server's banner. */
const MAX_LOG_LINE = 8192;
const MAX_STDERR_LINE = MAX_SERVER_TEXT + 1;
/** For `ssh -V`: long, because a custom command may have to start something first. */
const VERSION_TIMEOUT_MS = 10_000;
/** Exit statuses of launch.c. */
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;

export interface Exit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ProcessOptions {
  readonly argv: readonly [string, ...string[]];
  /** Path of the FIFO to create; -E in `argv` names it. */
  readonly log: string;
  /** Besides this program's own. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  readonly onLog: (line: string) => void;
  readonly onStderr: (line: string) => void;
}

export class SshProcess {
  /** Never rejects. */
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  #gone = false;

  private constructor(
    child: ChildProcess,
    reader: Socket,
    writer: number,
    options: ProcessOptions,
  ) {
    this.#child = child;
    const finished = new Promise<Exit>((resolve) => {
      child.on('error', () => {
        // Either it didn't start, or we may not signal it because it runs as another user (-e
        // sudo). In that case its guard ends it once nobody reads the log (guard.c), and there is
        // nothing to wait for.
        resolve({ status: NOT_FOUND, signal: null });
        reader.destroy();
      });
      child.once('exit', (status, signal) => resolve({ status, signal }));
    }).finally(() => {
      this.#gone = true;
      closeSync(writer);
    });
    const read = [follow(reader, MAX_LOG_LINE, options.onLog)];
    if (child.stderr !== null) {
      const { stderr } = child;
      read.push(follow(stderr, MAX_STDERR_LINE, options.onStderr));
      // A child of ssh may keep it open, but ssh itself writes nothing more.
      void finished.then(() => setImmediate(() => stderr.destroy()));
    }
    this.exited = finished.then(async (exit) => {
      // A custom command may have exited while its ssh still runs. We stop reading the log, and
      // ssh's guard then ends ssh.
      const timer = setTimeout(() => reader.destroy(), DRAIN_TIMEOUT_MS);
      await Promise.all(read);
      clearTimeout(timer);
      return exit;
    });
  }

  static async start(options: ProcessOptions): Promise<SshProcess> {
    try {
      await promisify(execFile)('mkfifo', ['-m', '600', options.log]);
    } catch (cause) {
      throw new TunnelError('openssh-directory', `can't create a FIFO at ${options.log}`, {
        hint: 'check that mkfifo is installed, and that the file system supports FIFOs',
        cause,
      });
    }
    const opened: number[] = [];
    try {
      const reader = openSync(options.log, constants.O_RDONLY | constants.O_NONBLOCK);
      opened.push(reader);
      const writer = openSync(options.log, constants.O_WRONLY);
      opened.push(writer);
      const child = withStreams(
        spawn(LAUNCH_PATH, [String(process.pid), ...options.argv], {
          stdio: ['ignore', 'ignore', 'pipe'],
          env: { ...process.env, ...options.environment },
        }),
      );
      const socket = new Socket({ fd: reader, readable: true, writable: false });
      return new SshProcess(child, socket, writer, options);
    } catch (cause) {
      // spawn throws if the kernel rejects the arguments themselves (E2BIG).
      for (const fd of opened) closeSync(fd);
      const refused = systemRefusal(cause);
      if (refused !== undefined) throw refused;
      throw new TunnelError('openssh-failed', `ssh can't be started: ${printable(String(cause))}`, {
        hint: 'check the options that are passed on to ssh (-o, -i, -e): they may be too long',
        cause,
      });
    }
  }

  /** Of ssh, or of the user's own command. undefined: it didn't start. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** False once the kernel begins to close the process's descriptors. */
  get alive(): boolean {
    return !this.#gone && this.#child.pid !== undefined && runsOn(this.#child.pid);
  }

  /**
   * Resolves when the process is gone. ssh closes its connection on SIGQUIT; if it hasn't exited
   * after CLOSE_TIMEOUT_MS, it is killed.
   */
  async end(): Promise<Exit> {
    this.#child.kill('SIGQUIT');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), CLOSE_TIMEOUT_MS);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * Resolves when the stream has ended. A line is cut off after `limit` characters: no line that we
 * look for is that long.
 */
function follow(stream: Readable, limit: number, onLine: (line: string) => void): Promise<void> {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = (lines.pop() ?? '').slice(0, limit);
    for (const line of lines) onLine(line.slice(0, limit).replace(/\r$/, ''));
  });
  stream.on('error', () => {
    // For the read end of a pipe, any error means that it has ended.
    stream.destroy();
  });
  return new Promise((resolve) => {
    stream.once('close', () => {
      if (rest !== '') onLine(rest);
      resolve();
    });
  });
}

/** The version of OpenSSH. Throws TunnelError: openssh-not-found, -unusable, native-missing. */
export async function opensshVersion(
  command: readonly [string, ...string[]],
  signal?: AbortSignal,
): Promise<OpensshVersion> {
  // The program without its arguments, which may contain a password (sshpass -p).
  const shown = printable(command[0]);
  const [output, status] = await new Promise<[string, number]>((resolve, reject) => {
    const options = {
      timeout: VERSION_TIMEOUT_MS,
      killSignal: 'SIGKILL',
      ...(signal && { signal }),
    } as const;
    execFile(
      LAUNCH_PATH,
      [String(process.pid), ...command, '-V'],
      options,
      (error, stdout, stderr) => {
        if (error?.code === 'ENOENT' || error?.code === 'EACCES') reject(launcherMissing(error));
        resolve([`${stderr}${stdout}`, typeof error?.code === 'number' ? error.code : 0]);
      },
    );
  });
  signal?.throwIfAborted();
  if (status === NOT_FOUND || status === NOT_EXECUTABLE) {
    const reason = printable(output.trim());
    throw new TunnelError('openssh-not-found', `${shown} can't be run: ${reason}`, {
      hint: notRunHint(command.join() !== 'ssh'),
    });
  }
  if (/^No user exists for uid/m.test(output)) {
    throw new TunnelError(
      'openssh-unusable',
      `${shown} can't be used: the current user has no entry in the passwd file`,
      {
        hint: 'use --transport ssh2, which needs no entry, or add this user to /etc/passwd',
      },
    );
  }
  const [, major, minor] = /OpenSSH_(?:for_\w+_)?(\d+)\.(\d+)/.exec(output) ?? [];
  const version: OpensshVersion = [Number(major), Number(minor)];
  if (major === undefined || !atLeast(version, OLDEST_OPENSSH)) {
    const what =
      major === undefined ? 'does not say that it is OpenSSH' : `is OpenSSH ${version.join('.')}`;
    throw new TunnelError(
      'openssh-unusable',
      `${shown} ${what}; ${OLDEST_OPENSSH.join('.')} or later is needed`,
      {
        hint: 'give a command that passes its arguments on to ssh (-e), or use --transport ssh2',
      },
    );
  }
  return version;
}

/** The hint for a command that can't be run. `custom`: it is the user's own command (-e). */
export function notRunHint(custom: boolean): string {
  return custom
    ? 'check the command given with -e, or leave it out'
    : 'install OpenSSH (Debian: apt-get install openssh-client), or use --transport ssh2';
}

function launcherMissing(cause: unknown): TunnelError {
  if (!isLinux()) return needsLinux("a connection by the system's ssh");
  const { reason, hint } = nativeFault(LAUNCH_PATH, cause);
  return new TunnelError('native-missing', `${LAUNCH_PATH} can't be run: ${reason}`, {
    hint,
    cause,
  });
}
