/**
 * The rules of policy.ts as a proxy auto-configuration file, the script that a browser asks for
 * each request: FindProxyForURL(url, host) says "PROXY 127.0.0.1:1080" or "DIRECT".
 *
 *   | createPolicy(rules).decide()     | the script |
 *   |----------------------------------|------------|
 *   | tunnel                           | the proxy  |
 *   | refuse: a target for other ports | the proxy, whose answer says why |
 *   | direct                           | DIRECT     |
 *   | resolve: addresses would decide  | DIRECT     |
 *
 * The script resolves nothing: isInNet() and dnsResolve() would ask this machine's resolver for
 * names that only the jump host knows, and the browser would wait for the answer. Names are
 * compared as text. Addresses are compared with arithmetic of its own, because isInNet() reads only
 * IPv4. So a name whose addresses are targets, but which is none itself, goes directly.
 *
 * The rules become tables that are looked up, not lists that are searched: a host has few prefixes
 * and few names above it, however many rules there are. The script is ECMAScript 3, since the
 * browser's engine isn't always the one that runs it (libproxy, WinHTTP).
 *
 * The proxy is given as PROXY, never as SOCKS: browsers send names to an HTTP proxy as names, while
 * SOCKS means version 4 in some of them, and its addresses are resolved here. There is no DIRECT
 * after it: when the tunnel is down, what belongs into it goes nowhere.
 */
import { ADDRESS_BITS, addressNumber, type Family } from '../net/address.ts';
import { formatNamePattern } from '../net/name.ts';
import type { PortRange } from '../net/ports.ts';
import { type Prefix, prefixNotation } from '../net/prefix.ts';
import { SPECIAL_RANGES } from '../net/special.ts';
import type { NameRule, Rule, Rules } from './policy.ts';

export interface PacOptions {
  /** Where the proxy speaks HTTP: `127.0.0.1:1080`, `[::1]:1080`. */
  readonly proxy: string;
  /** What no rule covers goes to the proxy as well, as with `beyond: tunnel`. */
  readonly everything: boolean;
}

/** Of a port range: its first and its last port. */
type Ports = readonly (readonly [number, number])[];

const GROUP_BITS = 16;

/** The script, in ASCII. It decides as createPolicy() does with `proxied`. */
export function renderPac(rules: Rules, { proxy, everything }: PacOptions): string {
  const { targets, exclusions, nameTargets = [], nameExclusions = [] } = rules;
  const special = SPECIAL_RANGES.map(({ prefix }) => ({ prefix, ports: [] }));
  const carried = [...targetKeys(nameTargets, nameKey), ...targetKeys(targets, prefixKey)];
  return `\
// Written by "tunnel". The targets go to its proxy. No name is resolved to find out.
// "api.example.com." is a name, "*.example.com." are all names below one, the rest are addresses.
// After them come the ports: [[first, last]], or [] for all.
var tunnelProxy = ${JSON.stringify(`PROXY ${proxy}`)};
// Whether all else goes to the proxy as well, except the exclusions.
var tunnelEverything = ${everything};
var tunnelTargets = ${table(carried)};
var tunnelExclusions = ${table([...portKeys(nameExclusions, nameKey), ...portKeys(exclusions, prefixKey)])};
// A target that is wider than one of these leaves it out.
var tunnelSpecial = ${table(targetKeys(special, prefixKey))};
// The lengths of all prefixes above, by the number of 16-bit groups in an address.
var tunnelLengths = ${lengthsTable([...targets, ...exclusions, ...special])};
${SCRIPT}`;
}

/**
 * The ports of a target don't matter: the proxy refuses the others, and says why. `[]` says all.
 */
function targetKeys<T>(rules: readonly T[], keyOf: (rule: T) => string): Map<string, Ports> {
  return new Map(rules.map((rule) => [keyOf(rule), []]));
}

function portKeys<T extends { readonly ports: readonly PortRange[] }>(
  rules: readonly T[],
  keyOf: (rule: T) => string,
): Map<string, Ports> {
  const keys = new Map<string, Ports>();
  for (const rule of rules) {
    const key = keyOf(rule);
    const known = keys.get(key);
    const ports = rule.ports.map(({ first, last }) => [first, last] as const);
    // One rule for all ports makes the others of its key meaningless.
    const all = ports.length === 0 || known?.length === 0;
    keys.set(key, all ? [] : [...(known ?? []), ...ports]);
  }
  return keys;
}

/** The dot at the end tells names from what an object has by itself, such as `__proto__`. */
function nameKey({ pattern }: NameRule): string {
  return `${formatNamePattern(pattern)}.`;
}

/** All groups are written out, as the script writes them: `2001:db8:0:0:0:0:0:0/32`. */
function prefixKey({ prefix }: Pick<Rule, 'prefix'>): string {
  if (prefix.family === 4) return prefixNotation(prefix);
  const value = addressNumber(prefix.address);
  const groups = Array.from({ length: groupsOf(6) }, (_, index) => {
    const shift = BigInt(ADDRESS_BITS[6] - GROUP_BITS * (index + 1));
    return ((value >> shift) & 0xffffn).toString(16);
  });
  return `${groups.join(':')}/${prefix.length}`;
}

function groupsOf(family: Family): number {
  return ADDRESS_BITS[family] / GROUP_BITS;
}

function lengthsTable(rules: readonly { readonly prefix: Prefix }[]): string {
  const lengthsOf = (of: Family) => {
    const lengths = rules.filter(({ prefix }) => prefix.family === of);
    return [...new Set(lengths.map(({ prefix }) => prefix.length))].sort((a, b) => a - b);
  };
  return JSON.stringify({ [groupsOf(4)]: lengthsOf(4), [groupsOf(6)]: lengthsOf(6) });
}

/** One entry a line: people read it to see what goes where. */
function table(entries: Iterable<readonly [string, Ports]>): string {
  const lines = [...entries].map(
    ([key, ports]) => `\n  ${JSON.stringify(key)}: ${JSON.stringify(ports)}`,
  );
  return lines.length === 0 ? '{}' : `{${lines.join(',')}\n}`;
}

/**
 * An address is a list of 16-bit groups: two, or eight. IPv4-mapped addresses become IPv4, as
 * everywhere in the program.
 */
const SCRIPT = String.raw`
function FindProxyForURL(url, host) {
  var name = String(host).toLowerCase().replace(/^\[|\]$/g, "").replace(/\.$/, "");
  return tunnelTakes(name, tunnelPort(String(url))) ? tunnelProxy : "DIRECT";
}

function tunnelTakes(host, port) {
  var groups = tunnelGroups(host), keys, least;
  if (groups === null) {
    keys = tunnelNameKeys(host);
    if (tunnelFind(tunnelExclusions, keys, port)) return false;
    if (tunnelFind(tunnelTargets, keys, port)) return true;
    if (!/^(.*\.)?localhost$/.test(host)) return tunnelEverything;
    groups = [0x7f00, 1];
  }
  if (tunnelFind(tunnelExclusions, tunnelPrefixKeys(groups, 0), port)) return false;
  least = tunnelFind(tunnelSpecial, tunnelPrefixKeys(groups, 0), port);
  least = least ? Number(least.split("/")[1]) : 0;
  return tunnelEverything || Boolean(tunnelFind(tunnelTargets, tunnelPrefixKeys(groups, least), port));
}

// The first of the keys that the table has for this port; "" if there is none.
function tunnelFind(table, keys, port) {
  var i, j, ports;
  for (i = 0; i < keys.length; i++) {
    if (!Object.prototype.hasOwnProperty.call(table, keys[i])) continue;
    ports = table[keys[i]];
    if (ports.length === 0) return keys[i];
    for (j = 0; j < ports.length; j++)
      if (ports[j][0] <= port && port <= ports[j][1]) return keys[i];
  }
  return "";
}

function tunnelNameKeys(name) {
  var keys = [name + "."], dot;
  for (dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1))
    keys.push("*" + name.substring(dot) + ".");
  return keys;
}

// The prefixes of an address that have at least so many bits, and that a table may have.
function tunnelPrefixKeys(groups, least) {
  var keys = [], lengths = tunnelLengths[groups.length], i;
  for (i = 0; i < lengths.length; i++)
    if (lengths[i] >= least) keys.push(tunnelPrefixKey(groups, lengths[i]));
  return keys;
}

function tunnelPrefixKey(groups, length) {
  var parts = [], bits, group, i;
  for (i = 0; i < groups.length; i++) {
    bits = Math.min(16, Math.max(0, length - 16 * i));
    group = groups[i] & (0xffff << (16 - bits)) & 0xffff;
    parts.push(groups.length === 2 ? (group >> 8) + "." + (group & 255) : group.toString(16));
  }
  return parts.join(groups.length === 2 ? "." : ":") + "/" + length;
}

// null: it is no address.
function tunnelGroups(host) {
  var dotted, last, halves, head, tail, zeros, i;
  if (host.indexOf(":") < 0) return tunnelGroups4(host);
  dotted = /^(.*:)([^:]*\.[^:]*)$/.exec(host);
  if (dotted) {
    last = tunnelGroups4(dotted[2]);
    if (last === null) return null;
    host = dotted[1] + last[0].toString(16) + ":" + last[1].toString(16);
  }
  halves = host.split("::");
  if (halves.length > 2) return null;
  head = halves[0] === "" ? [] : halves[0].split(":");
  tail = halves.length === 1 || halves[1] === "" ? [] : halves[1].split(":");
  zeros = 8 - head.length - tail.length;
  if (halves.length === 2 ? zeros < 1 : zeros !== 0) return null;
  for (i = 0; i < zeros; i++) head.push("0");
  head = head.concat(tail);
  for (i = 0; i < 8; i++) {
    if (!/^[0-9a-f]{1,4}$/.test(head[i])) return null;
    head[i] = parseInt(head[i], 16);
  }
  if (head.slice(0, 6).join() === "0,0,0,0,0,65535") return head.slice(6);
  return head;
}

function tunnelGroups4(host) {
  var octets = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(host), i;
  if (!octets) return null;
  for (i = 1; i <= 4; i++)
    if (Number(octets[i]) > 255 || /^0./.test(octets[i])) return null;
  return [octets[1] * 256 + Number(octets[2]), octets[3] * 256 + Number(octets[4])];
}

// 0: the URL has none, and its scheme has no usual one.
function tunnelPort(url) {
  var parts = /^([^:\/?#]+):\/\/(?:[^\/?#]*@)?(?:\[[^\]]*\]|[^:\/?#]*)(?::([0-9]+))?/.exec(url);
  if (!parts) return 0;
  if (parts[2]) return Number(parts[2]);
  if (/^(http|ws)$/i.test(parts[1])) return 80;
  return /^(https|wss)$/i.test(parts[1]) ? 443 : 0;
}
`;
