/**
 * doctor's check of this machine's firewall. Programs send to the targets by the tunnel's device,
 * and the answers come in by it, so a firewall that names other devices only is in the way.
 *
 *   nft -j list ruleset -> the base chains of the hooks output and input -> what happens to one
 *   packet of a connection to a target
 *
 * A rule's condition is true, false or unknown for that packet. Only what is certain is reported:
 * with an unknown condition a packet has several possible ends. nft also shows the rules of
 * iptables-nft; it doesn't show those of iptables-legacy.
 */
import { execFile } from 'node:child_process';
import { isAddress } from '../../net/address.ts';
import type { PortRange } from '../../net/ports.ts';
import {
  formatPrefix,
  hostPrefix,
  type Prefix,
  parsePrefix,
  prefixContains,
} from '../../net/prefix.ts';
import type { Finding } from './diagnosis.ts';
import { ADMINISTRATION_PATH } from './ip.ts';

const NFT_TIMEOUT_MS = 5_000;
const MAX_RULESET_BYTES = 64 * 2 ** 20;
/** Jumps within jumps. nft has the same limit (NFT_JUMP_STACK_SIZE). */
const MAX_DEPTH = 16;
/** As the kernel names the tunnel's device. */
const DEVICE = 'tun0';

type Hook = 'output' | 'input';
type End = 'accept' | 'drop';
/** undefined: unknown. */
type Truth = boolean | undefined;

interface Packet {
  readonly hook: Hook;
  readonly family: 4 | 6;
  /** The target's side. */
  readonly target: Prefix;
  readonly port: number | undefined;
}

interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly type?: string;
  readonly policy?: string;
  readonly rules: readonly unknown[][];
}

/** A target, as far as a firewall may look at it. */
export interface FirewallTarget {
  readonly prefix: Prefix;
  readonly ports: readonly PortRange[];
}

export type ListRuleset = () => Promise<{ readonly json: string } | { readonly why: string }>;

const listRuleset: ListRuleset = () => {
  if (process.geteuid?.() !== 0)
    return Promise.resolve({ why: "only root may read the firewall's rules" });
  const options = {
    timeout: NFT_TIMEOUT_MS,
    maxBuffer: MAX_RULESET_BYTES,
    env: { PATH: ADMINISTRATION_PATH, LANG: 'C' },
  };
  return new Promise((resolve) => {
    execFile('nft', ['-j', 'list', 'ruleset'], options, (error, stdout) => {
      if (error === null) resolve({ json: stdout });
      else
        resolve({
          why: error.code === 'ENOENT' ? 'nft is not installed' : 'nft does not list them',
        });
    });
  });
};

export async function lookAtFirewall(
  targets: readonly FirewallTarget[],
  list: ListRuleset = listRuleset,
): Promise<Finding> {
  const name = 'firewall';
  if (targets.length === 0)
    return { name, state: 'note', detail: 'no targets are given to compare it with' };
  const listed = await list();
  if ('why' in listed) return { name, state: 'note', detail: `not known: ${listed.why}` };
  const chains = readChains(listed.json);
  for (const family of [4, 6] as const) {
    const target = targets.find(({ prefix }) => prefix.family === family);
    if (target === undefined) continue;
    for (const hook of ['output', 'input'] as const) {
      const [range] = target.ports;
      const port = range?.first === range?.last ? range?.first : undefined;
      const packet = { hook, family, target: target.prefix, port };
      const chain = chains.find((found) => isBase(found, packet) && drops(found, packet, chains));
      if (chain === undefined) continue;
      const where = `chain ${chain.name} of table ${chain.family} ${chain.table}`;
      return {
        name,
        state: 'warning',
        detail:
          hook === 'output'
            ? `it drops what programs send to ${formatPrefix(target.prefix)} by the tunnel's device (${where})`
            : `it drops the answers from ${formatPrefix(target.prefix)} that come in by the tunnel's device (${where})`,
        hint: `permit the device there: nft insert rule ${chain.family} ${chain.table} ${chain.name} ${hook === 'output' ? 'oifname' : 'iifname'} "tun*" accept; exec is not affected`,
      };
    }
  }
  return { name, state: 'ok', detail: 'no rule of nft is certain to drop what goes by the tunnel' };
}

function isBase({ family, hook, type }: Chain, packet: Packet): boolean {
  const families = packet.family === 4 ? ['ip', 'inet'] : ['ip6', 'inet'];
  return families.includes(family) && hook === packet.hook && type !== 'nat';
}

function drops(chain: Chain, packet: Packet, chains: readonly Chain[]): boolean {
  const ends = walk(chain, packet, chains, 0);
  const policy: End = chain.policy === 'drop' ? 'drop' : 'accept';
  const all = new Set([...ends].map((end) => (end === 'return' ? policy : end)));
  return all.size === 1 && all.has('drop');
}

/** The possible ends of the packet in this chain. `return`: its last rule was passed. */
function walk(
  { rules, family, table }: Chain,
  packet: Packet,
  chains: readonly Chain[],
  depth: number,
): Set<End | 'return'> {
  const ends = new Set<End | 'return'>();
  if (depth > MAX_DEPTH) return new Set(['accept', 'drop', 'return']);
  for (const statements of rules) {
    const applies = conjunction(statements.map((statement) => holds(statement, packet)));
    if (applies === false) continue;
    const verdict = statements.map(verdictOf).find((found) => found !== undefined);
    if (verdict === undefined) continue;
    let rest = applies !== true;
    if (typeof verdict === 'string') {
      if (verdict === 'unknown') for (const end of ['accept', 'drop'] as const) ends.add(end);
      else ends.add(verdict);
      rest ||= verdict === 'unknown';
    } else {
      const next = chains.find(
        (chain) => chain.family === family && chain.table === table && chain.name === verdict.chain,
      );
      const within = next === undefined ? [] : walk(next, packet, chains, depth + 1);
      for (const end of within) {
        if (end !== 'return') ends.add(end);
        else if (verdict.comesBack) rest = true;
        else ends.add('return');
      }
    }
    if (!rest) return ends;
  }
  return ends.add('return');
}

type Verdict =
  | End
  | 'return'
  /** An extension of iptables that may do anything. */
  | 'unknown'
  | { readonly chain: string; readonly comesBack: boolean };

/** undefined: the statement decides nothing, as `counter`. */
function verdictOf(statement: unknown): Verdict | undefined {
  if (!isRecord(statement)) return undefined;
  if ('accept' in statement) return 'accept';
  if ('drop' in statement || 'reject' in statement) return 'drop';
  if ('return' in statement) return 'return';
  for (const kind of ['jump', 'goto'] as const) {
    const jump = statement[kind];
    if (isRecord(jump) && typeof jump['target'] === 'string')
      return { chain: jump['target'], comesBack: kind === 'jump' };
  }
  const extension = statement['xt'];
  if (isRecord(extension) && extension['type'] === 'target')
    return XT_TARGETS[String(extension['name'])] ?? 'unknown';
  return 'vmap' in statement || 'queue' in statement ? 'unknown' : undefined;
}

const XT_TARGETS: Readonly<Record<string, Verdict>> = {
  ACCEPT: 'accept',
  DROP: 'drop',
  REJECT: 'drop',
};

function conjunction(truths: readonly Truth[]): Truth {
  if (truths.includes(false)) return false;
  return truths.every((truth) => truth === true) ? true : undefined;
}

/** Whether a statement lets the packet pass on to the next one of its rule. */
function holds(statement: unknown, packet: Packet): Truth {
  if (!isRecord(statement)) return undefined;
  const extension = statement['xt'];
  if (isRecord(extension)) return extension['type'] === 'target' ? true : undefined;
  // A limit passes some packets.
  if ('limit' in statement) return undefined;
  const match = statement['match'];
  if (!isRecord(match)) return true;
  const equal = compare(match['left'], match['right'], packet);
  return match['op'] === '!=' && equal !== undefined ? !equal : equal;
}

function compare(left: unknown, right: unknown, packet: Packet): Truth {
  if (!isRecord(left)) return undefined;
  const { hook, family, target, port } = packet;
  const { meta, ct, payload } = left;
  if (isRecord(meta)) {
    const key = String(meta['key']);
    const own = hook === 'output' ? 'oif' : 'iif';
    if (key === own || key === `${own}name`) return any(right, (value) => isDevice(value));
    if (key === 'iif' || key === 'iifname' || key === 'oif' || key === 'oifname') return false;
    if (key === 'l4proto') return any(right, (value) => value === 'tcp' || value === 6);
    if (key === 'nfproto') return any(right, (value) => value === `ipv${family}`);
    return undefined;
  }
  if (isRecord(ct) && ct['key'] === 'state') {
    const state = hook === 'output' ? 'new' : 'established';
    return any(right, (value) => value === state);
  }
  if (!isRecord(payload)) return undefined;
  const { protocol, field } = payload;
  if (protocol === 'ip' || protocol === 'ip6') {
    if (protocol !== (family === 4 ? 'ip' : 'ip6')) return false;
    if (field === 'protocol' || field === 'nexthdr')
      return any(right, (value) => value === 'tcp' || value === 6);
    return field === (hook === 'output' ? 'daddr' : 'saddr')
      ? any(right, (value) => covers(value, target))
      : undefined;
  }
  if (protocol !== 'tcp') return protocol === 'th' ? undefined : false;
  if (port === undefined || field !== (hook === 'output' ? 'dport' : 'sport')) return undefined;
  return any(right, (value) => isPort(value, port));
}

/** Whether one of the values is right: a single one, a list, or a set. */
function any(right: unknown, test: (value: unknown) => Truth): Truth {
  const values = Array.isArray(right)
    ? right
    : isRecord(right) && Array.isArray(right['set'])
      ? right['set']
      : [right];
  const truths = values.map((value) =>
    typeof value === 'string' && value.startsWith('@') ? undefined : test(value),
  );
  if (truths.includes(true)) return true;
  return truths.every((truth) => truth === false) ? false : undefined;
}

function isDevice(value: unknown): Truth {
  if (typeof value !== 'string') return undefined;
  return value.endsWith('*') ? DEVICE.startsWith(value.slice(0, -1)) : value === DEVICE;
}

function covers(value: unknown, target: Prefix): Truth {
  if (typeof value === 'string' && isAddress(value)) return within(hostPrefix(value), target);
  if (!isRecord(value) || !isRecord(value['prefix'])) return undefined;
  const { addr, len } = value['prefix'];
  return typeof addr === 'string' && isAddress(addr)
    ? within(parsePrefix(`${addr}/${Number(len)}`).prefix, target)
    : undefined;
}

/** undefined: some addresses of the target are in `prefix`, and some are not. */
function within(prefix: Prefix, target: Prefix): Truth {
  if (prefix.family !== target.family) return false;
  if (prefixContains(prefix, target)) return true;
  return prefixContains(target, prefix) ? undefined : false;
}

function isPort(value: unknown, port: number): Truth {
  if (typeof value === 'number') return value === port;
  if (!isRecord(value) || !Array.isArray(value['range'])) return undefined;
  const [first, last] = value['range'].map(Number);
  return first === undefined || last === undefined ? undefined : first <= port && port <= last;
}

/** What libnftables prints (libnftables-json(5)). Anything else counts as no rules. */
function readChains(json: string): Chain[] {
  const parsed: unknown = JSON.parse(json);
  const items = isRecord(parsed) && Array.isArray(parsed['nftables']) ? parsed['nftables'] : [];
  const chains = new Map<string, Chain & { rules: unknown[][] }>();
  const keyOf = (...parts: readonly unknown[]): string => parts.join('\0');
  for (const item of items) {
    if (!isRecord(item)) continue;
    const { chain, rule } = item;
    if (isRecord(chain)) {
      const { family, table, name, hook, type, policy } = chain;
      chains.set(keyOf(family, table, name), {
        family: String(family),
        table: String(table),
        name: String(name),
        ...(typeof hook === 'string' && { hook }),
        ...(typeof type === 'string' && { type }),
        ...(typeof policy === 'string' && { policy }),
        rules: [],
      });
    } else if (isRecord(rule)) {
      const { family, table, expr } = rule;
      if (Array.isArray(expr)) chains.get(keyOf(family, table, rule['chain']))?.rules.push(expr);
    }
  }
  return [...chains.values()];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
