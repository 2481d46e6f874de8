/**
 * --pidfile: the number of this process, in a file that is there while the tunnel is ready.
 *
 *   check()    at the start: refused if the file is a running one's, or no pidfile at all, or if
 *              its directory can't be written
 *   write()    when ready: a new file, complete and locked before it has its name
 *   remove()   at the end, if the file is still this process's
 *
 * Whose the file is shows its lock (flock(2)), which the kernel takes back when the process ends,
 * however that is. A number alone may by then be that of another program. So a file without a lock
 * is stale, and is replaced. Of two that start at once, link(2) lets one have the name. A stale
 * file is locked before it is removed: what two of them find there, one of them removes.
 */
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { TunnelError, UsageError } from '../../errors/errors.ts';
import { systemCodeOf, writeReasonOf } from '../../errors/reason.ts';
import { addon } from '../../native/addon.ts';

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_WRONLY, O_CREAT, O_EXCL } = constants;
/** A number and a newline, and enough to see that there is more. */
const MAX_BYTES = 16;
/** Whoever may read a file may lock it, and so keep the next tunnel from starting. */
const MODE = 0o600;
/** Each try is lost only to another tunnel that has just started or ended. */
const MAX_TRIES = 10;

export class Pidfile {
  readonly #path: string;
  /** Open, and so locked, from write() on. */
  #fd: number | undefined;

  /** `path` counts from the directory in which the program was started. */
  constructor(path: string) {
    this.#path = resolve(path);
  }

  /**
   * Throws TunnelError `already-running` or `pidfile-unwritable`, or UsageError if there is a file
   * of another kind.
   */
  check(): void {
    // Before anybody is asked for a password. write() makes a new file in the directory.
    try {
      accessSync(dirname(this.#path), constants.W_OK | constants.X_OK);
    } catch (cause) {
      throw this.#unwritable(cause);
    }
    const found = this.#open();
    if (found === undefined) return;
    try {
      this.#refuseUnlessStale(found);
    } finally {
      closeSync(found);
    }
  }

  /** Throws as check() does, and TunnelError `pidfile-unwritable`. */
  write(pid = process.pid): void {
    const temporary = `${this.#path}.${pid}`;
    let fd: number;
    try {
      fd = openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, MODE);
    } catch (cause) {
      throw this.#unwritable(cause);
    }
    try {
      writeSync(fd, `${pid}\n`);
      addon().lockFile(fd);
      this.#takeName(temporary);
      this.#fd = fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    } finally {
      unlinkSync(temporary);
    }
  }

  /** May be called more than once, and without write(). Never throws. */
  remove(): void {
    const fd = this.#fd;
    if (fd === undefined) return;
    this.#fd = undefined;
    try {
      if (this.#isNamed(fd)) unlinkSync(this.#path);
    } catch {
      // Somebody has removed it, or its directory may not be changed any more: it is stale then.
    }
    closeSync(fd);
  }

  #takeName(temporary: string): void {
    for (let tries = 1; ; tries += 1) {
      try {
        linkSync(temporary, this.#path);
        return;
      } catch (error) {
        if (systemCodeOf(error) !== 'EEXIST' || tries === MAX_TRIES) throw this.#unwritable(error);
      }
      const found = this.#open();
      if (found === undefined) continue; // it has just gone
      try {
        this.#refuseUnlessStale(found);
        // It is locked now, so nobody else is about to remove it.
        if (this.#isNamed(found)) unlinkSync(this.#path);
      } finally {
        closeSync(found);
      }
    }
  }

  /** undefined: there is no file. Throws UsageError. */
  #open(): number | undefined {
    try {
      return openSync(this.#path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    } catch (cause) {
      const code = systemCodeOf(cause);
      if (code === 'ENOENT') return undefined;
      if (code === 'ELOOP') throw this.#foreign('a symbolic link');
      throw this.#unwritable(cause);
    }
  }

  #refuseUnlessStale(fd: number): void {
    const status = fstatSync(fd);
    const text = Buffer.alloc(MAX_BYTES);
    const length = status.isFile() ? readSync(fd, text, 0, MAX_BYTES, 0) : 0;
    const content = text.toString('latin1', 0, length);
    if (!status.isFile() || !/^\d{0,10}\n?$/.test(content))
      throw this.#foreign('no file with the number of a process');
    const own = process.geteuid?.();
    if (own !== 0 && status.uid !== own) throw this.#foreign(`of another user (${status.uid})`);
    if (addon().lockFile(fd)) return;
    throw new TunnelError(
      'already-running',
      `the tunnel of ${this.#path} runs already, as process ${content.trim()}`,
      { hint: 'stop that one first, or name another --pidfile' },
    );
  }

  /** Whether the open file is still the one at the path. */
  #isNamed(fd: number): boolean {
    const [own, named] = [fstatSync(fd), lstatSync(this.#path, { throwIfNoEntry: false })];
    return named !== undefined && named.ino === own.ino && named.dev === own.dev;
  }

  #foreign(what: string): UsageError {
    return new UsageError(`--pidfile ${this.#path} is ${what}`, {
      hint: 'it is left as it is; name another file',
    });
  }

  #unwritable(cause: unknown): TunnelError {
    return new TunnelError(
      'pidfile-unwritable',
      `--pidfile ${this.#path}: ${writeReasonOf(cause)}`,
      {
        hint: 'name a file in a directory that you can write to, such as $XDG_RUNTIME_DIR; under sudo it is written as the user who called sudo',
        cause,
      },
    );
  }
}
