/**
 * What the user asked for, checked and typed. Every front (options, @files, later profiles) ends in one
 * `Configuration`; the composition root in run.ts builds the parts from it.
 */
import type { NamePattern } from '../net/name.ts';
import type { PortRange } from '../net/ports.ts';
import type { Prefix } from '../net/prefix.ts';
import type { Level } from '../observe/observer.ts';
import type { HostKeyPin } from '../transport/hostkeypin.ts';
import type { DnsOptions } from './dnsoptions.ts';
import type { OpenStackOptions } from './openstackoptions.ts';
import type { WindowOptions } from './windowoptions.ts';

/** A range of addresses, limited to some ports if `ports` isn't empty. */
export interface Target {
  readonly prefix: Prefix;
  readonly ports: readonly PortRange[];
  /** As the user wrote it, for messages. */
  readonly text: string;
}

/** A name, or all names below one (`*.example.com`), limited to some ports if `ports` isn't empty. */
export interface NameTarget {
  readonly pattern: NamePattern;
  readonly ports: readonly PortRange[];
  /** As the user wrote it, for messages. */
  readonly text: string;
}

/** Where proxies are wanted: --listen, --socks, --http. */
export interface ProxyListenAddress {
  /** Canonical addresses that share the port; of several, one that this machine doesn't have is left out. */
  readonly hosts: readonly [string, ...string[]];
  /** 0: any free one. */
  readonly port: number;
  readonly protocols: 'socks' | 'http' | 'both';
}

export interface ProxyOptions {
  /** At least one. */
  readonly listens: readonly ProxyListenAddress[];
  /** --only-targets: what is no target is refused instead of dialled directly. */
  readonly onlyTargets: boolean;
  /** --proxy-auth: who may use the proxies. Empty: whoever can connect. */
  readonly credentials: readonly { readonly user: string; readonly password: string }[];
  /** Clients on other machines can connect. */
  readonly remoteClients: boolean;
}

/** --allow: what may be opened. No ports stand for all of them. */
export interface AllowRules {
  readonly prefixes: readonly Target[];
  readonly names: readonly NameTarget[];
}

export interface AllowOptions {
  /** --allow; undefined: no list, everything is permitted. */
  readonly rules: AllowRules | undefined;
  /** --dry-run: nothing is refused for want of a rule; at the end the rules that would have been needed are printed. */
  readonly dryRun: boolean;
  /** --dry-run-to: they are written to this file instead. */
  readonly dryRunTo: string | undefined;
}

export interface Remote {
  /** undefined: ssh_config's, else the calling user's own name. */
  readonly user: string | undefined;
  /** A name or a Host alias of ssh_config as it was written, or an address without brackets; an IPv6 address may have a zone (`fe80::1%eth0`). */
  readonly host: string;
  /** undefined: -p, else ssh_config's, else 22. */
  readonly port: number | undefined;
  readonly text: string;
}

/** Which SSH client carries the connections: the embedded one, the system's, or the first of them that can. */
export const TRANSPORTS = ['auto', 'ssh2', 'openssh'] as const;
export type WantedTransport = (typeof TRANSPORTS)[number];

export interface SshOptions {
  /** The same jump host's addresses, in the order in which they are tried. At least one. */
  readonly remotes: readonly [Remote, ...Remote[]];
  /** -p */
  readonly port: number | undefined;
  /** -J: jump hosts in the order in which they are passed; empty: `none`, ssh_config's ProxyJump is not used either. */
  readonly jump: readonly Remote[] | undefined;
  /** -F, with a leading `~/` expanded: read instead of the user's and the system's ssh_config; `none`: nothing is read. */
  readonly configFile: string | undefined;
  /** -o, in order: `Keyword=value`, each a line of ssh_config that comes before those of the files. */
  readonly sshOptions: readonly string[];
  /** --transport; `openssh` as well when `sshCommand` is given. */
  readonly transport: WantedTransport;
  /** -e: the ssh program and its first arguments. */
  readonly sshCommand: readonly [string, ...string[]] | undefined;
  /** -i, in order, with a leading `~/` expanded; not opened yet. */
  readonly identityFiles: readonly string[];
  /**
   * --host-key: `SHA256:...` fingerprints (43 characters of base64, no padding) or `ssh-ed25519 AAAA...` keys (type, one
   * space, base64). Non-empty: of known_hosts only the @revoked lines count.
   */
  readonly hostKeyPins: readonly HostKeyPin[];
  /** --connect-timeout: seconds for TCP and key exchange, an address; undefined: ssh_config's, else DEFAULT_CONNECT_TIMEOUT. */
  readonly connectTimeout: number | undefined;
  /** --auth-timeout: seconds for authentication, prompts not counted. */
  readonly authTimeout: number;
  /** --keepalive: seconds of silence until the jump host, or a host on the way, is asked for a sign of life, 0: never; undefined: ssh_config's. */
  readonly keepalive: number | undefined;
  readonly windows: WindowOptions;
  /** False with --no-flush: no host is asked for anything for the sake of its answers' size. */
  readonly flush: boolean;
  /** --reconnect-hold: seconds for which a new connection waits while the link is down; 0: refused at once. */
  readonly reconnectHold: number;
}

export interface Configuration {
  readonly ssh: SshOptions;
  /** `connect`: at least one, or a name target, or a cloud. `proxy`: with none of them, everything is carried. */
  readonly targets: readonly Target[];
  readonly exclusions: readonly Target[];
  /** Carried by name: what proxies are asked for by name, and what is connected to by a virtual address. */
  readonly nameTargets: readonly NameTarget[];
  readonly nameExclusions: readonly NameTarget[];
  /** --dns, --dns-server, --domain */
  readonly dns: DnsOptions;
  /** --os-cloud: its endpoints become targets when the link stands (run/cloud.ts). */
  readonly cloud: OpenStackOptions | undefined;
  readonly allow: AllowOptions;
  /** undefined: none. `proxy`: always there. */
  readonly proxies: ProxyOptions | undefined;
  readonly logLevel: Level;
  /** --ready-fd: `READY=1\n` is written to it and it is closed once traffic flows. */
  readonly readyFd: number | undefined;
  /** What was read other than it may have been meant, one sentence each, to be logged as notices at the start. */
  readonly notices: readonly string[];
}
