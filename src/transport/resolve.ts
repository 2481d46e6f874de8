/** From the jump host's name to the addresses that are dialled, and that the capture must leave alone. */
import { lookup } from 'node:dns/promises';
import { isIPv6 } from 'node:net';
import { TunnelError } from '../errors.ts';

export interface RemoteAddress {
  /** An IPv4 or IPv6 address; a link-local one with its zone (`fe80::1%eth0`, RFC 4007 §11), without which it can't be dialled. */
  readonly host: string;
  readonly port: number;
}

/** All addresses of a name, in the system's order of preference. Rejects as dns.lookup does. */
export type Lookup = (host: string) => Promise<readonly { readonly address: string }[]>;

export interface ResolveOptions {
  readonly signal?: AbortSignal;
  /** Seconds that the resolver may take. Default: RESOLVE_TIMEOUT. */
  readonly timeout?: number;
  /** Default: the system's resolver (getaddrinfo). */
  readonly lookup?: Lookup;
}

/** Seconds. Longer than glibc takes to ask two servers twice (resolv.conf(5): timeout 5, attempts 2). */
export const RESOLVE_TIMEOUT = 25;

/**
 * All addresses of both families, in the system's order of preference (RFC 6724), each once. Rejects with TunnelError
 * `jumphost-dns`, or with the signal's reason. getaddrinfo can't be cancelled: what is no longer waited for goes on in a
 * thread of its own, and keeps the event loop alive until the system's resolver gives up.
 */
export async function resolveRemote(
  host: string,
  port: number,
  options: ResolveOptions = {},
): Promise<RemoteAddress[]> {
  const { signal, timeout = RESOLVE_TIMEOUT, lookup: find = systemLookup } = options;
  signal?.throwIfAborted();
  const found = await new Promise<readonly { readonly address: string }[]>((resolve, reject) => {
    const abort = (): void => settle(() => reject(signal?.reason));
    const timer = setTimeout(() => settle(() => reject(silentError(host, timeout))), timeout * 1000);
    const settle = (then: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      then();
    };
    signal?.addEventListener('abort', abort, { once: true });
    // Both outcomes are handled here, so one that comes too late is ignored.
    find(host).then(
      (addresses) => settle(() => resolve(addresses)),
      (cause: NodeJS.ErrnoException) => settle(() => reject(lookupError(host, cause))),
    );
  });
  return [...new Set(found.map(({ address }) => address))].map((address) => ({ host: address, port }));
}

/**
 * What the capture must leave alone to reach `host` (a RemoteAddress's): the address without its zone. undefined for a
 * link-local IPv6 address (fe80::/10): no route that is captured leads there, its zone names the device.
 */
export function addressToExclude(host: string): string | undefined {
  if (!isIPv6(host)) return host;
  if (/^fe[89ab][0-9a-f]:/i.test(host)) return undefined;
  return host.split('%', 1)[0];
}

const systemLookup: Lookup = (host) => lookup(host, { all: true, order: 'verbatim' });

function lookupError(host: string, cause: NodeJS.ErrnoException): TunnelError {
  const { code = 'unknown' } = cause;
  return new TunnelError('jumphost-dns', `the jump host's name ${host} can't be resolved (${code})`, {
    hint: code === 'EAI_AGAIN' ? 'check the network and the resolver' : 'check the spelling of the name',
    cause,
  });
}

function silentError(host: string, seconds: number): TunnelError {
  return new TunnelError(
    'jumphost-dns',
    `the jump host's name ${host} can't be resolved: the resolver does not answer within ${seconds} s`,
    { hint: "check the network and the resolver, or give the jump host's address instead of its name" },
  );
}
