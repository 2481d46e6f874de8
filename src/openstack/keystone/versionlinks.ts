/**
 * Finds hosts that only version documents name. Clients ask a service for its versions and then
 * follow the link of the version that they speak. Behind a proxy that link often has another host
 * or port than the catalog. For each endpoint of the catalog up to two documents are fetched: the
 * address without project and version, and the address with the version. No token is sent: version
 * documents are public, and one that isn't is skipped.
 */
import { TunnelError } from '../../errors/errors.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Endpoint } from './catalog.ts';
import type { HttpClient } from './http.ts';
import { parseVersions } from './versions.ts';

/** Documents fetched in one run. The rest is skipped, and the log says so. */
export const MAX_VERSION_DOCUMENTS = 64;
/** Requests at a time: the jump host answers opens by name one after the other. */
const CONCURRENCY = 4;

export interface VersionLink {
  /** The service whose document has the link. */
  readonly type: string;
  readonly url: URL;
}

/**
 * Links to other hosts or ports than those of the endpoints. A document that can't be fetched is
 * skipped.
 */
export async function findVersionLinks(
  endpoints: readonly Endpoint[],
  http: HttpClient,
  observer: Observer,
): Promise<VersionLink[]> {
  const documents = new Map<string, string>();
  for (const { url, type } of endpoints) {
    for (const document of documentsOf(url))
      if (!documents.has(document)) documents.set(document, type);
  }
  const known = new Set(endpoints.map(({ url }) => url.origin));
  const asked = [...documents].slice(0, MAX_VERSION_DOCUMENTS);
  if (documents.size > asked.length) {
    observer.count('tunnel_openstack_versions_left_out_total', documents.size - asked.length);
    observer.log(
      'notice',
      `of ${documents.size} version documents only ${asked.length} are asked for`,
    );
  }
  const found = new Map<string, VersionLink>();
  // Workers take from one list; they reject only with the signal's reason.
  const work = asked.values();
  const worker = async (): Promise<void> => {
    for (const [document, type] of work) {
      for (const url of await linksAt(new URL(document), http, observer)) {
        if (!known.has(url.origin) && !found.has(url.origin)) found.set(url.origin, { type, url });
      }
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return [...found.values()];
}

async function linksAt(document: URL, http: HttpClient, observer: Observer): Promise<URL[]> {
  try {
    const { body, status, url } = await http.request({ method: 'GET', url: document });
    return [200, 300].includes(status)
      ? parseVersions(body, url).flatMap(({ links }) => links)
      : [];
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    observer.log('debug', `no versions at ${document.href}: ${error.message}`);
    return [];
  }
}

/** `https://nova/v2.1/PROJECT` -> `https://nova/v2.1/`, `https://nova/`. */
function documentsOf(url: URL): string[] {
  const segments = url.pathname.split('/').filter((segment) => segment !== '');
  const version = segments.findIndex((segment) => /^v[0-9]+(\.[0-9]+)*$/.test(segment));
  if (version === -1)
    return [
      `${url.origin}/${segments
        .slice(0, 1)
        .map((name) => `${name}/`)
        .join('')}`,
    ];
  const before = segments
    .slice(0, version)
    .map((segment) => `${segment}/`)
    .join('');
  return [`${url.origin}/${before}`, `${url.origin}/${before}${segments[version] ?? ''}/`];
}
