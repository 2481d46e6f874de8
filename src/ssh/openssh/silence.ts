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

/** In seconds. undefined: ssh has its own limit (ConnectTimeout, ServerAliveInterval). */
export function longestSilence(
  { phase, mayAsk }: Pick<SshLog, 'phase' | 'mayAsk'>,
  { authentication, authTimeout, connectTimeout, proxy }: SshSettings,
): number | undefined {
  const asks = mayAsk && !authentication.batch;
  switch (phase) {
    case 'identification':
      // Hops may ask the user, too.
      if (proxy.kind !== 'direct' && !authentication.batch) return undefined;
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
