/**
 * How root starts the helper for the program, which listens for it as the caller. The directory of
 * the socket is made where only root can change anything, so that root needs no path from the
 * program, and can remove the directory without being led elsewhere.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  lchownSync,
  lstatSync,
  mkdtempSync,
  opendirSync,
  readdirSync,
  rmdirSync,
  unlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { withStreams } from '../../errors/spawned.ts';
import { silentObserver } from '../../observe/observer.ts';
import type { CommandUser } from '../launcher/protocol.ts';
import { processStat } from '../process.ts';
import { helperPath } from '../programs/path.ts';
import { HELPER_SOCKET } from './client.ts';
import type { HelperStart } from './part.ts';

/** Only root can change what is in it, so nothing else can be put at the place of a directory. */
const RUN = '/run';
/** Not tunnel-, as the directories of tunnel@NAME.service are called, whatever NAME is. */
const PREFIX = 'tunnel.';
/** What the caller may have put into a directory. The rest stays until the machine starts again. */
export const MAX_REMOVED = 1024;
export const MAX_REMOVED_DEPTH = 16;
/** Of what the helper prints. */
const MAX_COMPLAINT = 4096;

/** Makes a directory of the caller's for the helper's socket; its path. */
export function makeDirectory({ uid, gid }: CommandUser): string {
  const status = lstatSync(RUN, { throwIfNoEntry: false });
  if (status?.isDirectory() !== true || status.uid !== 0 || (status.mode & 0o022) !== 0) {
    throw new TunnelError('capture-failed', `${RUN} is not a directory that only root can change`, {
      hint: 'start tunnel without sudo: it asks for root itself where it needs it',
    });
  }
  removeAbandoned();
  const path = mkdtempSync(join(RUN, `${PREFIX}${process.pid}-`));
  chownSync(path, uid, gid);
  return path;
}

/** Removes the directories of parts that were killed. Never throws. */
export function removeAbandoned(): void {
  for (const name of readdirSync(RUN)) {
    const [, pid] = /^tunnel\.(\d+)-\w{6}$/.exec(name) ?? [];
    if (pid !== undefined && processStat(Number(pid)) === undefined)
      removeDirectory(join(RUN, name));
  }
}

/**
 * Removes it, with the socket and whatever else the caller has put there, up to MAX_REMOVED things.
 * Never throws.
 *
 * The caller may change it meanwhile. So each directory is made root's alone before it is read:
 * from then on nobody can put a link at the place of what it has. Links are removed, not followed,
 * and what is mounted stays.
 */
export function removeDirectory(path: string): void {
  try {
    const { dev } = lstatSync(path);
    empty(path, { device: dev, left: MAX_REMOVED }, MAX_REMOVED_DEPTH);
    rmdirSync(path);
  } catch {
    // ENOENT: it is gone. ENOTEMPTY, EBUSY: /run is emptied at the next start of the machine.
  }
}

interface Removal {
  /** The only file system. */
  readonly device: number;
  /** How many things may still be removed. */
  left: number;
}

/** The directory that has `path` is root's alone. Throws if not everything can be removed. */
function empty(path: string, removal: Removal, depth: number): void {
  const status = lstatSync(path);
  if (!status.isDirectory() || status.dev !== removal.device || depth === 0)
    throw new Error(`${path} stays`);
  lchownSync(path, 0, 0);
  chmodSync(path, 0o700);
  const directory = opendirSync(path);
  try {
    for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
      removal.left -= 1;
      if (removal.left < 0) throw new Error(`there is too much in ${path}`);
      const inner = join(path, entry.name);
      if (!lstatSync(inner).isDirectory()) {
        unlinkSync(inner);
        continue;
      }
      empty(inner, removal, depth - 1);
      rmdirSync(inner);
    }
  } finally {
    directory.closeSync();
  }
}

/** Starts the helper for the caller; resolves when what was started has ended. */
export async function runHelper(caller: CommandUser, directory: string): Promise<HelperStart> {
  const { uid } = caller;
  let printed = '';
  const child = withStreams(
    spawn(helperPath(silentObserver), [join(directory, HELPER_SOCKET)], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { SUDO_UID: String(uid) },
      cwd: '/',
    }),
  );
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    printed = (printed + text).slice(-MAX_COMPLAINT);
  });
  const [status, by] = (await once(child, 'close')) as [number | null, string | null];
  return { status: status ?? by ?? 'unknown', complaint: printed };
}
