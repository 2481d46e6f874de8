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
  /** Adds to a counter. Names as in Prometheus: `tunnel_flows_refused_total`. */
  count(name: string, n?: number): void;
}

export const silentObserver: Observer = { log() {}, count() {} };
