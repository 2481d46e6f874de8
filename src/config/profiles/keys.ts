/**
 * What a profile may say: the long name of every option of the commands that run a tunnel, and a
 * few keys of its own.
 *
 *   CONNECT_GROUPS, PROXY_GROUPS, EXEC_GROUPS ─► PROFILE_KEYS: name -> kind, options, help
 *
 * A new option of these groups is a key at once. Where two commands have an option of the same
 * name each, the key stands for both.
 */
import { mostSimilar } from '../../base/similar.ts';
import { UsageError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { formatPlace, type Place } from '../../net/place.ts';
import { EXEC_GROUPS } from '../execoptions.ts';
import type { Option } from '../option.ts';
import { CONNECT_GROUPS, PROXY_GROUPS } from '../options.ts';
import { PROFILE_OPTIONS, SAVE_OPTIONS } from '../profileoptions.ts';
import { JOURNAL } from '../recordoptions.ts';

/** The commands that run a tunnel, each with its options. */
export const TUNNEL_COMMANDS = {
  connect: CONNECT_GROUPS,
  proxy: PROXY_GROUPS,
  exec: EXEC_GROUPS,
} as const;
export type TunnelCommand = keyof typeof TUNNEL_COMMANDS;
export const TUNNEL_COMMAND_NAMES = Object.keys(TUNNEL_COMMANDS) as TunnelCommand[];

/** Keys that are no options. */
export const OWN_KEYS = {
  extends: 'the profiles whose values this one takes over; of several, a later one wins',
  command: 'what "tunnel up" and "tunnel --profile" start: connect (default), proxy or exec',
  targets: 'what is carried through the jump host',
  without: 'options of which nothing is taken over from the profiles that this one extends',
} as const;

export const TARGETS = 'targets';

/** A hint for a name that is no key. */
export const KEYS_ARE =
  'the keys are the long names of options, without dashes: "tunnel --help" has them';

export interface ProfileKey {
  /** The option's long name without its dashes, or `targets`. */
  readonly name: string;
  readonly kind: Option['kind'];
  /** Empty for `targets`. */
  readonly options: readonly Option[];
  /** Whether its values are names of files. */
  readonly isFile: boolean;
  readonly help: string;
}

/** In place of a file: ssh_config's word for none, and standard input. */
const NO_FILES: ReadonlySet<string> = new Set(['none', '-']);
/** Beside ports these take the path of a socket, which has a slash. */
const PORTS_OR_PATHS: ReadonlySet<string> = new Set(['metrics', 'local-forward']);

/** Whether a value begins with the name of a file. */
export function beginsWithPath({ name, isFile }: ProfileKey, text: string): boolean {
  if (PORTS_OR_PATHS.has(name)) return /^[^:]*\//.test(text);
  if (name === 'flow-log' && text === JOURNAL) return false;
  return isFile && text !== '' && !NO_FILES.has(text);
}

/** By name, in the order of help. */
export const PROFILE_KEYS: ReadonlyMap<string, ProfileKey> = makeKeys();

function makeKeys(): Map<string, ProfileKey> {
  const targets = { kind: 'repeated', options: [], isFile: false, help: OWN_KEYS.targets } as const;
  const keys = new Map<string, ProfileKey>([[TARGETS, { name: TARGETS, ...targets }]]);
  for (const group of Object.values(TUNNEL_COMMANDS).flat()) {
    if (group === PROFILE_OPTIONS || group === SAVE_OPTIONS) continue;
    for (const option of Object.values<Option>(group.options)) {
      const name = longNameOf(option);
      const known = keys.get(name);
      if (known?.options.includes(option) === true) continue;
      const { kind, help } = known ?? option;
      const options = [...(known?.options ?? []), option];
      keys.set(name, { name, kind, options, isFile: takesFile(option), help });
    }
  }
  return keys;
}

/** `remote` for `-r, --remote <remote>`. */
export function longNameOf({ flags }: Option): string {
  return /--([a-z0-9-]+)/.exec(flags)?.[1] ?? '';
}

function takesFile({ flags }: Option): boolean {
  return /<file>$/.test(flags);
}

/** The key that somebody has nearly written, also by its short option: `r`, `--Remote`. */
export function keyMeant(written: string, known: Iterable<string>): string | undefined {
  const name = written.replace(/^-+/, '');
  const byLetter = [...PROFILE_KEYS.values()].find(({ options }) =>
    options.some(({ flags }) => flags.startsWith(`-${name},`)),
  );
  return byLetter?.name ?? mostSimilar(name, known);
}

/** For the names of options in `without`. Throws UsageError. */
export function requireKey(name: string, place: Place): void {
  if (PROFILE_KEYS.has(name)) return;
  const meant = keyMeant(name, PROFILE_KEYS.keys());
  throw new UsageError(`${formatPlace(place)}: there is no option ${quoted(name)}`, {
    hint: meant === undefined ? KEYS_ARE : `did you mean "${meant}"?`,
  });
}
