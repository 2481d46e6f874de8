/**
 * How long we wait for the next step of ssh's: as long as the step that ssh is in may take. A line
 * of the log that is no step changes nothing: a server can make ssh write one at any time
 * (SSH_MSG_DEBUG), and would never be given up.
 *
 * While ssh may be asking the user, the user gets time to answer. That time must be limited,
 * because ssh doesn't log when it gets the answer. If the path broke then, we would wait until the
 * kernel gives up, after a quarter of an hour or more. sshd itself waits two minutes
 * (LoginGraceTime).
 */
import { RESOLVE_TIMEOUT } from '../dial/addresses.ts';
import type { SshSettings } from '../settings.ts';
import type { Phase, SshLog } from './log.ts';

/** Seconds for a person to answer. */
export const QUESTION_SECONDS = 300;

/**
 * Seconds for the whole start, in which a person may answer many questions: a server can also
 * pretend that ssh asks.
 */
export const LONGEST_START_SECONDS = 3600;

const CONNECTING = 'debug1: Connecting to ';

/** ssh may be asking the user something. Hops may, before ssh hears from the jump host. */
export function mayBeAsking(
  { phase, mayAsk }: Pick<SshLog, 'phase' | 'mayAsk'>,
  { authentication, proxy }: Pick<SshSettings, 'authentication' | 'proxy'>,
): boolean {
  if (authentication.batch) return false;
  return phase === 'identification' ? proxy.kind !== 'direct' : mayAsk;
}

/** Decides which lines of the log begin a time of their own. */
export class Patience {
  #phase: Phase | undefined;
  #asked = false;

  /** Call it for each line, when `log` has it. */
  restarts(
    log: Pick<SshLog, 'phase' | 'mayAsk'>,
    settings: Pick<SshSettings, 'authentication' | 'proxy'>,
    line: string,
  ): boolean {
    const asks = mayBeAsking(log, settings);
    // ssh tries one address after another, and each has its time.
    const nextAddress = log.phase === 'identification' && line.startsWith(CONNECTING);
    const restarts = log.phase !== this.#phase || asks || this.#asked || nextAddress;
    this.#phase = log.phase;
    this.#asked = asks;
    return restarts;
  }
}

/** In seconds. undefined: ssh has its own limit (ConnectTimeout, ServerAliveInterval). */
export function longestSilence(
  log: Pick<SshLog, 'phase' | 'mayAsk'>,
  settings: SshSettings,
): number | undefined {
  const { authTimeout, connectTimeout } = settings;
  const asks = mayBeAsking(log, settings);
  switch (log.phase) {
    case 'identification':
      if (asks) return undefined;
      // --connect-timeout doesn't include the time that ssh needs to resolve the name.
      return connectTimeout + RESOLVE_TIMEOUT;
    case 'key exchange':
      return asks ? QUESTION_SECONDS + connectTimeout : connectTimeout;
    case 'authentication':
      return asks ? QUESTION_SECONDS + authTimeout : authTimeout;
    case 'up':
      return undefined;
  }
}
