/**
 * From names to the addresses that are dialled, and that the capture must leave alone. Done before
 * anything is dialled, and again on every reconnect: an address that is dialled but captured would
 * send the tunnel into itself.
 *
 *   settings of each -r -> outermost hop -> BindAddress, AddressFamily -> getaddrinfo -> JumpHost
 *
 * The names are asked for all at once. When one is known, the others have RESOLVE_GRACE left: a
 * resolver that is silent about one name must not keep the other jump host from being tried.
 */
import { lookup } from 'node:dns/promises';
import { isIP, isIPv6 } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { within } from '../../base/within.ts';
import { TunnelError } from '../../errors/errors.ts';
import { type Observer, silentObserver } from '../../observe/observer.ts';
import { hopsOf } from '../hops.ts';
import type { SshSettings } from '../settings.ts';

export interface RemoteAddress {
  /**
   * An IPv4 or IPv6 address; a link-local one with its zone (`fe80::1%eth0`, RFC 4007 §11), without
   * which it can't be dialled.
   */
  readonly host: string;
  readonly port: number;
  /**
   * The address of this machine that it is dialled from, of the same family; undefined: the
   * kernel's choice.
   */
  readonly localAddress?: string;
}

/** A jump host and where its outermost hop is to be found. */
export interface JumpHost {
  readonly settings: SshSettings;
  /**
   * In the order of preference. Empty only behind a ProxyCommand: where that leads is its own
   * business.
   */
  readonly addresses: readonly RemoteAddress[];
}

type AddressFamily = SshSettings['addressFamily'];

/** All addresses of a name, in the system's order of preference. Rejects as dns.lookup does. */
export type Lookup = (
  host: string,
  family: 0 | 4 | 6,
) => Promise<readonly { readonly address: string }[]>;

/** Seconds that an attempt may take, from those that the settings allow. */
export type Patience = (limit: number) => number;

export interface ResolveOptions {
  readonly signal?: AbortSignal;
  /** Seconds that the resolver may take. Default: RESOLVE_TIMEOUT. */
  readonly timeout?: number;
  /** Default: any. */
  readonly addressFamily?: AddressFamily;
  /** BindAddress: only addresses of its family can be dialled. A name or an address. */
  readonly bindAddress?: string | undefined;
  /** Default: the system's resolver (getaddrinfo). */
  readonly lookup?: Lookup;
}

/**
 * Seconds. Longer than glibc takes to ask two servers twice (resolv.conf(5): timeout 5, attempts
 * 2).
 */
export const RESOLVE_TIMEOUT = 25;
/**
 * Seconds that the other names have when one is known: as long as glibc waits for a first server.
 */
export const RESOLVE_GRACE = 5;

const FAMILIES: Readonly<Record<AddressFamily, { number: 0 | 4 | 6; name: string }>> = {
  any: { number: 0, name: 'IP' },
  inet: { number: 4, name: 'IPv4' },
  inet6: { number: 6, name: 'IPv6' },
};

export interface ResolveJumpHostsOptions {
  readonly signal?: AbortSignal;
  readonly observer?: Observer;
  /** Makes of the ConnectTimeout what the resolver may take. Default: all of it. */
  readonly patience?: Patience;
  readonly lookup?: Lookup;
}

/**
 * The jump hosts whose outermost hop can be resolved, in the given order; the others are left out
 * with a warning. Rejects with the first one's TunnelError (`jumphost-dns`) when there is none,
 * with UsageError for a chain that is too long, or with the signal's reason.
 */
export async function resolveJumpHosts(
  all: readonly SshSettings[],
  options: ResolveJumpHostsOptions = {},
): Promise<JumpHost[]> {
  const { observer = silentObserver, signal, ...rest } = options;
  const over = new AbortController();
  const abort = (): void => over.abort(signal?.reason);
  signal?.throwIfAborted();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const outcomes: Outcome[] = all.map(() => undefined);
    const work = all.map(async (settings, i) => {
      try {
        outcomes[i] = await resolveJumpHost(settings, { ...rest, signal: over.signal });
      } catch (error) {
        outcomes[i] = error instanceof Error ? error : new Error(String(error));
        throw error;
      }
    });
    const done = Promise.allSettled(work);
    await Promise.any(work).catch(() => {
      // None could be resolved: `outcomes` has the reasons.
    });
    const grace = delay(RESOLVE_GRACE * 1000, undefined, { signal: over.signal }).catch(() => {
      // Aborted, which is looked at below, or no longer waited for.
    });
    await Promise.race([done, grace]);
    signal?.throwIfAborted();
    return select(all, outcomes, observer);
  } finally {
    signal?.removeEventListener('abort', abort);
    over.abort();
  }
}

/** undefined: not known yet. */
type Outcome = JumpHost | Error | undefined;

function select(
  all: readonly SshSettings[],
  outcomes: readonly Outcome[],
  observer: Observer,
): JumpHost[] {
  const failures = outcomes.filter((outcome) => outcome instanceof Error);
  const found = outcomes.filter(
    (outcome): outcome is JumpHost => outcome !== undefined && !(outcome instanceof Error),
  );
  const wrong = failures.find(
    (error) => !(error instanceof TunnelError) || error.code !== 'jumphost-dns',
  );
  if (wrong !== undefined) throw wrong;
  if (found.length === 0)
    throw (
      failures[0] ??
      new TunnelError('jumphost-dns', 'no jump host is given', { hint: 'give one with -r' })
    );
  for (const [i, { name }] of all.entries()) {
    const outcome = outcomes[i];
    if (outcome === undefined)
      observer.log(
        'warning',
        `${name} is left out: its name is not resolved ${RESOLVE_GRACE} s after another's`,
      );
    else if (outcome instanceof Error)
      observer.log('warning', `${name} is left out: ${outcome.message}`);
  }
  return found;
}

async function resolveJumpHost(
  settings: SshSettings,
  { patience = (limit) => limit, ...options }: ResolveOptions & { readonly patience?: Patience },
): Promise<JumpHost> {
  const [outermost] = hopsOf(settings);
  if (outermost.proxy.kind === 'command') return { settings, addresses: [] };
  const { hostName, port, addressFamily, bindAddress, connectTimeout } = outermost;
  const addresses = await resolveRemote(hostName, port, {
    ...options,
    addressFamily,
    bindAddress,
    timeout: patience(connectTimeout),
  });
  return { settings, addresses };
}

/**
 * All addresses that can be dialled, in the system's order of preference (RFC 6724), each once; at
 * least one. Rejects with TunnelError `jumphost-dns`, or with the signal's reason. getaddrinfo
 * can't be cancelled: what is no longer waited for goes on in a thread of its own, and keeps the
 * event loop alive until the system's resolver gives up.
 */
export async function resolveRemote(
  host: string,
  port: number,
  options: ResolveOptions = {},
): Promise<RemoteAddress[]> {
  const { addressFamily = 'any', bindAddress } = options;
  const { number, name } = FAMILIES[addressFamily];
  const inFamily = (address: string): boolean => number === 0 || isIP(address) === number;
  const found = (await find(host, number, options)).filter(inFamily);
  if (found.length === 0) throw familyError(host, `has no ${name} address`, 'AddressFamily');
  if (bindAddress === undefined) return found.map((address) => ({ host: address, port }));

  const local = await find(bindAddress, number, options);
  const bound = found.flatMap((address) => {
    const localAddress = local.find((candidate) => isIP(candidate) === isIP(address));
    return localAddress === undefined ? [] : [{ host: address, port, localAddress }];
  });
  if (bound.length === 0)
    throw familyError(host, `has no address of the family of ${bindAddress}`, 'BindAddress');
  return bound;
}

function familyError(host: string, lacks: string, setting: string): TunnelError {
  return new TunnelError('jumphost-dns', `the jump host ${host} ${lacks}, which is asked for`, {
    hint: `check ${setting}, or give an address of the right family`,
  });
}

/** Addresses of a name, each once. */
async function find(host: string, family: 0 | 4 | 6, options: ResolveOptions): Promise<string[]> {
  const { signal, timeout = RESOLVE_TIMEOUT, lookup: ask = systemLookup } = options;
  const late = (): TunnelError => silentError(host, timeout);
  const found = await within({ signal, time: { milliseconds: timeout * 1000, late } }, () =>
    ask(host, family).catch((cause: NodeJS.ErrnoException) => {
      throw lookupError(host, family, cause);
    }),
  );
  return [...new Set(found.map(({ address }) => address))];
}

/**
 * What the capture must leave alone to reach `host` (a RemoteAddress's): the address without its
 * zone. undefined for a link-local IPv6 address (fe80::/10): no route that is captured leads there,
 * its zone names the device.
 */
export function addressToExclude(host: string): string | undefined {
  if (!isIPv6(host)) return host;
  if (/^fe[89ab][0-9a-f]:/i.test(host)) return undefined;
  return host.split('%', 1)[0];
}

const systemLookup: Lookup = (host, family) =>
  lookup(host, { all: true, order: 'verbatim', family });

function lookupError(host: string, family: 0 | 4 | 6, cause: NodeJS.ErrnoException): TunnelError {
  const { code = 'unknown' } = cause;
  const asked = family === 0 ? '' : ` to an IPv${family} address`;
  const check =
    family === 0
      ? 'check the spelling of the name'
      : 'check the spelling of the name, and AddressFamily';
  return new TunnelError(
    'jumphost-dns',
    `the jump host's name ${host} can't be resolved${asked} (${code})`,
    {
      hint: code === 'EAI_AGAIN' ? 'check the network and the resolver' : check,
      cause,
    },
  );
}

function silentError(host: string, seconds: number): TunnelError {
  return new TunnelError(
    'jumphost-dns',
    `the jump host's name ${host} can't be resolved: the resolver does not answer within ${seconds} s`,
    {
      hint: "check the network and the resolver, or give the jump host's address instead of its name",
    },
  );
}
