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
  readonly catalog: CatalogMode;
  /** --os-follow-links: hosts that only version documents name are also targets. */
  readonly followLinks: boolean;
}

/**
 * For commands that don't need a cloud. undefined: no cloud is named. The environment ($OS_CLOUD)
 * alone names none, because what is captured should not depend on a variable that was set for
 * another program. Throws UsageError.
 */
export function readOpenStackOptions(given: GivenOptions): OpenStackOptions | undefined {
  const { osCloud, osRegion, osCatalog, osFollowLinks } = readOptions(CLOUD_OPTIONS, given);
  if (osCloud !== undefined) return readCloudChoice(given);
  const other = osRegion?.place ?? osCatalog?.place ?? osFollowLinks;
  if (other === undefined) return undefined;
  throw new UsageError(`${formatPlace(other)} belongs to a cloud, and none is named`, {
    hint: 'name it with --os-cloud; the cloud of the OS_* variables is called "envvars"',
  });
}

/** For `tunnel openstack`: without --os-cloud, environment and files choose. Throws UsageError. */
export function readCloudChoice(given: GivenOptions): OpenStackOptions {
  const { osCloud, osRegion, osCatalog, osFollowLinks } = readOptions(CLOUD_OPTIONS, given);
  return {
    cloud: osCloud?.value,
    region: osRegion?.value,
    catalog: osCatalog?.value ?? 'auto',
    followLinks: osFollowLinks !== undefined,
  };
}
