/** The command line of `tunnel openstack`. */

import { oneOf } from '../net/place.ts';
import type { Level } from '../observe/observer.ts';
import type { SshOptions } from '../ssh/options.ts';
import { CLOUD_OPTIONS, type OpenStackOptions, readCloudChoice } from './openstackoptions.ts';
import { type GivenArguments, once, readOptions } from './option.ts';
import { PROFILE_OPTIONS } from './profileoptions.ts';
import { readLogLevel, VERBOSITY_OPTIONS } from './runoptions.ts';
import { CONNECTION_OPTIONS, JUMP_HOST_OPTIONS, readSshOptions } from './sshoptions.ts';

/** How the report is printed. */
export const REPORT_FORMATS = ['table', 'json', 'targets', 'permitopen'] as const;
export type ReportFormat = (typeof REPORT_FORMATS)[number];

const REPORT_OPTIONS = {
  heading: 'Report:',
  options: {
    format: once(
      '--format <format>',
      `${REPORT_FORMATS.join(', ')} (default: table)`,
      (text, place) =>
        oneOf(REPORT_FORMATS, text, place, 'write one of them, as in: --format table'),
      REPORT_FORMATS,
    ),
  },
} as const;

/** In the order of help. There are no target options: the report finds the targets itself. */
export const OPENSTACK_GROUPS = [
  JUMP_HOST_OPTIONS,
  CLOUD_OPTIONS,
  REPORT_OPTIONS,
  CONNECTION_OPTIONS,
  PROFILE_OPTIONS,
  VERBOSITY_OPTIONS,
] as const;

export interface OpenStackConfiguration {
  readonly ssh: SshOptions;
  readonly openstack: OpenStackOptions;
  readonly format: ReportFormat;
  readonly logLevel: Level;
}

/** Throws UsageError. */
export function buildOpenStackConfiguration({ options }: GivenArguments): OpenStackConfiguration {
  return {
    ssh: readSshOptions(options),
    openstack: readCloudChoice(options),
    format: readOptions(REPORT_OPTIONS, options).format?.value ?? 'table',
    logLevel: readLogLevel(options),
  };
}
