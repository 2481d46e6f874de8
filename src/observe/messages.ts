/**
 * Where the program's messages go, which may change while it runs: to standard error until it is
 * ready, and with -D and --syslog to the system log from then on.
 *
 *   Log, last words ─► Messages ─┬─► LineWriter   standard error
 *                                ├─► JournalLines standard error, which systemd reads
 *                                └─► Syslog       /dev/log
 *
 * A report may stand below them on a terminal: it is hidden before each one.
 */
import type { LineSink } from './log.ts';
import type { Level } from './observer.ts';
import { SEVERITY } from './syslog.ts';

/** A LineWriter, or what stands in for one. */
export interface MessageWriter extends LineSink {
  /** The program's last messages, which are never left out. */
  writeSurely(text: string): void;
  /** Waits up to `milliseconds` until everything is written. */
  flush(milliseconds: number): void;
}

/** What stands below the messages on a terminal. */
export interface Below {
  /** It comes back by itself. */
  hide(): void;
}

export class Messages implements MessageWriter {
  #writer: MessageWriter;
  #below: Below | undefined;
  #droppedBefore = 0;

  constructor(writer: MessageWriter) {
    this.#writer = writer;
  }

  get broken(): boolean {
    return this.#writer.broken;
  }

  get dropped(): number {
    return this.#droppedBefore + this.#writer.dropped;
  }

  /** The one before must have been flushed. */
  switchTo(writer: MessageWriter): void {
    this.#droppedBefore = this.dropped;
    this.#writer = writer;
  }

  /** From now on this stands below them; undefined: nothing does. */
  keepAbove(below: Below | undefined): void {
    this.#below = below;
  }

  write(line: string, level?: Level): void {
    this.#below?.hide();
    this.#writer.write(line, level);
  }

  writeSurely(text: string): void {
    this.#below?.hide();
    this.#writer.writeSurely(text);
  }

  flush(milliseconds: number): void {
    this.#below?.hide();
    this.#writer.flush(milliseconds);
  }
}

/** Lines for the journal: with their priorities (sd-daemon(3)), and without the program's name. */
export class JournalLines implements MessageWriter {
  readonly #lines: MessageWriter;

  constructor(lines: MessageWriter) {
    this.#lines = lines;
  }

  get broken(): boolean {
    return this.#lines.broken;
  }

  get dropped(): number {
    return this.#lines.dropped;
  }

  write(line: string, level: Level = 'notice'): void {
    this.#lines.write(prioritised(line, level));
  }

  writeSurely(text: string): void {
    const lines = text.split(/(?<=\n)/);
    this.#lines.writeSurely(lines.map((line) => prioritised(line, 'error')).join(''));
  }

  flush(milliseconds: number): void {
    this.#lines.flush(milliseconds);
  }
}

function prioritised(line: string, level: Level): string {
  return `<${SEVERITY[level]}>${line.replace(/^tunnel: /, '')}`;
}

/** Whether standard error is the journal's (systemd.exec(5), $JOURNAL_STREAM). */
export function isJournal(
  stream: string | undefined,
  { dev, ino }: { readonly dev: number | bigint; readonly ino: number | bigint },
): boolean {
  return stream === `${dev}:${ino}`;
}
