/**
 * SSH servers by their identification (RFC 4253 §4.2), and what is known of each as a jump host:
 * for messages, never for decisions. A server may call itself what it likes (wish: OpenSSH_7.6p1).
 *
 * Each limit is one sentence. It was seen in the interop tests (test/interop/servers*.test.ts), or
 * it has its source beside it. docs/jump-hosts.md has the same as a table.
 */

export interface ServerKind {
  /** As people call it. */
  readonly name: string;
  /** The version, where the identification has one. */
  readonly version: string | undefined;
  /** What it can't do as a jump host. Empty: nothing is known. */
  readonly limits: readonly ServerLimit[];
}

export interface ServerLimit {
  readonly code: LimitCode;
  /** A sentence without its full stop. */
  readonly what: string;
  /** What its administrator can do, or why nothing. */
  readonly hint: string;
}

export type LimitCode =
  | 'no-forwarding'
  | 'confirms-before-connecting'
  | 'no-reasons'
  | 'half-close'
  | 'ipv4-only'
  | 'forwarding-off'
  | 'denials-look-refused'
  | 'slow-downloads';

interface Row {
  readonly name: string;
  /** Matches softwareversion (and comments): what follows `SSH-2.0-`. Group 1: the version. */
  readonly pattern: RegExp;
  readonly limits: readonly ServerLimit[];
}

const NO_REASONS: ServerLimit = {
  code: 'no-reasons',
  what: 'it gives one answer for every connection that fails, so all are told as refused',
  hint: "the reason is at most in the server's own log",
};
const HALF_CLOSE: ServerLimit = {
  code: 'half-close',
  what: 'it drops a connection as soon as the application ends its side, with the answer that is still to come',
  hint: 'nothing to switch on: protocols that end their side before the answer do not work, with ssh -L either',
};

const ROWS: readonly Row[] = [
  { name: 'OpenSSH', pattern: /^OpenSSH_(?:for_Windows_)?([\d.]+(?:p\d+)?)/, limits: [] },
  { name: 'dropbear', pattern: /^dropbear(?:_([\d.]+))?/, limits: [] },
  {
    name: 'tinyssh',
    pattern: /^tinyssh_(\w+)/,
    limits: [
      {
        code: 'no-forwarding',
        what: 'it has sessions only and forwards nothing',
        hint: 'use another server on the jump host',
      },
    ],
  },
  {
    name: 'AsyncSSH',
    pattern: /^AsyncSSH_([\d.]+)/,
    limits: [
      {
        code: 'denials-look-refused',
        what: 'what its policy denies is told as "Connection refused"',
        hint: 'ask for its connection_requested() or permitopen if a port that is open is refused',
      },
    ],
  },
  { name: 'paramiko', pattern: /^paramiko_([\d.]+)/, limits: [NO_REASONS] },
  {
    name: 'Twisted Conch',
    pattern: /^Twisted(?:_([\d.]+))?/,
    limits: [
      {
        code: 'confirms-before-connecting',
        what: 'it confirms each connection before it has connected, so closed and unreachable ports look open and then end',
        hint: 'nothing to switch on: the protocol leaves the client no way to know',
      },
    ],
  },
  { name: 'golang.org/x/crypto/ssh', pattern: /^Go$/, limits: [] },
  { name: 'Apache MINA SSHD', pattern: /^APACHE-SSHD-([\w.-]+)/, limits: [NO_REASONS] },
  { name: 'russh', pattern: /^russh_([\w.-]+)/, limits: [NO_REASONS] },
  { name: 'ssh2 (Node)', pattern: /^ssh2js([\d.]+)/, limits: [NO_REASONS] },
  { name: "Erlang's ssh", pattern: /^Erlang(?:\/([\d.]+))?/, limits: [HALF_CLOSE] },
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
