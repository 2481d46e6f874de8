/** The command line of `tunnel doctor`. */

import type { Place } from '../net/place.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { Target } from './configuration.ts';
import { buildConfiguration, type ConnectOptions } from './options.ts';
import { separateNames } from './proxyoptions.ts';
import { parseTarget } from './target.ts';

/** Any will do where only the jump host is looked for. */
const ANYWHERE = ['0.0.0.0/0', '::/0'];

/** Of the options of `connect`, those that say where the jump host is, and who one is there. */
export interface DoctorOptions
  extends Pick<
    ConnectOptions,
    'remote' | 'identity' | 'port' | 'jump' | 'sshConfig' | 'sshOption'
  > {
  readonly json?: boolean;
}

export interface DoctorConfiguration {
  /** undefined: no jump host is given, and none looked for. */
  readonly ssh: SshOptions | undefined;
  /** May be empty: then what hangs on them isn't looked at. */
  readonly targets: readonly Target[];
  readonly json: boolean;
}

/** Throws UsageError. */
export function buildDoctorConfiguration(
  targets: readonly string[],
  { json = false, ...ssh }: DoctorOptions,
  placeOf: (text: string) => Place | undefined = () => undefined,
): DoctorConfiguration {
  return {
    ssh: Object.keys(ssh).length === 0 ? undefined : buildConfiguration(ANYWHERE, ssh, placeOf).ssh,
    // Names lead to addresses of the tunnel's own, for which no route of anybody else's stands in
    // the way.
    targets: separateNames(
      targets.map((text) => ({ text, place: placeOf(text) ?? 'target' })),
    ).addresses.map(({ text, place }) => parseTarget(text, place).target),
    json,
  };
}
