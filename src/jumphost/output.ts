/** Where rendered files go. */
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { UsageError } from '../errors/errors.ts';
import { systemCodeOf } from '../errors/reason.ts';
import type { RenderedFile } from './plan.ts';

/** All files as one text: with the name before each where there are several. */
export function printable(files: readonly RenderedFile[]): string {
  const [only, ...others] = files;
  if (only !== undefined && others.length === 0) return only.text;
  return files.map(({ path, text }) => `# ===== ${path}\n${text}`).join('\n');
}

/**
 * Writes the files below `directory`, which is made, or must be empty. Throws UsageError where that
 * isn't possible, after removing whatever was made: half of a jump host is none.
 */
export function writeFiles(directory: string, files: readonly RenderedFile[]): void {
  const made = new Made();
  try {
    made.directory(directory);
    if (readdirSync(directory).length > 0) {
      throw new UsageError(`--output: ${directory} is not empty`, {
        hint: 'name a new directory: what is in it may be in use',
      });
    }
    for (const { path, mode, text } of files) {
      const target = join(directory, path);
      made.directory(dirname(target));
      made.file(target, text, mode);
    }
  } catch (cause) {
    made.remove();
    if (cause instanceof UsageError) throw cause;
    const code = systemCodeOf(cause);
    throw new UsageError(`--output: ${directory} can't be written: ${code}`, {
      hint: HINTS[code] ?? 'check the path and its permissions',
      cause,
    });
  }
}

const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: 'make room there, or name a directory elsewhere; nothing was written',
  EDQUOT: 'make room there, or name a directory elsewhere; nothing was written',
  EEXIST: 'name a new directory: there is a file or a dangling link of that name',
  ENOTDIR: 'name a new directory: there is a file of that name, or of one above it',
};

/** What this program has made, and nothing that others have. */
class Made {
  /** Innermost last. */
  readonly #directories: string[] = [];
  readonly #files: string[] = [];

  /**
   * Makes it with those above it. Not with Node's own `recursive`, which never returns where a
   * directory can't be made although the one above it is there, as in /proc.
   */
  directory(path: string): void {
    if (statSync(path, { throwIfNoEntry: false }) !== undefined) return;
    const above = dirname(resolve(path));
    if (above !== resolve(path)) this.directory(above);
    mkdirSync(path);
    this.#directories.push(path);
  }

  /**
   * There must be none of that name. Opened once: where others may write to the directory, the name
   * might lead elsewhere a moment later, and some texts are secrets.
   */
  file(path: string, text: string, mode: number): void {
    const fd = openSync(path, 'wx', mode);
    this.#files.push(path);
    try {
      writeFileSync(fd, text);
    } finally {
      closeSync(fd);
    }
  }

  remove(): void {
    for (const path of this.#files) rmSync(path, { force: true });
    for (const path of this.#directories.toReversed()) {
      try {
        rmdirSync(path);
      } catch {
        return; // somebody else has put something into it: it stays, and so do those above it
      }
    }
  }
}
