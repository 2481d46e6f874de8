/**
 * The catalogs of clouds, kept between runs:
 * `${XDG_CACHE_HOME:-~/.cache}/tunnel/openstack/NAME-HASH.json`, readable by the owner only.
 * The file contains endpoints and links of version documents, but no credential and no token. The
 * hash covers everything that the catalog depends on (address, type, user, project, whether
 * certificates were verified). So another project has another file, and an unverified catalog is
 * never taken for a verified one.
 *
 * A file counts as absent if it is older than is asked for (mostly MAX_CATALOG_AGE_S), can't be
 * read, or was written by another version.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Authentication, type Cloud, INTERFACES } from '../settings/cloud.ts';
import { type CatalogEndpoint, MAX_CATALOG_ENDPOINTS } from './catalog.ts';
import { field, listAt, parseJson, textAt } from './json.ts';
import type { VersionLink } from './versionlinks.ts';

/** A working day: endpoints change rarely, and --os-catalog refresh helps when they do. Seconds. */
export const MAX_CATALOG_AGE_S = 12 * 3600;
const MAX_CACHE_BYTES = 8 * 1024 * 1024;
const FORMAT = 1;

export interface CachedCatalog {
  readonly endpoints: readonly CatalogEndpoint[];
  /** undefined: version documents have not been fetched. */
  readonly links: readonly VersionLink[] | undefined;
  /** Seconds since it was fetched. */
  readonly age: number;
}

export interface CacheOptions {
  readonly directory: string;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** `${XDG_CACHE_HOME:-~/.cache}/tunnel/openstack` */
export function cacheDirectory(
  env: Readonly<Record<string, string | undefined>>,
  home: string,
): string {
  return join(env['XDG_CACHE_HOME'] || join(home, '.cache'), 'tunnel', 'openstack');
}

/** A hash of everything that the catalog depends on, without the secrets. */
function keyOf(cloud: Cloud): string {
  const { method, scope }: Authentication = cloud.authentication();
  const factors = method.kind === 'multifactor' ? method.factors : [method];
  const who = factors.map((factor) =>
    factor.kind === 'token'
      ? []
      : [
          factor.user,
          ...(factor.kind === 'application-credential' ? [factor.id, factor.name] : []),
        ],
  );
  const key = JSON.stringify([
    FORMAT,
    cloud.name,
    cloud.authUrl?.href,
    cloud.tls.verify,
    factors.map(({ kind }) => kind),
    who,
    scope,
  ]);
  return createHash('sha256').update(key).digest('hex').slice(0, 32);
}

export class CatalogCache {
  readonly #options: CacheOptions;

  constructor(options: CacheOptions) {
    this.#options = options;
  }

  /** undefined: there is no usable catalog of at most `maxAge` seconds. */
  read(cloud: Cloud, maxAge = MAX_CATALOG_AGE_S): CachedCatalog | undefined {
    const document = parseJson(this.#load(this.#path(cloud)));
    const fetched = field(document, 'fetched');
    if (field(document, 'format') !== FORMAT || typeof fetched !== 'number') return undefined;
    const age = (this.#options.now() - fetched) / 1000;
    // If the clock was set back, no age can be trusted.
    if (age < 0 || age > maxAge) return undefined;
    const endpoints = listAt(document, 'endpoints')
      .flatMap(endpointOf)
      .slice(0, MAX_CATALOG_ENDPOINTS);
    const links =
      field(document, 'links') === undefined
        ? undefined
        : listAt(document, 'links').flatMap(linkOf);
    return endpoints.length === 0 ? undefined : { endpoints, links, age };
  }

  /** Replaces the whole file. Throws errors of the file system. */
  write(
    cloud: Cloud,
    endpoints: readonly CatalogEndpoint[],
    links: readonly VersionLink[] | undefined,
  ): void {
    const path = this.#path(cloud);
    const document = {
      format: FORMAT,
      cloud: cloud.name,
      fetched: this.#options.now(),
      endpoints,
      ...(links !== undefined && {
        links: links.map(({ type, url }) => ({ type, url: `${url.origin}${url.pathname}` })),
      }),
    };
    mkdirSync(this.#options.directory, { recursive: true, mode: 0o700 });
    const temporary = `${path}.${randomBytes(6).toString('hex')}`;
    try {
      writeFileSync(temporary, `${JSON.stringify(document, undefined, 1)}\n`, {
        mode: 0o600,
        flag: 'wx',
      });
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  }

  #path(cloud: Cloud): string {
    const name = cloud.name.replaceAll(/[^A-Za-z0-9_-]/g, '_').slice(0, 64);
    return join(this.#options.directory, `${name}-${keyOf(cloud)}.json`);
  }

  /**
   * Empty when there is no file, when it belongs to another user, or when others could have written
   * it.
   */
  #load(path: string): string {
    let fd: number | undefined;
    try {
      fd = openSync(path, 'r');
      const { uid, mode, size } = fstatSync(fd);
      const own = uid === process.getuid?.() && (mode & 0o022) === 0;
      return own && size <= MAX_CACHE_BYTES ? readFileSync(fd, 'utf8') : '';
    } catch {
      // A missing cache is not an error: the catalog is fetched.
      return '';
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }
}

function endpointOf(entry: unknown): CatalogEndpoint[] {
  const type = textAt(entry, 'type');
  const url = textAt(entry, 'url');
  const found = INTERFACES.find((name) => name === field(entry, 'interface'));
  if (type === undefined || url === undefined || !URL.canParse(url) || found === undefined)
    return [];
  const regions = listAt(entry, 'regions').filter((region) => typeof region === 'string');
  return [{ type, name: textAt(entry, 'name') ?? '', interface: found, regions, url }];
}

function linkOf(entry: unknown): VersionLink[] {
  const type = textAt(entry, 'type');
  const url = textAt(entry, 'url');
  return type === undefined || url === undefined || !URL.canParse(url)
    ? []
    : [{ type, url: new URL(url) }];
}
