/**
 * Says what the start of a connection is waiting for: in the log when that takes long
 * (base/reminder.ts), and all the time to whoever shows it (Observer.waiting).
 */
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
  /** Whether another program may be asking at the terminal. Default: never. */
  readonly mayAsk?: () => boolean;
}

export interface Progress {
  /** While somebody is asked. With false it begins again, from 0. */
  pause(paused: boolean): void;
  /** May be called more than once. */
  stop(): void;
}

/** Begins at once. The caller stops it. */
export function tellProgress(options: ProgressOptions): Progress {
  const { observer, level = 'notice', what, mayAsk } = options;
  const reminder = new Reminder((elapsed) => {
    const text = what(elapsed);
    if (text === undefined) return;
    observer.log(level, `waiting for ${text} (${Math.round(elapsed / 1000)} s so far)`);
  });
  let began = performance.now();
  const over = observer.waiting?.({
    what() {
      const elapsed = performance.now() - began;
      const text = what(elapsed);
      return text === undefined ? undefined : `${Math.round(elapsed / 1000)} s for ${text}`;
    },
    ...(mayAsk === undefined ? {} : { mayAsk }),
  });
  return {
    pause(paused) {
      began = performance.now();
      reminder.pause(paused);
    },
    stop() {
      reminder.stop();
      over?.();
    },
  };
}

export interface StartState {
  readonly phase: 'identification' | 'key exchange' | 'authentication';
  /** `host:port` */
  readonly at: string;
  /** It is known that the server's machine has accepted the connection. */
  readonly accepted: boolean;
  /** What has been sent for the login, and what was accepted before: printable. */
  readonly login?: string | undefined;
}

export function progressOf({ phase, at, accepted, login }: StartState): string {
  switch (phase) {
    case 'identification':
      return accepted
        ? `${at} to say anything about SSH; it has accepted the connection`
        : `an answer from ${at}`;
    case 'key exchange':
      return `the key exchange with ${at}`;
    case 'authentication':
      return `${at} to decide about the login${login === undefined ? '' : `: ${login}`}`;
  }
}
