/**
 * What is known about an SSH connection that stands, for whoever reports on it (tunnel doctor).
 * The embedded client knows it from the handshake, and the system's ssh writes it to its log.
 */
import type { Transport } from './transport.ts';

export interface Established {
  /** `host:port`, as the connection was made. */
  readonly at: string;
  /** The names of the hosts on the way to the jump host, outermost first. */
  readonly via: readonly string[];
  /** The SSH client that speaks: `the embedded client`, `ssh (OpenSSH 9.2)`. */
  readonly client: string;
  /** The server's softwareversion and comments (RFC 4253 §4.2), printable. */
  readonly software: string;
  /** undefined: not known. */
  readonly algorithms: NegotiatedAlgorithms | undefined;
  readonly hostKey: TrustedHostKey | undefined;
  readonly login: Login;
  /**
   * The window that the server gave the last channel that it opened, in bytes (RFC 4254 §5.1).
   * undefined: it has not opened one, or that is not known.
   */
  readonly sendWindow: number | undefined;
  /** The largest window that the server is given, in bytes. undefined: not known. */
  readonly receiveWindow: number | undefined;
  /** Whether it has answered a global request. undefined: not known. */
  readonly answersRequests: boolean | undefined;
  /** What the server has said about forwarding for this login; undefined: nothing. */
  readonly forwarding: ForwardingLimits | undefined;
}

/** RFC 4253 §7.1. Where both directions differ, that from the server. */
export interface NegotiatedAlgorithms {
  readonly kex: string;
  /** All that the server offers for it. undefined: not known. */
  readonly kexOffered?: readonly string[] | undefined;
  readonly hostKey: string;
  readonly cipher: string;
  /** How many times as slow as our AES-GCM the client computes it. undefined: it is not slow. */
  readonly slowness?: number | undefined;
  /** undefined: the cipher needs none. */
  readonly mac: string | undefined;
}

export interface TrustedHostKey {
  /** `ssh-ed25519 SHA256:...` */
  readonly key: string;
  /** Completes "it is trusted because ...": `line 3 of /home/u/.ssh/known_hosts has it`. */
  readonly why: string;
}

export interface Login {
  readonly user: string;
  /** The methods that the server permitted at first. Empty: it let the user in without one. */
  readonly permitted: readonly string[];
  /** What it accepted, in order: keys with their fingerprints, and names of methods. */
  readonly accepted: readonly string[];
  /** Keys that it was offered, including those that it took. */
  readonly keysOffered: number;
}

export interface ForwardingLimits {
  /** `the key that was used may not forward` */
  readonly what: string;
  readonly hint: string;
  /** Nothing at all is forwarded; otherwise other destinations may be permitted. */
  readonly certain?: true;
}

/** A transport that can describe its connection. */
export interface Describable {
  describe(): Established;
}

export function isDescribable(transport: Transport): transport is Transport & Describable {
  return 'describe' in transport && typeof transport.describe === 'function';
}
