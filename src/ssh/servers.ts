/**
 * SSH servers by their identification (RFC 4253 §4.2), and what is known of each as a jump host:
 * for messages, never for decisions. A server may call itself what it likes.
 *
 * Each limit was seen in the interop tests (test/interop/servers*.test.ts). docs/jump-hosts.md has
 * the same as a table.
 */

export interface ServerKind {
  /** As people call it. */
  readonly name: string;
  /** The version, where the identification has one. */
  readonly version: string | undefined;
  /** Its limits as a jump host. Empty: none is known. */
  readonly limits: readonly ServerLimit[];
}

export interface ServerLimit {
  readonly code: LimitCode;
  /** One sentence, beginning with a small letter and without its full stop. */
  readonly what: string;
  /** What its administrator or the user can do, in the same form. */
  readonly hint: string;
}

export type LimitCode =
  | 'no-forwarding'
  | 'forwarding-off-by-default'
  | 'confirms-before-connecting'
  | 'no-reasons'
  | 'few-reasons'
  | 'half-close'
  | 'ipv4-only'
  | 'one-connect-at-a-time';

interface Row {
  readonly name: string;
  /** Matches what follows `SSH-2.0-`. Group 1: the version. The first row that matches counts. */
  readonly pattern: RegExp;
  readonly limits: readonly ServerLimit[];
}

const NO_REASONS: ServerLimit = {
  code: 'no-reasons',
  what: 'it gives one answer for every connection that fails, so closed ports, unreachable hosts and unknown names are all told as refused',
  hint: "the reason is at most in the server's own log",
};
const SSH_HAS_IT_TOO = 'nothing can be switched on for that; ssh -L meets the same';
const HALF_CLOSE: ServerLimit = {
  code: 'half-close',
  what: 'it ends a connection as a whole as soon as one end has sent its last byte, with the answer that is still to come',
  hint: SSH_HAS_IT_TOO,
};
const HALF_CLOSE_FAR: ServerLimit = {
  code: 'half-close',
  what: 'it ends a connection as a whole as soon as the far side has sent its last byte',
  hint: SSH_HAS_IT_TOO,
};

const ROWS: readonly Row[] = [
  // wish's fixed identification; that OpenSSH itself has its distribution's name after it.
  {
    name: 'charmbracelet/wish or OpenSSH',
    pattern: /^OpenSSH_(7\.6p1)$/,
    limits: [
      {
        ...HALF_CLOSE,
        what: 'if it is made with charmbracelet/wish, it ends a connection as a whole as soon as one end has sent its last byte',
      },
    ],
  },
  { name: 'OpenSSH', pattern: /^OpenSSH_(?:for_Windows_)?([\d.]+(?:p\d+)?)/, limits: [] },
  { name: 'dropbear', pattern: /^dropbear(?:_([\d.]+))?/, limits: [] },
  {
    name: 'tinyssh',
    pattern: /^tinyssh(?:_(\w+))?/,
    limits: [
      {
        code: 'no-forwarding',
        what: 'it has session channels only and forwards nothing',
        hint: 'use another SSH server on the jump host',
      },
    ],
  },
  {
    name: 'AsyncSSH',
    pattern: /^AsyncSSH_([\d.]+)/,
    limits: [
      {
        code: 'forwarding-off-by-default',
        what: 'it forwards only where its program says so, and says "Connection refused" where it does not',
        hint: "if a port that is open is refused, see the program's connection_requested()",
      },
    ],
  },
  {
    name: 'paramiko',
    pattern: /^paramiko_([\d.]+)/,
    limits: [
      NO_REASONS,
      {
        code: 'one-connect-at-a-time',
        what: 'most programs that embed it connect to one destination after the other, so a silent one holds up all others, and the link is lost because keepalives are not answered either',
        hint: 'leave silent addresses out of the targets, or have the program connect in a thread',
      },
    ],
  },
  {
    name: 'Twisted Conch',
    pattern: /^Twisted(?:_([\d.]+))?/,
    limits: [
      {
        code: 'confirms-before-connecting',
        what: 'it confirms each connection before it has connected, so closed and unreachable ports look open and then end',
        hint: SSH_HAS_IT_TOO,
      },
      {
        code: 'half-close',
        what: 'it does not pass on that the application has sent its last byte, so servers that wait for it wait without end',
        hint: SSH_HAS_IT_TOO,
      },
    ],
  },
  {
    name: 'golang.org/x/crypto/ssh',
    pattern: /^Go$/,
    limits: [
      {
        ...HALF_CLOSE,
        what: 'if it is made with gliderlabs/ssh, it ends a connection as a whole as soon as one end has sent its last byte',
      },
    ],
  },
  {
    name: 'Apache MINA SSHD',
    pattern: /^APACHE-SSHD-([\w.-]+)/,
    limits: [
      {
        code: 'few-reasons',
        what: 'it names only hosts without a route and unknown names; all else that fails is told as refused',
        hint: "the reason is at most in the server's own log",
      },
      HALF_CLOSE_FAR,
    ],
  },
  { name: 'russh', pattern: /^russh_([\w.-]+)/, limits: [NO_REASONS] },
  {
    name: 'ssh2 (Node)',
    pattern: /^ssh2js([\d.]+)/,
    limits: [
      {
        ...NO_REASONS,
        what: 'it never says why, so denied and closed ports, unreachable hosts and unknown names are all told as refused',
      },
      HALF_CLOSE_FAR,
    ],
  },
  {
    name: "Erlang's ssh",
    pattern: /^Erlang(?:\/([\d.]+))?/,
    limits: [
      {
        code: 'ipv4-only',
        what: 'it connects over IPv4 only, and tells IPv6 addresses as unknown names',
        hint: 'use IPv4 targets',
      },
      {
        code: 'one-connect-at-a-time',
        what: 'it connects to one destination after the other, so a silent one holds up all others, and the link is lost because keepalives are not answered either',
        hint: 'leave silent addresses out of the targets',
      },
      HALF_CLOSE,
    ],
  },
];

/**
 * What answers with this identification; undefined: not one that is known. `identification`: the
 * whole line (`SSH-2.0-OpenSSH_9.2p1 Debian-2`), or what follows `SSH-2.0-`.
 */
export function serverKind(identification: string): ServerKind | undefined {
  const software = identification.replace(/^SSH-\d\.\d+-/, '').trim();
  for (const { name, pattern, limits } of ROWS) {
    const match = pattern.exec(software);
    if (match !== null) return { name, version: match[1], limits };
  }
  return undefined;
}
