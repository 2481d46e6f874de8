/** The command line of `tunnel doctor`. */

import type { SshOptions } from '../ssh/options.ts';
import type { Target } from './configuration.ts';
import { type GivenArguments, isAnyGiven, readOptions, toggle } from './option.ts';
import { JUMP_HOST_OPTIONS, readSshOptions } from './sshoptions.ts';
import { parseTarget, separateNames } from './target.ts';
import { asTarget } from './targetoptions.ts';

const REPORT_OPTIONS = {
  heading: 'Report:',
  options: { json: toggle('--json', 'print the report as JSON') },
} as const;

/** In the order of help. */
export const DOCTOR_GROUPS = [REPORT_OPTIONS, JUMP_HOST_OPTIONS] as const;

export interface DoctorConfiguration {
  /** undefined: no jump host is given, and none is looked up. */
  readonly ssh: SshOptions | undefined;
  /** May be empty: then the checks that need targets are skipped. */
  readonly targets: readonly Target[];
  readonly json: boolean;
}

/** Throws UsageError. */
export function buildDoctorConfiguration({
  operands,
  options,
}: GivenArguments): DoctorConfiguration {
  return {
    ssh: isAnyGiven(JUMP_HOST_OPTIONS, options) ? readSshOptions(options) : undefined,
    // Names resolve to the tunnel's own addresses, and no other program's route gets in their way.
    targets: separateNames(operands.map(asTarget)).addresses.map(
      ({ text, place }) => parseTarget(text, place).target,
    ),
    json: readOptions(REPORT_OPTIONS, options).json !== undefined,
  };
}
