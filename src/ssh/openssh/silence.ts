/**
 * How long ssh's log may be silent before we give up: as long as the step that ssh is in may take.
 * While ssh may be asking the user, the user gets time to answer. That time must be limited,
 * because ssh doesn't log when it gets the answer. If the path broke then, we would wait until the
 * kernel gives up, after a quarter of an hour or more. sshd itself waits two minutes
 * (LoginGraceTime).
 */
import { RESOLVE_TIMEOUT } from '../dial/addresses.ts';
import type { SshSettings } from '../settings.ts';
import type { SshLog } from './log.ts';

/** Seconds for a person to answer. */
export const QUESTION_SECONDS = 300;

/** ssh may be asking the user something. Hops may, before ssh hears from the jump host. */
export function mayBeAsking(
  { phase, mayAsk }: Pick<SshLog, 'phase' | 'mayAsk'>,
  { authentication, proxy }: Pick<SshSettings, 'authentication' | 'proxy'>,
): boolean {
  if (authentication.batch) return false;
  return phase === 'identification' ? proxy.kind !== 'direct' : mayAsk;
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
