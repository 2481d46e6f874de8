/**
 * Files that must be the user's own: what to do about a private one that other users may read, and
 * which ones other users could have put commands into.
 *
 * Usually chmod(1) mends a file that others may read. On a read-only file system, such as a Secret
 * that Kubernetes mounts, only a copy does.
 */
import { accessSync, constants, existsSync, type Stats } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { UsageError } from '../errors/errors.ts';
import { shellPath } from '../net/notation.ts';
import type { Accounts } from './accounts.ts';
import { homeDirectory } from './home.ts';

/** The parts of a machine that decide it. Each has the obvious default. */
export interface FileSystem {
  /** The error code of access(2) for writing; undefined: it can be written to. */
  readonly writeError?: (path: string) => string | undefined;
  readonly exists?: (path: string) => boolean;
  readonly home?: string;
  /** For a machine whose home directory is read-only as well. */
  readonly temporary?: string;
}

/** More copies of one name than this are not proposed. */
const MAX_NAMES = 10;

/**
 * A hint for the owner of `path`, with a command for a shell. `use`: how to name the copy, as in
 * `-i`; it is only needed when a copy is made.
 */
export function closeToOthersHint(path: string, use: string, system: FileSystem = {}): string {
  const { writeError = writeErrorOf, exists = existsSync } = system;
  if (writeError(path) !== 'EROFS') return `run: chmod 600 ${shellPath(path)}`;
  const home = system.home ?? homeDirectory();
  const parent =
    writeError(home) === undefined ? join(home, '.ssh') : (system.temporary ?? tmpdir());
  const copy = freeName(parent, basename(path), exists);
  const command = `install -m 600 -D ${shellPath(path)} ${shellPath(copy)}`;
  return `its file system is read-only, so use a copy; run: ${command} and then: ${use} ${shellPath(copy)}`;
}

/** A command that is copied from a message must not replace anything. */
function freeName(parent: string, name: string, exists: (path: string) => boolean): string {
  const first = join(parent, name);
  let path = first;
  for (let number = 2; exists(path) && number <= MAX_NAMES; number += 1)
    path = `${first}-${number}`;
  return path;
}

function writeErrorOf(path: string): string | undefined {
  try {
    accessSync(path, constants.W_OK);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown';
  }
}

const GROUP_MAY_WRITE = 0o020;
const OTHERS_MAY_WRITE = 0o002;

/**
 * Refuses a file of settings whose commands somebody else could have written. Throws UsageError. A
 * group that has nobody else may write, as with Debian's ssh.
 */
export function refuseWritable(
  path: string,
  { uid, gid, mode }: Pick<Stats, 'uid' | 'gid' | 'mode'>,
  accounts: Accounts,
): void {
  const own = process.geteuid?.();
  if (uid !== 0 && uid !== own) {
    throw new UsageError(`${path} belongs to another user (${uid}), whose commands would be run`, {
      hint: `if its content is yours, run: chown ${own} ${shellPath(path)}`,
    });
  }
  const others = (mode & OTHERS_MAY_WRITE) !== 0;
  const group = (mode & GROUP_MAY_WRITE) !== 0 && !accounts.isPrivate(gid, own ?? uid);
  if (!others && !group) return;
  throw new UsageError(
    `${path} can be written by other users${others ? '' : ` (group ${gid})`}, whose commands would be run`,
    { hint: `run: chmod go-w ${shellPath(path)}` },
  );
}
