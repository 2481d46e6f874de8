/**
 * What the user asked for, checked and typed. Every front (options, @files, later profiles) ends in
 * one of these; the compositions in session/ build the parts from it. Commands that carry nothing
 * have a configuration of their own with the parts that they need (doctoroptions.ts,
 * openstackreport.ts).
 */
import type { NamePattern } from '../net/name.ts';
import type { PortRange } from '../net/ports.ts';
import { type Prefix, parsePrefix } from '../net/prefix.ts';
import type { Level } from '../observe/observer.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { DnsOptions } from './dnsoptions.ts';
import type { OpenStackOptions } from './openstackoptions.ts';

/** A range of addresses, limited to some ports if `ports` isn't empty. */
export interface Target {
  readonly prefix: Prefix;
  readonly ports: readonly PortRange[];
  /** As the user wrote it, for messages. */
  readonly text: string;
}

/** All addresses of both families, for `exec` without targets. */
export const EVERYTHING: readonly Target[] = ['0.0.0.0/0', '::/0'].map((text) => ({
  prefix: parsePrefix(text).prefix,
  ports: [],
  text,
}));

/**
 * A name, or all names below one (`*.example.com`), limited to some ports if `ports` isn't empty.
 */
export interface NameTarget {
  readonly pattern: NamePattern;
  readonly ports: readonly PortRange[];
  /** As the user wrote it, for messages. */
  readonly text: string;
}

/** Where proxies are wanted: --listen, --socks, --http. */
export interface ProxyListenAddress {
  /**
   * Canonical addresses that share the port; of several, one that this machine doesn't have is left
   * out.
   */
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
  /**
   * --dry-run: nothing is refused for want of a rule; at the end the rules that would have been
   * needed are printed.
   */
  readonly dryRun: boolean;
  /** --dry-run-to: they are written to this file instead. */
  readonly dryRunTo: string | undefined;
}

/** What is carried, and what is left out of it. */
export interface TargetRules {
  readonly targets: readonly Target[];
  readonly exclusions: readonly Target[];
  /**
   * Carried by name: what proxies are asked for by name, and what is connected to by a virtual
   * address.
   */
  readonly nameTargets: readonly NameTarget[];
  readonly nameExclusions: readonly NameTarget[];
}

/**
 * Of a tunnel. `connect` has at least one target, or a name target, or a cloud; `exec` has
 * EVERYTHING where none is named. `proxy`: with none of them, everything is carried.
 */
export interface Configuration extends TargetRules {
  readonly ssh: SshOptions;
  /** --dns, --dns-server, --domain */
  readonly dns: DnsOptions;
  /** --os-cloud: its endpoints become targets when the link stands (openstack/targets/cloud.ts). */
  readonly cloud: OpenStackOptions | undefined;
  readonly allow: AllowOptions;
  /** undefined: none. `proxy`: always there. */
  readonly proxies: ProxyOptions | undefined;
  readonly logLevel: Level;
  /** --ready-fd: `READY=1\n` is written to it and it is closed once traffic flows. */
  readonly readyFd: number | undefined;
  /**
   * What was read other than it may have been meant, one sentence each, to be logged as notices at
   * the start.
   */
  readonly notices: readonly string[];
}
