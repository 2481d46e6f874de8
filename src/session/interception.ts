/**
 * How the queries of the whole machine come to the tunnel's DNS server, for `tunnel connect`.
 *
 *   start()   systemd-resolved's settings of the device, or resolv.conf rewritten, where the routes
 *             to the resolvers are not enough
 *   after it  a resolv.conf that names other resolvers is followed: they are captured besides the
 *             former, and asked instead; so is systemd-resolved when it asks others
 *   close()   the settings are put back; queries that wait are then answered SERVFAIL (Names), and
 *             the capture may go
 *
 * This machine's resolvers are asked for other names by sockets that are bound to the uplink: their
 * addresses are routed into the device. Of those addresses only port 53 is taken; other TCP goes
 * past the tunnel as before, other UDP is refused.
 */

import { PartStart } from '../base/partstart.ts';
import type { Configuration } from '../config/configuration.ts';
import { namingOptions } from '../config/dnsoptions.ts';
import { routedDomains } from '../dns/naming.ts';
import type { NameService } from '../dns/server/nameservice.ts';
import { sharedDnsAddresses } from '../dns/server/sharedaddresses.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import type { NamePattern } from '../net/name.ts';
import type { Observer } from '../observe/observer.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import type { ResolverStep } from '../system/resolver/detect.ts';
import type { HostChange } from '../system/resolver/hostchange.ts';
import type { HostResolvers } from './hostresolvers.ts';
import type { Machine } from './machine.ts';
import { destinations } from './names.ts';

export interface InterceptionParts {
  readonly configuration: Configuration;
  readonly machine: Machine;
  readonly resolvers: HostResolvers;
  readonly names: NameService;
  readonly captured: CapturedPrefixes;
  /** The tunnel's own. */
  readonly device: string;
  readonly observer: Observer;
}

export class Interception {
  readonly #parts: InterceptionParts;
  readonly #starting = new PartStart();
  /** The last one that was made comes first. */
  readonly #changes: HostChange[] = [];
  #unwatch: () => void = () => {};
  /** What systemd-resolved was told. */
  #domains: readonly string[] | undefined;

  constructor(parts: InterceptionParts) {
    this.#parts = parts;
  }

  /**
   * Has queries come to the device where routes don't. Rejects with TunnelError `dns-*` or
   * `journal`, or with the signal's reason; what was changed by then, close() takes back.
   */
  start(outer: AbortSignal): Promise<void> {
    return this.#starting.run(outer, async (signal) => {
      const { machine, resolvers, captured, observer } = this.#parts;
      const { steps } = resolvers.plan;
      resolvers.warnOfOthers(captured);
      for (const step of steps) {
        if (step.kind === 'routes') continue;
        await this.#apply(step);
        signal.throwIfAborted();
      }
      const asksResolved = steps.some(({ kind }) => kind === 'resolved');
      this.#unwatch = machine.watchResolvers(() => void this.#follow(), observer, asksResolved);
    });
  }

  /**
   * Has systemd-resolved, where it is asked, send the names of this configuration here. Resolves
   * with what takes that back. Rejects with TunnelError `dns-resolved`; then the former domains
   * are set again.
   */
  async setDomains(next: Configuration): Promise<() => Promise<void>> {
    const { machine, resolvers, names, device, observer } = this.#parts;
    const former = this.#domains;
    const domains = routedDomains(namingOptions(next));
    const isTold = resolvers.plan.steps.some(({ kind }) => kind === 'resolved');
    if (!isTold || former === undefined || former.join() === domains.join()) return async () => {};
    const set = async (wanted: readonly string[]) => {
      const servers = [...names.addresses];
      const change = machine.resolved({ device, servers, domains: wanted, observer });
      await change.apply();
      this.#changes.unshift(change);
      this.#domains = wanted;
    };
    try {
      await set(domains);
    } catch (error) {
      await set(former);
      throw error;
    }
    return () => set(former);
  }

  /**
   * May be called more than once. Rejects with TunnelError `dns-undo` when something could not be
   * put back; the rest is all the same.
   */
  async close(): Promise<void> {
    await this.#starting.end(new TunnelError('capture-closed', 'the tunnel is stopping'));
    this.#unwatch();
    let failure: TunnelError | undefined;
    for (const change of this.#changes.splice(0)) {
      try {
        await change.undo();
      } catch (cause) {
        const why = reasonOf(cause);
        failure ??= new TunnelError(
          'dns-undo',
          `${change.describe()} could not be put back: ${why}`,
          { hint: 'run "tunnel clean"', cause },
        );
      }
    }
    if (failure !== undefined) throw failure;
  }

  async #apply(step: Exclude<ResolverStep, { kind: 'routes' }>): Promise<void> {
    const { configuration, machine, names, device, observer } = this.#parts;
    const servers = [...names.addresses];
    if (step.kind === 'file') {
      const change = machine.resolvConf(servers, device);
      await change.apply();
      this.#changes.unshift(change);
      observer.log('notice', `resolv.conf is rewritten: ${step.why}`);
      return;
    }
    warnOfShortNames(configuration, observer);
    const domains = routedDomains(namingOptions(configuration));
    const change = machine.resolved({ device, servers, domains, observer });
    await change.apply();
    this.#changes.unshift(change);
    this.#domains = domains;
  }

  /** This machine's resolvers may have changed. Never rejects. */
  async #follow(): Promise<void> {
    const { resolvers, names, captured, observer } = this.#parts;
    // The file may be ours: start() has rewritten it.
    const own = new Set([...names.addresses, ...sharedDnsAddresses(names.addresses)]);
    if (!resolvers.update(own)) return;
    const { uplinks } = resolvers.plan;
    // Even if they can't be captured: the earlier ones may no longer be reachable from here.
    names.setLocal(destinations(uplinks));
    try {
      await captured.refresh();
      if (this.#starting.ended) return;
      observer.log('notice', `this machine's resolvers are ${uplinks.join(', ') || 'none'} now`);
      resolvers.warnOfOthers(captured);
    } catch (error) {
      if (this.#starting.ended) return;
      const message = reasonOf(error);
      observer.log(
        'warning',
        `the resolvers ${resolvers.plan.resolvers.join(', ')} can't be captured (${message}): names that are asked for there are not the tunnel's; start it again`,
      );
    }
  }
}

/** resolved.conf(5), ResolveUnicastSingleLabel=: it takes them for names of the local network. */
function warnOfShortNames({ nameTargets }: Configuration, observer: Observer): void {
  const short = nameTargets.map(({ pattern }) => pattern).filter(isShort);
  if (short.length === 0) return;
  observer.log(
    'warning',
    `systemd-resolved asks no server for names without a dot: programs don't find ${short.map(({ name }) => name).join(', ')}`,
    {
      hint: 'name the target with its domain, use "tunnel exec", or set ResolveUnicastSingleLabel=yes in resolved.conf',
    },
  );
}

function isShort({ name, below }: NamePattern): boolean {
  return !below && !name.includes('.');
}
