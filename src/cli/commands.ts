/**
 * All commands, by name. Help, manual pages and completion are made from these declarations, so a
 * command that is added here appears in all of them.
 */
import { editDistance } from '../base/similar.ts';
import { LIKE_A_COMMAND } from '../config/words.ts';
import { CLEAN } from './clean.ts';
import { type CommandDeclaration, PURPOSES } from './command.ts';
import { COMPLETION } from './completion.ts';
import { CONNECT } from './connect.ts';
import { DOCTOR } from './doctor.ts';
import { EXEC } from './exec.ts';
import { JUMPHOST } from './jumphost.ts';
import { LIST } from './list.ts';
import { NC } from './nc.ts';
import { OPENSTACK } from './openstack.ts';
import { PROXY } from './proxy.ts';
import { DOWN, RECONNECT, RELOAD, STATUS, STOP } from './status.ts';
import { UP } from './up.ts';

const OTHERS = {
  exec: EXEC,
  proxy: PROXY,
  nc: NC,
  up: UP,
  down: DOWN,
  stop: STOP,
  reconnect: RECONNECT,
  reload: RELOAD,
  status: STATUS,
  doctor: DOCTOR,
  openstack: OPENSTACK,
  jumphost: JUMPHOST,
  list: LIST,
  completion: COMPLETION,
  clean: CLEAN,
} as const;

/** In the order in which messages list them. connect's help is also the program's. */
export const COMMANDS = {
  connect: {
    ...CONNECT,
    after: `\nOther commands, each with its own --help:\n${listOf(Object.values(OTHERS))}${CONNECT.after}`,
  },
  ...OTHERS,
} as const;
export type CommandName = keyof typeof COMMANDS;
export const NAMES = Object.keys(COMMANDS) as CommandName[];

export function commandNamed(text: string | undefined): CommandName | undefined {
  return NAMES.find((name) => name === text);
}

/** What other programs call such commands. */
const OTHER_NAMES: ReadonlyMap<string, CommandName> = new Map([
  ['start', 'up'],
  ['restart', 'reconnect'],
  ['kill', 'stop'],
  ['disconnect', 'stop'],
  ['ls', 'list'],
  ['profiles', 'list'],
  ['ps', 'status'],
  ['check', 'doctor'],
  ['run', 'exec'],
  ['socks', 'proxy'],
]);

/** The command that a word is another name of. */
export function commandOtherwiseNamed(word: string): CommandName | undefined {
  return OTHER_NAMES.get(word);
}

/** Two letters exchanged, or one wrong, missing or too many. */
const MAX_MISTAKES = 2;

/** The command that a mistyped word is nearest to. undefined: it is near to none, or is one. */
export function commandMeant(word: string): CommandName | undefined {
  if (!LIKE_A_COMMAND.test(word) || word.length > 20) return undefined;
  const near = NAMES.map((name) => ({ name, mistakes: editDistance(word.toLowerCase(), name) }))
    .filter(({ name, mistakes }) => mistakes <= MAX_MISTAKES && mistakes * 3 <= name.length)
    .sort((a, b) => a.mistakes - b.mistakes);
  return near[0]?.mistakes === 0 ? undefined : near[0]?.name;
}

/** By purpose, a line each. Ends in a newline. */
export function listOf(declarations: readonly CommandDeclaration[]): string {
  const width = Math.max(...declarations.map(({ name }) => name.length));
  const sections = PURPOSES.flatMap((purpose) => {
    const those = declarations.filter((declaration) => declaration.purpose === purpose);
    const rows = those.map(
      ({ name, summary, description }) => `    ${name.padEnd(width)}  ${summary ?? description}`,
    );
    return rows.length === 0 ? [] : [`  ${purpose}:`, ...rows];
  });
  return `${sections.join('\n')}\n`;
}
