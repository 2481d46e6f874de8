/**
 * The names of `tunnel connect`: queries of the whole machine come to the tunnel's DNS server, and
 * connections to virtual addresses are opened by name.
 *
 *   plan       how this machine resolves names (system/resolver/detect.ts), read before anything is changed
 *   rules      the targets and the addresses of resolvers on the network: both are captured by route
 *   onDevice   the device has its addresses: names, server and virtual addresses; nothing is routed yet
 *   settle()   systemd-resolved's settings of the device, or resolv.conf rewritten, where routes are not enough; from then on a
 *              resolv.conf that names other resolvers is followed: they are captured besides the former, and asked instead;
 *              so is systemd-resolved when it asks others
 *   close()    settings back, queries that wait answered SERVFAIL; then the capture may go
 *
 * This machine's resolvers are asked for other names by sockets that are bound to the uplink: their
 * addresses are routed into the device. Of those addresses only port 53 is taken; other TCP goes
 * past the tunnel as before, other UDP is refused.
 */

import type { TunCapture, TunDevice } from '../capture/tun/tun.ts';
import type { Configuration } from '../config/configuration.ts';
import { namingOptions, tunnelResolvers } from '../config/dnsoptions.ts';
import type { Beside } from '../connect/uplink.ts';
import { routedDomains } from '../dns/naming.ts';
import type { Names } from '../dns/server/names.ts';
import { CapturedQueries } from '../dns/server/queries.ts';
import { socketOf } from '../dns/upstream/datagram.ts';
import type { Connector } from '../flow/connector.ts';
import type { Datagram } from '../flow/datagram.ts';
import type { FlowRequest } from '../flow/request.ts';
import type { Destination } from '../net/destination.ts';
import { hostPrefix, type Prefix } from '../net/prefix.ts';
import { PrefixSet } from '../net/prefixset.ts';
import type { Observer } from '../observe/observer.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import type { CaptureRules } from '../policy/policy.ts';
import { hasIPv6 } from '../system/ipv6.ts';
import type { ResolverPlan } from '../system/resolver/detect.ts';
import { RESOLVED_UPLINKS } from '../system/resolver/facts.ts';
import { RESOLV_CONF, ResolvConfFile } from '../system/resolver/file.ts';
import type { HostChange } from '../system/resolver/hostchange.ts';
import { Journal } from '../system/resolver/journal.ts';
import { ResolvedLink } from '../system/resolver/resolved.ts';
import { watchResolvers } from '../system/resolver/watch.ts';
import { createTunnelNames, currentResolverPlan, destinations } from './names.ts';

/**
 * Of the networks that a machine visits: more resolvers are not captured at a time, the former go.
 * Counted.
 */
const MAX_RESOLVERS = 16;

export interface CapturedNamesParts {
  /** The link, for queries to resolvers behind the jump host. */
  readonly connector: Connector;
  readonly beside: Beside;
}

export class CapturedNames {
  readonly #configuration: Configuration;
  readonly #ownNames: () => readonly string[];
  readonly #observer: Observer;
  #plan: ResolverPlan;
  readonly #servers: readonly Destination[];
  readonly #served = new Set<string>();
  readonly #changes: HostChange[] = [];
  /** Addresses that are routed into the device, the newest last. */
  readonly #routed: Set<string>;
  #unwatch: (() => void) | undefined;
  #closed = false;
  #names: Names | undefined;
  #queries: CapturedQueries | undefined;

  /**
   * Changes nothing yet. `ownNames`: those of the jump host, which are never asked for through the
   * tunnel. Throws UsageError when --dns finds no resolver that the jump host could ask.
   */
  constructor(configuration: Configuration, ownNames: () => readonly string[], observer: Observer) {
    this.#configuration = configuration;
    this.#ownNames = ownNames;
    this.#observer = observer;
    this.#plan = currentResolverPlan();
    this.#routed = new Set(routedBy(this.#plan));
    this.#servers = tunnelResolvers(configuration.dns, this.#plan.uplinks);
  }

  /** The families of virtual addresses. */
  get families(): ReadonlySet<4 | 6> {
    return new Set(hasIPv6() ? ([4, 6] as const) : ([4] as const));
  }

  /** The tunnel's DNS addresses, once there is a device. */
  get served(): ReadonlySet<string> {
    return this.#served;
  }

  get names(): Names | undefined {
    return this.#names;
  }

  /**
   * What is to be captured: the configuration's targets and the resolvers, as they are when it is
   * read.
   */
  get rules(): CaptureRules {
    const { targets, exclusions } = this.#configuration;
    const routed = this.#routed;
    return {
      targets,
      exclusions,
      get single() {
        return [...routed].map(hostPrefix);
      },
      mayBeEmpty: true,
    };
  }

  /** For TunCapture. Throws as createNames does. */
  onDevice(device: TunDevice, capture: TunCapture, parts: CapturedNamesParts): readonly Prefix[] {
    const { connector, beside } = parts;
    const observer = this.#observer;
    const names = createTunnelNames(this.#configuration, {
      connector,
      direct: beside.direct,
      device,
      servers: this.#servers,
      local: this.#plan.uplinks,
      ownNames: this.#ownNames,
      socketFor: (server) => socketOf(beside.datagramSocket(server.host), server),
      observer,
    });
    this.#names = names;
    for (const address of names.addresses) this.#served.add(address);
    this.#queries = new CapturedQueries({
      server: names.server,
      own: names.addresses,
      resolvers: this.#routed,
      sendDatagram: (datagram) => capture.sendDatagram(datagram),
      refuseDatagram: (datagram, refusal) => capture.refuseDatagram(datagram, refusal),
      observer,
    });
    return names.prefixes;
  }

  /** For TunCapture's `onDatagram`. */
  acceptDatagram(datagram: Datagram): boolean {
    return this.#queries?.acceptDatagram(datagram) ?? false;
  }

  /** Takes queries, and hands everything else to `accept`, by name where it is meant so. */
  take(request: FlowRequest, accept: (request: FlowRequest) => void): void {
    if (this.#queries?.accept(request) === true) return;
    if (this.#names === undefined) accept(request);
    else this.#names.translate(accept)(request);
  }

  /**
   * Has queries come to the device where routes don't. Rejects with TunnelError `dns-*` or
   * `journal`; what was changed by then, close() takes back.
   */
  async settle(device: string, captured: CapturedPrefixes): Promise<void> {
    const observer = this.#observer;
    const servers = [...(this.#names?.addresses ?? [])];
    this.#warnOfOthers(new PrefixSet(captured.current));
    for (const step of this.#plan.steps) {
      if (step.kind === 'routes') continue;
      const change =
        step.kind === 'file'
          ? new ResolvConfFile({ servers, journal: new Journal() })
          : new ResolvedLink({
              device,
              servers,
              domains: routedDomains(namingOptions(this.#configuration)),
              observer,
            });
      if (step.kind === 'file') observer.log('notice', `resolv.conf is rewritten: ${step.why}`);
      await change.apply();
      this.#changes.unshift(change);
      // systemd-resolved may have taken its time, and close() has not waited for it.
      if (this.#closed) return this.close();
      if (change instanceof ResolvedLink) change.watch();
    }
    const asksResolved = this.#plan.steps.some(({ kind }) => kind === 'resolved');
    const files = asksResolved ? [RESOLV_CONF, RESOLVED_UPLINKS] : [RESOLV_CONF];
    this.#unwatch = watchResolvers(() => void this.#follow(captured), observer, files);
  }

  /** This machine's resolvers may be others now. Never rejects. */
  async #follow(captured: CapturedPrefixes): Promise<void> {
    const observer = this.#observer;
    const plan = currentResolverPlan();
    const { resolvers, uplinks } = plan;
    if (
      resolvers.join() === this.#plan.resolvers.join() &&
      uplinks.join() === this.#plan.uplinks.join()
    )
      return;
    // The file is ours at present: rewritten by settle(), or what that has put back.
    if (resolvers.some((address) => this.#served.has(address))) return;
    const kinds = this.#plan.steps.map(({ kind }) => kind);
    const otherwise = plan.steps.filter(({ kind }) => kind !== 'routes' && !kinds.includes(kind));
    if (otherwise.length > 0 || kinds.includes('file')) {
      observer.log(
        'warning',
        `resolv.conf was rewritten and names ${resolvers.join(', ')}: names that are asked for there are not the tunnel's; start it again`,
      );
    }
    this.#plan = plan;
    for (const address of routedBy(plan)) {
      this.#routed.delete(address);
      this.#routed.add(address);
    }
    // The former stay as well: a program that has read the file before asks these.
    for (const address of [...this.#routed].slice(0, -MAX_RESOLVERS)) {
      observer.count('tunnel_dns_resolvers_over_limit_total');
      this.#routed.delete(address);
    }
    // Also where they can't be captured: the former may not be reached from here any more.
    this.#names?.setLocal(destinations(uplinks));
    try {
      await captured.refresh();
      if (this.#closed) return;
      observer.log('notice', `this machine's resolvers are ${uplinks.join(', ') || 'none'} now`);
      this.#warnOfOthers(new PrefixSet(captured.current));
    } catch (error) {
      if (this.#closed) return;
      const message = error instanceof Error ? error.message : String(error);
      observer.log(
        'warning',
        `the resolvers ${resolvers.join(', ')} can't be captured (${message}): names that are asked for there are not the tunnel's; start it again`,
      );
    }
  }

  /** May be called more than once, at any time, also while settle() is under way. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unwatch?.();
    for (const change of this.#changes.splice(0)) {
      await change.undo().catch((error: unknown) => {
        const message = error instanceof Error ? error.message : String(error);
        this.#observer.log(
          'error',
          `${change.describe()} could not be put back: ${message}; run "tunnel clean"`,
        );
      });
    }
    this.#names?.close();
  }

  #warnOfOthers(captured: PrefixSet): void {
    const others = routedBy(this.#plan).filter((address) => !captured.contains(address));
    if (others.length === 0) return;
    this.#observer.log(
      'warning',
      `queries to ${others.join(', ')} don't come to the tunnel, because it is excluded or the jump host itself: names that are asked for there are not the tunnel's`,
    );
  }
}

function routedBy({ steps }: ResolverPlan): readonly string[] {
  return steps.flatMap((step) => (step.kind === 'routes' ? step.addresses : []));
}
