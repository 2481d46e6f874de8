/**
 * Brings together what a command line, a profile, the profiles that it extends, and the defaults
 * say.
 *
 *   command line ─► profile ─► what it extends, the later first ─► defaults   nearest first
 *
 *   given once, or a switch   the nearest one that says something decides
 *   repeated, and targets     all are added, the nearest first; where the order counts, as for
 *                             identities, the first one wins
 *   `without`                 nothing from further away is taken
 *
 * A profile that is reached twice counts once, where it is nearest.
 */
import { mostSimilar } from '../../base/similar.ts';
import { UsageError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { formatPlace, type Place } from '../../net/place.ts';
import type { Entry } from '../argsfile.ts';
import type { ConfigFile, Profile, Setting } from './document.ts';
import { PROFILE_KEYS } from './keys.ts';

/** More of them in one profile are a mistake. */
export const MAX_INHERITED_PROFILES = 64;

/** What one source says. */
export type Layer = Pick<Profile, 'settings' | 'without'>;

/** Of two such keys, a nearer one replaces the other. */
const OPPOSITES: Readonly<Record<string, string>> = { quiet: 'verbose', verbose: 'quiet' };

/** The profile, what it extends, and the defaults, nearest first. Throws UsageError. */
export function layersOf(
  name: Entry,
  files: readonly ConfigFile[],
  paths: readonly string[],
): readonly Profile[] {
  const layers: Profile[] = [];
  const collect = (wanted: Entry, trail: readonly Profile[]): void => {
    const profile = findProfile(wanted, files, paths);
    const names = trail.map((earlier) => earlier.name);
    if (trail.includes(profile)) {
      const circle = [...names.slice(trail.indexOf(profile)), profile.name].join(' -> ');
      throw new UsageError(
        `${formatPlace(wanted.place)}: the profiles extend each other: ${circle}`,
        {
          hint: 'take one of these names out of its "extends"',
        },
      );
    }
    if (trail.length >= MAX_INHERITED_PROFILES || layers.length >= MAX_INHERITED_PROFILES) {
      throw new UsageError(
        `${formatPlace(wanted.place)}: a profile extends more than ${MAX_INHERITED_PROFILES} others`,
        { hint: 'put what they share into one of them, or into the defaults' },
      );
    }
    if (layers.includes(profile)) return;
    layers.push(profile);
    for (const parent of profile.extends.toReversed()) collect(parent, [...trail, profile]);
  };
  collect(name, []);
  return [...layers, ...files.flatMap(({ defaults }) => defaults ?? [])];
}

/** A profile of a file further away may be hidden by one of the same name. Throws UsageError. */
export function findProfile(
  { text, place }: Entry,
  files: readonly ConfigFile[],
  paths: readonly string[],
): Profile {
  for (const { profiles } of files) {
    const found = profiles.get(text);
    if (found !== undefined) return found;
  }
  const known = [...new Set(files.flatMap(({ profiles }) => [...profiles.keys()]))];
  const meant = mostSimilar(text, known);
  const where = `there is no profile ${quoted(text)}${files.length === 0 ? ', nor any other' : ''}`;
  throw new UsageError(`${formatPlace(place)}: ${where}`, {
    hint:
      meant !== undefined
        ? `did you mean "${meant}"?`
        : known.length > 0
          ? '"tunnel list" shows the profiles'
          : `write one into ${paths.join(' or ')}, or let --save write it`,
  });
}

/** What all layers say together, by key. A setting that is switched off is left out. */
export function merge(layers: readonly Layer[]): ReadonlyMap<string, Setting> {
  const merged = new Map<string, Setting>();
  for (const [name, { kind }] of PROFILE_KEYS) {
    const opposite = OPPOSITES[name];
    const entries: Entry[] = [];
    let place: Place | undefined;
    for (const { settings, without } of layers) {
      const setting = settings.get(name);
      if (setting !== undefined) {
        place ??= setting.place;
        entries.push(...setting.entries);
        if (kind !== 'repeated') break;
      }
      if (without.some(({ text }) => text === name)) break;
      if (opposite !== undefined && (settings.get(opposite)?.entries.length ?? 0) > 0) break;
    }
    if (place !== undefined && entries.length > 0) merged.set(name, { entries, place });
  }
  return merged;
}
