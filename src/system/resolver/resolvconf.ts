/** The resolvers that this machine's programs ask. */
import { readFileSync } from 'node:fs';
import { canonicalAddress, isAddress } from '../../net/address.ts';

/** The addresses in resolv.conf(5), canonical; none if the file can't be read. */
export function configuredResolvers(file = '/etc/resolv.conf'): string[] {
  return parseResolvConf(readText(file)).resolvers.filter(isAddress).map(canonicalAddress);
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
/** The resolver library reads no more of a line either. */
const MAX_LINE = 1024;
/** Nobody writes more lines of options than this. */
const MAX_OPTION_LINES = 4;

export interface ResolverConfiguration {
  /** As written, in order. An IPv6 address may have a zone. */
  readonly resolvers: readonly string[];
  /** The `search`, `domain` and `options` lines that apply. */
  readonly lines: readonly string[];
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
  const lines = text.split('\n').map((line) => line.slice(0, MAX_LINE).trimEnd());
  const resolvers = lines
    .flatMap((line) => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? [])
    .filter((address) => isAddress(address.replace(/%.*$/, '')))
    .slice(0, most);
  // Only the last of these applies, but options add up.
  const search = lines.filter((line) => /^(search|domain)\s/.test(line)).slice(-1);
  const options = lines.filter((line) => /^options\s/.test(line)).slice(0, MAX_OPTION_LINES);
  return { resolvers, lines: [...search, ...options] };
}

/** The first line of a file that a tunnel has rewritten (file.ts). */
export const REWRITTEN_COMMENT =
  '# Written by tunnel while it runs; "tunnel clean" brings back what was here before.';
const FORMER = '# nameserver ';

/** That line, and the resolvers that were there before, for tunnels that start later. */
export function rewrittenHead(former: readonly string[]): string {
  return [REWRITTEN_COMMENT, ...former.map((address) => FORMER + address)].join('\n');
}

/** What a file named before a tunnel has rewritten it. Undefined: none has. */
export function formerResolvers(text: string): readonly string[] | undefined {
  if (!text.startsWith(REWRITTEN_COMMENT)) return undefined;
  return text
    .split('\n')
    .filter((line) => line.startsWith(FORMER))
    .map((line) => line.slice(FORMER.length))
    .filter((address) => isAddress(address.replace(/%.*$/, '')));
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
