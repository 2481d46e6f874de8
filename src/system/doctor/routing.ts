/**
 * doctor's checks of this machine's routes and resolvers that may conflict with the tunnel's
 * routes. The kernel takes the longest prefix of the main table. rules.ts looks at what comes
 * before that.
 */
import { isAddress } from '../../net/address.ts';
import { formatPrefix, type Prefix, parsePrefix, prefixContains } from '../../net/prefix.ts';
import { PrefixSet, subtractPrefixes } from '../../net/prefixset.ts';
import { resolverConfiguration } from '../resolver/resolvconf.ts';
import type { Finding } from './diagnosis.ts';
import { summary } from './diagnosis.ts';
import {
  type AskIp,
  askIp,
  DEFAULT_ROUTE,
  type LinkEntry,
  type RouteEntry,
  routePrefix,
} from './ip.ts';

/** A target of 0/0 may be written as two halves. */
const HALF = 1;
/** What the kernel takes for an IPv6 route that is added without a metric (IP6_RT_PRIO_USER). */
const IPV6_METRIC = 1024;
/** rtm_protocol of a tunnel's routes (native/netlink.h). */
const TUNNEL_PROTOCOL = '116';

export interface RoutesContext {
  /** Prefixes that the user has left out: what their routes cover is none of the tunnel's. */
  readonly exclusions?: readonly Prefix[];
}

export async function lookAtRoutes(
  targets: readonly Prefix[],
  { exclusions = [] }: RoutesContext = {},
  routesOf: (family: 4 | 6) => Promise<RouteEntry[] | undefined> = (family) =>
    askIp<RouteEntry>(`-${family}`, 'route', 'show', 'table', 'main'),
): Promise<Finding> {
  const name = 'routes';
  if (targets.length === 0)
    return { name, state: 'note', detail: 'no targets are given to compare them with' };
  const found: string[] = [];
  for (const family of [4, 6] as const) {
    const wanted = targets.filter((target) => target.family === family);
    if (wanted.length === 0) continue;
    const routes = await routesOf(family);
    if (routes === undefined)
      return { name, state: 'note', detail: 'not known: ip (iproute2) is not installed' };
    const left = (prefix: Prefix) => exclusions.some((outer) => prefixContains(outer, prefix));
    found.push(...routes.flatMap((route) => conflicts(route, wanted, left)));
  }
  if (found.length === 0) return { name, state: 'ok', detail: 'none is in the way of the targets' };
  return {
    name,
    state: 'warning',
    detail: summary(found),
    hint: 'connect leaves out networks that this machine is connected to (or takes them with --capture-local), and overrides the other routes; -x leaves out what is to go its own way; exec is not affected',
  };
}

function conflicts(
  route: RouteEntry,
  targets: readonly Prefix[],
  isLeftOut: (prefix: Prefix) => boolean,
): string[] {
  const [{ family }] = targets as [Prefix, ...Prefix[]];
  const prefix = routePrefix(route, family);
  // A target of everything doesn't conflict with the default route: it is captured as two halves.
  if (prefix === undefined || prefix.length === 0 || isLeftOut(prefix)) return [];
  const target = targets.find((wanted) => prefixContains(wanted, prefix));
  if (target === undefined) return [];
  // Who captures everything doesn't expect this machine's own networks to be captured as well.
  const isOwnNetwork = route.protocol === 'kernel' || route.scope === 'link';
  if (target.length <= HALF && isOwnNetwork) return [];
  const equal = prefix.length === target.length;
  // The tunnel's have no metric of their own, and the least one wins.
  if (equal && (route.metric ?? 0) > (family === 4 ? 0 : IPV6_METRIC)) return [];
  const text = `${formatPrefix(prefix)} ${route.type ?? `dev ${route.dev ?? '?'}`}`;
  if (route.protocol === TUNNEL_PROTOCOL) return [`${text} belongs to another tunnel`];
  return [equal ? `${text} is there already` : `${text} wins over ${formatPrefix(target)}`];
}

export function lookAtResolver(
  targets: readonly Prefix[],
  configuration = resolverConfiguration(),
): Finding {
  const name = 'resolver';
  const { resolvers } = configuration;
  const captured = new PrefixSet(targets);
  const inside = resolvers.filter((address) => isAddress(address) && captured.contains(address));
  const kind = resolvers.includes('127.0.0.53') ? ' (systemd-resolved)' : '';
  if (inside.length === 0)
    return {
      name,
      state: 'ok',
      detail: `this machine asks ${resolvers.join(', ')}${kind}, which was not tried`,
    };
  return { name, state: 'warning', ...capturedResolver(inside) };
}

/** What to say of resolvers that are targets of a tunnel that doesn't answer queries. */
export function capturedResolver(
  inside: readonly string[],
): Pick<Finding, 'detail'> & { readonly hint: string } {
  return {
    detail: `the targets contain the resolver ${inside.join(', ')}: names stop resolving, because connect carries no UDP`,
    hint: `have them answered through the tunnel with --dns, or leave it out with ${inside.map((address) => `-x ${address}`).join(' ')}`,
  };
}

/** 0/0 without ::/0 on a machine with IPv6: programs prefer the addresses that are left out. */
export async function lookAtIPv6(
  targets: readonly Prefix[],
  exclusions: readonly Prefix[] = [],
  hasDefaultRoute: () => Promise<boolean | undefined> = async () => {
    const routes = await askIp<RouteEntry>('-6', 'route', 'show', 'default');
    return routes === undefined ? undefined : routes.length > 0;
  },
): Promise<Finding> {
  const name = 'ipv6';
  const covered = (family: 4 | 6): boolean => {
    const whole = parsePrefix(DEFAULT_ROUTE[family]).prefix;
    return (
      subtractPrefixes(
        [whole],
        targets.filter((target) => target.family === family),
      ).length === 0
    );
  };
  const onPurpose = exclusions.some((prefix) => prefix.family === 6 && prefix.length === 0);
  if (!covered(4) || covered(6) || onPurpose)
    return { name, state: 'ok', detail: 'the targets leave no family out by mistake' };
  const route = await hasDefaultRoute();
  if (route === undefined)
    return { name, state: 'note', detail: 'not known: ip (iproute2) is not installed' };
  if (!route) return { name, state: 'ok', detail: 'left out of the targets, and not in use here' };
  return {
    name,
    state: 'warning',
    detail:
      'all of IPv4 is a target, but IPv6 is not, and this machine has it: programs reach whatever has an IPv6 address past the tunnel',
    hint: 'add the target ::/0, or leave IPv6 out on purpose with -x ::/0',
  };
}

/** The least that IPv6 needs (RFC 8200 §5); below it tunnels and VPNs lose packets. */
const LEAST_MTU = 1280;

/** `jumpHost`: the address that is dialled; undefined: not known, as behind a ProxyCommand. */
export async function lookAtMtu(
  jumpHost: string | undefined,
  ask: AskIp = askIp,
): Promise<Finding> {
  const name = 'mtu';
  if (jumpHost === undefined)
    return { name, state: 'note', detail: 'not known: the address of the jump host is not known' };
  const [address = '', zone] = jumpHost.split('%');
  const link = zone === undefined ? [] : ['oif', zone];
  const [route] = (await ask<RouteEntry>('route', 'get', address, ...link)) ?? [];
  const [device] =
    route?.dev === undefined
      ? []
      : ((await ask<LinkEntry>('link', 'show', 'dev', route.dev)) ?? []);
  if (route?.dev === undefined || device?.mtu === undefined)
    return { name, state: 'note', detail: `not known: no route to ${jumpHost} is known` };
  const learned = route.metrics?.find((metric) => metric.mtu !== undefined)?.mtu;
  const mtu = Math.min(device.mtu, learned ?? device.mtu);
  const detail = `${mtu} octets to ${jumpHost}, by ${route.dev}`;
  if (mtu >= LEAST_MTU) return { name, state: 'ok', detail };
  return {
    name,
    state: 'warning',
    detail: `${detail}: less than ${LEAST_MTU}`,
    hint: `look for another VPN or tunnel on the way, or set the MTU: ip link set ${route.dev} mtu ${LEAST_MTU}`,
  };
}
