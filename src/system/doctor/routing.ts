/**
 * doctor's checks of this machine's routes, rules and resolvers that may conflict with the tunnel's
 * routes. The kernel takes the longest prefix of the main table, but rules with a number below the
 * main table's (32766) come first.
 */
import { spawnSync } from 'node:child_process';
import { isAddress } from '../../net/address.ts';
import { formatPrefix, type Prefix, parsePrefix, prefixContains } from '../../net/prefix.ts';
import { PrefixSet } from '../../net/prefixset.ts';
import { resolverConfiguration } from '../resolver/resolvconf.ts';
import type { Finding } from './diagnosis.ts';

const MAIN_RULE = 32_766;
const IP_TIMEOUT_MS = 5_000;
const MAX_NAMED = 5;
/** rtm_protocol of a tunnel's routes (native/netlink.h). */
const TUNNEL_PROTOCOL = '116';
const DEFAULT_ROUTE: Readonly<Record<4 | 6, string>> = { 4: '0.0.0.0/0', 6: '::/0' };

/** The fields of ip(8)'s output that are needed here. */
export interface RouteEntry {
  readonly dst?: string;
  readonly dev?: string;
  readonly protocol?: string;
}
export interface RuleEntry {
  readonly priority?: number;
  readonly table?: string;
  readonly src?: string;
  readonly fwmark?: string;
}

/** A list that `ip -json` prints; undefined if there is no iproute2. */
function askIp<T>(...args: readonly string[]): T[] | undefined {
  const { status, stdout } = spawnSync('ip', ['-json', ...args], {
    encoding: 'utf8',
    timeout: IP_TIMEOUT_MS,
    env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, LANG: 'C' },
  });
  if (status !== 0) return undefined;
  // An empty list is printed as nothing.
  const list: unknown = stdout.trim() === '' ? [] : JSON.parse(stdout);
  return Array.isArray(list) ? (list as T[]) : undefined;
}

export function lookAtRoutes(
  targets: readonly Prefix[],
  routesOf: (family: 4 | 6) => RouteEntry[] | undefined = (family) =>
    askIp<RouteEntry>(`-${family}`, 'route', 'show', 'table', 'main'),
): Finding {
  const name = 'routes';
  if (targets.length === 0)
    return { name, state: 'note', detail: 'no targets are given to compare them with' };
  const found: string[] = [];
  for (const family of [4, 6] as const) {
    const wanted = targets.filter((target) => target.family === family);
    if (wanted.length === 0) continue;
    const routes = routesOf(family);
    if (routes === undefined)
      return { name, state: 'note', detail: 'not known: ip (iproute2) is not installed' };
    for (const route of routes) found.push(...conflicts(route, family, wanted));
  }
  if (found.length === 0) return { name, state: 'ok', detail: 'none is in the way of the targets' };
  return {
    name,
    state: 'warning',
    detail: summary(found),
    hint: 'with connect, what another route covers does not go through the tunnel; exec is not affected',
  };
}

function conflicts(route: RouteEntry, family: 4 | 6, targets: readonly Prefix[]): string[] {
  const prefix = routePrefix(route, family);
  // A target of everything doesn't conflict with the default route: it is captured as two halves.
  if (prefix === undefined || prefix.length === 0) return [];
  const target = targets.find((wanted) => prefixContains(wanted, prefix));
  if (target === undefined) return [];
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

export function lookAtRules(
  rulesOf: (family: 4 | 6) => RuleEntry[] | undefined = (family) =>
    askIp<RuleEntry>(`-${family}`, 'rule', 'show'),
): Finding {
  const name = 'rules';
  const found: string[] = [];
  for (const family of [4, 6] as const) {
    const rules = rulesOf(family);
    if (rules === undefined)
      return { name, state: 'note', detail: 'not known: ip (iproute2) is not installed' };
    for (const { priority = 0, table = '?', src = 'all', fwmark } of rules) {
      if (priority === 0 || priority >= MAIN_RULE || table === 'main') continue;
      const mark = fwmark === undefined ? '' : ` fwmark ${fwmark}`;
      found.push(`IPv${family} ${priority}: from ${src}${mark} lookup ${table}`);
    }
  }
  if (found.length === 0) return { name, state: 'ok', detail: 'none comes before the main table' };
  return {
    name,
    state: 'warning',
    detail: summary(found),
    hint: 'another VPN or a network manager made them: with connect, what their tables cover does not go through the tunnel; exec is not affected',
  };
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
  return {
    name,
    state: 'warning',
    detail: `the targets contain the resolver ${inside.join(', ')}, and connect does not carry queries unless it answers them`,
    hint: `have them answered through the tunnel with --dns, or leave it out with ${inside.map((address) => `-x ${address}`).join(' ')}`,
  };
}

function summary(found: readonly string[]): string {
  const rest = found.length > MAX_NAMED ? `; and ${found.length - MAX_NAMED} more` : '';
  return found.slice(0, MAX_NAMED).join('; ') + rest;
}
