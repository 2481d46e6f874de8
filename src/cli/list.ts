/** `tunnel list`: the profiles that there are, and which of them run. */
import { LIST_GROUPS, LIST_OPTIONS } from '../config/listoptions.ts';
import { type GivenArguments, readOptions } from '../config/option.ts';
import type { ConfigFile, Profile } from '../config/profiles/document.ts';
import { configPaths, readConfigFiles, type Surroundings } from '../config/profiles/files.ts';
import { findProfile, layersOf, merge } from '../config/profiles/inherit.ts';
import { TARGETS } from '../config/profiles/keys.ts';
import { findTunnels } from '../control/client.ts';
import { whoseProcess } from '../control/directory.ts';
import { UsageError } from '../errors/errors.ts';
import { filePrefix } from '../net/place.ts';
import { printable, printableJson } from '../observe/printable.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  tunnel list
  tunnel list --config ./team.yaml --json
`;

const AFTER = `
Shows the profiles of \${XDG_CONFIG_HOME:-~/.config}/tunnel/config.yaml and of
/etc/tunnel/config.yaml, with what they inherit. Of two that have the same name, the user's
own counts. "tunnel --profile NAME --print-config" shows all of one.
`;

export const LIST: CommandDeclaration = {
  name: 'list',
  description: 'show the profiles of the configuration files, and which of them run',
  purpose: 'Look',
  usage: '[options]',
  takesOperands: false,
  groups: LIST_GROUPS,
  answersSshuttle: false,
  examples: EXAMPLES,
  after: AFTER,
};

interface ListedProfile {
  readonly name: string;
  readonly command: string;
  readonly remotes: readonly string[];
  readonly targets: readonly string[];
  /** File and line. */
  readonly place: string;
  /** Process ids of this user's tunnels that are called so. */
  readonly running: readonly number[];
  /** Why it can't be started: what it extends is wrong. */
  readonly problem?: string;
}

/** Ends in a newline. Throws UsageError. */
export async function listProfiles(
  { options }: GivenArguments,
  surroundings: Surroundings,
): Promise<string> {
  const { config, json } = readOptions(LIST_OPTIONS, options);
  const files = await readConfigFiles(config, surroundings);
  const paths = config === undefined ? configPaths(surroundings) : [config.value];
  const { tunnels } = await findTunnels();
  // Root finds those of all users, whose profiles are others.
  const own = tunnels.filter(({ user }) => user === whoseProcess().uid);
  const running = (name: string): number[] =>
    own.filter(({ status }) => status.name === name).map(({ pid }) => pid);
  const names = new Set(files.flatMap(({ profiles }) => [...profiles.keys()]));
  const listed = [...names].sort().map((name): ListedProfile => {
    const profile = findProfile(entryOf(name), files, paths);
    const place = filePrefix(profile.place).replace(/: $/, '');
    return { name, ...describe(name, profile, files, paths), place, running: running(name) };
  });
  if (json !== undefined) return `${printableJson(listed, 2)}\n`;
  if (listed.length === 0) {
    const none = `no profiles in ${paths.join(' and ')}; "tunnel --save NAME ..." writes one`;
    return `${printable(none)}\n`;
  }
  return formatProfiles(listed);
}

const entryOf = (text: string) => ({ text, place: { kind: 'argument', name: 'list' } }) as const;

/** One that extends a wrong profile doesn't hide the others: it says what is wrong with it. */
function describe(
  name: string,
  profile: Profile,
  files: readonly ConfigFile[],
  paths: readonly string[],
): Pick<ListedProfile, 'command' | 'remotes' | 'targets' | 'problem'> {
  const [layers, problem] = layersOrProblem(name, profile, files, paths);
  const settings = merge(layers);
  const textsOf = (key: string): string[] =>
    (settings.get(key)?.entries ?? []).map(({ text }) => text);
  return {
    command: layers.find(({ command }) => command !== undefined)?.command?.value ?? 'connect',
    remotes: textsOf('remote'),
    targets: textsOf(TARGETS),
    ...(problem !== undefined && { problem }),
  };
}

function layersOrProblem(
  name: string,
  profile: Profile,
  files: readonly ConfigFile[],
  paths: readonly string[],
): readonly [layers: readonly Profile[], problem?: string] {
  try {
    return [layersOf(entryOf(name), files, paths)];
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return [[profile], error.message];
  }
}

/** Longer lists of targets are cut: --print-config shows all. */
const MAX_TARGETS = 3;

function formatProfiles(listed: readonly ListedProfile[]): string {
  const rows = [
    ['NAME', 'RUNS', 'COMMAND', 'JUMP HOST', 'TARGETS', 'FROM'],
    ...listed.map(({ name, running, command, remotes, targets, place }) => [
      name,
      running.length === 0 ? '-' : `pid ${running.join(', ')}`,
      command,
      remotes[0] ?? '-',
      targets.length === 0 ? '-' : shortened(targets),
      place,
    ]),
  ].map((row) => row.map((cell) => printable(cell)));
  const widths = [0, 1, 2, 3, 4].map((column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const problems = listed.flatMap(({ name, problem }) =>
    problem === undefined ? [] : [`${name} can't be started: ${problem}`],
  );
  return `${[...lines, ...problems.map((problem) => printable(problem))].join('\n')}\n`;
}

function shortened(targets: readonly string[]): string {
  const shown = targets.slice(0, MAX_TARGETS).join(' ');
  const more = targets.length - MAX_TARGETS;
  return more > 0 ? `${shown} and ${more} more` : shown;
}
