/**
 * Finds out through the tunnel what a cloud's clients connect to.
 *
 *   clouds.yaml, OS_*  --settings/load.ts-->  Cloud: auth_url, credentials, region, interface, CA
 *          |                                |
 *          |                                v
 *          |     cache.ts  <---------->  keystone.ts: authenticates over http.ts, which opens
 *          |     (endpoints only)           |    its connections through the transport and checks
 *          |                                |    the certificate against the URL's own name
 *          |                                v
 *          |                          catalog.ts: endpoints of the region and interface
 *          |                                |
 *          |                                v
 *          |                          versionlinks.ts (if wanted): hosts that only version
 *          |                                |    documents name
 *          v                                v
 *   --os-catalog off: auth_url        rules.ts: hosts and ports -> targets, PermitOpen
 *   and overrides                           ^
 *                                           |
 *   --os-catalog-file  --catalogfile.ts-->  catalog.ts: as above, without links
 *
 * Nothing bypasses the tunnel: the jump host resolves names, and Keystone sees the jump host's
 * address. A cloud that can't be asked is an error; there is never a list with only half of its
 * targets.
 *
 * Modes (--os-catalog): `auto` takes the cached catalog up to its maximum age, or else fetches it;
 * `refresh` always fetches it; `off` asks nobody. `cached` (--on-demand) asks nobody either, and
 * takes the cached catalog whatever its age is, or refuses. A cloud without Keystone
 * (`auth_type: none`) has no catalog in any mode. A catalog from a file asks nobody either, and is
 * not kept. Secrets are `Secret`s from the moment they are read. They go into the one request that
 * needs them and nowhere else.
 *
 * Limits: those of openstack/keystone/http.ts, MAX_CATALOG_ENDPOINTS, MAX_CLOUD_TARGETS,
 * MAX_VERSION_DOCUMENTS.
 */
import type { CatalogUse } from '../../config/openstackoptions.ts';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import type { Connector } from '../../flow/connector.ts';
import { quoted, shellWord } from '../../net/notation.ts';
import type { Observer } from '../../observe/observer.ts';
import { secureContextOf } from '../keystone/authorities.ts';
import { CatalogCache, MAX_CATALOG_AGE_S } from '../keystone/cache.ts';
import {
  type CatalogEndpoint,
  configuredEndpoints,
  type Endpoint,
  MAX_CATALOG_ENDPOINTS,
  selectEndpoints,
} from '../keystone/catalog.ts';
import type { FiledCatalog } from '../keystone/catalogfile.ts';
import { HttpClient } from '../keystone/http.ts';
import { fetchCatalog } from '../keystone/keystone.ts';
import { findVersionLinks, type VersionLink } from '../keystone/versionlinks.ts';
import type { Cloud } from '../settings/cloud.ts';
import type { AskSecret } from '../settings/secret.ts';
import { type CloudTarget, cloudTargets } from './rules.ts';

export interface CloudTargetsOptions {
  readonly cloud: Cloud;
  readonly catalog: CatalogUse | FiledCatalog;
  /** Whether to fetch version documents, too. */
  readonly findLinks: boolean;
  /** Opens connections at the jump host. */
  readonly connect: Connector['connect'];
  readonly cacheDirectory: string;
  /** Read for the variables that name certificate authorities. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly observer: Observer;
  readonly signal?: AbortSignal;
  /** For a password or one-time code that the settings lack; undefined: nobody can be asked. */
  readonly ask?: AskSecret | undefined;
  /** Milliseconds since 1970; for tests. */
  readonly now?: () => number;
}

export interface CloudTargets {
  readonly endpoints: readonly Endpoint[];
  /** Each host and port once; those with `linked` come only from version documents. */
  readonly targets: readonly CloudTarget[];
  /** Seconds since the catalog was fetched; 0: just now; undefined: it wasn't. */
  readonly age: number | undefined;
  /** The file that the catalog is from, where it is from one. */
  readonly file?: string;
  /** Problems that don't stop the run, one sentence each, without the cloud's own warnings. */
  readonly warnings: readonly string[];
}

interface Fetched {
  readonly catalog: readonly CatalogEndpoint[];
  readonly links: readonly VersionLink[] | undefined;
  readonly age: number | undefined;
  readonly file?: string;
}

/** Rejects with the errors of `fetchCatalog` and `selectEndpoints`, or the signal's reason. */
export async function findCloudTargets(options: CloudTargetsOptions): Promise<CloudTargets> {
  const { cloud, catalog, findLinks } = options;
  const warnings: string[] = [];
  const warn: Warn = (message) => {
    warnings.push(message);
  };
  const fetched =
    catalog === 'off' || (cloud.withoutKeystone !== undefined && typeof catalog === 'string')
      ? undefined
      : typeof catalog === 'object'
        ? fromFile(catalog, warn)
        : await catalogOf(options, catalog, warn);
  const endpoints =
    fetched === undefined ? configuredEndpoints(cloud) : endpointsOf(cloud, fetched);
  const addresses = endpoints.map(({ url, type }) => ({ url, type, linked: false }));
  const links = findLinks
    ? (fetched?.links ?? []).map(({ url, type }) => ({ url, type, linked: true }))
    : [];
  return {
    endpoints,
    targets: cloudTargets([...addresses, ...links], warn),
    age: fetched?.age,
    ...(fetched?.file !== undefined && { file: fetched.file }),
    warnings,
  };
}

/** A cached catalog lacks endpoints that the cloud got later: the hint says so. */
function endpointsOf(cloud: Cloud, { catalog, age }: Fetched): Endpoint[] {
  try {
    return selectEndpoints(cloud, catalog);
  } catch (error) {
    if (!(error instanceof TunnelError) || age === undefined || age === 0) throw error;
    const stale = `this catalog is ${formatAge(age)} old, --os-catalog refresh fetches a new one`;
    const hint = error.hint === undefined ? stale : `${error.hint}; ${stale}`;
    throw new TunnelError(error.code, error.message, { hint, cause: error });
  }
}

type Warn = (message: string) => void;

function fromFile({ file, endpoints, unusable }: FiledCatalog, warn: Warn): Fetched {
  warnOfUnusable(unusable, warn);
  return { catalog: endpoints, links: undefined, age: undefined, file };
}

function warnOfUnusable(unusable: number, warn: Warn): void {
  if (unusable === 0) return;
  warn(
    `entries of the catalog that are not used: ${unusable}, without a type, a known interface or a proper URL, or beyond the first ${MAX_CATALOG_ENDPOINTS}`,
  );
}

async function catalogOf(
  options: CloudTargetsOptions,
  mode: Exclude<CatalogUse, 'off'>,
  warn: Warn,
): Promise<Fetched> {
  const { cloud, findLinks, observer } = options;
  const cache = new CatalogCache({
    directory: options.cacheDirectory,
    now: options.now ?? Date.now,
  });
  const cached =
    mode === 'refresh'
      ? undefined
      : cache.read(cloud, mode === 'cached' ? Number.POSITIVE_INFINITY : MAX_CATALOG_AGE_S);
  if (cached !== undefined && !(findLinks && cached.links === undefined)) {
    observer.log('info', `the catalog of the cloud ${cloud.name} is ${formatAge(cached.age)} old`);
    return { catalog: cached.endpoints, links: cached.links, age: cached.age };
  }
  if (mode === 'cached') throw notCached(cloud, cached !== undefined);
  const http = new HttpClient({
    connect: options.connect,
    tls: { context: secureContextOf(cloud.tls, options.env), verify: cloud.tls.verify },
    observer,
    signal: options.signal,
  });
  const { endpoints, unusable, foreignLinks } = await fetchCatalog(cloud, http, options.ask);
  warnOfUnusable(unusable, warn);
  observer.log('info', `the catalog of the cloud ${cloud.name} has ${endpoints.length} endpoints`);
  const links = findLinks
    ? [
        ...foreignLinks.map((url): VersionLink => ({ type: 'identity', url })),
        ...(await findVersionLinks(selectEndpoints(cloud, endpoints), http, observer)),
      ]
    : undefined;
  try {
    cache.write(cloud, endpoints, links);
  } catch (error) {
    warn(`the catalog can't be cached: ${reasonOf(error)}`);
  }
  return { catalog: endpoints, links, age: 0 };
}

/** `withoutLinks`: there is one, which was fetched without --os-follow-links. */
function notCached({ name }: Cloud, withoutLinks: boolean): TunnelError {
  const what = withoutLinks ? 'catalog with links of version documents' : 'catalog';
  const before = `run "tunnel openstack --os-cloud ${shellWord(name)}" once with a jump host that is there`;
  return new TunnelError(
    'openstack-catalog',
    `no ${what} of the cloud ${quoted(name)} is cached, and with --on-demand nobody is asked for one at the start`,
    { hint: `${before}, or give --os-catalog off or --os-catalog-file` },
  );
}

const MINUTE = 60;
const HOUR = 60 * MINUTE;

/** `40 s`, `12 min`, `3 h` */
export function formatAge(seconds: number): string {
  if (seconds < 2 * MINUTE) return `${Math.round(seconds)} s`;
  return seconds < 2 * HOUR
    ? `${Math.round(seconds / MINUTE)} min`
    : `${Math.round(seconds / HOUR)} h`;
}
