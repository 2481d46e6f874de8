/**
 * What the rules of nftables do to one packet, as far as that can be told from their listing
 * (libnftables-json(5)). Hooks of single devices (ingress, egress) are not looked at.
 *
 *   readRuleset() ─► chains, named sets, maps        a vmap becomes one rule for each element
 *   chainEnds()   ─► the possible ends of the packet in a base chain
 *
 * A rule's condition is true, false or unknown for the packet. With an unknown condition the packet
 * has several possible ends. What these are is certain; which of them it meets is not. So there is
 * also a likely end, for which unknown conditions count as false: most rulesets name what they
 * permit. Walk has the exceptions.
 *
 * nft also lists the rules of iptables-nft. It names their extensions, without what these match.
 */
import { isAddress } from '../../net/address.ts';
import { hostPrefix, type Prefix, parsePrefix, prefixContains } from '../../net/prefix.ts';

/** Jumps within jumps. nft has the same limit (NFT_JUMP_STACK_SIZE). */
const MAX_DEPTH = 16;
/** Flags of a table whose chains are in use. nft 1.0.6 prints a wrong name for `dormant`. */
const FLAGS_IN_USE: readonly unknown[] = ['owner', 'persist'];
/** Flags of a set whose elements come and go. */
const CHANGING: readonly unknown[] = ['dynamic', 'timeout'];

export type Direction = 'out' | 'in';
/** The hooks that a packet of this machine's own programs passes. */
const HOOKS: Readonly<Record<Direction, readonly (string | undefined)[]>> = {
  out: ['output', 'postrouting'],
  in: ['prerouting', 'input'],
};

export type End = 'accept' | 'drop';
/** undefined: unknown. */
type Truth = boolean | undefined;

/** `out`: the first packet of a TCP connection to the target; `in`: what answers it. */
export interface Packet {
  readonly direction: Direction;
  readonly family: 4 | 6;
  /** The device that it leaves by, or that it comes in by. */
  readonly device: string;
  /** The other side. */
  readonly target: Prefix;
  /** The target's. undefined: any. */
  readonly port: number | undefined;
}

export interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly type?: string;
  readonly policy?: string;
  readonly rules: readonly (readonly unknown[])[];
}

export interface Ruleset {
  readonly chains: readonly Chain[];
  /** By keyOf(). */
  readonly sets: ReadonlyMap<string, readonly unknown[]>;
}

export interface ChainEnds {
  readonly possible: ReadonlySet<End>;
  readonly likely: End;
}

/** The base chains that the packet passes. */
export function baseChains({ chains }: Ruleset, { direction, family }: Packet): Chain[] {
  const families = ['inet', family === 4 ? 'ip' : 'ip6'];
  return chains.filter(
    (chain) =>
      families.includes(chain.family) &&
      chain.type !== 'nat' &&
      HOOKS[direction].includes(chain.hook),
  );
}

export function chainEnds(chain: Chain, packet: Packet, ruleset: Ruleset): ChainEnds {
  const policy: End = chain.policy === 'drop' ? 'drop' : 'accept';
  const walk = (unknownHolds: boolean): Set<End> => {
    const ends = new Walk(packet, ruleset, unknownHolds).through(chain, 0);
    return new Set([...ends].map((end) => (end === 'return' ? policy : end)));
  };
  return { possible: walk(true), likely: walk(false).has('accept') ? 'accept' : 'drop' };
}

class Walk {
  readonly #packet: Packet;
  readonly #ruleset: Ruleset;
  /** Otherwise rules with an unknown condition are passed over. */
  readonly #unknownMayHold: boolean;

  constructor(packet: Packet, ruleset: Ruleset, unknownMayHold: boolean) {
    this.#packet = packet;
    this.#ruleset = ruleset;
    this.#unknownMayHold = unknownMayHold;
  }

  /** The possible ends of the packet in this chain. `return`: its last rule was passed. */
  through({ rules, family, table }: Chain, depth: number): Set<End | 'return'> {
    const ends = new Set<End | 'return'>();
    if (depth > MAX_DEPTH) return new Set(['accept', 'drop', 'return']);
    for (const statements of rules) {
      const verdict = statements.map(verdictOf).find((found) => found !== undefined);
      if (verdict === undefined) continue;
      const applies = this.#applies(statements, verdict, { family, table });
      if (applies === false) continue;
      let rest = applies !== true;
      if (typeof verdict === 'string') {
        if (verdict === 'unknown') for (const end of ['accept', 'drop'] as const) ends.add(end);
        else ends.add(verdict);
        rest ||= verdict === 'unknown';
      } else {
        const next = this.#ruleset.chains.find(
          (chain) =>
            chain.family === family && chain.table === table && chain.name === verdict.chain,
        );
        const within = next === undefined ? [] : this.through(next, depth + 1);
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

  #applies(
    statements: readonly unknown[],
    verdict: Verdict,
    at: Pick<Chain, 'family' | 'table'>,
  ): Truth {
    const elements = (name: string) => this.#ruleset.sets.get(keyOf(at.family, at.table, name));
    const truth = conjunction(
      statements.map((statement) => holds(statement, this.#packet, elements)),
    );
    if (this.#unknownMayHold || truth === false) return truth;
    if (verdict === 'unknown') return false;
    return (
      truth ??
      (this.#acceptsAnswers(statements, verdict) || this.#dropsOtherDevices(statements, verdict))
    );
  }

  /** The rule that nearly all rulesets of iptables have: `--ctstate RELATED,ESTABLISHED`. */
  #acceptsAnswers(statements: readonly unknown[], verdict: Verdict): boolean {
    if (this.#packet.direction !== 'in' || verdict !== 'accept') return false;
    const unknown = statements.map(matchOfIptables).filter((name) => name !== undefined);
    return unknown.length > 0 && unknown.every((name) => name === 'conntrack' || name === 'state');
  }

  /** The kill switch of wg-quick(8): whatever goes by another device than the VPN's. */
  #dropsOtherDevices(statements: readonly unknown[], verdict: Verdict): boolean {
    const { direction } = this.#packet;
    return (
      direction === 'out' &&
      verdict === 'drop' &&
      statements.some((statement) => isNotBy(statement))
    );
  }
}

/** Whether the statement is for all devices but some. */
function isNotBy(statement: unknown): boolean {
  const match = isRecord(statement) ? statement['match'] : undefined;
  const left = isRecord(match) ? match['left'] : undefined;
  const meta = isRecord(left) ? left['meta'] : undefined;
  const key = isRecord(meta) ? meta['key'] : undefined;
  return isRecord(match) && match['op'] === '!=' && (key === 'oif' || key === 'oifname');
}

type Verdict =
  | End
  | 'return'
  /** It may do anything. */
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
  if ('xt' in statement && matchOfIptables(statement) === undefined) {
    const extension = statement['xt'];
    return (isRecord(extension) && XT_TARGETS[String(extension['name'])]) || 'unknown';
  }
  return 'vmap' in statement || 'queue' in statement ? 'unknown' : undefined;
}

const XT_TARGETS: Readonly<Record<string, Verdict>> = {
  ACCEPT: 'accept',
  DROP: 'drop',
  REJECT: 'drop',
};

/** The name of a match of iptables. undefined: it is none, or nft doesn't name it. */
function matchOfIptables(statement: unknown): string | undefined {
  const extension = isRecord(statement) ? statement['xt'] : undefined;
  return isRecord(extension) && extension['type'] === 'match'
    ? String(extension['name'])
    : undefined;
}

function conjunction(truths: readonly Truth[]): Truth {
  if (truths.includes(false)) return false;
  return truths.every((truth) => truth === true) ? true : undefined;
}

/** Statements that let every packet pass on. Others, as `limit` and `quota`, stop some. */
const PASSING: ReadonlySet<string> = new Set([
  ...['accept', 'drop', 'reject', 'return', 'jump', 'goto', 'vmap', 'queue'],
  ...['counter', 'log', 'mangle', 'notrack', 'dup', 'ct helper', 'ct timeout', 'secmark'],
]);

type Elements = (name: string) => readonly unknown[] | undefined;

/** Whether a statement lets the packet pass on to the next one of its rule. */
function holds(statement: unknown, packet: Packet, elements: Elements): Truth {
  if (!isRecord(statement)) return undefined;
  if ('xt' in statement) return verdictOf(statement) === undefined ? undefined : true;
  const match = statement['match'];
  if (!isRecord(match))
    return Object.keys(statement).every((key) => PASSING.has(key)) ? true : undefined;
  const left = match['left'];
  // nft also asks for the protocol whose field it looks at, without listing that. So the rule is
  // over here, whatever the operator is.
  if (isOfOtherProtocol(left, packet)) return false;
  const equal = compare(left, match['right'], packet, elements);
  return match['op'] === '!=' && equal !== undefined ? !equal : equal;
}

function isOfOtherProtocol(left: unknown, { family }: Packet): boolean {
  const payload = isRecord(left) ? left['payload'] : undefined;
  const protocol = isRecord(payload) ? payload['protocol'] : undefined;
  if (typeof protocol !== 'string' || protocol === 'tcp' || protocol === 'th') return false;
  return protocol !== (family === 4 ? 'ip' : 'ip6');
}

function compare(left: unknown, right: unknown, packet: Packet, elements: Elements): Truth {
  if (!isRecord(left)) return undefined;
  const { direction, family, target, port, device } = packet;
  const { meta, ct, payload } = left;
  const any = (test: (value: unknown) => Truth): Truth => isOneOf(right, elements, test);
  if (isRecord(meta)) {
    const key = String(meta['key']);
    const own = direction === 'out' ? 'oif' : 'iif';
    if (key === own || key === `${own}name`) return any((value) => isDevice(value, device));
    if (key === 'iif' || key === 'iifname' || key === 'oif' || key === 'oifname') return false;
    if (key === 'l4proto') return any((value) => value === 'tcp' || value === 6);
    if (key === 'nfproto') return any((value) => value === `ipv${family}`);
    return undefined;
  }
  if (isRecord(ct)) {
    const own = CONNECTION[String(ct['key'])]?.[direction];
    return own === undefined ? undefined : any((value) => value === own);
  }
  if (!isRecord(payload)) return undefined;
  const { protocol, field } = payload;
  if (protocol === 'ip' || protocol === 'ip6') {
    if (field === 'protocol' || field === 'nexthdr')
      return any((value) => value === 'tcp' || value === 6);
    return field === (direction === 'out' ? 'daddr' : 'saddr')
      ? any((value) => covers(value, target))
      : undefined;
  }
  if (protocol !== 'tcp' || port === undefined) return undefined;
  return field === (direction === 'out' ? 'dport' : 'sport')
    ? any((value) => isPort(value, port))
    : undefined;
}

/** What conntrack knows about the packet. */
const CONNECTION: Readonly<Record<string, Readonly<Record<Direction, string>>>> = {
  state: { out: 'new', in: 'established' },
  direction: { out: 'original', in: 'reply' },
};

/** Whether one of the values is right: a single one, a list, or a set. */
function isOneOf(right: unknown, elements: Elements, test: (value: unknown) => Truth): Truth {
  const values = valuesOf(right, elements);
  if (values === undefined) return undefined;
  const truths = values.map((value) => test(unwrapped(value)));
  if (truths.includes(true)) return true;
  return truths.every((truth) => truth === false) ? false : undefined;
}

/** undefined: they are not known. */
function valuesOf(right: unknown, elements: Elements): readonly unknown[] | undefined {
  if (Array.isArray(right)) return right;
  if (isRecord(right) && Array.isArray(right['set'])) return right['set'];
  return typeof right === 'string' && right.startsWith('@') ? elements(right.slice(1)) : [right];
}

/** An element may have a comment, a counter or a timeout. */
function unwrapped(element: unknown): unknown {
  const wrapped = isRecord(element) ? element['elem'] : undefined;
  return isRecord(wrapped) ? wrapped['val'] : element;
}

function isDevice(value: unknown, device: string): Truth {
  if (typeof value !== 'string') return undefined;
  return value.endsWith('*') ? device.startsWith(value.slice(0, -1)) : value === device;
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

/** `json`: as nft prints it. Anything else counts as no rules. */
export function readRuleset(json: string): Ruleset {
  const parsed: unknown = JSON.parse(json);
  const items = isRecord(parsed) && Array.isArray(parsed['nftables']) ? parsed['nftables'] : [];
  const chains = new Map<string, Chain & { rules: (readonly unknown[])[] }>();
  const sets = new Map<string, readonly unknown[]>();
  const off = new Set<string>();
  for (const item of items) {
    if (!isRecord(item)) continue;
    const { table, chain, rule, set = item['map'] } = item;
    if (isRecord(table)) {
      if (listOf(table['flags']).some((flag) => !FLAGS_IN_USE.includes(flag)))
        off.add(keyOf(table['family'], table['name']));
    } else if (isRecord(chain)) {
      if (off.has(keyOf(chain['family'], chain['table']))) continue;
      chains.set(keyOf(chain['family'], chain['table'], chain['name']), readChain(chain));
    } else if (isRecord(set)) {
      if (listOf(set['flags']).some((flag) => CHANGING.includes(flag))) continue;
      sets.set(keyOf(set['family'], set['table'], set['name']), listOf(set['elem']));
    } else if (isRecord(rule) && Array.isArray(rule['expr'])) {
      const { family, table: of, expr } = rule;
      const elements: Elements = (name) => sets.get(keyOf(family, of, name));
      chains.get(keyOf(family, of, rule['chain']))?.rules.push(...expanded(expr, elements));
    }
  }
  return { chains: [...chains.values()], sets };
}

function readChain(listed: Readonly<Record<string, unknown>>): Chain & { rules: unknown[][] } {
  const { family, table, name, hook, type, policy } = listed;
  return {
    family: String(family),
    table: String(table),
    name: String(name),
    ...(typeof hook === 'string' && { hook }),
    ...(typeof type === 'string' && { type }),
    ...(typeof policy === 'string' && { policy }),
    rules: [],
  };
}

/** A vmap has a verdict for each value; its values exclude each other. */
function expanded(statements: readonly unknown[], elements: Elements): (readonly unknown[])[] {
  const at = statements.findIndex((statement) => isRecord(statement) && 'vmap' in statement);
  const statement = statements[at];
  const vmap = isRecord(statement) ? statement['vmap'] : undefined;
  const pairs = isRecord(vmap) ? valuesOf(vmap['data'], elements) : undefined;
  if (!isRecord(vmap) || pairs === undefined) return [statements];
  return pairs.map((pair) => {
    const [value, verdict] = Array.isArray(pair) ? pair : [];
    const match = { op: '==', left: vmap['key'], right: unwrapped(value) };
    return [...statements.slice(0, at), { match }, verdict];
  });
}

function listOf(value: unknown): readonly unknown[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

function keyOf(...parts: readonly unknown[]): string {
  return parts.join('\0');
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
