/** The command line of `tunnel openstack`. */

import { oneOf, type Place } from '../net/place.ts';
import type { Configuration } from './configuration.ts';
import { type OpenStackOptions, readCloudChoice } from './openstackoptions.ts';
import { buildConfiguration, type ConnectOptions } from './options.ts';

/** Of the report. */
export const REPORT_FORMATS = ['table', 'json', 'targets', 'permitopen'] as const;
export type ReportFormat = (typeof REPORT_FORMATS)[number];

export interface OpenStackReportOptions extends ConnectOptions {
  readonly format?: string;
}

export interface OpenStackConfiguration {
  readonly tunnel: Configuration;
  readonly openstack: OpenStackOptions;
  readonly format: ReportFormat;
}

/** Before the catalog has been read, any address may be one that the cloud needs. */
const ANYWHERE = ['0.0.0.0/0', '::/0'];

/** There are no targets but those that it finds. Throws UsageError. */
export function buildOpenStackConfiguration(
  { format, osCloud, osRegion, osCatalog, osFollowLinks, ...ssh }: OpenStackReportOptions,
  placeOf: (text: string) => Place | undefined = () => undefined,
): OpenStackConfiguration {
  return {
    tunnel: buildConfiguration(ANYWHERE, ssh, placeOf),
    openstack: readCloudChoice({ osCloud, osRegion, osCatalog, osFollowLinks }),
    format: oneOf(REPORT_FORMATS, format ?? 'table', '--format'),
  };
}
