/**
 * Which file the helper is run from. A rule of sudo's or doas's for a file that the user can
 * replace would be a rule for everything; so a copy that only root can replace is preferred to the
 * one that was built beside this program.
 */
import { lstatSync, realpathSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { HELPER_PATH } from '../../native/addon.ts';
import { shellPath } from '../../net/notation.ts';
import type { Observer } from '../../observe/observer.ts';

/** Where an administrator puts it, then where a package does. */
export const INSTALLED_HELPERS = [
  '/usr/local/libexec/tunnel-helper',
  '/usr/libexec/tunnel-helper',
] as const;

/** The first installed helper that only root can replace, as its real path; else the built one. */
export function helperPath(observer: Observer): string {
  return installedPath(INSTALLED_HELPERS, observer) ?? HELPER_PATH;
}

/** The first of `candidates` that is there and that only root can replace, as its real path. */
export function installedPath(
  candidates: readonly string[],
  observer: Observer,
): string | undefined {
  for (const candidate of candidates) {
    const path = realPath(candidate);
    if (path === undefined) continue;
    const weak = replaceableAt(path);
    if (weak === undefined) return path;
    observer.log('warning', `${candidate} is not used: others than root can replace ${weak}`);
  }
  return undefined;
}

/**
 * The part of the absolute path `path`, which has no symbolic links, that somebody other than root
 * can replace: the file or a directory above it. Undefined if there is none.
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

/** How an administrator makes such a copy of `built`. */
export function installCommand(built: string, to: string = INSTALLED_HELPERS[0]): string {
  return `install -D -o root -g root -m 755 ${shellPath(built)} ${shellPath(to)}`;
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    // Not installed there, or not to be reached by this user.
    return undefined;
  }
}
