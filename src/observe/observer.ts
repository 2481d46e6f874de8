import type { CounterName, CounterSource } from './counters.ts';

/** Values of a message for machines. */
export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

/**
 * Severity as in syslog(3): what stops the program, what went wrong, what matters, what happened,
 * details.
 */
export const LEVELS = ['error', 'warning', 'notice', 'info', 'debug'] as const;
export type Level = (typeof LEVELS)[number];

/** Something that a person may have to wait for. */
export interface Wait {
  /** Follows "waiting": `5 s for an answer`. undefined: there is nothing to say now. */
  readonly what: () => string | undefined;
  /** Whether another program may ask at the terminal meanwhile: ssh, sudo, a ProxyCommand. */
  readonly mayAsk?: () => boolean;
}

/** The parts report here what happens. Never throws; costs almost nothing if nobody reads it. */
export interface Observer {
  /** `message` is a sentence for people; `fields` are for machines and are printed after it. */
  log(level: Level, message: string, fields?: Fields): void;
  /**
   * Whether anybody reads messages of this level. Ask before making a message that is costly to
   * make. Undefined: somebody may.
   */
  shows?(level: Level): boolean;
  /** Changes the least severe level that is read. Undefined: that can't be changed. */
  setLevel?(level: Level): void;
  /** A wait begins; it ends when what is returned is called. Undefined: nobody shows waits. */
  waiting?(wait: Wait): () => void;
  /** Adds to a counter (counters.ts). */
  count(name: CounterName, n?: number): void;
  /** For a part that keeps counters in its own fields. Undefined: nobody shows them. */
  addCounters?(source: CounterSource): void;
}

export const silentObserver: Observer = { log() {}, count() {} };
