/** The resolvers that this machine's programs ask. */
import { readFileSync } from 'node:fs';
import { canonicalAddress, isAddress } from '../../net/address.ts';

/**
 * The addresses of resolv.conf(5), canonical; none when the file can't be read (then there is no
 * DNS to speak of).
 */
export function configuredResolvers(file = '/etc/resolv.conf'): string[] {
  return parseResolvConf(readText(file)).resolvers.filter(isAddress).map(canonicalAddress);
}

/** Empty where it can't be read: the resolver library then has its defaults. */
function readText(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

/** resolv.conf(5): more are not asked. */
const MAX_RESOLVERS = 3;
/** Asked where none is named. */
export const DEFAULT_RESOLVER = '127.0.0.1';
/** What is kept of a line; the resolver library reads no more of one either. */
const MAX_LINE = 1024;
/** More lines of options than this are none that a person wrote. */
const MAX_OPTION_LINES = 4;

export interface ResolverConfiguration {
  /** As they are written, in order; an IPv6 address may have a zone. */
  readonly resolvers: readonly string[];
  /** The lines about names, not about servers. */
  readonly lines: readonly string[];
}

/** What the resolver library makes of the file, or of its defaults without one. */
export function resolverConfiguration(file = '/etc/resolv.conf'): ResolverConfiguration {
  const { resolvers, lines } = parseResolvConf(readText(file));
  return { resolvers: resolvers.length === 0 ? [DEFAULT_RESOLVER] : resolvers, lines };
}

/**
 * What the resolver library reads in a resolv.conf(5); of resolvers none, where none is named.
 * `most`: how many resolvers, for files that others read.
 */
export function parseResolvConf(text: string, most = MAX_RESOLVERS): ResolverConfiguration {
  const lines = text.split('\n').map((line) => line.slice(0, MAX_LINE).trimEnd());
  const resolvers = lines
    .flatMap((line) => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? [])
    .filter((address) => isAddress(address.replace(/%.*$/, '')))
    .slice(0, most);
  // Of these the last one holds; options add up.
  const search = lines.filter((line) => /^(search|domain)\s/.test(line)).slice(-1);
  const options = lines.filter((line) => /^options\s/.test(line)).slice(0, MAX_OPTION_LINES);
  return { resolvers, lines: [...search, ...options] };
}

const OF_EXEC = '# made by "tunnel exec" for this command alone; the file of the host is unchanged';

/** The text of a resolv.conf that names `resolvers` and searches as the host's does. */
export function resolvConfText(
  resolvers: readonly string[],
  lines: readonly string[],
  comment: string = OF_EXEC,
): string {
  return [comment, ...lines, ...resolvers.map((address) => `nameserver ${address}`), ''].join('\n');
}
