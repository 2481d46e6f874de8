/**
 * The Observer of a program that runs in a terminal or under a supervisor: one line a message on
 * stderr, and counters.
 *
 *   tunnel: connection refused by the far side (destination=10.1.2.3:22 after_ms=41)
 *   tunnel: warning: ...          error, warning and debug say so; notice and info are what one
 *                                 reads anyway
 *
 * A line is written whole and in order (Node writes to files, pipes and terminals synchronously
 * here). When stderr is gone the messages are dropped, never the program: it may run for weeks
 * after the terminal that started it was closed.
 */
import type { Writable } from 'node:stream';
import { type Fields, LEVELS, type Level, type Observer } from './observer.ts';
import { printable } from './printable.ts';

const MARKS: Readonly<Record<Level, string>> = {
  error: 'error: ',
  warning: 'warning: ',
  notice: '',
  info: '',
  debug: 'debug: ',
};

export interface LogOptions {
  /** The least severe level that is written. */
  readonly level: Level;
  readonly stream: Writable;
}

export class Log implements Observer {
  readonly #limit: number;
  readonly #stream: Writable;
  readonly #counters = new Map<string, number>();
  #broken = false;

  constructor({ level, stream }: LogOptions) {
    this.#limit = LEVELS.indexOf(level);
    this.#stream = stream;
    stream.on('error', () => {
      this.#broken = true;
    });
  }

  shows(level: Level): boolean {
    return !this.#broken && LEVELS.indexOf(level) <= this.#limit;
  }

  log(level: Level, message: string, fields?: Fields): void {
    if (!this.shows(level)) return;
    try {
      this.#stream.write(`tunnel: ${MARKS[level]}${printable(message)}${formatFields(fields)}\n`);
    } catch {
      // A synchronous stream throws where others emit 'error': a full disk, a closed pipe. There is
      // nowhere to report it.
      this.#broken = true;
    }
  }

  count(name: string, n = 1): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + n);
  }

  /** All counters since the start, in the order of their first use. */
  get counters(): ReadonlyMap<string, number> {
    return this.#counters;
  }
}

/**
 * ` (name=value ...)`; values with spaces, quotes or brackets are quoted, undefined ones left out.
 */
function formatFields(fields: Fields | undefined): string {
  if (fields === undefined) return '';
  const parts = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${formatValue(String(value))}`);
  return parts.length === 0 ? '' : ` (${parts.join(' ')})`;
}

function formatValue(value: string): string {
  const text = printable(value);
  return text === '' || /[\s"()=]/.test(text) ? JSON.stringify(text) : text;
}
