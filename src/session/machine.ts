/**
 * What a session needs of the machine it runs on. There is one of Linux, here, and one in memory
 * for tests (test/support/memorymachine.ts), with which whole sessions run without root.
 */
import { closeSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { type Clock, systemClock } from '../base/clock.ts';
import { linuxTunDevice, linuxTunHost } from '../capture/tun/linuxtun.ts';
import type { TunDevice, TunHost } from '../capture/tun/tun.ts';
import type { BoundSockets } from '../connect/uplink.ts';
import type { OtherTunnel } from '../dns/server/neighbours.ts';
import { sharedDnsAddresses } from '../dns/server/sharedaddresses.ts';
import type { NetworkContext, NetworkTargets } from '../doctor/network.ts';
import { TunnelError } from '../errors/errors.ts';
import { Dialler, type DiallerOptions } from '../link/dialler.ts';
import { type LinkDialler, watchDisturbances } from '../link/link.ts';
import type { Supervisor } from '../link/supervisor.ts';
import { addon, addonIfAny } from '../native/addon.ts';
import type { Level, Observer } from '../observe/observer.ts';
import type { Finding } from '../system/doctor/diagnosis.ts';
import { startHelper } from '../system/helper/helper.ts';
import { type Incoming, linuxIncoming } from '../system/incoming.ts';
import { hasIPv6 } from '../system/ipv6.ts';
import { becomeUser } from '../system/launcher/caller.ts';
import {
  type Launcher,
  type LaunchOptions,
  type PreparedCommand,
  startInPlace,
  startLauncher,
} from '../system/launcher/launcher.ts';
import { preparePlain } from '../system/launcher/plain.ts';
import type { CommandSetup, CommandUser, Variables } from '../system/launcher/protocol.ts';
import { asksResolved, planResolver, type ResolverPlan } from '../system/resolver/detect.ts';
import { RESOLVED_UPLINKS, readResolverFacts } from '../system/resolver/facts.ts';
import { RESOLV_CONF, ResolvConfFile } from '../system/resolver/file.ts';
import type { HostChange } from '../system/resolver/hostchange.ts';
import { HOSTS_FILE, MAX_HOSTS_FILE_BYTES, NSSWITCH } from '../system/resolver/hosts.ts';
import { Journal } from '../system/resolver/journal.ts';
import { type RecoveryReport, recover } from '../system/resolver/recover.ts';
import {
  type ResolverConfiguration,
  resolverConfiguration,
} from '../system/resolver/resolvconf.ts';
import { ResolvedLink, type ResolvedLinkOptions } from '../system/resolver/resolved.ts';
import { watchResolvers } from '../system/resolver/watch.ts';
import { filtersReversePath } from '../system/reversepath.ts';
import { type KernelRouting, linuxRouting } from '../system/routing/kernel.ts';
import { readSmallFile } from '../system/smallfile.ts';
import { tunnelsAmong } from './fakeaddresses.ts';

export interface Starting {
  readonly observer: Observer;
  readonly signal: AbortSignal;
}

export interface Machine {
  readonly clock: Clock;
  /** Says as whom SSH is spoken, where that may surprise. */
  sayWho(observer: Observer, level: Level): void;
  /** Keeps this process's memory from other processes of its user. */
  hideMemory(): void;
  /** Puts right what a tunnel that was killed has left. */
  recover(observer: Observer): Promise<RecoveryReport>;
  /** Whether new devices have IPv6 addresses. */
  hasIPv6(): boolean;
  dialler(options: DiallerOptions): LinkDialler;
  /** Calls the link's `disturbed` when there is a reason to. Returns what ends that. */
  watch(link: Pick<Supervisor, 'disturbed'>, device: string, observer: Observer): () => void;

  /** What may keep the tunnel from carrying what it captures (doctor/network.ts). */
  lookAtNetwork(targets: NetworkTargets, context: NetworkContext): Promise<readonly Finding[]>;

  /**
   * The part of the program that stays root, under sudo and doas: resolves when it is lost.
   * Undefined: there is none.
   */
  readonly privileged?: { readonly ended: Promise<TunnelError> };

  /** What the kernel says about routes and rules. */
  readonly routing: KernelRouting;
  /** Who is connected to this machine from outside. */
  readonly incoming: Incoming;

  /** The privileged helper. Rejects as startHelper does. */
  startHelper(starting: Starting): Promise<TunHost>;
  readonly sockets: BoundSockets;
  /**
   * Whether sockets can be bound to devices without privileges: since Linux 5.7, unless something
   * else binds them already, as `ip vrf exec` does.
   */
  bindsSockets(): boolean;
  /** As in system/reversepath.ts. */
  filtersReversePath(device: string): boolean;

  /** As startLauncher and startInPlace; the second also without the native part. */
  startLauncher(options: LaunchOptions): Promise<Launcher>;
  startInPlace(options: LaunchOptions<CommandSetup>): Promise<PreparedCommand>;
  /** The device that a launcher has made, with the addresses that it was told. */
  launchedDevice(launcher: Launcher, addresses: DeviceAddresses): TunDevice;
  becomeUser(user: CommandUser, observer: Observer): Variables;

  /** How this machine's programs resolve names. */
  resolverPlan(): ResolverPlan;
  /** What resolv.conf says. */
  resolverConfiguration(): ResolverConfiguration;
  /** `servers`: the tunnel's own; what is written are those that all tunnels share. */
  resolvConf(servers: readonly string[], device: string): HostChange;
  /** Other tunnels of this program, by their devices; without `own`. */
  otherTunnels(own: string): readonly OtherTunnel[];
  /** Made again whenever systemd-resolved has lost it, until it is undone. */
  resolved(options: ResolvedLinkOptions): HostChange;
  /** Calls `changed` when resolverPlan() may give another one. Returns what ends that. */
  watchResolvers(changed: () => void, observer: Observer, asksResolved: boolean): () => void;
  /** Files in which programs find names; undefined: one can't be read. Never rejects. */
  hostsFile(): Promise<HostsFile>;
  /** Calls `changed` when hostsFile() may say something else. Returns what ends that. */
  watchHostsFile(changed: () => void, observer: Observer): () => void;
}

export interface HostsFile {
  /** The text of /etc/hosts and of /etc/nsswitch.conf. */
  readonly hosts: string | undefined;
  readonly nsswitch: string | undefined;
  /** Programs ask systemd-resolved, which looks into /etc/hosts itself. */
  readonly asksResolved: boolean;
}

export interface DeviceAddresses {
  readonly address4: string;
  readonly address6: string;
}

/** Made again whenever systemd-resolved has lost it, until it is undone. */
export function watchedLink(options: ResolvedLinkOptions): HostChange {
  const link = new ResolvedLink(options);
  return {
    describe: () => link.describe(),
    async apply() {
      await link.apply();
      link.watch();
    },
    undo: () => link.undo(),
  };
}

export const linux: Machine = {
  clock: systemClock,
  sayWho(observer) {
    if (process.geteuid?.() !== 0) return;
    // Who starts it as root does so each time: with -v it is enough.
    observer.log(
      'info',
      'the SSH connection runs as root; where a user starts tunnel, with or without sudo, it runs as that user',
    );
  },
  hideMemory() {
    try {
      addon().hideMemory();
    } catch (error) {
      // There is none: what works without it goes on.
      if (!(error instanceof TunnelError)) throw error;
    }
  },
  recover: async (observer) => recover(observer),
  hasIPv6: () => hasIPv6(),
  dialler: (options) => new Dialler(options),
  watch: watchDisturbances,
  async lookAtNetwork(targets, context) {
    const { lookAtNetwork } = await import('../doctor/network.ts');
    return lookAtNetwork(targets, context);
  },
  routing: linuxRouting,
  incoming: linuxIncoming,

  startHelper: async (starting) => linuxTunHost(await startHelper(starting)),
  get sockets() {
    return addon();
  },
  bindsSockets() {
    try {
      closeSync(addon().socketOnDevice(4, 'lo'));
      return true;
    } catch {
      // Why it can't doesn't matter: the addresses are left out instead.
      return false;
    }
  },

  filtersReversePath: (device) => filtersReversePath(device),

  startLauncher,
  startInPlace: async (options) =>
    addonIfAny() === undefined ? preparePlain(options) : startInPlace(options),
  launchedDevice(launcher, { address4, address6 }) {
    const { device: name, hasIPv6: has6 } = launcher.network;
    const fd = launcher.takeTun();
    return linuxTunDevice({ fd, name, address4, address6: has6 ? address6 : undefined });
  },
  becomeUser,

  resolverPlan: () => planResolver(readResolverFacts()),
  resolverConfiguration: () => resolverConfiguration(),
  resolvConf: (servers) =>
    new ResolvConfFile({ servers: sharedDnsAddresses(servers), journal: new Journal() }),
  otherTunnels: (own) => tunnelsAmong(networkInterfaces(), linuxRouting.devices(), own),
  resolved: watchedLink,
  watchResolvers: (changed, observer, asksResolved) =>
    watchResolvers(
      changed,
      observer,
      asksResolved ? [RESOLV_CONF, RESOLVED_UPLINKS] : [RESOLV_CONF],
    ),
  async hostsFile() {
    const [hosts, nsswitch] = await Promise.all(
      [HOSTS_FILE, NSSWITCH].map((path) =>
        // Without it nothing is found there, and programs can't read it either.
        readSmallFile(path, MAX_HOSTS_FILE_BYTES).catch(() => undefined),
      ),
    );
    return {
      hosts: hosts?.text,
      nsswitch: nsswitch?.text,
      asksResolved: asksResolved(readResolverFacts()),
    };
  },
  watchHostsFile: (changed, observer) =>
    watchResolvers(changed, observer, [HOSTS_FILE, NSSWITCH, RESOLV_CONF]),
};
