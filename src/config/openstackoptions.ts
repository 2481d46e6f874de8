/** The options that name a cloud. */
import { UsageError } from '../errors/errors.ts';
import { oneOf, type Place } from '../net/place.ts';

/**
 * `auto`: the cached catalog, or a new one when it is old; `refresh`: a new one; `off`: auth_url
 * only.
 */
export const CATALOG_MODES = ['auto', 'refresh', 'off'] as const;
export type CatalogMode = (typeof CATALOG_MODES)[number];

/** As commander hands them over. */
export interface OpenStackOptionTexts {
  readonly osCloud?: string | undefined;
  readonly osRegion?: string | undefined;
  readonly osCatalog?: string | undefined;
  readonly osFollowLinks?: boolean | undefined;
}

export interface OpenStackOptions {
  /** --os-cloud; undefined: the one that environment and files choose. */
  readonly cloud: string | undefined;
  /** --os-region */
  readonly region: string | undefined;
  readonly catalog: CatalogMode;
  /** --os-follow-links: hosts that only version documents name are targets, too. */
  readonly followLinks: boolean;
}

/**
 * For commands that can do without a cloud. undefined: no cloud is named; the environment
 * ($OS_CLOUD) alone names none, because what is captured should not hang on a variable that was set
 * for another program. Throws UsageError.
 */
export function readOpenStackOptions(texts: OpenStackOptionTexts): OpenStackOptions | undefined {
  const { osCloud, osRegion, osCatalog, osFollowLinks } = texts;
  if (osCloud !== undefined) return readCloudChoice(texts);
  const others = {
    '--os-region': osRegion,
    '--os-catalog': osCatalog,
    '--os-follow-links': osFollowLinks,
  };
  for (const [option, value] of Object.entries(others)) {
    if (value === undefined) continue;
    throw new UsageError(`${option} belongs to a cloud, and none is named`, {
      hint: 'name it with --os-cloud; what OS_* variables describe is called "envvars"',
    });
  }
  return undefined;
}

/** For `tunnel openstack`: without --os-cloud, environment and files choose. Throws UsageError. */
export function readCloudChoice({
  osCloud,
  osRegion,
  osCatalog,
  osFollowLinks,
}: OpenStackOptionTexts): OpenStackOptions {
  return {
    cloud: nonEmpty(osCloud, '--os-cloud'),
    region: nonEmpty(osRegion, '--os-region'),
    catalog: oneOf(CATALOG_MODES, osCatalog ?? 'auto', '--os-catalog'),
    followLinks: osFollowLinks ?? false,
  };
}

function nonEmpty(text: string | undefined, option: Place): string | undefined {
  if (text === '')
    throw new UsageError(`${option}: the name is empty`, {
      hint: 'write a name; an empty one often is a variable of the shell that is not set',
    });
  return text;
}
