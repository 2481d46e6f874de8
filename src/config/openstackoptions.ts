/** The options that name a cloud. */
import { UsageError } from '../errors/errors.ts';
import { formatPlace, oneOf } from '../net/place.ts';
import { type GivenOptions, nonEmpty, once, readOptions, toggle } from './option.ts';

/**
 * `auto`: the cached catalog, or a new one if that is too old; `refresh`: a new one; `off`: only
 * auth_url.
 */
export const CATALOG_MODES = ['auto', 'refresh', 'off'] as const;
export type CatalogMode = (typeof CATALOG_MODES)[number];

/** `cached`: the cached catalog, however old, and nobody is asked (--on-demand). */
export type CatalogUse = CatalogMode | 'cached';

/** --os-catalog-file: the catalog is in a file, and nobody is asked for it. */
export interface CatalogFile {
  /** `-` is standard input. */
  readonly file: string;
}

export const CLOUD_OPTIONS = {
  heading: 'OpenStack cloud:',
  options: {
    osCloud: once(
      '--os-cloud <name>',
      'add the endpoints of this cloud in clouds.yaml; "envvars": of the OS_* variables',
      nonEmpty('the name'),
    ),
    osRegion: once(
      '--os-region <name>',
      'its region (default: OS_REGION_NAME, else clouds.yaml)',
      nonEmpty('the name'),
    ),
    osCatalog: once(
      '--os-catalog <mode>',
      `its catalog, cached, new or none: ${CATALOG_MODES.join(', ')} (default: auto)`,
      (text, place) =>
        oneOf(CATALOG_MODES, text, place, 'write one of them, as in: --os-catalog auto'),
      CATALOG_MODES,
    ),
    osCatalogFile: once(
      '--os-catalog-file <file>',
      'take its catalog from this file: the output of "openstack catalog list -f json"',
      nonEmpty('the name of the file'),
    ),
    osFollowLinks: toggle(
      '--os-follow-links',
      'also add hosts that only version documents of its services name',
    ),
  },
} as const;

export interface OpenStackOptions {
  /** --os-cloud; undefined: environment and files choose the cloud. */
  readonly cloud: string | undefined;
  /** --os-region */
  readonly region: string | undefined;
  readonly catalog: CatalogUse | CatalogFile;
  /** --os-follow-links: hosts that only version documents name are also targets. */
  readonly followLinks: boolean;
}

/**
 * For commands that don't need a cloud. undefined: no cloud is named. The environment ($OS_CLOUD)
 * alone names none, because what is captured should not depend on a variable that was set for
 * another program. Throws UsageError.
 */
export function readOpenStackOptions(given: GivenOptions): OpenStackOptions | undefined {
  const { osCloud, osRegion, osCatalog, osCatalogFile, osFollowLinks } = readOptions(
    CLOUD_OPTIONS,
    given,
  );
  if (osCloud !== undefined) return readCloudChoice(given);
  const other = osRegion?.place ?? osCatalog?.place ?? osCatalogFile?.place ?? osFollowLinks;
  if (other === undefined) return undefined;
  throw new UsageError(`${formatPlace(other)} belongs to a cloud, and none is named`, {
    hint: 'name it with --os-cloud; the cloud of the OS_* variables is called "envvars"',
  });
}

/** For `tunnel openstack`: without --os-cloud, environment and files choose. Throws UsageError. */
export function readCloudChoice(given: GivenOptions): OpenStackOptions {
  const { osCloud, osRegion, osCatalog, osCatalogFile, osFollowLinks } = readOptions(
    CLOUD_OPTIONS,
    given,
  );
  if (osCatalog !== undefined && osCatalogFile !== undefined) {
    throw new UsageError(
      `${formatPlace(osCatalogFile.place)} is given with --os-catalog, and there is one catalog`,
      { hint: 'leave --os-catalog out: nobody is asked for a catalog that is in a file' },
    );
  }
  const catalog =
    osCatalogFile === undefined ? (osCatalog?.value ?? 'auto') : { file: osCatalogFile.value };
  if (osFollowLinks !== undefined && !isAsked(catalog)) {
    throw new UsageError(
      `${formatPlace(osFollowLinks)} asks the services of the catalog, and with ${catalog === 'off' ? '--os-catalog off' : '--os-catalog-file'} nobody is asked`,
      { hint: 'leave one of them out, and name further hosts as TARGETs' },
    );
  }
  return {
    cloud: osCloud?.value,
    region: osRegion?.value,
    catalog,
    followLinks: osFollowLinks !== undefined,
  };
}

/**
 * The same cloud where no connection is made at the start, by which it could be asked. Throws
 * UsageError if it was to be asked in any case.
 */
export function withoutAsking(cloud: OpenStackOptions): OpenStackOptions {
  if (cloud.catalog === 'auto') return { ...cloud, catalog: 'cached' };
  if (cloud.catalog !== 'refresh') return cloud;
  throw new UsageError(
    '--os-catalog refresh asks the cloud at the start, and --on-demand connects to nobody then',
    {
      hint: 'leave it out, and the cached catalog is used; or give --os-catalog off or --os-catalog-file',
    },
  );
}

/** Whether the catalog may have to be fetched from the cloud. */
export function isAsked(catalog: OpenStackOptions['catalog']): boolean {
  return catalog === 'auto' || catalog === 'refresh';
}
