/** The options that name a cloud, and the others of `tunnel openstack`. */
import { UsageError } from '../errors.ts';
import { quoted } from '../net/notation.ts';
import type { Configuration } from './configuration.ts';
import { buildConfiguration, type ConnectOptions } from './options.ts';
import type { Place } from './usage.ts';

/** `auto`: the cached catalog, or a new one when it is old; `refresh`: a new one; `off`: auth_url only. */
export const CATALOG_MODES = ['auto', 'refresh', 'off'] as const;
export type CatalogMode = (typeof CATALOG_MODES)[number];

/** Of the report of `tunnel openstack`. */
export const REPORT_FORMATS = ['table', 'json', 'targets', 'permitopen'] as const;
export type ReportFormat = (typeof REPORT_FORMATS)[number];

/** As commander hands them over. */
export interface OpenStackOptionTexts {
  readonly osCloud?: string;
  readonly osRegion?: string;
  readonly osCatalog?: string;
  readonly osFollowLinks?: boolean;
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

export interface OpenStackReportOptions extends ConnectOptions, OpenStackOptionTexts {
  readonly format?: string;
}

export interface OpenStackConfiguration {
  readonly tunnel: Configuration;
  readonly openstack: OpenStackOptions;
  readonly format: ReportFormat;
}

/** For commands that can do without a cloud (none of them has these options yet). undefined: no cloud is named. Throws UsageError. */
export function readOpenStackOptions(texts: OpenStackOptionTexts): OpenStackOptions | undefined {
  const { osCloud, osRegion, osCatalog, osFollowLinks } = texts;
  if (osCloud !== undefined) return readAll(texts);
  const others = { '--os-region': osRegion, '--os-catalog': osCatalog, '--os-follow-links': osFollowLinks };
  for (const [option, value] of Object.entries(others)) {
    if (value === undefined) continue;
    throw new UsageError(`${option} belongs to a cloud, and none is named`, {
      hint: 'name it with --os-cloud; what OS_* variables describe is called "envvars"',
    });
  }
  return undefined;
}

/** Before the catalog has been read, any address may be one that the cloud needs. */
const ANYWHERE = ['0.0.0.0/0', '::/0'];

/** For `tunnel openstack`, which has no targets but those that it finds. Throws UsageError. */
export function buildOpenStackConfiguration(
  options: OpenStackReportOptions,
  placeOf: (text: string) => Place | undefined = () => undefined,
): OpenStackConfiguration {
  return {
    tunnel: buildConfiguration(ANYWHERE, options, placeOf),
    openstack: readAll(options),
    format: oneOf(REPORT_FORMATS, options.format ?? 'table', '--format'),
  };
}

function readAll({ osCloud, osRegion, osCatalog, osFollowLinks }: OpenStackOptionTexts): OpenStackOptions {
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

function oneOf<T extends string>(names: readonly T[], text: string, option: Place): T {
  const found = names.find((name) => name === text);
  if (found !== undefined) return found;
  throw new UsageError(`${option}: ${quoted(text)} is none of ${names.join(', ')}`, {
    hint: `write one of them, as in: ${option} ${names[0]}`,
  });
}
