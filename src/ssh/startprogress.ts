/** Says what the start of a connection is waiting for, when that takes long (base/reminder.ts). */
import { Reminder } from '../base/reminder.ts';
import type { Level, Observer } from '../observe/observer.ts';

export interface ProgressOptions {
  readonly observer: Observer;
  /** Default: `notice`. */
  readonly level?: Level | undefined;
  /**
   * Completes "waiting for ...". Gets the milliseconds since the beginning. undefined: nothing is
   * said this time.
   */
  readonly what: (elapsed: number) => string | undefined;
}

/** Begins at once. The caller stops it. */
export function tellProgress({ observer, level = 'notice', what }: ProgressOptions): Reminder {
  return new Reminder((elapsed) => {
    const text = what(elapsed);
    if (text === undefined) return;
    observer.log(level, `waiting for ${text} (${Math.round(elapsed / 1000)} s so far)`);
  });
}

export interface StartState {
  readonly phase: 'identification' | 'key exchange' | 'authentication';
  /** `host:port` */
  readonly at: string;
  /** It is known that the server's machine has accepted the connection. */
  readonly accepted: boolean;
}

export function progressOf({ phase, at, accepted }: StartState): string {
  switch (phase) {
    case 'identification':
      return accepted
        ? `${at} to say anything about SSH; it has accepted the connection`
        : `an answer from ${at}`;
    case 'key exchange':
      return `the key exchange with ${at}`;
    case 'authentication':
      return `${at} to decide about the login`;
  }
}
