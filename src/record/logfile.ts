/**
 * The file of a flow log: a record a line, rotated by size.
 *
 *   write() ─► is it still the file of this name? ──no──► opens the one that is there, or a new one
 *          ─► has it room? ──no──► FILE.1 becomes FILE.2 ..., FILE becomes FILE.1, a new FILE
 *          ─► write(2), a whole number of lines
 *
 * - A file is complete without those before it, which are removed some day: it begins with a record
 *   that says whose run it is, and through which jump host.
 * - Another program may rename or remove the file (logrotate, with or without its `create` or
 *   `copytruncate`): that is noticed before each write, so it needs no signal.
 * - A write that the disk takes in part is cut back to the end of a line, so the file ends in a
 *   whole line at all times, except after a crash of the machine in the middle of a write. A torn
 *   last line is taken out at the next start, and kept in a record of its own.
 * - One tunnel a file: another one could repair, rotate or cut it while this one writes. The second
 *   is refused (privatefile.ts).
 *
 * Nothing is flushed to the disk itself (fdatasync). What write(2) has taken outlives the program,
 * however it is killed; it doesn't outlive the loss of the machine's power.
 */
import { type FileHandle, rename, stat } from 'node:fs/promises';
import { systemCodeOf, writeReasonOf } from '../errors/reason.ts';
import type { Observer } from '../observe/observer.ts';
import {
  createPrivateFile,
  fileError,
  identityOf,
  type OpenedFile,
  openPrivateFile,
} from './privatefile.ts';
import { cleaned, type FlowRecord, jsonLine, timestamp, writeJson } from './records.ts';
import type { RecordSink } from './sink.ts';

/** A longer last line is none of ours. */
const MAX_LINE_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

export interface LogFileOptions {
  /** Absolute. */
  readonly path: string;
  /** Bytes after which the file is rotated. */
  readonly size: number;
  /** How many rotated files are kept, at least one. */
  readonly keep: number;
  readonly observer: Observer;
}

export class LogFile implements RecordSink {
  readonly name: string;
  readonly #options: LogFileOptions;
  #file: FileHandle;
  #identity: string;
  #size: number;
  /** Rotated when the file is larger. */
  #limit: number;
  #beginning: (() => FlowRecord) | undefined;
  /** Something has been written: an empty file is a later one. */
  #began = false;

  readonly format = writeJson;

  private constructor(
    options: LogFileOptions,
    { handle, identity }: { readonly handle: FileHandle; readonly identity: string },
    size: number,
  ) {
    this.name = `--flow-log ${options.path}`;
    this.#options = options;
    this.#file = handle;
    this.#identity = identity;
    this.#size = size;
    this.#limit = options.size;
  }

  /** Opens the file, and repairs its last line. Throws TunnelError `record-file`. */
  static async open(options: LogFileOptions): Promise<LogFile> {
    const { path } = options;
    const file = await openPrivateFile(path, '--flow-log');
    try {
      const torn = await tornLine(file.handle, file.size, path);
      const log = new LogFile(options, file, file.size - torn.length);
      if (torn.length === 0) return log;
      await file.handle.truncate(log.#size);
      options.observer.log('notice', `${log.name}: its last line was torn, and has been repaired`);
      const now = timestamp(Date.now());
      const repaired = Buffer.from(
        jsonLine({ time: now, event: 'repaired', torn: cleaned(torn.toString()) }),
      );
      await log.write(repaired, [repaired.length]);
      return log;
    } catch (error) {
      await file.handle.close();
      throw error;
    }
  }

  beginsWith(record: () => FlowRecord): void {
    this.#beginning = record;
  }

  async write(bytes: Buffer, ends: readonly number[]): Promise<number> {
    await this.#follow();
    const [first = 0] = ends;
    if (this.#size > 0 && this.#size + first > this.#limit) await this.#rotate();
    if (this.#size === 0 && this.#began) await this.#begin();
    const room = Math.max(first, this.#limit - this.#size);
    const fitting = ends.findLast((end) => end <= room) ?? first;
    const { bytesWritten } = await this.#file.write(bytes, 0, fitting);
    const taken = ends.findLastIndex((end) => end <= bytesWritten) + 1;
    this.#size += bytesWritten;
    this.#began = true;
    if (bytesWritten < fitting) {
      // The disk is full. The file must not end in half a line.
      const whole = ends[taken - 1] ?? 0;
      const { size } = await this.#file.stat();
      this.#size = size - (bytesWritten - whole);
      await this.#file.truncate(this.#size);
    }
    if (taken > 0) return taken;
    throw noSpace();
  }

  /** Writes the first line of a file that is empty, or nothing. */
  async #begin(): Promise<void> {
    if (this.#beginning === undefined) return;
    const line = Buffer.from(jsonLine(this.#beginning()));
    const { bytesWritten } = await this.#file.write(line);
    if (bytesWritten < line.length) {
      await this.#file.truncate(0);
      throw noSpace();
    }
    this.#size = bytesWritten;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  /** Opens the file again if another one has its name, or none. */
  async #follow(): Promise<void> {
    const { path } = this.#options;
    let found: { readonly dev: number; readonly ino: number; readonly size: number } | undefined;
    try {
      found = await stat(path);
    } catch (error) {
      if (systemCodeOf(error) !== 'ENOENT') throw error;
    }
    if (found !== undefined && identityOf(found) === this.#identity) {
      this.#size = found.size; // copytruncate may have cut it
      return;
    }
    await this.#reopen(() => openPrivateFile(path, '--flow-log'));
  }

  async #rotate(): Promise<void> {
    const { path, keep, size, observer } = this.#options;
    try {
      for (let number = keep - 1; number > 0; number--)
        await renameIfThere(`${path}.${number}`, `${path}.${number + 1}`);
      await rename(path, `${path}.1`);
    } catch (error) {
      if (this.#limit === size)
        observer.log('warning', `${this.name}: it can't be rotated: ${writeReasonOf(error)}`, {
          hint: 'its directory must be writable',
        });
      this.#limit = this.#size + size; // the next try
      return;
    }
    await this.#reopen(() => createPrivateFile(path, '--flow-log'));
  }

  async #reopen(open: () => Promise<OpenedFile>): Promise<void> {
    const file = await open();
    const before = this.#file;
    this.#file = file.handle;
    this.#identity = file.identity;
    this.#size = file.size;
    this.#limit = this.#options.size;
    await before.close();
  }
}

function noSpace(): Error {
  return Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
}

async function renameIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
  }
}

/** What follows the last newline. Throws TunnelError `record-file` if this is no flow log. */
async function tornLine(file: FileHandle, size: number, path: string): Promise<Buffer> {
  if (size === 0) return Buffer.alloc(0);
  const first = Buffer.alloc(1);
  await file.read(first, 0, 1, 0);
  const length = Math.min(size, MAX_LINE_BYTES);
  const tail = Buffer.alloc(length);
  await file.read(tail, 0, length, size - length);
  const torn = tail.subarray(tail.lastIndexOf(NEWLINE) + 1);
  if (first.toString() === '{' && torn.length < MAX_LINE_BYTES) return torn;
  throw fileError(
    `--flow-log ${path}: it holds something else than a flow log`,
    'name a file that is not there yet, or one of a flow log',
  );
}
