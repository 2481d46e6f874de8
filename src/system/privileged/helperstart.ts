/**
 * How root starts the helper for the program, which listens for it as the caller. The directory of
 * the socket is made where only root can change anything, so that root needs no path from the
 * program, and can remove the directory without being led elsewhere.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, lstatSync, mkdtempSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { silentObserver } from '../../observe/observer.ts';
import type { CommandUser } from '../launcher/protocol.ts';
import { processStat } from '../process.ts';
import { helperPath } from '../programs/path.ts';
import { HELPER_SOCKET } from './client.ts';
import type { HelperStart } from './part.ts';

/** Only root can change what is in it, so nothing else can be put at the place of a directory. */
const RUN = '/run';
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
  const path = mkdtempSync(join(RUN, `tunnel-${process.pid}-`));
  chownSync(path, uid, gid);
  return path;
}

/** Removes the directories of parts that were killed. Never throws. */
export function removeAbandoned(): void {
  for (const name of readdirSync(RUN)) {
    const [, pid] = /^tunnel-(\d+)-\w{6}$/.exec(name) ?? [];
    if (pid !== undefined && processStat(Number(pid)) === undefined)
      removeDirectory(join(RUN, name));
  }
}

/** Removes it, with the socket. Never throws. */
export function removeDirectory(path: string): void {
  try {
    unlinkSync(join(path, HELPER_SOCKET));
  } catch {
    // ENOENT: the program has not listened there. Whatever else it has put there is its own.
  }
  try {
    rmdirSync(path);
  } catch {
    // ENOTEMPTY: the same. /run is emptied at the next start of the machine.
  }
}

/** Starts the helper for the caller; resolves when what was started has ended. */
export async function runHelper(caller: CommandUser, directory: string): Promise<HelperStart> {
  const { uid } = caller;
  let printed = '';
  const child = spawn(helperPath(silentObserver), [join(directory, HELPER_SOCKET)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { SUDO_UID: String(uid) },
    cwd: '/',
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    printed = (printed + text).slice(-MAX_COMPLAINT);
  });
  const [status, by] = (await once(child, 'close')) as [number | null, string | null];
  return { status: status ?? by ?? 'unknown', complaint: printed };
}
