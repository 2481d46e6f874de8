/**
 * Turns endpoints into targets: the hosts and ports that a cloud's clients connect to, each once,
 * by name if the catalog has a name. A tunnel captures them for the cloud, and asks the jump host
 * to open them.
 */
import type { NameTarget, Target } from '../../config/configuration.ts';
import { TunnelError } from '../../errors/errors.ts';
import { isAddress } from '../../net/address.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import { isLocalhost } from '../../net/name.ts';
import { hostPrefix } from '../../net/prefix.ts';
import { specialRangeOf } from '../../net/special.ts';
import { destinationOf } from '../keystone/http.ts';

/** A cloud has at most one host per service; more targets mean a broken catalog. */
export const MAX_CLOUD_TARGETS = 256;

export interface CloudTarget extends Destination {
  /** Types of the services at this address, in the order of the catalog. */
  readonly services: readonly string[];
  /** Whether only version documents name it. */
  readonly linked: boolean;
}

export interface CloudRules {
  readonly targets: readonly Target[];
  readonly nameTargets: readonly NameTarget[];
}

export interface Address {
  readonly url: URL;
  readonly type: string;
  readonly linked: boolean;
}

/**
 * Each host and port once. An address that can't be a target is skipped, with a warning to `warn`:
 * for example a loopback address in a catalog, which would be the jump host's own.
 */
export function cloudTargets(
  addresses: readonly Address[],
  warn: (message: string) => void,
): CloudTarget[] {
  const found = new Map<string, { target: Destination; services: Set<string>; linked: boolean }>();
  for (const { url, type, linked } of addresses) {
    const target = targetOf(url, type, warn);
    if (target === undefined) continue;
    const key = formatDestination(target);
    const known = found.get(key);
    if (known !== undefined) {
      known.services.add(type);
      known.linked &&= linked;
    } else if (found.size < MAX_CLOUD_TARGETS) {
      found.set(key, { target, services: new Set([type]), linked });
    } else {
      warn(
        `the cloud has more than ${MAX_CLOUD_TARGETS} addresses; ${key} and all after it are left out`,
      );
      break;
    }
  }
  return [...found.values()].map(({ target, services, linked }) => ({
    ...target,
    services: [...services],
    linked,
  }));
}

function targetOf(
  url: URL,
  type: string,
  warn: (message: string) => void,
): Destination | undefined {
  let target: Destination;
  try {
    target = destinationOf(url);
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    warn(`${type}: ${error.message}`);
    return undefined;
  }
  const { host } = target;
  const special = isAddress(host) ? specialRangeOf(hostPrefix(host)) : undefined;
  if (isLocalhost(host) || special !== undefined) {
    const what = special?.reason ?? 'the jump host itself';
    warn(`${type}: ${formatDestination(target)} is ${what}, and is left out`);
    return undefined;
  }
  return target;
}

/** The targets in the form of the policy and the captures, for runs with --os-cloud. */
export function rulesOf(targets: readonly Destination[]): CloudRules {
  const rules = targets.map((target) => {
    const text = formatDestination(target);
    return { host: target.host, ports: [{ first: target.port, last: target.port }], text };
  });
  return {
    targets: rules
      .filter(({ host }) => isAddress(host))
      .map(({ host, ports, text }) => ({ prefix: hostPrefix(host), ports, text })),
    nameTargets: rules
      .filter(({ host }) => !isAddress(host))
      .map(({ host, ports, text }) => ({ pattern: { name: host, below: false }, ports, text })),
  };
}
