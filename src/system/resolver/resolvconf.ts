/**
 * Reads resolv.conf(5) as glibc's res_init(3) does:
 *
 * - A keyword stands at the beginning of its line, and a blank or a tab follows it. Lines that
 *   begin with `#` or `;` are comments. Whatever follows an address is ignored.
 * - `nameserver` takes IPv4 addresses in all forms of inet_aton(3) (`127.1`, `0x7f.0.0.1`), and
 *   IPv6 addresses with a zone (`fe80::53%eth0`). The first three count, also if they are equal.
 * - Of `search` and `domain` the last one with a value applies. All lines of `options` add up; of
 *   an option that is given twice, the last one counts.
 *
 * One thing is read more kindly: a carriage return at the end of a line. musl, Go and glibc before
 * 2.29 take the resolver of such a line, later ones don't, and ask DEFAULT_RESOLVER if no other is
 * named. So the resolver counts, and `defaultToo` says what these ask instead.
 */
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { addressFromNumber, canonicalAddress, isAddress } from '../../net/address.ts';
import { hostPrefix, parsePrefix, prefixContains } from '../../net/prefix.ts';

/** The addresses in resolv.conf(5), canonical; none if the file can't be read. */
export function configuredResolvers(file = '/etc/resolv.conf'): string[] {
  return parseResolvConf(readText(file)).resolvers.filter(isAddress);
}

/** Empty if it can't be read: the resolver library then uses its defaults. */
function readText(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

/** resolv.conf(5): the library ignores any more. */
const MAX_RESOLVERS = 3;
/** The library asks it if none is named. */
export const DEFAULT_RESOLVER = '127.0.0.1';
/** Characters of a search list, and of all options together. Nobody writes more. */
const MAX_LINE = 1024;
/** The parts of an IPv4 address, which inet_aton(3) takes in decimal, octal and hexadecimal. */
const IPV4_PART = /^(?:0x[0-9a-f]+|0[0-7]*|[1-9]\d*)$/i;
/** Only their addresses have zones with names; glibc ignores other zones. */
const LINK_LOCAL = parsePrefix('fe80::/10').prefix;

export interface ResolverConfiguration {
  /** Canonical, in order. A link-local IPv6 address may have a zone: `fe80::53%eth0`. */
  readonly resolvers: readonly string[];
  /** The `search`, `domain` and `options` lines that apply. */
  readonly lines: readonly string[];
  /** Libraries that don't take the carriage returns of the file ask DEFAULT_RESOLVER. */
  readonly defaultToo?: true;
}

/** The configuration that the resolver library uses: from the file, or its defaults without one. */
export function resolverConfiguration(file = '/etc/resolv.conf'): ResolverConfiguration {
  const { resolvers, lines } = parseResolvConf(readText(file));
  return { resolvers: resolvers.length === 0 ? [DEFAULT_RESOLVER] : resolvers, lines };
}

/**
 * What the resolver library reads in a resolv.conf(5), without its default resolver. `most`: how
 * many resolvers to read.
 */
export function parseResolvConf(text: string, most = MAX_RESOLVERS): ResolverConfiguration {
  const resolvers: string[] = [];
  let strict = 0;
  let search: string | undefined;
  const options = new Map<string, string>();
  for (const raw of text.split('\n')) {
    const line = raw.replace(/\r$/, '');
    const [, keyword, rest = ''] =
      /^(nameserver|search|domain|options)[ \t](.*)$/s.exec(line) ?? [];
    const words = rest.split(/[ \t]+/).filter((word) => word !== '');
    const [first] = words;
    if (first === undefined) continue;
    if (keyword === 'nameserver') {
      const address = readResolver(first);
      if (address === undefined || resolvers.length >= most) continue;
      resolvers.push(address);
      if (!raw.endsWith(`${first}\r`)) strict += 1;
    } else if (keyword === 'options') {
      // A new value takes the place of the former one, but not its turn.
      for (const word of words) options.set(word.replace(/:.*$/s, ''), word);
    } else {
      search = joined(keyword === 'domain' ? ['domain', first] : ['search', ...words]);
    }
  }
  const all = options.size === 0 ? [] : [joined(['options', ...options.values()])];
  return {
    resolvers,
    lines: [...(search === undefined ? [] : [search]), ...all],
    ...(resolvers.length > 0 && strict === 0 ? { defaultToo: true } : {}),
  };
}

/** A line of as many of the words as it has room for. */
function joined(words: readonly string[]): string {
  let line = '';
  for (const word of words) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (longer.length > MAX_LINE) break;
    line = longer;
  }
  return line;
}

/** undefined: the library ignores the line. */
function readResolver(text: string): string | undefined {
  const ipv4 = readIPv4(text);
  if (ipv4 !== undefined) return ipv4;
  const [address = '', ...rest] = text.split('%');
  if (!isIPv6(address)) return undefined;
  const canonical = canonicalAddress(address);
  const zone = rest.join('%');
  const isLocal = canonical.includes(':') && prefixContains(LINK_LOCAL, hostPrefix(canonical));
  return zone === '' || !isLocal ? canonical : `${canonical}%${zoneName(zone)}`;
}

/**
 * inet_aton(3): `a.b.c.d`, `a.b.c`, `a.b`, `a`, where the last part fills the octets that are left.
 */
function readIPv4(text: string): string | undefined {
  const parts = text.split('.');
  if (parts.length > 4 || !parts.every((part) => IPV4_PART.test(part))) return undefined;
  const numbers = parts.map((part) => Number(/^0[0-7]+$/.test(part) ? `0o${part}` : part));
  const last = numbers.pop() ?? 0;
  if (numbers.some((number) => number > 0xff) || last >= 2 ** (8 * (4 - numbers.length)))
    return undefined;
  const high = numbers.reduce((sum, number, i) => sum + number * 2 ** (8 * (3 - i)), 0);
  return addressFromNumber(BigInt(high + last), 4);
}

/** Node takes the name of a link only, where glibc takes its number as well. */
function zoneName(zone: string): string {
  if (!/^\d+$/.test(zone)) return zone;
  const index = Number(zone);
  const [name = zone] =
    Object.entries(networkInterfaces()).find(([, addresses = []]) =>
      addresses.some((it) => it.family === 'IPv6' && it.scopeid === index),
    ) ?? [];
  return name;
}

/** The first line of a file that a tunnel has rewritten (file.ts). */
export const REWRITTEN_COMMENT =
  '# Written by tunnel while it runs; "tunnel clean" brings back what was here before.';
const FORMER = '# nameserver ';

/** That line, and the resolvers that were there before, for tunnels that start later. */
export function rewrittenHead(former: readonly string[]): string {
  return [REWRITTEN_COMMENT, ...former.map((address) => FORMER + address)].join('\n');
}

/** What a file named before a tunnel has rewritten it, canonical. Undefined: none has. */
export function formerResolvers(text: string): readonly string[] | undefined {
  if (!text.startsWith(REWRITTEN_COMMENT)) return undefined;
  return text
    .split('\n')
    .filter((line) => line.startsWith(FORMER))
    .flatMap((line) => readResolver(line.slice(FORMER.length)) ?? []);
}

const EXEC_COMMENT =
  '# made by "tunnel exec" for this command alone; the file of the host is unchanged';

/** The text of a resolv.conf that names `resolvers` and keeps the search and options `lines`. */
export function resolvConfText(
  resolvers: readonly string[],
  lines: readonly string[],
  comment: string = EXEC_COMMENT,
): string {
  return [comment, ...lines, ...resolvers.map((address) => `nameserver ${address}`), ''].join('\n');
}
