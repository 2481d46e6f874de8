/**
 * A file that is written for its owner alone, at a path that others may have prepared.
 *
 *   new        0600, never through a symbolic link
 *   existing   a regular file with one name, of our own user, that nobody else may write
 *   either     no other tunnel has it open to write, until it is closed. Without the native part
 *              nobody can tell
 *
 * Opening never waits: a FIFO or a device is refused before anything is written to it.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { TunnelError } from '../errors/errors.ts';
import { systemCodeOf, writeReasonOf } from '../errors/reason.ts';
import { addonIfAny } from '../native/addon.ts';
import { shellPath } from '../net/notation.ts';

const { O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
const SAFELY = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
const OTHERS_MAY_WRITE = 0o022;

export interface OpenedFile {
  readonly handle: FileHandle;
  readonly size: number;
  /** Device and inode. */
  readonly identity: string;
}

/**
 * Opens a file to append to it; makes it if it isn't there. `ours`: the identity of the one that
 * this tunnel has open already. The path may lead to another one by now, which another tunnel may
 * have open. Throws TunnelError `record-file`.
 */
export function openPrivateFile(path: string, option: string, ours?: string): Promise<OpenedFile> {
  return opened(path, option, O_RDWR | O_APPEND | O_CREAT | SAFELY, ours);
}

/** Makes a file that isn't there yet. Throws TunnelError `record-file`. */
export function createPrivateFile(path: string, option: string): Promise<OpenedFile> {
  return opened(path, option, O_RDWR | O_APPEND | O_CREAT | O_EXCL | SAFELY);
}

export function identityOf({ dev, ino }: { readonly dev: number; readonly ino: number }): string {
  return `${dev}:${ino}`;
}

async function opened(
  path: string,
  option: string,
  flags: number,
  ours?: string,
): Promise<OpenedFile> {
  let handle: FileHandle;
  try {
    handle = await open(path, flags, 0o600);
  } catch (error) {
    throw openError(path, option, error);
  }
  try {
    const status = await handle.stat();
    const wrong = faultOf(path, status);
    if (wrong !== undefined) throw fileError(`${option} ${path}: it ${wrong.what}`, wrong.hint);
    const identity = identityOf(status);
    if (identity !== ours && addonIfAny()?.claimFile(handle.fd) === false) {
      const hint = 'give each tunnel a file of its own; "tunnel status" shows those that run';
      throw fileError(`${option} ${path}: another tunnel writes to it`, hint);
    }
    return { handle, size: status.size, identity };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

interface Fault {
  readonly what: string;
  readonly hint: string;
}

/** Not files of their own: /dev/stdout and the like. */
const STREAMS = /^\/(?:dev\/(?:std|fd\/)|proc\/)/;
const ELSEWHERE = 'name a file of your own; one that is not there yet is made';

function faultOf(
  path: string,
  status: {
    isFile(): boolean;
    readonly uid: number;
    readonly mode: number;
    readonly nlink: number;
  },
): Fault | undefined {
  if (!status.isFile()) return { what: 'is not a regular file', hint: ELSEWHERE };
  if (status.uid !== process.geteuid?.())
    return { what: `belongs to another user (uid ${status.uid})`, hint: ELSEWHERE };
  if ((status.mode & OTHERS_MAY_WRITE) !== 0)
    return { what: 'may be written by others', hint: `run: chmod 600 ${shellPath(path)}` };
  if (status.nlink > 1) return { what: 'has another name (a hard link)', hint: ELSEWHERE };
  return undefined;
}

function openError(path: string, option: string, cause: unknown): TunnelError {
  const code = systemCodeOf(cause);
  if (code === 'ELOOP') {
    const hint = STREAMS.test(path)
      ? `name a file; "tail -F FILE" passes on what is written to it`
      : 'name the file itself';
    return fileError(`${option} ${path}: it is a symbolic link`, hint, cause);
  }
  if (code === 'ENXIO')
    return fileError(`${option} ${path}: it is not a regular file`, ELSEWHERE, cause);
  const hint =
    code === 'ENOENT'
      ? 'make its directory first'
      : code === 'ENOSPC' || code === 'EDQUOT'
        ? 'make room on its file system, or name a file on another one'
        : 'name a file that you may write to';
  return fileError(
    `${option} ${path}: it can't be written to: ${writeReasonOf(cause)}`,
    hint,
    cause,
  );
}

export function fileError(message: string, hint: string, cause?: unknown): TunnelError {
  return new TunnelError('record-file', message, {
    hint,
    ...(cause === undefined ? {} : { cause }),
  });
}
