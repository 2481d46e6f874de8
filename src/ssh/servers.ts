/**
 * SSH servers by their identification (RFC 4253 §4.2), and what is known of each as a jump host:
 * for messages, never for decisions. A server may call itself what it likes.
 *
 * Each limit was seen in the interop tests (test/interop/servers*.test.ts, systems*.test.ts).
 * docs/jump-hosts.md has the same as tables.
 */
import type { ForwardingLimits } from './established.ts';

export interface ServerKind {
  /** As people call it. */
  readonly name: string;
  /** The version, where the identification has one. */
  readonly version: string | undefined;
  /** Its limits as a jump host. Empty: none is known. */
  readonly limits: readonly ServerLimit[];
  /**
   * What its administrator does to have a connection permitted, as a sentence like those of a
   * limit. undefined: as with OpenSSH.
   */
  readonly permits: string | undefined;
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
  | 'one-connect-at-a-time'
  | 'few-connections';

interface Row {
  readonly name: string;
  /** Matches what follows `SSH-2.0-`. Group 1: the version. The first row that matches counts. */
  readonly pattern: RegExp;
  readonly limits: readonly ServerLimit[];
  /** As in ServerKind. */
  readonly permits?: string;
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

const CONFIRMS_EARLY: ServerLimit = {
  code: 'confirms-before-connecting',
  what: 'it confirms each connection before it has connected, so closed and unreachable ports look open and then end',
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
  {
    name: 'dropbear',
    pattern: /^dropbear(?:_([\d.]+))?/,
    limits: [],
    permits:
      'dropbear must run without -j, and authorized_keys must not have "restrict" or "no-port-forwarding" before this key',
  },
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
    permits:
      "the program's connection_requested() must return true for it, and a permitopen before the key in authorized_keys, if there is one, must list it",
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
    permits: 'the program must permit it in check_channel_direct_tcpip_request()',
  },
  {
    name: 'Twisted Conch',
    pattern: /^Twisted(?:_([\d.]+))?/,
    limits: [
      CONFIRMS_EARLY,
      {
        code: 'half-close',
        what: 'it does not pass on that the application has sent its last byte, so servers that wait for it wait without end',
        hint: SSH_HAS_IT_TOO,
      },
    ],
    permits: "the user's channelLookup must have direct-tcpip",
  },
  {
    // internal/server/{ssh,directcpip}.go and config/config.yaml of github.com/k8shell-io/ssh-proxy
    name: "K8shell's SSH proxy",
    pattern: /^ssh-proxy_([\w.-]+)\/\S*_k8shell\.io/,
    limits: [
      CONFIRMS_EARLY,
      {
        code: 'few-connections',
        what: 'it carries 15 connections at a time unless it is configured otherwise, and refuses more',
        hint: 'ask its administrator for a higher server.maxDirectTCPIPConnections',
      },
    ],
    permits: 'its policy must permit the destination: ask its administrator',
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
    permits:
      'the program must accept channels of the type direct-tcpip; with gliderlabs/ssh, LocalPortForwardingCallback must return true for it',
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
    permits:
      'the program must permit it with setForwardingFilter(); in a product that is a setting of its own',
  },
  {
    name: 'russh',
    pattern: /^russh_([\w.-]+)/,
    limits: [NO_REASONS],
    permits: 'the program must accept it in channel_open_direct_tcpip()',
  },
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
    permits: 'the program must accept it where it listens for "tcpip"',
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
    permits: 'the daemon needs the option {tcpip_tunnel_in, true}',
  },
];

/**
 * What answers with this identification; undefined: not one that is known. `identification`: the
 * whole line (`SSH-2.0-OpenSSH_9.2p1 Debian-2`), or what follows `SSH-2.0-`.
 */
export function serverKind(identification: string): ServerKind | undefined {
  const software = identification.replace(/^SSH-\d\.\d+-/, '').trim();
  for (const { name, pattern, limits, permits } of ROWS) {
    const match = pattern.exec(software);
    if (match !== null) return { name, version: match[1], limits, permits };
  }
  return undefined;
}

/** What OpenSSH must have, apart from what is said about the key in authorized_keys. */
export const SSHD_CONFIG =
  'with OpenSSH, AllowTcpForwarding in its sshd_config must be yes, all or local, DisableForwarding no, and PermitOpen must list the destination as it is dialled';

/** Why OpenSSH prohibits connections, where nothing more is known. */
export const OPENSSH_FORWARDING: ForwardingLimits = {
  what: 'the account may lack the right to forward',
  hint: `${SSHD_CONFIG}; "restrict" or "no-port-forwarding" in authorized_keys forbid it as well`,
};

/**
 * Why a server prohibits connections, as far as its kind tells. undefined: it is OpenSSH or not
 * known, so it may have OpenSSH's settings. `identification`: as for `serverKind`.
 */
export function forwardingOfKind(identification: string): ForwardingLimits | undefined {
  const kind = serverKind(identification);
  if (kind === undefined) return undefined;
  const none = kind.limits.find(({ code }) => code === 'no-forwarding');
  if (none !== undefined)
    return { what: `${kind.name} forwards nothing`, hint: none.hint, certain: true };
  const { permits } = kind;
  return permits === undefined
    ? undefined
    : { what: 'this server may forward nothing for the account', hint: permits };
}
