/**
 * The device by which packets leave if the tunnel's own routes weren't there.
 *
 * The kernel can't be asked to leave routes out. But for a socket that is bound to a device it
 * looks only at the routes by that device. So it is asked for each device in turn, and of the
 * answers the one is taken that the kernel would have met first:
 *
 *   rules in their order ─► the table of the answer ─► the longest prefix ─► the least metric
 *
 * The socket that is then bound to the device (SO_BINDTODEVICE) takes the same route, however
 * narrow the tunnel's own routes are.
 */
import { hostPrefix, prefixContains } from '../../net/prefix.ts';
import type { KernelRouting } from './kernel.ts';
import {
  ACTION,
  isShared,
  type KernelRoute,
  type KernelRule,
  ROUTE_TYPE,
  type Sample,
} from './rtnetlink.ts';

/** What a table is worth that no rule seems to lead to, although the kernel says so. */
const LAST = Number.MAX_SAFE_INTEGER;

interface Candidate {
  readonly name: string;
  /** By importance; the least wins. */
  readonly order: readonly number[];
}

/**
 * `own`: the tunnel's device. Null: no other device leads there. Undefined: the address belongs to
 * this machine, so no device does. Throws what `routing` throws.
 */
export function uplinkDevice(
  routing: KernelRouting,
  sample: Sample,
  own: string | undefined,
): string | null | undefined {
  const answer = routing.lookUp(sample);
  if (typeof answer === 'number') return null;
  if (answer.type === ROUTE_TYPE.local) return undefined;
  const name = answer.device === 0 ? undefined : routing.deviceName(answer.device);
  const leadsOn = answer.type === ROUTE_TYPE.unicast && !isShared(answer);
  if (name !== undefined && name !== own && leadsOn) return name;
  return firstMet(routing, sample, own)?.name ?? null;
}

function firstMet(
  routing: KernelRouting,
  sample: Sample,
  own: string | undefined,
): Candidate | undefined {
  const rules = routing.rules(hostPrefix(sample.address).family);
  const found: Candidate[] = [];
  for (const { index, name } of routing.devices()) {
    if (name === own) continue;
    const route = routing.lookUp({ ...sample, device: index });
    if (typeof route === 'number' || route.type !== ROUTE_TYPE.unicast) continue;
    // Another tunnel's, which asks the same resolver: a query would go in a circle.
    if (isShared(route)) continue;
    const { destination, metric } = route;
    found.push({
      name,
      order: [priorityOf(route, sample, rules), -destination.length, metric, index],
    });
  }
  return found.toSorted((a, b) => compare(a.order, b.order))[0];
}

/** Of the first rule that may have led to the route. */
function priorityOf(route: KernelRoute, sample: Sample, rules: readonly KernelRule[]): number {
  const rule = rules.find(
    (one) =>
      one.action === ACTION.table &&
      one.table === route.table &&
      (one.suppressedLength === undefined || route.destination.length > one.suppressedLength) &&
      mayApply(one, sample),
  );
  return rule?.priority ?? LAST;
}

/**
 * What selects users and ports is not looked at: the kernel has answered from that table, so one of
 * its rules applies.
 */
function mayApply(
  { source, destination, mark, inverted }: KernelRule,
  { address, source: from }: Sample,
): boolean {
  const applies =
    (destination === undefined || prefixContains(destination, hostPrefix(address))) &&
    (source === undefined || (from !== undefined && prefixContains(source, hostPrefix(from)))) &&
    (mark === undefined || mark === 0);
  return inverted ? !applies : applies;
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [i, value] of a.entries()) {
    const other = b[i] ?? 0;
    if (value !== other) return value - other;
  }
  return 0;
}
