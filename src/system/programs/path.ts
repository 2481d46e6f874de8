/**
 * Chooses the helper's file. If sudo or doas permitted a file that the user can replace, it would
 * permit everything. So a copy that only root can replace is preferred to the one that was built
 * with this program.
 */
import { lstatSync, realpathSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { HELPER_PATH } from '../../native/addon.ts';
import { shellPath } from '../../net/notation.ts';
import type { Observer } from '../../observe/observer.ts';

/** Where an administrator installs it, then where a package does. */
export const INSTALLED_HELPERS = [
  '/usr/local/libexec/tunnel-helper',
  '/usr/libexec/tunnel-helper',
] as const;

/** The first installed helper that only root can replace, as its real path; else the built one. */
export function helperPath(observer: Observer): string {
  return installedPath(INSTALLED_HELPERS, observer) ?? HELPER_PATH;
}

/** The first of `candidates` that exists and that only root can replace, as its real path. */
export function installedPath(
  candidates: readonly string[],
  observer: Observer,
): string | undefined {
  for (const candidate of candidates) {
    const path = realPath(candidate);
    if (path === undefined) continue;
    const weak = replaceableAt(path);
    if (weak === undefined) return path;
    observer.log('warning', `${candidate} is not used: users other than root can replace ${weak}`);
  }
  return undefined;
}

/**
 * The file or a directory above it that somebody other than root can replace; undefined if there is
 * none. `path` is absolute, without symbolic links.
 */
export function replaceableAt(path: string): string | undefined {
  for (let at = path, file = true; ; at = dirname(at), file = false) {
    const status = lstatSync(at, { throwIfNoEntry: false });
    if (
      status === undefined ||
      !onlyRoots(status) ||
      (file ? !status.isFile() : !status.isDirectory())
    ) {
      return at;
    }
    if (dirname(at) === at) return undefined;
  }
}

function onlyRoots(status: Stats): boolean {
  return status.uid === 0 && (status.mode & 0o022) === 0;
}

/** The command with which an administrator makes such a copy of `built`. */
export function installCommand(built: string, to: string = INSTALLED_HELPERS[0]): string {
  return `install -D -o root -g root -m 755 ${shellPath(built)} ${shellPath(to)}`;
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    // Not installed there, or this user can't reach it.
    return undefined;
  }
}
