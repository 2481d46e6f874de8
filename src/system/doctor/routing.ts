/**
 * doctor's checks of this machine's routes, rules and resolvers that may conflict with the tunnel's
 * routes. The kernel takes the longest prefix of the main table, but rules with a number below the
 * main table's (32766) come first.
 */
import { addressFromNumber, isAddress } from '../../net/address.ts';
import {
  formatPrefix,
  type Prefix,
  parsePrefix,
  prefixBounds,
  prefixContains,
} from '../../net/prefix.ts';
import { PrefixSet, subtractPrefixes } from '../../net/prefixset.ts';
import { resolverConfiguration } from '../resolver/resolvconf.ts';
import type { Finding } from './diagnosis.ts';
import { type AskIp, askIp, type LinkEntry, type RouteEntry, type RuleEntry } from './ip.ts';

const MAIN_RULE = 32_766;
const MAX_NAMED = 5;
/** Targets for which the kernel is asked. */
const MAX_ASKED = 16;
/** A target of 0/0 may be written as two halves. */
const HALF = 1;
const USUAL_TABLES = ['main', 'local', 'default'];
/** rtm_protocol of a tunnel's routes (native/netlink.h). */
const TUNNEL_PROTOCOL = '116';
const DEFAULT_ROUTE: Readonly<Record<4 | 6, string>> = { 4: '0.0.0.0/0', 6: '::/0' };

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
  if (target.length <= HALF && route.protocol === 'kernel') return [];
  const text = `${formatPrefix(prefix)} dev ${route.dev ?? '?'}`;
  if (route.protocol === TUNNEL_PROTOCOL) return [`${text} belongs to another tunnel`];
  return [
    prefix.length === target.length
      ? `${text} is there already`
      : `${text} wins over ${formatPrefix(target)}`,
  ];
}

function routePrefix({ dst }: RouteEntry, family: 4 | 6): Prefix | undefined {
  if (dst === undefined) return undefined;
  const text = dst === 'default' ? DEFAULT_ROUTE[family] : dst;
  return isAddress(text.replace(/\/\d+$/, '')) ? parsePrefix(text).prefix : undefined;
}

/** Rules and routes of one family, as lookAtRules asks for them. */
export interface RoutingTables {
  rules(family: 4 | 6): Promise<RuleEntry[] | undefined>;
  /** What the kernel answers for an address (RTM_GETROUTE); undefined: it has no route. */
  routeTo(address: string): Promise<RouteEntry | undefined>;
}

const KERNEL: RoutingTables = {
  rules: (family) => askIp<RuleEntry>(`-${family}`, 'rule', 'show'),
  routeTo: async (address) => (await askIp<RouteEntry>('route', 'get', address))?.[0],
};

/**
 * Rules that come before the main table, where the tunnel's routes are. Whether they would win is
 * asked of the kernel, with the first address of each target.
 */
export async function lookAtRules(
  targets: readonly Prefix[],
  tables: RoutingTables = KERNEL,
): Promise<Finding> {
  const name = 'rules';
  const found: string[] = [];
  const winning: string[] = [];
  for (const family of [4, 6] as const) {
    const rules = await tables.rules(family);
    if (rules === undefined)
      return { name, state: 'note', detail: 'not known: ip (iproute2) is not installed' };
    const others = rules.filter(comesBeforeMain);
    found.push(...others.map((rule) => `IPv${family} ${describeRule(rule)}`));
    if (others.length === 0) continue;
    const wanted = targets.filter((target) => target.family === family).slice(0, MAX_ASKED);
    for (const target of wanted) {
      const winner = await winnerOver(target, rules, tables);
      if (winner !== undefined) winning.push(winner);
    }
  }
  if (found.length === 0) return { name, state: 'ok', detail: 'none comes before the main table' };
  if (winning.length > 0)
    return {
      name,
      state: 'warning',
      detail: summary(winning),
      hint: 'another VPN or a network manager made the rule: connect ends because of it, or goes on without what its table covers with --allow-diverted; exec is not affected',
    };
  const why = targets.length === 0 ? 'no targets are given to compare' : 'none applies to a target';
  return { name, state: targets.length === 0 ? 'note' : 'ok', detail: `${summary(found)}; ${why}` };
}

function comesBeforeMain({ priority = 0, table = '?' }: RuleEntry): boolean {
  return priority > 0 && priority < MAIN_RULE && table !== 'main';
}

function describeRule({ priority = 0, table = '?', src = 'all', fwmark }: RuleEntry): string {
  const mark = fwmark === undefined ? '' : ` fwmark ${fwmark}`;
  return `${priority}: from ${src}${mark} lookup ${table}`;
}

/** What wins over the tunnel's route for the target; undefined: nothing. */
async function winnerOver(
  target: Prefix,
  rules: readonly RuleEntry[],
  { routeTo }: RoutingTables,
): Promise<string | undefined> {
  const { first, last } = prefixBounds(target);
  const address = addressFromNumber(last > first ? first + 1n : first, target.family);
  const { table, dev = '?' } = (await routeTo(address)) ?? {};
  if (table === undefined || USUAL_TABLES.includes(table)) return undefined;
  const by = rules.find((rule) => rule.table === table && comesBeforeMain(rule));
  // wg-quick has the main table asked first, for all but its default route.
  const mainFirst = rules.some(
    (rule) =>
      rule.table === 'main' &&
      rule.fwmark === undefined &&
      (rule.src ?? 'all') === 'all' &&
      (rule.priority ?? 0) < (by?.priority ?? 0) &&
      (rule.suppress_prefixlen ?? -1) < Math.max(1, target.length),
  );
  if (mainFirst) return undefined;
  return `${address} goes by table ${table} (dev ${dev}), which comes before the main table`;
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
  if (inside.length === 0) return { name, state: 'ok', detail: `${resolvers.join(', ')}${kind}` };
  return { name, state: 'warning', ...capturedResolver(inside) };
}

/** What to say of resolvers that are targets of a tunnel that doesn't answer queries. */
export function capturedResolver(
  inside: readonly string[],
): Pick<Finding, 'detail'> & { readonly hint: string } {
  return {
    detail: `the targets contain the resolver ${inside.join(', ')}, and connect does not carry queries unless it answers them`,
    hint: `have them answered through the tunnel with --dns, or leave it out with ${inside.map((address) => `-x ${address}`).join(' ')}`,
  };
}

function summary(found: readonly string[]): string {
  const rest = found.length > MAX_NAMED ? `; and ${found.length - MAX_NAMED} more` : '';
  return found.slice(0, MAX_NAMED).join('; ') + rest;
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
  const [route] = (await ask<RouteEntry>('route', 'get', jumpHost)) ?? [];
  const [link] =
    route?.dev === undefined
      ? []
      : ((await ask<LinkEntry>('link', 'show', 'dev', route.dev)) ?? []);
  if (route?.dev === undefined || link?.mtu === undefined)
    return { name, state: 'note', detail: `not known: no route to ${jumpHost} is known` };
  const learned = route.metrics?.find((metric) => metric.mtu !== undefined)?.mtu;
  const mtu = Math.min(link.mtu, learned ?? link.mtu);
  const detail = `${mtu} octets to ${jumpHost}, by ${route.dev}`;
  if (mtu >= LEAST_MTU) return { name, state: 'ok', detail };
  return {
    name,
    state: 'warning',
    detail: `${detail}: less than ${LEAST_MTU}`,
    hint: `look for another VPN or tunnel on the way, or set the MTU: ip link set ${route.dev} mtu ${LEAST_MTU}`,
  };
}
