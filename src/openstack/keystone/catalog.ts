/**
 * The service catalog, and which of its endpoints a client of this cloud will use.
 *
 * For each service these are the endpoints in its region (in any region, if none is chosen), and of
 * these only those with the first preferred interface that exists. So if the catalog has both
 * `volumev3` and `volumev2`, both count. A configured `<service>_endpoint_override` replaces all
 * names of a service, and counts even if the catalog doesn't have the service.
 */
import { TunnelError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { printable } from '../../observe/printable.ts';
import { type Cloud, INTERFACES, type Interface } from '../settings/cloud.ts';
import { officialType } from '../settings/servicetypes.ts';
import { listAt, textAt } from './json.ts';

/**
 * For all services, regions and interfaces together. The largest public clouds have a few hundred.
 */
export const MAX_CATALOG_ENDPOINTS = 4096;
const MAX_TEXT = 255;

/** One entry of the catalog, unfiltered; its texts are printable. */
export interface CatalogEndpoint {
  /** `compute`, `volumev3` */
  readonly type: string;
  /** `nova`; empty if it has no name. */
  readonly name: string;
  readonly interface: Interface;
  /** `region_id` and `region`, which are usually the same; empty if it has none. */
  readonly regions: readonly string[];
  /** Without user, query and fragment. */
  readonly url: string;
}

/** What a client will connect to. */
export interface Endpoint {
  readonly type: string;
  readonly name: string;
  readonly interface: Interface | undefined;
  readonly region: string;
  readonly url: URL;
  readonly origin: 'auth_url' | 'endpoint' | 'catalog' | 'override';
}

/**
 * Skips and counts entries without a type, a known interface or a usable URL, and those beyond
 * MAX_CATALOG_ENDPOINTS.
 */
export function parseCatalog(catalog: unknown): {
  readonly endpoints: CatalogEndpoint[];
  readonly unusable: number;
} {
  const endpoints: CatalogEndpoint[] = [];
  let unusable = 0;
  for (const service of Array.isArray(catalog) ? catalog : []) {
    const type = textAt(service, 'type');
    for (const entry of listAt(service, 'endpoints')) {
      const endpoint = type && parseEndpoint(type, textAt(service, 'name') ?? '', entry);
      if (endpoint && endpoints.length < MAX_CATALOG_ENDPOINTS) endpoints.push(endpoint);
      else unusable += 1;
    }
  }
  return { endpoints, unusable };
}

function parseEndpoint(type: string, name: string, entry: unknown): CatalogEndpoint | undefined {
  const bare = textAt(entry, 'interface')?.replace(/URL$/, '');
  const found = INTERFACES.find((known) => known === bare);
  const text = textAt(entry, 'url');
  if (found === undefined || text === undefined || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return undefined;
  const regions = [textAt(entry, 'region_id'), textAt(entry, 'region')].filter(
    (region) => region !== undefined,
  );
  return {
    type: short(type),
    name: short(name),
    interface: found,
    regions: [...new Set(regions.map(short))],
    url: `${url.origin}${url.pathname}`,
  };
}

function short(text: string): string {
  return printable(text).slice(0, MAX_TEXT);
}

/**
 * The endpoints that the cloud's settings choose, auth_url first. Throws TunnelError
 * `openstack-catalog` when the catalog has none for the region and interface.
 */
export function selectEndpoints(cloud: Cloud, catalog: readonly CatalogEndpoint[]): Endpoint[] {
  const types = [...new Set(catalog.map(({ type }) => type))];
  const chosen = types.flatMap((type) => {
    const entries = catalog.filter((entry) => entry.type === type);
    const settings = cloud.services.get(officialType(type));
    if (settings?.endpoint !== undefined) return [];
    const region = settings?.region ?? cloud.region;
    const inRegion = entries.filter(
      ({ regions }) => region === undefined || regions.includes(region),
    );
    const interfaces = settings?.interfaces ?? cloud.interfaces;
    const best = interfaces.find((name) => inRegion.some((entry) => entry.interface === name));
    return inRegion.filter((entry) => entry.interface === best);
  });
  const overrides = overridesOf(cloud);
  if (chosen.length === 0 && catalog.length > 0 && overrides.length === 0)
    throw nothingChosen(cloud, catalog);
  return [
    ...identityOf(cloud),
    ...chosen.map((entry): Endpoint => {
      const { type, name, interface: which, regions, url } = entry;
      return {
        type,
        name,
        interface: which,
        region: regions[0] ?? '',
        url: new URL(url),
        origin: 'catalog',
      };
    }),
    ...overrides,
  ];
}

/** The endpoints that are known without the catalog: --os-catalog off. */
export function configuredEndpoints(cloud: Cloud): Endpoint[] {
  return [...identityOf(cloud), ...overridesOf(cloud)];
}

/** auth_url, or without Keystone the endpoint of the cloud's only service, if it is known. */
function identityOf({ authUrl, region, withoutKeystone }: Cloud): Endpoint[] {
  const url = authUrl ?? withoutKeystone?.endpoint;
  if (url === undefined) return [];
  const common = { interface: undefined, region: region ?? '', url };
  return authUrl === undefined
    ? [{ ...common, type: 'any', name: '', origin: 'endpoint' }]
    : [{ ...common, type: 'identity', name: 'keystone', origin: 'auth_url' }];
}

function overridesOf(cloud: Cloud): Endpoint[] {
  return [...cloud.services].flatMap(([type, { endpoint, region }]): Endpoint[] => {
    if (endpoint === undefined) return [];
    const where = region ?? cloud.region ?? '';
    return [
      { type, name: '', interface: undefined, region: where, url: endpoint, origin: 'override' },
    ];
  });
}

function nothingChosen(cloud: Cloud, catalog: readonly CatalogEndpoint[]): TunnelError {
  const regions = [...new Set(catalog.flatMap((entry) => entry.regions))];
  const inRegion = catalog.filter(
    (entry) => cloud.region === undefined || entry.regions.includes(cloud.region),
  );
  const known = (names: readonly string[]): string => names.map(quoted).join(', ') || 'none';
  if (inRegion.length === 0) {
    return new TunnelError(
      'openstack-catalog',
      `the catalog of the cloud ${quoted(cloud.name)} has no endpoints in the region ${quoted(cloud.region ?? '')}`,
      {
        hint: `set region_name, --os-region or OS_REGION_NAME; its regions are: ${known(regions)}`,
      },
    );
  }
  const interfaces = [...new Set(inRegion.map((entry) => entry.interface))];
  return new TunnelError(
    'openstack-catalog',
    `the catalog of the cloud ${quoted(cloud.name)} has no ${cloud.interfaces.join(' or ')} endpoints`,
    { hint: `set "interface"; its interfaces are: ${known(interfaces)}` },
  );
}
