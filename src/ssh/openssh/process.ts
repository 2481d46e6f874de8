/**
 * The ssh process: started through native/launch.c, which has the kernel end it with us; followed
 * by its log and its stderr; and ended in order.
 *
 *   start -> running -> (log says it ends, or the kernel has begun to take it apart) -> exited
 *
 * `exited` comes when the process is gone and everything it wrote has been read. The log is a FIFO,
 * of which a writing end is kept open here as long as the process lives: its end is the process's
 * end.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { TunnelError } from '../../errors/errors.ts';
import { LAUNCH_PATH } from '../../native/addon.ts';
import { printable } from '../../observe/printable.ts';
import { processStat } from '../../system/process.ts';
import { atLeast, OLDEST_OPENSSH, type OpensshVersion } from './arguments.ts';

/** How long ssh may take to end by itself when it is told to. */
export const CLOSE_TIMEOUT_MS = 2_000;
/** For what ssh has written before it ended to be read. */
const LAST_WORDS_MS = 500;
/** Characters. */
const MAX_LINE = 8192;
/** For `ssh -V`. A custom command may have to start something first. */
const VERSION_TIMEOUT_MS = 10_000;
/**
 * Flags of proc(5)'s stat, include/linux/sched.h: set before the kernel closes the descriptors of a
 * process that ends.
 */
const PF_EXITING = 0x4;
/** Of launch.c */
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;

export interface Exit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ProcessOptions {
  readonly argv: readonly [string, ...string[]];
  /** Where the FIFO is made; -E in `argv` names it. */
  readonly log: string;
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
        // Not started; or it may not be signalled, since it runs as somebody else (-e sudo): its
        // guard ends it (guard.c) when nobody reads the log any more, and waiting for that is of no
        // use.
        resolve({ status: NOT_FOUND, signal: null });
        reader.destroy();
      });
      child.once('exit', (status, signal) => resolve({ status, signal }));
    }).finally(() => {
      this.#gone = true;
      closeSync(writer);
    });
    const read = [follow(reader, options.onLog)];
    if (child.stderr !== null) {
      const { stderr } = child;
      read.push(follow(stderr, options.onStderr));
      // A process that ssh has started may hold it open; ssh itself has nothing more to say.
      void finished.then(() => setImmediate(() => stderr.destroy()));
    }
    this.exited = finished.then(async (exit) => {
      // A custom command may have ended without its ssh. Then nobody reads the log any more, and
      // ssh's guard ends that.
      const timer = setTimeout(() => reader.destroy(), LAST_WORDS_MS);
      await Promise.all(read);
      clearTimeout(timer);
      return exit;
    });
  }

  static async start(options: ProcessOptions): Promise<SshProcess> {
    try {
      await promisify(execFile)('mkfifo', ['-m', '600', options.log]);
    } catch (cause) {
      throw new TunnelError('openssh-directory', `no FIFO can be made at ${options.log}`, {
        hint: 'check that the mkfifo command is there, and that the file system takes FIFOs',
        cause,
      });
    }
    const opened: number[] = [];
    try {
      const reader = openSync(options.log, constants.O_RDONLY | constants.O_NONBLOCK);
      opened.push(reader);
      const writer = openSync(options.log, constants.O_WRONLY);
      opened.push(writer);
      const child = spawn(LAUNCH_PATH, [String(process.pid), ...options.argv], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const socket = new Socket({ fd: reader, readable: true, writable: false });
      return new SshProcess(child, socket, writer, options);
    } catch (cause) {
      // spawn throws for what the kernel has against the arguments themselves (E2BIG).
      for (const fd of opened) closeSync(fd);
      throw new TunnelError('openssh-failed', `ssh can't be started: ${printable(String(cause))}`, {
        hint: 'check the options that are passed on to ssh (-o, -i, -e): their text may be too long',
        cause,
      });
    }
  }

  /** False from the moment at which the kernel begins to close what the process holds. */
  get alive(): boolean {
    if (this.#gone || this.#child.pid === undefined) return false;
    const { state = 'Z', flags = 0 } = processStat(this.#child.pid) ?? {};
    return state !== 'Z' && state !== 'X' && (flags & PF_EXITING) === 0;
  }

  /**
   * Resolves when it is gone. ssh closes its connection at QUIT; if it doesn't, it is killed after
   * CLOSE_TIMEOUT_MS.
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
 * Resolves when the stream has ended. What a line has beyond MAX_LINE is dropped: nothing that is
 * looked for is that long.
 */
function follow(stream: Readable, onLine: (line: string) => void): Promise<void> {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = (lines.pop() ?? '').slice(0, MAX_LINE);
    for (const line of lines) onLine(line.slice(0, MAX_LINE).replace(/\r$/, ''));
  });
  stream.on('error', () => {
    // The reading end of a pipe has no errors that aren't its end.
    stream.destroy();
  });
  return new Promise((resolve) => {
    stream.once('close', () => {
      if (rest !== '') onLine(rest);
      resolve();
    });
  });
}

/** Which OpenSSH it is. Throws TunnelError: openssh-not-found, openssh-unusable, native-missing. */
export async function opensshVersion(
  command: readonly [string, ...string[]],
  signal?: AbortSignal,
): Promise<OpensshVersion> {
  // Not its arguments: there may be a password among them (sshpass -p).
  const shown = printable(command[0]);
  const [said, status] = await new Promise<[string, number]>((resolve, reject) => {
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
    throw new TunnelError('openssh-not-found', `${shown} can't be run: ${printable(said.trim())}`, {
      hint: notRunHint(command.join() !== 'ssh'),
    });
  }
  if (/^No user exists for uid/m.test(said)) {
    throw new TunnelError(
      'openssh-unusable',
      `${shown} runs for nobody who has no entry in the passwd file`,
      {
        hint: 'use --transport ssh2, which does, or add this user to /etc/passwd',
      },
    );
  }
  const [, major, minor] = /OpenSSH_(?:for_\w+_)?(\d+)\.(\d+)/.exec(said) ?? [];
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

/** For a command that can't be run. `custom`: it is one of the user's (-e). */
export function notRunHint(custom: boolean): string {
  return custom
    ? 'check the command that is given with -e, or leave it out'
    : 'install OpenSSH (Debian: apt-get install openssh-client), or use --transport ssh2';
}

function launcherMissing(cause: unknown): TunnelError {
  return new TunnelError('native-missing', `${LAUNCH_PATH} can't be run`, {
    hint: 'build it with "npm run build:native" (needs a C compiler and make)',
    cause,
  });
}
