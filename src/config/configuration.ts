/**
 * What the user asked for, checked and typed. Each source (options, @files, later profiles)
 * produces one of these, and the compositions in session/ build the parts from it. Commands that
 * carry nothing have their own configuration with the parts that they need (doctoroptions.ts,
 * openstackreport.ts).
 */
import type { Forward } from '../net/forward.ts';
import type { NamePattern } from '../net/name.ts';
import type { Place } from '../net/place.ts';
import type { PortRange } from '../net/ports.ts';
import { type Prefix, parsePrefix } from '../net/prefix.ts';
import type { Level } from '../observe/observer.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { DnsOptions } from './dnsoptions.ts';
import type { OpenStackOptions } from './openstackoptions.ts';
import type { GivenOptions } from './option.ts';
import type { FlowLogOptions, PcapOptions } from './recordoptions.ts';
import type { ServiceOptions } from './serviceoptions.ts';

/** A range of addresses, limited to some ports if `ports` isn't empty. */
export interface Target {
  readonly prefix: Prefix;
  readonly ports: readonly PortRange[];
  /** As the user wrote it, for messages. */
  readonly text: string;
  /** Where, if it was in a file. */
  readonly place?: Place;
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
  /** Where, if it was in a file. */
  readonly place?: Place;
}

/** Where a proxy listens: --listen, --socks, --http. */
export interface ProxyListenAddress {
  /**
   * Canonical addresses that share the port. If there are several, an address that this machine
   * doesn't have is skipped.
   */
  readonly hosts: readonly [string, ...string[]];
  /** 0: any free port. */
  readonly port: number;
  readonly protocols: 'socks' | 'http' | 'both';
  /** Other users of this machine are turned away. */
  readonly ownUserOnly: boolean;
}

export interface ProxyOptions {
  /** At least one. */
  readonly listens: readonly ProxyListenAddress[];
  /** --only-targets: destinations that are no targets are refused, not dialled directly. */
  readonly onlyTargets: boolean;
  /** --proxy-auth: who may use the proxies. Empty: whoever can connect, and `ownUserOnly`. */
  readonly credentials: readonly { readonly user: string; readonly password: string }[];
  /** Whether clients on other machines can connect. */
  readonly remoteClients: boolean;
}

/** --metrics: where they are served. */
export type MetricsPlace =
  | { readonly kind: 'socket'; readonly path: string }
  /** `host` is a canonical loopback address. 0: any free port. */
  | { readonly kind: 'port'; readonly host: string; readonly port: number };

/** --allow: what may be opened. A rule without ports permits all ports. */
export interface AllowRules {
  readonly prefixes: readonly Target[];
  readonly names: readonly NameTarget[];
}

export interface AllowOptions {
  /** --allow; undefined: there is no list, everything is permitted. */
  readonly rules: AllowRules | undefined;
  /**
   * --dry-run: nothing is refused because a rule is missing. At the end the rules that would have
   * been needed are printed.
   */
  readonly dryRun: boolean;
  /** --dry-run-to: the rules are written to this file instead. */
  readonly dryRunTo: string | undefined;
}

/** What else a capture by routes takes, and what it puts up with. */
export interface CaptureOptions {
  /** --allow-diverted: it goes on although something captured goes another way. */
  readonly allowDiverted: boolean;
  /** --capture-local: networks that this machine is connected to are captured as well. */
  readonly captureLocal: boolean;
  /** --fail-closed: what is captured stays unreachable after any end except an orderly one. */
  readonly failClosed: boolean;
}

/** What is carried, and what is excluded. */
export interface TargetRules {
  readonly targets: readonly Target[];
  readonly exclusions: readonly Target[];
  /** Carried by name: requests to proxies by name, and connections to virtual addresses. */
  readonly nameTargets: readonly NameTarget[];
  readonly nameExclusions: readonly NameTarget[];
}

/**
 * The configuration of a tunnel. `connect` has at least one target, name target, cloud or -L.
 * `exec` without any of them has EVERYTHING. `proxy` without any of them carries everything.
 */
export interface Configuration extends TargetRules {
  /** Whose line it is. A profile may be for another one when it is read again. */
  readonly command: 'connect' | 'proxy' | 'exec' | 'doctor' | 'library';
  /** What it is called while it runs: --name, the profile, or the remote. */
  readonly name: string;
  readonly ssh: SshOptions;
  /** --dns, --dns-server, --domain */
  readonly dns: DnsOptions;
  /**
   * --os-cloud: its endpoints become targets once the link is up (openstack/targets/cloud.ts), or
   * with --on-demand, which asks nobody, at the start.
   */
  readonly cloud: OpenStackOptions | undefined;
  readonly allow: AllowOptions;
  /** Of `connect`. */
  readonly capture: CaptureOptions;
  /** undefined: no proxy. `proxy` always has one. */
  readonly proxies: ProxyOptions | undefined;
  /** -L; those of ssh_config are known later. */
  readonly forwards: readonly Forward[];
  /** `connect` without a target: nothing is captured by routes, and no privilege is needed. */
  readonly forwardsOnly: boolean;
  /** undefined: no metrics. */
  readonly metrics: MetricsPlace | undefined;
  readonly logLevel: Level;
  /** Whether a report is shown on a terminal; not with --no-progress. */
  readonly progress: boolean;
  /** -D, --pidfile, --syslog */
  readonly service: ServiceOptions;
  /** --flow-log */
  readonly flowLog: FlowLogOptions | undefined;
  /** --pcap; `proxy` has none. */
  readonly pcap: PcapOptions | undefined;
  /** --ready-fd: once traffic flows, `READY=1\n` is written to it and it is closed. */
  readonly readyFd: number | undefined;
  /**
   * Notes about input that may have meant something else, one sentence each, logged as notices at
   * the start.
   */
  readonly notices: readonly string[];
  /** The options of the line and its profile, for a reload to compare (reloadable.ts). */
  readonly given: GivenOptions;
}
