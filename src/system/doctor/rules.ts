/**
 * doctor's check of routing rules that come before the main table (ip-rule(8)), where the tunnel's
 * routes are. Other VPNs and network managers make such rules.
 *
 *   rules ──► those before the main table, for what programs send
 *               ├─► refuses what a target has             in the way
 *               ├─► its table has a route for the first address of a target (RTM_GETROUTE), or for
 *               │   a part of a target                    in the way
 *               └─► neither                               told, no more
 */
import { addressFromNumber } from '../../net/address.ts';
import {
  formatPrefix,
  type Prefix,
  parsePrefix,
  prefixBounds,
  prefixContains,
} from '../../net/prefix.ts';
import { type Finding, summary } from './diagnosis.ts';
import { askIp, DEFAULT_ROUTE, type RouteEntry, type RuleEntry, routePrefix } from './ip.ts';

const MAIN_RULE = 32_766;
/** Targets for which the kernel is asked. */
const MAX_ASKED = 16;
const USUAL_TABLES = ['main', 'local', 'default'];
/** The kernel looks on in the next table. */
const LOOK_ON = 'throw';

/** Rules and routes of one family. */
export interface RoutingTables {
  rules(family: 4 | 6): Promise<RuleEntry[] | undefined>;
  /** What the kernel answers for an address (RTM_GETROUTE); undefined: it has no route. */
  routeTo(address: string): Promise<RouteEntry | undefined>;
  /** Of one table. */
  routes(family: 4 | 6, table: string): Promise<readonly RouteEntry[]>;
}

const KERNEL: RoutingTables = {
  rules: (family) => askIp<RuleEntry>(`-${family}`, 'rule', 'show'),
  routeTo: async (address) => (await askIp<RouteEntry>('route', 'get', address))?.[0],
  // A table that nobody has put a route into doesn't exist.
  routes: async (family, table) =>
    (await askIp<RouteEntry>(`-${family}`, 'route', 'show', 'table', table)) ?? [],
};

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
    const before = rules.filter(comesBeforeMain);
    found.push(...before.map((rule) => `IPv${family} ${describeRule(rule)}`));
    const wanted = targets.filter((target) => target.family === family);
    winning.push(...(await winners(before, wanted, rules, tables)));
  }
  if (found.length === 0) return { name, state: 'ok', detail: 'none comes before the main table' };
  if (winning.length > 0)
    return {
      name,
      state: 'warning',
      detail: summary(winning),
      hint: 'another VPN or a network manager made the rule: connect ends because of it, or goes on without what it covers with --allow-diverted; exec is not affected',
    };
  const why = targets.length === 0 ? 'no targets are given to compare' : 'none applies to a target';
  return { name, state: targets.length === 0 ? 'note' : 'ok', detail: `${summary(found)}; ${why}` };
}

function comesBeforeMain({ priority = 0, table, action }: RuleEntry): boolean {
  const decides = table !== undefined || action !== undefined;
  return priority > 0 && priority < MAIN_RULE && decides && table !== 'main';
}

function describeRule({ priority = 0, table, action, ...rule }: RuleEntry): string {
  const { src = 'all', dst, dstlen, fwmark, not } = rule;
  const to = dst === undefined ? '' : ` to ${dst}${dstlen === undefined ? '' : `/${dstlen}`}`;
  const mark = fwmark === undefined ? '' : ` fwmark ${fwmark}`;
  const what = action ?? `lookup ${table}`;
  return `${priority}: ${not === undefined ? '' : 'not '}from ${src}${to}${mark} ${what}`;
}

/** What of the targets goes elsewhere. `all`: the rules of the family. */
async function winners(
  before: readonly RuleEntry[],
  targets: readonly Prefix[],
  all: readonly RuleEntry[],
  tables: RoutingTables,
): Promise<string[]> {
  const winning: string[] = [];
  const ownTables = new Set<string | undefined>();
  for (const target of before.length === 0 ? [] : targets.slice(0, MAX_ASKED)) {
    const winner = await winnerOver(target, all, tables);
    if (winner === undefined) continue;
    ownTables.add(winner.table);
    winning.push(winner.told);
  }
  for (const rule of before.filter(isForPrograms)) {
    const { table, action, priority } = rule;
    const covered = targets.filter((target) => overlaps(ruleTarget(rule, target.family), target));
    if (action !== undefined)
      winning.push(
        ...covered.map(
          (target) => `rule ${priority} (${action}) applies to ${formatPrefix(target)}`,
        ),
      );
    // Its routes may be for a part of a target.
    else if (table !== undefined && !ownTables.has(table))
      winning.push(...(await partsIn(table, rule, covered, all, tables)));
  }
  return winning;
}

/** Programs' packets have no mark, and the rule may ask for more than their destination. */
function isForPrograms({ src = 'all', fwmark, iif, not }: RuleEntry): boolean {
  if (not !== undefined) return true;
  return src === 'all' && fwmark === undefined && iif === undefined;
}

/** What the rule says about destinations. */
function ruleTarget({ dst, dstlen, not }: RuleEntry, family: 4 | 6): Prefix {
  const text = dst === undefined || not !== undefined ? DEFAULT_ROUTE[family] : dst;
  const length = text === dst && dstlen !== undefined ? `/${dstlen}` : '';
  return parsePrefix(`${text}${length}`).prefix;
}

function overlaps(one: Prefix, other: Prefix): boolean {
  return prefixContains(one, other) || prefixContains(other, one);
}

async function partsIn(
  table: string,
  rule: RuleEntry,
  targets: readonly Prefix[],
  all: readonly RuleEntry[],
  tables: RoutingTables,
): Promise<string[]> {
  const [{ family } = { family: undefined }] = targets;
  if (family === undefined) return [];
  const parts: string[] = [];
  for (const route of await tables.routes(family, table)) {
    const prefix = routePrefix(route, family);
    if (prefix === undefined || route.type === LOOK_ON) continue;
    if (prefix.length <= (rule.suppress_prefixlen ?? -1)) continue;
    const target = targets.find((wanted) => overlaps(prefix, wanted));
    // A route for the whole target that the kernel doesn't take is for some programs only.
    if (target === undefined || (prefixContains(prefix, target) && !isForSome(rule))) continue;
    if (isAskedOfMainFirst(target, rule, all)) continue;
    const part = prefixContains(prefix, target) ? target : prefix;
    const some = isForSome(rule) ? ' for some programs' : '';
    parts.push(
      `${formatPrefix(part)} goes by table ${table}${some} (${route.type ?? `dev ${route.dev ?? '?'}`}), which comes before the main table`,
    );
  }
  return parts;
}

/** RTM_GETROUTE asks without a port, as this user. */
function isForSome({ uid_start, ipproto, sport, dport, tos, oif }: RuleEntry): boolean {
  return [uid_start, ipproto, sport, dport, tos, oif].some((condition) => condition !== undefined);
}

/** What wins over the tunnel's route for the first address; undefined: nothing. */
async function winnerOver(
  target: Prefix,
  rules: readonly RuleEntry[],
  { routeTo }: RoutingTables,
): Promise<{ readonly table: string; readonly told: string } | undefined> {
  const { first, last } = prefixBounds(target);
  const address = addressFromNumber(last > first ? first + 1n : first, target.family);
  const { table, dev = '?' } = (await routeTo(address)) ?? {};
  if (table === undefined || USUAL_TABLES.includes(table)) return undefined;
  const by = rules.find((rule) => rule.table === table && comesBeforeMain(rule));
  if (by !== undefined && isAskedOfMainFirst(target, by, rules)) return undefined;
  return {
    table,
    told: `${address} goes by table ${table} (dev ${dev}), which comes before the main table`,
  };
}

/** wg-quick has the main table asked first, for all but its default route. */
function isAskedOfMainFirst(target: Prefix, by: RuleEntry, rules: readonly RuleEntry[]): boolean {
  return rules.some(
    (rule) =>
      rule.table === 'main' &&
      rule.fwmark === undefined &&
      (rule.src ?? 'all') === 'all' &&
      (rule.priority ?? 0) < (by.priority ?? 0) &&
      (rule.suppress_prefixlen ?? -1) < Math.max(1, target.length),
  );
}
