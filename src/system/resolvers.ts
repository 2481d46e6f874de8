/** The resolvers that this machine's programs ask. */
import { readFileSync } from 'node:fs';
import { canonicalAddress, isAddress } from '../net/address.ts';

/** The addresses of resolv.conf(5), canonical; none when the file can't be read (then there is no DNS to speak of). */
export function configuredResolvers(file = '/etc/resolv.conf'): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return []; // without the file, resolvers default to this machine itself, which is never captured
  }
  return [...text.matchAll(/^nameserver\s+(\S+)/gm)]
    .map(([, address = '']) => address)
    .filter(isAddress)
    .map(canonicalAddress);
}

/** resolv.conf(5): more are not asked. */
const MAX_RESOLVERS = 3;
/** What is kept of a line; the resolver library reads no more of one either. */
const MAX_LINE = 1024;
const KEPT_LINES = /^(search|domain|options)\s/;

export interface ResolverConfiguration {
  /** As they are written, in order; an IPv6 address may have a zone. At least one: without any, the library asks 127.0.0.1. */
  readonly resolvers: readonly string[];
  /** The lines about names, not about servers. */
  readonly lines: readonly string[];
}

/** What the resolver library makes of resolv.conf(5). */
export function resolverConfiguration(file = '/etc/resolv.conf'): ResolverConfiguration {
  let text = '';
  try {
    text = readFileSync(file, 'latin1');
  } catch {
    // Without the file the library's defaults hold.
  }
  const lines = text.split('\n').map((line) => line.slice(0, MAX_LINE).trimEnd());
  const resolvers = lines
    .flatMap((line) => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? [])
    .filter((address) => isAddress(address.replace(/%.*$/, '')))
    .slice(0, MAX_RESOLVERS);
  return {
    resolvers: resolvers.length === 0 ? ['127.0.0.1'] : resolvers,
    lines: lines.filter((line) => KEPT_LINES.test(line)),
  };
}

/** The text of a resolv.conf that names `resolvers` and searches as the host's does. */
export function resolvConfText(resolvers: readonly string[], lines: readonly string[]): string {
  return [
    '# made by "tunnel exec" for this command alone; the file of the host is unchanged',
    ...lines,
    ...resolvers.map((address) => `nameserver ${address}`),
    '',
  ].join('\n');
}
