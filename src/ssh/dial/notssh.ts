/** The errors for a port that doesn't identify itself as an SSH server (RFC 4253 §4.2). */
import { TunnelError } from '../../errors/errors.ts';
import { PORT_OF, type Role } from '../hops.ts';

/** What sshd sends in place of its identification when it turns a connection away, and why. */
const TURNED_AWAY: readonly (readonly [words: RegExp, hint: string])[] = [
  [
    /^Exceeded MaxStartups/,
    'too many connections wait for their login there (MaxStartups): try again later',
  ],
  [
    /^Not allowed at this time/,
    'it shuts this address out for up to 10 minutes (PerSourcePenalties), as after refused logins: wait, and mend the login first',
  ],
];

/** Takes the place of the first line of a port that speaks TLS. */
export const TLS = 'TLS';

const LAYER_7 =
  'SSH needs a load balancer that passes TCP on (layer 4), and this one ends the connection itself (layer 7)';

/** It closed the connection without a word, or reset it. */
export function closedUnidentified(at: string, cause?: unknown): TunnelError {
  return new TunnelError(
    'jumphost-no-identification',
    `${at} closed the connection before it said anything`,
    {
      hint: 'a load balancer may have no working server behind it; or the jump host limits connections (MaxStartups, PerSourcePenalties) or has shut this address out',
      cause,
    },
  );
}

/** It turned the connection away in words of sshd; undefined: `firstLine` is none of these. */
export function turnedAway(
  at: string,
  firstLine: string,
  cause?: unknown,
): TunnelError | undefined {
  const hint = TURNED_AWAY.find(([words]) => words.test(firstLine))?.[1];
  if (hint === undefined) return undefined;
  return new TunnelError(
    'jumphost-closed',
    `${at} closed the connection before it said anything about SSH: "${firstLine}"`,
    { hint, cause },
  );
}

/** `firstLine`: what it sent instead, printable, or TLS. */
export function notSsh(at: string, role: Role, firstLine: string, cause?: unknown): TunnelError {
  if (firstLine === TLS) {
    return new TunnelError('jumphost-not-ssh', `${at} is not an SSH server: it speaks TLS`, {
      hint: `check ${PORT_OF[role]}; ${LAYER_7}`,
      cause,
    });
  }
  const http = /^HTTP\/[0-9]/.test(firstLine);
  return new TunnelError('jumphost-not-ssh', `${at} is not an SSH server: it says "${firstLine}"`, {
    hint: `check ${PORT_OF[role]}; ${http ? LAYER_7 : 'SSH is usually at 22'}`,
    cause,
  });
}
