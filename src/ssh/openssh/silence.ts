/**
 * How long ssh's log may be silent before the server is given up: as long as what ssh waits for may
 * last. While ssh may be asking somebody, the time is that person's; but ssh doesn't say when it
 * has its answer, and a path that breaks down then would be waited for until the kernel gives up, a
 * quarter of an hour or more. sshd itself waits two minutes (LoginGraceTime).
 */
import { RESOLVE_TIMEOUT } from '../dial/addresses.ts';
import type { SshSettings } from '../settings.ts';
import type { SshLog } from './log.ts';

/** Seconds for a person to answer. */
export const QUESTION_SECONDS = 300;

/** In seconds; undefined: ssh itself sees to it (ConnectTimeout, ServerAliveInterval). */
export function longestSilence(
  { phase, mayAsk }: Pick<SshLog, 'phase' | 'mayAsk'>,
  { authentication, authTimeout, connectTimeout, proxy }: SshSettings,
): number | undefined {
  const asks = mayAsk && !authentication.batch;
  switch (phase) {
    case 'identification':
      // Hops may ask, too.
      if (proxy.kind !== 'direct' && !authentication.batch) return undefined;
      // The resolver's time is ssh's to take, once for each address's name; it is not counted in
      // --connect-timeout.
      return connectTimeout + RESOLVE_TIMEOUT;
    case 'key exchange':
      return asks ? QUESTION_SECONDS + connectTimeout : connectTimeout;
    case 'authentication':
      return asks ? QUESTION_SECONDS + authTimeout : authTimeout;
    case 'up':
      return undefined;
  }
}
