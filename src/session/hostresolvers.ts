/**
 * The resolvers that this machine's programs ask, as `tunnel connect` sees them: their addresses
 * are captured by route where that is possible, and they are asked for the names that aren't the
 * tunnel's. They change when the machine joins another network.
 */
import type { Configuration } from '../config/configuration.ts';
import { hostPrefix } from '../net/prefix.ts';
import type { Observer } from '../observe/observer.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import type { CaptureRules } from '../policy/policy.ts';
import type { ResolverPlan } from '../system/resolver/detect.ts';
import type { Machine } from './machine.ts';

/**
 * Resolvers that are captured at a time, of all networks that a machine visits. Beyond that the
 * oldest go; they are counted.
 */
const MAX_RESOLVERS = 16;

export class HostResolvers {
  readonly #machine: Pick<Machine, 'resolverPlan'>;
  readonly #observer: Observer;
  #plan: ResolverPlan;
  /** Addresses that are routed into the device, the newest last. */
  readonly #routed: Set<string>;

  constructor(machine: Pick<Machine, 'resolverPlan'>, observer: Observer) {
    this.#machine = machine;
    this.#observer = observer;
    this.#plan = machine.resolverPlan();
    this.#routed = new Set(routedBy(this.#plan));
  }

  get plan(): ResolverPlan {
    return this.#plan;
  }

  /** Canonical addresses that are to be captured; the same set always, which changes. */
  get routed(): ReadonlySet<string> {
    return this.#routed;
  }

  /** What is to be captured: the targets, and the resolvers as they are when it is read. */
  rules({ targets, exclusions }: Configuration): CaptureRules {
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

  /**
   * Reads them again. False: they are what they were, or what stands there now is the tunnel's own
   * (`own`).
   */
  update(own: ReadonlySet<string>): boolean {
    const plan = this.#machine.resolverPlan();
    const { resolvers, uplinks } = plan;
    const before = this.#plan;
    if (resolvers.join() === before.resolvers.join() && uplinks.join() === before.uplinks.join())
      return false;
    if (resolvers.some((address) => own.has(address))) return false;
    const kinds = before.steps.map(({ kind }) => kind);
    // Nothing but routes is made while the tunnel runs, and a file of ours stands no longer.
    const isLost = plan.steps.some(
      ({ kind }) => kind === 'file' || (kind !== 'routes' && !kinds.includes(kind)),
    );
    if (isLost) {
      this.#observer.log(
        'warning',
        `resolv.conf was rewritten and names ${resolvers.join(', ')}: names that are asked for there are not the tunnel's; start it again`,
      );
    }
    this.#plan = plan;
    for (const address of routedBy(plan)) {
      this.#routed.delete(address);
      this.#routed.add(address);
    }
    // The earlier ones stay as well: programs that have read the file before still ask them.
    for (const address of [...this.#routed].slice(0, -MAX_RESOLVERS)) {
      this.#observer.count('tunnel_dns_resolvers_over_limit_total');
      this.#routed.delete(address);
    }
    return true;
  }

  /** Says which of them can't be captured. */
  warnOfOthers(captured: CapturedPrefixes): void {
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
