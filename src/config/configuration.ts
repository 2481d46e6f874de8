/**
 * What the user asked for, checked and typed. Every front (options, @files, later profiles) ends in one
 * `Configuration`; the composition root in run.ts builds the parts from it.
 */
import type { Prefix } from '../net/prefix.ts';
import type { Level } from '../observe/observer.ts';

/** Both ends included, 1-65535. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** A range of addresses, limited to some ports if `ports` isn't empty. */
export interface Target {
  readonly prefix: Prefix;
  readonly ports: readonly PortRange[];
  /** As the user wrote it, for messages. */
  readonly text: string;
}

export interface Remote {
  /** undefined: the calling user's own name. */
  readonly user: string | undefined;
  /** A name or an address, without brackets. */
  readonly host: string;
  /** undefined: -p, else 22. */
  readonly port: number | undefined;
  readonly text: string;
}

export interface SshOptions {
  /** The same jump host's addresses, in the order in which they are tried. At least one. */
  readonly remotes: readonly [Remote, ...Remote[]];
  /** -p */
  readonly port: number | undefined;
  /** -i, in order */
  readonly identityFiles: readonly string[];
  /** --host-key: `SHA256:...` fingerprints or `ssh-ed25519 AAAA...` keys. Non-empty: known_hosts is not consulted. */
  readonly hostKeyPins: readonly string[];
  /** --connect-timeout: seconds for TCP and key exchange, an address. */
  readonly connectTimeout: number;
  /** --auth-timeout: seconds for authentication, prompts not counted. */
  readonly authTimeout: number;
}

export interface Configuration {
  readonly ssh: SshOptions;
  /** At least one. */
  readonly targets: readonly Target[];
  readonly exclusions: readonly Target[];
  readonly logLevel: Level;
  /** --ready-fd: `READY=1\n` is written to it and it is closed once traffic flows. */
  readonly readyFd: number | undefined;
}
