/**
 * How one jump host (or one hop on the way to it) is reached: the result of ssh_config(5), its
 * defaults and the command line, with every token and `~` expanded. Made by ssh/config/resolve.ts.
 * It is the only configuration that the transports read.
 */
import type { Forward, ForwardListen } from '../net/forward.ts';
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
  /** BindAddress: the local address to connect from. */
  readonly bindAddress: string | undefined;
  /**
   * How the byte stream to sshd is opened. Hops are in the order in which they are passed. The
   * first is reached as its own `proxy` says (directly or by a command). Each further one has a
   * direct `proxy` and is reached through the one before it.
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
  /** ConnectTimeout, --connect-timeout: seconds per address for TCP and key exchange. */
  readonly connectTimeout: number;
  /** --auth-timeout: seconds for authentication, without the time for questions. */
  readonly authTimeout: number;
  /**
   * ServerAliveInterval (seconds of silence, 0: never) and ServerAliveCountMax, --keepalive. After
   * `count` intervals of silence (at least 2) the link is lost; ssh itself waits for one more.
   */
  readonly keepalive: { readonly interval: number; readonly count: number };
  /** RekeyLimit: after this many bytes or seconds; undefined: the transport's own limit. */
  readonly rekey: { readonly bytes: number | undefined; readonly seconds: number | undefined };
  /**
   * The server may be asked for answers that fill a segment (ssh/embedded/channels/flushtiming.ts);
   * --no-flush.
   */
  readonly flush: boolean;
  readonly forwards: ForwardSettings;
  /** Which of these settings only the system's ssh supports, one phrase each ("PKCS11Provider"). */
  readonly onlyOpenssh: readonly string[];
  /** Settings that forbid something, and that only the system's ssh obeys. */
  readonly unobeyed: readonly UnobeyedSetting[];
}

/** What ssh_config says about fixed forwards, its own and those of -L. */
export interface ForwardSettings {
  /** LocalForward, in order. Empty with ClearAllForwardings. */
  readonly local: readonly Forward[];
  /** DynamicForward, in order: where SOCKS proxies listen. Empty with ClearAllForwardings. */
  readonly dynamic: readonly DynamicForward[];
  /** What is not set up, one sentence each: RemoteForward, and whatever needs a socket. */
  readonly unfit: readonly string[];
  /** ClearAllForwardings: there are none, whatever else says so. */
  readonly cleared: boolean;
  /** GatewayPorts: a port without an address is listened on at all addresses. */
  readonly gatewayPorts: boolean;
  /** ExitOnForwardFailure: one that can't listen ends the run. */
  readonly exitOnFailure: boolean;
  /** StreamLocalBindMask: of the permissions of a Unix socket. */
  readonly socketMask: number;
  /** StreamLocalBindUnlink: a socket that is there already is removed. */
  readonly unlinksSockets: boolean;
}

export interface DynamicForward {
  readonly listen: Extract<ForwardListen, { kind: 'port' }>;
  /** As in a file, for messages. */
  readonly text: string;
}

/** With it, the embedded client isn't used: what it forbids would be done. */
export interface UnobeyedSetting {
  /** `VerifyHostKeyDNS yes` */
  readonly setting: string;
  /** `FILE:LINE`, or `-o`; undefined: it is not known where it was set. */
  readonly place: string | undefined;
  /** Completes "the embedded SSH client ...". */
  readonly why: string;
  /** Without which it would be used: `-o VerifyHostKeyDNS=no`. */
  readonly without: string;
}

export interface HostKeySettings {
  /** HostKeyAlias: looked up in known_hosts instead of the host's name. */
  readonly alias: string | undefined;
  readonly userFiles: readonly string[];
  readonly globalFiles: readonly string[];
  /**
   * StrictHostKeyChecking. `no` and `off` are read as accept-new, with a warning: nothing turns the
   * check off.
   */
  readonly strict: 'yes' | 'ask' | 'accept-new';
  /** HashKnownHosts: new lines are written with hashed names. */
  readonly hashNames: boolean;
  /**
   * --host-key. If it isn't empty, only the @revoked lines of known_hosts count. Always empty for
   * hops: it applies only to the jump host itself.
   */
  readonly pins: readonly HostKeyPin[];
  /**
   * RevokedHostKeys: files of keys, or KRLs. If one can't be read, no host key is accepted.
   */
  readonly revokedFiles: readonly string[];
  /** KnownHostsCommand: prints more lines of known_hosts. If it fails, no host key is accepted. */
  readonly command: KnownHostsCommand | undefined;
  /** RequiredRSASize: bits, at least LEAST_RSA_BITS. */
  readonly leastRsaBits: number;
  /**
   * HostKeyAlgorithms gives the order of algorithms. Otherwise those of known keys come first, also
   * after `+` and `-`.
   */
  readonly fixedOrder: boolean;
}

export interface KnownHostsCommand {
  /**
   * The program and its arguments, in which %% and the tokens of one check (%H %I %t %f %K) stay.
   */
  readonly words: readonly [string, ...string[]];
  /** FingerprintHash, for %f: a name of OpenSSL's, as `sha256`. */
  readonly fingerprintHash: string;
}

/** RSA keys with fewer bits are always refused, as by ssh (SSH_RSA_MINIMUM_MODULUS_SIZE). */
export const LEAST_RSA_BITS = 1024;

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
  /** tunnel.password (ssh/credentials.ts): answers for the user, once in a login. Default: none. */
  readonly passwordFile?: string;
  /** tunnel.passphrase: tried before anybody is asked for one. Default: none. */
  readonly passphraseFile?: string;
  /** IdentitiesOnly: use only those keys of the agent that `identityFiles` name. */
  readonly identitiesOnly: boolean;
  /** --one-key: at most one key is offered, and one more after each that was accepted in part. */
  readonly oneKey?: boolean;
  /** IdentityAgent or SSH_AUTH_SOCK; undefined: none. */
  readonly agentSocket: string | undefined;
  /**
   * PreferredAuthentications, without the methods that PubkeyAuthentication, PasswordAuthentication
   * or KbdInteractiveAuthentication turn off.
   */
  readonly methods: readonly ('publickey' | 'keyboard-interactive' | 'password')[];
  readonly numberOfPasswordPrompts: number;
  /** BatchMode: no questions are asked. */
  readonly batch: boolean;
  /**
   * PubkeyAcceptedAlgorithms, in order of preference: keys without one of these are not offered.
   * undefined: not set.
   */
  readonly acceptedAlgorithms: readonly string[] | undefined;
  /** RequiredRSASize: bits, at least LEAST_RSA_BITS. Shorter keys are not offered. */
  readonly leastRsaBits: number;
}
