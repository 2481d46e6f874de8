/**
 * Which target of the run a destination belongs to, as a label: the text that the user has written.
 *
 * Labels are few, because Prometheus keeps a series of each. The first MAX_TARGETS networks and the
 * first MAX_TARGETS names are looked at, and a run has at most MAX_TARGETS labels in all, those
 * that reloads have taken away included. What is beyond is OTHER, and counted. So is what belongs
 * to no target, such as a name that a proxy was asked for and that is resolved behind the jump
 * host.
 */
import type { TargetRules } from '../config/configuration.ts';
import { isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import type { NamePattern } from '../net/name.ts';
import { portsInclude } from '../net/ports.ts';
import { hostPrefix, prefixContains } from '../net/prefix.ts';
import type { Observer } from '../observe/observer.ts';

export const MAX_TARGETS = 64;
export const OTHER = 'other';

export type Targets = Pick<TargetRules, 'targets' | 'nameTargets'>;

export class TargetLabels {
  readonly #targets: () => Targets;
  readonly #observer: Observer;
  readonly #labels = new Set<string>();

  /** `targets` is asked for each flow: a reload may change them. */
  constructor(targets: () => Targets, observer: Observer) {
    this.#targets = targets;
    this.#observer = observer;
  }

  /**
   * Labels that flows may get: those of all targets, unless they are more than MAX_TARGETS; then
   * only those that flows have had.
   */
  expected(): Iterable<string> {
    const { targets, nameTargets } = this.#targets();
    const all = new Set([...this.#labels, ...[...targets, ...nameTargets].map(({ text }) => text)]);
    return [...(all.size > MAX_TARGETS ? this.#labels : all), OTHER];
  }

  /** The narrowest target that contains it. */
  of(destination: Destination): string {
    const found = isAddress(destination.host)
      ? this.#ofAddress(destination)
      : this.#ofName(destination);
    const { targets, nameTargets } = this.#targets();
    const overLimit =
      found === undefined
        ? Math.max(targets.length, nameTargets.length) > MAX_TARGETS
        : !this.#labels.has(found) && this.#labels.size >= MAX_TARGETS;
    if (overLimit) this.#observer.count('tunnel_metrics_targets_other_total');
    if (found === undefined || overLimit) return OTHER;
    this.#labels.add(found);
    return found;
  }

  #ofAddress({ host, port }: Destination): string | undefined {
    const address = hostPrefix(host);
    let best: Targets['targets'][number] | undefined;
    for (const target of this.#targets().targets.slice(0, MAX_TARGETS)) {
      if (best !== undefined && best.prefix.length >= target.prefix.length) continue;
      if (prefixContains(target.prefix, address) && permits(target.ports, port)) best = target;
    }
    return best?.text;
  }

  #ofName({ host, port }: Destination): string | undefined {
    let best: Targets['nameTargets'][number] | undefined;
    for (const target of this.#targets().nameTargets.slice(0, MAX_TARGETS)) {
      if (best !== undefined && best.pattern.name.length >= target.pattern.name.length) continue;
      if (matches(target.pattern, host) && permits(target.ports, port)) best = target;
    }
    return best?.text;
  }
}

function permits(ports: Targets['targets'][number]['ports'], port: number): boolean {
  return ports.length === 0 || portsInclude(ports, port);
}

function matches({ name, below }: NamePattern, host: string): boolean {
  return below ? host.endsWith(`.${name}`) : host === name;
}
