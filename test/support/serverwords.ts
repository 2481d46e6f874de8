/**
 * What SSH servers answer when they don't open a channel (RFC 4254 §5.1), as they sent it in the
 * lab: reason code, text, and what an application is to see. The unit tests feed these to
 * openfailure.ts; the interop tests ask the real servers for them again.
 *
 * `#` stands for a number that differs each time.
 */
import type { Refusal } from '../../src/net/refusal.ts';
import {
  ABSENT4,
  API1,
  API1_6,
  BLACKHOLE4,
  Port,
  UNKNOWN_NAME,
  UNREACHABLE4,
} from './addresses.ts';

/** Nobody has a route to it in the lab. */
export const NO_NETWORK4 = '203.0.113.9';

/** Destinations of the lab, by what becomes of a connect() to them at the jump host. */
export const CASES = {
  closed: [API1, Port.closed],
  closed6: [API1_6, Port.closed],
  unreachable: [UNREACHABLE4, Port.http],
  absent: [ABSENT4, Port.http],
  noNetwork: [NO_NETWORK4, Port.http],
  silent: [BLACKHOLE4, Port.http],
  unknownName: [UNKNOWN_NAME, Port.http],
  /** Reachable; the servers that have a policy deny it. */
  denied: [API1, Port.discard],
} as const;
export type Case = keyof typeof CASES;

export interface Words {
  readonly reason: number;
  readonly text: string;
  readonly refusal: Refusal;
}

const words = (reason: number, text: string, refusal: Refusal): Words => ({
  reason,
  text,
  refusal,
});
const FAILED = 2;

const GO = {
  closed: words(FAILED, `dial tcp ${API1}:7006: connect: connection refused`, 'refused'),
  closed6: words(FAILED, `dial tcp [${API1_6}]:7006: connect: connection refused`, 'refused'),
  unreachable: words(
    FAILED,
    `dial tcp ${UNREACHABLE4}:80: connect: no route to host`,
    'unreachable',
  ),
  absent: words(FAILED, `dial tcp ${ABSENT4}:80: connect: no route to host`, 'unreachable'),
  noNetwork: words(
    FAILED,
    `dial tcp ${NO_NETWORK4}:80: connect: network is unreachable`,
    'no-network',
  ),
  silent: words(FAILED, `dial tcp ${BLACKHOLE4}:80: connect: connection timed out`, 'timeout'),
  unknownName: words(
    FAILED,
    `dial tcp: lookup ${UNKNOWN_NAME} on [::1]:53: read udp [::1]:#->[::1]:53: read: connection refused`,
    'unreachable',
  ),
} as const;

/** The same whatever happens. */
function always(text: string, without: readonly Case[] = []): Partial<Record<Case, Words>> {
  const cases = (Object.keys(CASES) as Case[]).filter((name) => !without.includes(name));
  return Object.fromEntries(cases.map((name) => [name, words(FAILED, text, 'refused')]));
}

/**
 * By the names in sshservers.ts. A case that is missing is one in which the server opens the
 * channel: Conch always does, and then closes it.
 */
export const SERVER_WORDS: Readonly<Record<string, Readonly<Partial<Record<Case, Words>>>>> = {
  openssh: {
    closed: words(FAILED, 'Connection refused', 'refused'),
    closed6: words(FAILED, 'Connection refused', 'refused'),
    unreachable: words(FAILED, 'open failed', 'unreachable'),
    absent: words(FAILED, 'No route to host', 'unreachable'),
    noNetwork: words(FAILED, 'Network is unreachable', 'no-network'),
    silent: words(FAILED, 'Connection timed out', 'timeout'),
    unknownName: words(FAILED, 'Temporary failure in name resolution', 'unreachable'),
  },
  dropbear: {
    closed: words(FAILED, 'Connection refused', 'refused'),
    closed6: words(FAILED, 'Connection refused', 'refused'),
    unreachable: words(FAILED, 'No route to host', 'unreachable'),
    absent: words(FAILED, 'No route to host', 'unreachable'),
    noNetwork: words(FAILED, 'Network is unreachable', 'no-network'),
    silent: words(FAILED, 'Connection timed out', 'timeout'),
    unknownName: words(
      FAILED,
      `Error resolving '${UNKNOWN_NAME}' port '80'. Temporary failure in name resolution`,
      'unreachable',
    ),
  },
  // It forwards nothing.
  tinyssh: Object.fromEntries(
    Object.keys(CASES).map((name) => [
      name,
      words(1, "only one 'session' channel allowed", 'prohibited'),
    ]),
  ),
  asyncssh: {
    closed: words(FAILED, `[Errno 111] Connect call failed ('${API1}', 7006)`, 'refused'),
    closed6: words(FAILED, `[Errno 111] Connect call failed ('${API1_6}', 7006, 0, 0)`, 'refused'),
    unreachable: words(FAILED, '[Errno 113] No route to host', 'unreachable'),
    absent: words(FAILED, `[Errno 113] Connect call failed ('${ABSENT4}', 80)`, 'unreachable'),
    noNetwork: words(
      FAILED,
      `[Errno 101] Connect call failed ('${NO_NETWORK4}', 80)`,
      'no-network',
    ),
    silent: words(FAILED, `[Errno 110] Connect call failed ('${BLACKHOLE4}', 80)`, 'timeout'),
    unknownName: words(FAILED, '[Errno -3] Temporary failure in name resolution', 'unreachable'),
    // Its own words for a denial.
    denied: words(FAILED, 'Connection refused', 'refused'),
  },
  paramiko: { ...always('', ['denied']), denied: words(1, '', 'prohibited') },
  conch: {},
  xcrypto: { ...GO, denied: words(1, 'port forwarding is denied', 'prohibited') },
  gliderlabs: { ...GO, denied: words(1, 'port forwarding is disabled', 'prohibited') },
  wish: { ...GO, denied: words(1, 'port forwarding is disabled', 'prohibited') },
  mina: {
    closed: words(FAILED, 'Generic error while opening channel: #', 'refused'),
    closed6: words(FAILED, 'Generic error while opening channel: #', 'refused'),
    unreachable: words(
      0,
      'NoRouteToHostException while opening channel: Generic error while opening channel: #',
      'unreachable',
    ),
    absent: words(
      0,
      'NoRouteToHostException while opening channel: Generic error while opening channel: #',
      'unreachable',
    ),
    noNetwork: words(
      0,
      'SocketException while opening channel: Generic error while opening channel: #',
      'refused',
    ),
    silent: words(FAILED, 'Generic error while opening channel: #', 'refused'),
    unknownName: words(
      0,
      'UnresolvedAddressException while opening channel: Generic error while opening channel: #',
      'unreachable',
    ),
    denied: words(1, 'Generic error while opening channel: #', 'prohibited'),
  },
  russh: {
    ...always('Connect failed', ['denied']),
    denied: words(1, 'Administratively prohibited', 'prohibited'),
  },
  ssh2: always(''),
  erlang: {
    closed: words(FAILED, 'Forwarded connection refused: econnrefused', 'refused'),
    // It asks for IPv4 only.
    closed6: words(FAILED, 'Forwarded connection refused: nxdomain', 'unreachable'),
    unreachable: words(FAILED, 'Forwarded connection refused: ehostunreach', 'unreachable'),
    absent: words(FAILED, 'Forwarded connection refused: ehostunreach', 'unreachable'),
    noNetwork: words(FAILED, 'Forwarded connection refused: enetunreach', 'no-network'),
    silent: words(FAILED, 'Forwarded connection refused: etimedout', 'timeout'),
    unknownName: words(FAILED, 'Forwarded connection refused: nxdomain', 'unreachable'),
  },
};
