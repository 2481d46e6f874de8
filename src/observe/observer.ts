import type { CounterName, CounterSource } from './counters.ts';

/** Where the parts report what happens. Never throws; costs next to nothing when nobody listens. */
export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

/**
 * Severity as in syslog(3): what stops the program, what went wrong, what matters, what happened,
 * details.
 */
export const LEVELS = ['error', 'warning', 'notice', 'info', 'debug'] as const;
export type Level = (typeof LEVELS)[number];

export interface Observer {
  /** `message` is a sentence for people; `fields` are for machines and are printed behind it. */
  log(level: Level, message: string, fields?: Fields): void;
  /**
   * Whether anybody reads messages of this level: for those that cost something to make. Undefined:
   * they may.
   */
  shows?(level: Level): boolean;
  /** Adds to a counter (counters.ts). */
  count(name: CounterName, n?: number): void;
  /** For a part that keeps counters in fields of its own. Undefined: nobody shows them. */
  addCounters?(source: CounterSource): void;
}

export const silentObserver: Observer = { log() {}, count() {} };
