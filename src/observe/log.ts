/**
 * The Observer of a program that runs in a terminal or under a supervisor: one line per message on
 * stderr, and counters.
 *
 *   tunnel: connection refused by the far side (destination=10.1.2.3:22 after_ms=41)
 *   tunnel: hint: ...             the field `hint` is a line of its own, as below an error
 *   tunnel: warning: ...          error, warning and debug have a prefix; notice and info have none
 *
 * Lines are written whole and in order, and callers never wait: what the terminal doesn't accept
 * waits in linewriter.ts, up to a limit. If stderr is gone, messages are dropped but the program
 * goes on: it may run for weeks after its terminal was closed.
 */
import {
  type CounterName,
  type CounterSource,
  Counters,
  type CounterValue,
  countedLines,
  uncountedLines,
} from './counters.ts';
import { type Fields, LEVELS, type Level, type Observer, type Wait } from './observer.ts';
import { printable } from './printable.ts';
import { Waits } from './waits.ts';

const MARKS: Readonly<Record<Level, string>> = {
  error: 'error: ',
  warning: 'warning: ',
  notice: '',
  info: '',
  debug: 'debug: ',
};

/** Where lines go: a LineWriter (linewriter.ts). */
export interface LineSink {
  readonly broken: boolean;
  /** How many lines were left out. */
  readonly dropped: number;
  /** `level`: for a sink that keeps it beside the line. */
  write(line: string, level?: Level): void;
}

export interface LogOptions {
  /** The least severe level that is written. */
  readonly level: Level;
  readonly sink: LineSink;
}

export class Log implements Observer {
  /** What the run waits for now. */
  readonly waits = new Waits();
  #limit: number;
  readonly #sink: LineSink;
  readonly #counters = new Counters();

  constructor({ level, sink }: LogOptions) {
    this.#limit = LEVELS.indexOf(level);
    this.#sink = sink;
    this.#counters.addSource(() => [['tunnel_log_dropped_total', sink.dropped]]);
  }

  shows(level: Level): boolean {
    return !this.#sink.broken && LEVELS.indexOf(level) <= this.#limit;
  }

  setLevel(level: Level): void {
    this.#limit = LEVELS.indexOf(level);
  }

  log(level: Level, message: string, fields?: Fields): void {
    if (!this.shows(level)) return;
    const { hint, ...others } = fields ?? {};
    const line = `tunnel: ${MARKS[level]}${printable(message)}${formatFields(others)}\n`;
    this.#sink.write(line, level);
    if (hint !== undefined) this.#sink.write(`tunnel: hint: ${printable(String(hint))}\n`, level);
  }

  waiting(wait: Wait): () => void {
    return this.waits.begin(wait);
  }

  count(name: CounterName, n = 1): void {
    this.#counters.count(name, n);
  }

  addCounters(source: CounterSource): void {
    this.#counters.addSource(source);
  }

  /** All counters with their current values. */
  snapshot(): CounterValue[] {
    return this.#counters.snapshot();
  }

  /** At the end of a run: logs the counters that aren't zero, at level `info`. */
  logCounted(): void {
    if (!this.shows('info')) return;
    for (const line of countedLines(this.snapshot())) this.log('info', line);
  }

  /**
   * When the user asks: writes `lines`, which are printable, and then all counters, at any level;
   * those that aren't zero come first.
   */
  show(lines: readonly string[]): void {
    const snapshot = this.snapshot();
    for (const line of [...lines, ...countedLines(snapshot), ...uncountedLines(snapshot)])
      this.#sink.write(`tunnel: ${line}\n`);
  }
}

/**
 * ` (name=value ...)`; values with spaces, quotes or brackets are quoted, undefined ones left out.
 */
function formatFields(fields: Fields): string {
  const parts = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${formatValue(String(value))}`);
  return parts.length === 0 ? '' : ` (${parts.join(' ')})`;
}

function formatValue(value: string): string {
  const text = printable(value);
  return text === '' || /[\s"()=]/.test(text) ? JSON.stringify(text) : text;
}
