/**
 * Resolves the names of jump hosts. The tunnel dials these addresses, and must not capture them:
 * otherwise it would send its own connection into itself. So names are resolved before dialling,
 * and again on every reconnect.
 *
 *   settings of each -r -> outermost hop -> BindAddress, AddressFamily -> getaddrinfo -> JumpHost
 *
 * All names are resolved at the same time. Once one is resolved, the others have RESOLVE_GRACE
 * left: if the resolver doesn't answer for one name, we must still try the other jump hosts.
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
   * An IPv4 or IPv6 address. A link-local one has its zone (`fe80::1%eth0`, RFC 4007 §11), which is
   * necessary to dial it.
   */
  readonly host: string;
  readonly port: number;
  /**
   * The address of this machine to dial from, of the same family. undefined: the kernel chooses.
   */
  readonly localAddress?: string;
}

/** A jump host and the addresses of its outermost hop. */
export interface JumpHost {
  readonly settings: SshSettings;
  /**
   * In order of preference. Empty only with a ProxyCommand, since only the command knows where it
   * connects to.
   */
  readonly addresses: readonly RemoteAddress[];
}

type AddressFamily = SshSettings['addressFamily'];

/** All addresses of a name, in the system's order of preference. Rejects like dns.lookup. */
export type Lookup = (
  host: string,
  family: 0 | 4 | 6,
) => Promise<readonly { readonly address: string }[]>;

/** Turns the seconds that the settings allow into the seconds that this attempt may take. */
export type Patience = (limit: number) => number;

export interface ResolveOptions {
  readonly signal?: AbortSignal;
  /** Seconds that the resolver may take. Default: RESOLVE_TIMEOUT. */
  readonly timeout?: number;
  /** Default: any. */
  readonly addressFamily?: AddressFamily;
  /** The host is on the way to this jump host, which is named in errors. */
  readonly onTheWayTo?: string | undefined;
  /** BindAddress: only addresses of its family can be dialled. A name or an address. */
  readonly bindAddress?: string | undefined;
  /** Default: the system's resolver (getaddrinfo). */
  readonly lookup?: Lookup;
}

/**
 * Seconds. glibc needs less to ask two servers twice (resolv.conf(5): timeout 5, attempts 2).
 */
export const RESOLVE_TIMEOUT = 25;
/**
 * Seconds that the other names have once one is resolved: glibc's timeout for the first server.
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
  /** Turns the ConnectTimeout into the time that the resolver may take. Default: all of it. */
  readonly patience?: Patience;
  readonly lookup?: Lookup;
}

/**
 * The jump hosts whose outermost hop can be resolved, in the given order. The others are left out
 * with a warning. If none can be resolved, rejects with the TunnelError of the first one
 * (`jumphost-dns`). Also rejects with UsageError for a chain that is too long, or with the signal's
 * reason.
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
      // None could be resolved. `outcomes` contains the reasons.
    });
    const grace = delay(RESOLVE_GRACE * 1000, undefined, { signal: over.signal }).catch(() => {
      // Either the caller aborted, which is checked below, or nobody waits for this any more.
    });
    await Promise.race([done, grace]);
    signal?.throwIfAborted();
    return selectResolved(all, outcomes, observer);
  } finally {
    signal?.removeEventListener('abort', abort);
    over.abort();
  }
}

/** undefined: still running. */
type Outcome = JumpHost | Error | undefined;

function selectResolved(
  all: readonly SshSettings[],
  outcomes: readonly Outcome[],
  observer: Observer,
): JumpHost[] {
  const failures = outcomes.filter((outcome) => outcome instanceof Error);
  const found = outcomes.filter(
    (outcome): outcome is JumpHost => outcome !== undefined && !(outcome instanceof Error),
  );
  const fatal = failures.find(
    (error) => !(error instanceof TunnelError) || error.code !== 'jumphost-dns',
  );
  if (fatal !== undefined) throw fatal;
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
        `${name} is left out: its name was not resolved within ${RESOLVE_GRACE} s of another's`,
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
    onTheWayTo: outermost === settings ? undefined : settings.name,
    timeout: patience(connectTimeout),
  });
  return { settings, addresses };
}

/**
 * All addresses that can be dialled, at least one, without duplicates, in the system's order of
 * preference (RFC 6724). Rejects with TunnelError `jumphost-dns`, or with the signal's reason.
 * getaddrinfo can't be cancelled: after a timeout or abort, it goes on in its own thread, and keeps
 * the event loop alive until the system's resolver gives up.
 */
export async function resolveRemote(
  host: string,
  port: number,
  options: ResolveOptions = {},
): Promise<RemoteAddress[]> {
  const { addressFamily = 'any', bindAddress, onTheWayTo } = options;
  const whose =
    onTheWayTo === undefined
      ? `the jump host ${host}`
      : `${host}, a host on the way to ${onTheWayTo},`;
  const named =
    onTheWayTo === undefined
      ? `the jump host's name ${host}`
      : `the name ${host} of a host on the way to ${onTheWayTo}`;
  const { number, name } = FAMILIES[addressFamily];
  const inFamily = (address: string): boolean => number === 0 || isIP(address) === number;
  const found = (await lookUp(host, number, named, options)).filter(inFamily);
  if (found.length === 0) throw familyError(whose, `has no ${name} address`, 'AddressFamily');
  if (bindAddress === undefined) return found.map((address) => ({ host: address, port }));

  const local = await lookUp(bindAddress, number, `the BindAddress ${bindAddress}`, options);
  const bound = found.flatMap((address) => {
    const localAddress = local.find((candidate) => isIP(candidate) === isIP(address));
    return localAddress === undefined ? [] : [{ host: address, port, localAddress }];
  });
  if (bound.length === 0)
    throw familyError(whose, `has no address of the family of ${bindAddress}`, 'BindAddress');
  return bound;
}

function familyError(whose: string, lacks: string, setting: string): TunnelError {
  return new TunnelError('jumphost-dns', `${whose} ${lacks}, but ${setting} needs one`, {
    hint: `check ${setting}, or give an address of the right family`,
  });
}

/** The addresses of a name, without duplicates. `named`: what it is called in errors. */
async function lookUp(
  host: string,
  family: 0 | 4 | 6,
  named: string,
  options: ResolveOptions,
): Promise<string[]> {
  const { signal, timeout = RESOLVE_TIMEOUT, lookup: resolver = systemLookup } = options;
  const late = (): TunnelError => silentError(named, timeout);
  const found = await within({ signal, time: { milliseconds: timeout * 1000, late } }, () =>
    resolver(host, family).catch((cause: NodeJS.ErrnoException) => {
      throw lookupError(named, family, cause);
    }),
  );
  return [...new Set(found.map(({ address }) => address))];
}

/**
 * The address that must not be captured, so that `host` (of a RemoteAddress) can be reached: the
 * address without its zone. undefined for a link-local IPv6 address (fe80::/10): its zone names the
 * device, so no captured route leads there.
 */
export function addressToExclude(host: string): string | undefined {
  if (!isIPv6(host)) return host;
  if (/^fe[89ab][0-9a-f]:/i.test(host)) return undefined;
  return host.split('%', 1)[0];
}

const systemLookup: Lookup = (host, family) =>
  lookup(host, { all: true, order: 'verbatim', family });

function lookupError(named: string, family: 0 | 4 | 6, cause: NodeJS.ErrnoException): TunnelError {
  const { code = 'unknown' } = cause;
  const wanted = family === 0 ? '' : ` to an IPv${family} address`;
  const check =
    family === 0
      ? 'check the spelling of the name'
      : 'check the spelling of the name, and AddressFamily';
  return new TunnelError('jumphost-dns', `${named} can't be resolved${wanted} (${code})`, {
    hint: code === 'EAI_AGAIN' ? 'check the network and the resolver' : check,
    cause,
  });
}

function silentError(named: string, seconds: number): TunnelError {
  return new TunnelError(
    'jumphost-dns',
    `${named} can't be resolved: the resolver did not answer within ${seconds} s`,
    {
      hint: 'check the network and the resolver, or give the address instead of the name',
    },
  );
}
