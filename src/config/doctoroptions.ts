/** The command line of `tunnel doctor`. */
import type { Remote, Target } from './configuration.ts';
import type { ConnectOptions } from './options.ts';
import { separateNames } from './proxyoptions.ts';
import { parseRemote } from './remote.ts';
import { parseTarget } from './target.ts';
import type { Place } from './usage.ts';

export interface DoctorOptions extends Pick<ConnectOptions, 'remote'> {
  readonly json?: boolean;
}

export interface DoctorConfiguration {
  /** Both may be empty: then what hangs on them isn't looked at. */
  readonly remotes: readonly Remote[];
  readonly targets: readonly Target[];
  readonly json: boolean;
}

/** Throws UsageError. */
export function buildDoctorConfiguration(
  targets: readonly string[],
  { remote = [], json = false }: DoctorOptions,
  placeOf: (text: string) => Place | undefined = () => undefined,
): DoctorConfiguration {
  return {
    remotes: remote.map((text) => parseRemote(text, placeOf(text) ?? '-r')),
    // Names lead to addresses of the tunnel's own, for which no route of anybody else's stands in the way.
    targets: separateNames(targets.map((text) => ({ text, place: placeOf(text) ?? 'target' }))).addresses.map(
      ({ text, place }) => parseTarget(text, place).target,
    ),
    json,
  };
}
