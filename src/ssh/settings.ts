/**
 * How one jump host (or one hop on the way to it) is reached: what ssh_config(5), its defaults and
 * the command line come to, with every token and `~` expanded. Made by ssh/config/resolve.ts; the
 * transports read it and nothing else of a configuration.
 */
import type { HostKeyPin } from './keys/pin.ts';

export interface SshSettings {
  /**
   * As the user named it: a Host alias, a name or an address. For messages and for the system's
   * ssh.
   */
  readonly name: string;
  /** HostName: a name or an address (an IPv6 one without brackets, maybe with a zone). */
  readonly hostName: string;
  readonly port: number;
  readonly user: string;
  readonly addressFamily: 'any' | 'inet' | 'inet6';
  /** BindAddress: the local address that a connection comes from. */
  readonly bindAddress: string | undefined;
  /**
   * How the byte stream to sshd comes about. Hops are in the order in which they are passed; the
   * first is reached as its own `proxy` says (directly or by a command), each further one, whose
   * `proxy` is direct, through the one before it.
   */
  readonly proxy:
    | { readonly kind: 'direct' }
    | { readonly kind: 'jump'; readonly hops: readonly SshSettings[] }
    | { readonly kind: 'command'; readonly command: string };
  readonly hostKeys: HostKeySettings;
  readonly authentication: AuthenticationSettings;
  /** Names in order of preference; undefined: the transport's own choice. */
  readonly algorithms: {
    readonly kex: readonly string[] | undefined;
    readonly ciphers: readonly string[] | undefined;
    readonly macs: readonly string[] | undefined;
    readonly hostKeys: readonly string[] | undefined;
  };
  /** ConnectTimeout, --connect-timeout: seconds for TCP and key exchange, an address. */
  readonly connectTimeout: number;
  /** --auth-timeout: seconds for authentication, questions not counted. */
  readonly authTimeout: number;
  /**
   * ServerAliveInterval (seconds of silence, 0: never) and ServerAliveCountMax, --keepalive.
   * `count` intervals of silence are the end, at least 2; ssh itself waits for one more.
   */
  readonly keepalive: { readonly interval: number; readonly count: number };
  /** RekeyLimit: after so many bytes or seconds; undefined: as the transport does by itself. */
  readonly rekey: { readonly bytes: number | undefined; readonly seconds: number | undefined };
  /**
   * The server may be asked for answers that fill a segment (ssh/embedded/channels/flushtiming.ts);
   * --no-flush.
   */
  readonly flush: boolean;
  /**
   * What of this only the system's ssh can do, one phrase each ("PKCS11Provider"); empty: nothing.
   */
  readonly onlyOpenssh: readonly string[];
}

export interface HostKeySettings {
  /** HostKeyAlias: looked up in known_hosts instead of the host's name. */
  readonly alias: string | undefined;
  readonly userFiles: readonly string[];
  readonly globalFiles: readonly string[];
  /**
   * StrictHostKeyChecking. What ssh calls `no` or `off` is read as accept-new, with a warning:
   * nothing turns the check off.
   */
  readonly strict: 'yes' | 'ask' | 'accept-new';
  /** HashKnownHosts: new lines are written with hashed names. */
  readonly hashNames: boolean;
  /**
   * --host-key; non-empty: of known_hosts only the @revoked lines count. Only ever for the jump
   * host itself, not for hops.
   */
  readonly pins: readonly HostKeyPin[];
}

export interface AuthenticationSettings {
  /**
   * Files named by -i or IdentityFile; empty: the default identities. A file that isn't there is an
   * error only if `explicit`.
   */
  readonly identityFiles: readonly { readonly path: string; readonly explicit: boolean }[];
  /**
   * IdentityFile none: `identityFiles` is empty, and the default identities are not used either.
   */
  readonly noIdentityFiles?: boolean;
  readonly certificateFiles: readonly string[];
  /** IdentitiesOnly: of the agent's keys only those that `identityFiles` name. */
  readonly identitiesOnly: boolean;
  /** IdentityAgent or SSH_AUTH_SOCK; undefined: none. */
  readonly agentSocket: string | undefined;
  /**
   * PreferredAuthentications without what PubkeyAuthentication, PasswordAuthentication or
   * KbdInteractiveAuthentication switch off.
   */
  readonly methods: readonly ('publickey' | 'keyboard-interactive' | 'password')[];
  readonly numberOfPasswordPrompts: number;
  /** BatchMode: nobody is asked anything. */
  readonly batch: boolean;
}
