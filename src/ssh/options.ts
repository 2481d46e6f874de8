/** What the user asks of the SSH connection, checked and typed. */
import type { HostKeyPin } from './keys/pin.ts';

/** Seconds per address for TCP and key exchange, unless ssh_config has a ConnectTimeout. */
export const DEFAULT_CONNECT_TIMEOUT = 15;
/** Seconds for authentication; sshd's LoginGraceTime is 120. */
export const DEFAULT_AUTH_TIMEOUT = 60;
/**
 * Seconds of silence, unless ssh_config has a ServerAliveInterval: a dead link is noticed after
 * three of them.
 */
export const DEFAULT_KEEPALIVE = 15;
/**
 * Seconds: longer than changing networks takes, shorter than most clients wait for a connection.
 */
export const DEFAULT_RECONNECT_HOLD = 30;
/**
 * Seconds, the least for --wait-auth: two logins that are refused within this time can make sshd
 * shut an address out (PerSourcePenalties).
 */
export const LEAST_WAIT_AUTH = 15;
/** The usual SSH port, which known_hosts leaves out of a host's name. */
export const DEFAULT_PORT = 22;

/** In bytes; undefined: the transport's default. */
export interface WindowOptions {
  /** --max-window: for one flow. */
  readonly maxWindow: number | undefined;
  /** --window-budget: for all flows of a link together. */
  readonly budget: number | undefined;
}

export interface Remote {
  /** undefined: ssh_config's, else the calling user's own name. */
  readonly user: string | undefined;
  /**
   * A name or a Host alias of ssh_config, as it was written, or an address without brackets. An
   * IPv6 address may have a zone (`fe80::1%eth0`).
   */
  readonly host: string;
  /** undefined: -p, else ssh_config's, else 22. */
  readonly port: number | undefined;
  readonly text: string;
}

/**
 * Which SSH client carries the connections: the embedded one, the system's, or the first of these
 * that can.
 */
export const TRANSPORTS = ['auto', 'ssh2', 'openssh'] as const;
export type WantedTransport = (typeof TRANSPORTS)[number];

/** --on-demand: the jump host is dialled when a flow needs it, and not before. */
export interface OnDemand {
  /** --idle-disconnect: seconds without a flow after which the link is closed; 0: never. */
  readonly idleDisconnect: number;
}

export interface SshOptions {
  /** The same jump host's addresses, in the order in which they are tried. At least one. */
  readonly remotes: readonly [Remote, ...Remote[]];
  /** -p */
  readonly port: number | undefined;
  /**
   * -J: jump hosts in the order in which they are passed. Empty: `none`, which also turns off
   * ssh_config's ProxyJump.
   */
  readonly jump: readonly Remote[] | undefined;
  /**
   * -F, with a leading `~/` expanded: the file that is read instead of the user's and the system's
   * ssh_config; `none`: no file is read.
   */
  readonly configFile: string | undefined;
  /**
   * -o, in order: `Keyword=value`. Each counts as a line of ssh_config before those of the files.
   */
  readonly sshOptions: readonly string[];
  /** --transport; also `openssh` if `sshCommand` is given. */
  readonly transport: WantedTransport;
  /** -e: the ssh program and its first arguments. */
  readonly sshCommand: readonly [string, ...string[]] | undefined;
  /** -i, in order, with a leading `~/` expanded; not opened yet. */
  readonly identityFiles: readonly string[];
  /** --one-key: a login offers the jump host one key, the first that can be used. */
  readonly oneKey: boolean;
  /**
   * --host-key: `SHA256:...` fingerprints (43 characters of base64, no padding) or `ssh-ed25519
   * AAAA...` keys (type, one space, base64). If it isn't empty, only the @revoked lines of
   * known_hosts count.
   */
  readonly hostKeyPins: readonly HostKeyPin[];
  /**
   * --connect-timeout: seconds per address for TCP and key exchange; undefined: ssh_config's, else
   * DEFAULT_CONNECT_TIMEOUT.
   */
  readonly connectTimeout: number | undefined;
  /** --auth-timeout: seconds for authentication, without the time for questions. */
  readonly authTimeout: number;
  /**
   * --keepalive: seconds of silence before the jump host, or a host on the way, is asked for a sign
   * of life; 0: never; undefined: ssh_config's.
   */
  readonly keepalive: number | undefined;
  readonly windows: WindowOptions;
  /** False with --no-flush: no host is asked for answers just because they fill a segment. */
  readonly flush: boolean;
  /**
   * --reconnect-hold: seconds for which a new connection waits while the link is down; 0: refused
   * at once.
   */
  readonly reconnectHold: number;
  /**
   * --wait-auth: seconds for which a refused login is tried again; 0: not at all. Above 0, only the
   * keys of -i are offered, if there are any.
   */
  readonly waitAuth: number;
  /** --wait-online: seconds that the start waits for a jump host that can't be reached; 0: none. */
  readonly waitOnline: number;
  /** undefined: the jump host is dialled at the start, and whenever the link is lost. */
  readonly onDemand: OnDemand | undefined;
}
