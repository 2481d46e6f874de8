/**
 * The command line: a commander program, with one file per command.
 *
 *   arguments -> expandArguments (@FILE) -> MarkedArguments (marks.ts) -> commander
 *             -> GivenArguments -> with its profile (profiles.ts)
 *             -> the command's configuration -> the command
 *
 * Nothing here exits or prints errors. A wrong command line is a UsageError, help and version go to
 * `output`, and an action's own failure passes through.
 */
import { Command, CommanderError } from 'commander';
import { mostSimilar } from '../base/similar.ts';
import { type Entry, expandArguments } from '../config/argsfile.ts';
import type { Configuration } from '../config/configuration.ts';
import { buildControlConfiguration, type ControlConfiguration } from '../config/controloptions.ts';
import {
  buildDoctorConfiguration,
  DOCTOR_GROUPS,
  type DoctorConfiguration,
} from '../config/doctoroptions.ts';
import {
  buildExecConfiguration,
  type ExecConfiguration,
  type SplitArguments,
  splitCommand,
} from '../config/execoptions.ts';
import { refuseHabits } from '../config/habits.ts';
import {
  buildJumpHostConfiguration,
  type JumpHostConfiguration,
} from '../config/jumphostoptions.ts';
import { buildNcConfiguration, NC_GROUPS, type NcConfiguration } from '../config/ncoptions.ts';
import {
  buildOpenStackConfiguration,
  OPENSTACK_GROUPS,
  type OpenStackConfiguration,
} from '../config/openstackreport.ts';
import type { GivenArguments, OptionGroup } from '../config/option.ts';
import { buildConfiguration } from '../config/options.ts';
import { refusePastedCommand } from '../config/pasted.ts';
import type { TunnelCommand } from '../config/profiles/keys.ts';
import { READY_OPTIONS } from '../config/runoptions.ts';
import { lineOfUp } from '../config/upoptions.ts';
import { LIKE_A_COMMAND, type OptionShape } from '../config/words.ts';
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { addCommand, type CommandDeclaration, formatHelp, optionShapes } from './command.ts';
import {
  COMMANDS,
  type CommandName,
  commandMeant,
  commandNamed,
  commandOtherwiseNamed,
  NAMES,
} from './commands.ts';
import { completionScript } from './completion.ts';
import { overview } from './help.ts';
import { listProfiles } from './list.ts';
import { MarkedArguments } from './marks.ts';
import { readTunnelLine, withProfile } from './profiles.ts';
import { version } from './version.ts';

/** Commands that can do little without a jump host. */
const TAKES_REMOTE: ReadonlySet<CommandName> = new Set([
  'connect',
  'exec',
  'proxy',
  'nc',
  'doctor',
  'openstack',
]);

export interface Commands {
  connect(configuration: Configuration): Promise<void>;
  proxy(configuration: Configuration): Promise<void>;
  exec(configuration: ExecConfiguration): Promise<void>;
  nc(configuration: NcConfiguration): Promise<void>;
  doctor(configuration: DoctorConfiguration): Promise<void>;
  openstack(configuration: OpenStackConfiguration): Promise<void>;
  jumphost(configuration: JumpHostConfiguration): Promise<void>;
  status(configuration: ControlConfiguration): Promise<void>;
  stop(configuration: ControlConfiguration): Promise<void>;
  reconnect(configuration: ControlConfiguration): Promise<void>;
  reload(configuration: ControlConfiguration): Promise<void>;
  clean(): Promise<void>;
}

export interface Output {
  readonly output: (text: string) => void;
  /** The width that help is wrapped to. */
  readonly columns: number;
  /** For a reload: the descriptor of --ready-fd has been closed, and isn't looked at. */
  readonly again?: true;
}

/** Reads the arguments (without node and script) and runs the command that they name. */
export async function runCommandLine(
  args: readonly string[],
  commands: Commands,
  output: Output,
): Promise<void> {
  if (args.length === 1 && args[0] === 'help') return output.output(overview());
  refusePastedCommand(args, takenBy);
  // The arguments of exec's command belong to it alone: they are split off before anything is
  // expanded or read.
  const { own, command } = isExec(args)
    ? splitExec(args, optionShapes(COMMANDS.exec))
    : { own: args, command: undefined };
  const surroundings = { env: process.env };
  const profiled = (line: GivenArguments, groups: readonly OptionGroup[]) =>
    withProfile(line, groups, surroundings);
  const run = async (line: GivenArguments, wanted: TunnelCommand | undefined): Promise<void> => {
    const read = await readTunnelLine(line, wanted, surroundings, output.output);
    if (read === undefined) return;
    const given = output.again === true ? withoutDescriptor(read.given) : read.given;
    if (read.command === 'exec') return commands.exec(buildExecConfiguration(given, command));
    await commands[read.command](buildConfiguration(given, read.command));
  };
  const [first, ...others] = own;
  const named = commandNamed(first);
  const actions: Readonly<Record<CommandName, (given: GivenArguments) => Promise<void>>> = {
    connect(line) {
      refuseLateCommand(line);
      return run(line, named === undefined ? undefined : 'connect');
    },
    proxy: (line) => run(line, 'proxy'),
    exec: (line) => run(line, 'exec'),
    nc: async ({ operands, options }) => {
      const given = await profiled({ operands: [], options }, NC_GROUPS);
      return commands.nc(buildNcConfiguration(given, operands));
    },
    up: (line) => run(lineOfUp(line), undefined),
    doctor: async (line) =>
      commands.doctor(buildDoctorConfiguration(await profiled(line, DOCTOR_GROUPS))),
    openstack: async (line) =>
      commands.openstack(buildOpenStackConfiguration(await profiled(line, OPENSTACK_GROUPS))),
    stop: (given) => commands.stop(buildControlConfiguration(given)),
    down: (given) => commands.stop(buildControlConfiguration(given)),
    reconnect: (given) => commands.reconnect(buildControlConfiguration(given)),
    reload: (given) => commands.reload(buildControlConfiguration(given)),
    status: (given) => commands.status(buildControlConfiguration(given)),
    list: async (given) => output.output(await listProfiles(given, surroundings)),
    jumphost: (given) => commands.jumphost(buildJumpHostConfiguration(given)),
    completion: async (given) => output.output(completionScript(given)),
    clean: () => commands.clean(),
  };
  if (TAKES_REMOTE.has(named ?? 'connect')) {
    refuseHabits({
      named,
      words: named === undefined ? own : others,
      command: command ?? [],
      optionsOf: (name) => optionShapes(declarationOf(name)),
      takenBy,
    });
  }
  if (command === undefined) refuseCommands(own);
  const marked = markArguments(expandArguments(own));
  const program = new Command('tunnel');
  program
    .exitOverride()
    .configureOutput({
      writeOut: output.output,
      writeErr: () => {}, // each error also arrives as a CommanderError
      getOutHelpWidth: () => output.columns,
    })
    .version(version(), '-V, --version', 'show the version')
    .helpOption(false)
    .showSuggestionAfterError(true);
  for (const name of NAMES) addCommand(program, COMMANDS[name], marked, actions[name]);
  const connect =
    program.commands.find((added) => added.name() === COMMANDS.connect.name) ?? program;
  // The default command's help is the program's.
  program.configureHelp({
    formatHelp: (_, helper) => formatHelp(connect, COMMANDS.connect, helper),
  });
  try {
    await program.parseAsync(marked.words, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0)
      throw usageError(error, marked.unmarked(error.message), commandNamed(own[0]));
  }
}

/**
 * Reads the arguments of a tunnel that runs again. Rejects with UsageError, as runCommandLine does.
 */
export async function readAgain(args: readonly string[]): Promise<Configuration> {
  let found: Configuration | undefined;
  const take = async (configuration: Configuration): Promise<void> => {
    found = configuration;
  };
  const none = async (): Promise<void> => {};
  const carried = { nc: none, doctor: none, openstack: none, jumphost: none, clean: none };
  const others = { ...carried, status: none, stop: none, reconnect: none, reload: none };
  await runCommandLine(
    args,
    { connect: take, proxy: take, exec: ({ tunnel }) => take(tunnel), ...others },
    { output: () => {}, columns: 0, again: true },
  );
  if (found !== undefined) return found;
  throw new UsageError('the command line no longer runs a tunnel', {
    hint: 'look at the @FILEs and the profile that it names',
  });
}

function withoutDescriptor({ operands, options }: GivenArguments): GivenArguments {
  const rest = [...options].filter(([option]) => option !== READY_OPTIONS.options.readyFd);
  return { operands, options: new Map(rest) };
}

function declarationOf(name: string): CommandDeclaration {
  return COMMANDS[commandNamed(name) ?? 'connect'];
}

/** Without the options that it only answers. */
function takenBy(name: string): OptionShape[] {
  return optionShapes({ ...declarationOf(name), answersSshuttle: false });
}

/** Leaves names of commands unchanged: commander looks for them. */
function markArguments(entries: readonly Entry[]): MarkedArguments {
  const first = entries[0]?.text;
  if (first === 'help') return new MarkedArguments(entries, entries.length, []);
  const named = commandNamed(first);
  const shapes = optionShapes(COMMANDS[named ?? 'connect']);
  return new MarkedArguments(entries, named === undefined ? 0 : 1, shapes);
}

/** How a line with the command begins. */
function beginOf(name: CommandName): string {
  return `tunnel ${name} ${TAKES_REMOTE.has(name) ? '-r ' : ''}...`;
}

/** A command after options would be captured as the name of a host. Throws UsageError. */
function refuseLateCommand({ operands }: GivenArguments): void {
  const [first] = operands;
  const name = commandNamed(first?.text);
  if (name === undefined) {
    refuseMistypedCommand(operands);
    return;
  }
  throw new UsageError(`the command "${name}" comes before its options`, {
    hint: `write "${beginOf(name)}"${name === 'connect' ? ', or leave the word out' : ''}`,
  });
}

/**
 * Refuses a word that is nearly a command where nothing else is a target. Beside other targets it
 * is one itself, and any name may be a target: `name.` is never refused. Throws UsageError.
 */
function refuseMistypedCommand([first, ...others]: GivenArguments['operands']): void {
  if (first === undefined || others.length > 0 || first.place.kind !== 'argument') return;
  const meant = commandMeant(first.text);
  if (meant === undefined) return;
  throw new UsageError(`${quoted(first.text)} is nearly the command "${meant}"`, {
    hint: `did you mean "${beginOf(meant)}"? To reach a host with this name, write ${first.text}. with a dot`,
  });
}

/**
 * Whether the arguments (without node and script) are for `tunnel exec`, which has its own exit
 * statuses.
 */
export function isExec(args: readonly string[]): boolean {
  return args[0] === 'exec';
}

function splitExec(
  [name = '', ...rest]: readonly string[],
  shapes: readonly OptionShape[],
): SplitArguments {
  const { own, command } = splitCommand(rest, shapes);
  return { own: [name, ...own], command };
}

/**
 * Refuses an unknown word in the place of a command, and a word after the `--` of a command that
 * doesn't run one. Both would be captured as the name of a host. Throws UsageError.
 */
function refuseCommands([first = '', ...rest]: readonly string[]): void {
  const name = first === 'help' ? (rest[0] ?? first) : first;
  if (LIKE_A_COMMAND.test(name) && name !== 'help' && commandNamed(name) === undefined) {
    const meant =
      commandOtherwiseNamed(name) ??
      commandMeant(name) ??
      mostSimilar(name, [...NAMES, 'help', 'version']);
    const known =
      meant === 'version' || name === 'version'
        ? '"tunnel --version" shows it; '
        : meant === undefined
          ? ''
          : `did you mean ${meant}? `;
    throw new UsageError(`there is no command ${quoted(name)}`, {
      hint: `${known}the commands are ${NAMES.join(', ')}; a target with this name goes after the options, and a jump host after -r`,
    });
  }
  const end = rest.indexOf('--');
  const word = end === -1 ? undefined : rest[end + 1];
  if (word !== undefined && LIKE_A_COMMAND.test(word)) {
    throw new UsageError(`${quoted(word)} is in the place of the command of "tunnel exec"`, {
      hint: `write "tunnel exec -r ..." to run it; a target comes before the "--"`,
    });
  }
}

/** `text`: commander's message, which has the suggestion on a separate line. */
function usageError(
  error: CommanderError,
  text: string,
  named: CommandName | undefined,
): UsageError {
  const [first = '', suggestion] = text.split('\n');
  const message = first.replace(/^error: /, '');
  const command = named === undefined ? 'tunnel' : `tunnel ${named}`;
  if (error.code === 'commander.excessArguments' && / 0 arguments/.test(message)) {
    return new UsageError(`"${command}" takes no names`, {
      hint: `write it alone, or with options: "${command} --help" has them`,
    });
  }
  const unknown =
    error.code === 'commander.unknownOption' ? /'(-[^'=]*)/.exec(message)?.[1] : undefined;
  const used = named ?? 'connect';
  const hint =
    (unknown === undefined
      ? undefined
      : (optionElsewhere(unknown, used) ?? optionsBegunWith(unknown, used, 'own'))) ??
    suggestion?.replace(/^\((.*)\)$/, '$1') ??
    (unknown === undefined ? undefined : optionsBegunWith(unknown, used, "sshuttle's")) ??
    `run "${command} --help" for the options`;
  return new UsageError(message, { hint, cause: error });
}

/** If there are more, the help shows them better. */
const MAX_MEANT = 4;

/**
 * A hint for a long option that isn't written to its end, as argparse and getopt_long take it. Here
 * it isn't taken: what it means would change with each new option.
 */
function optionsBegunWith(
  begin: string,
  used: CommandName,
  whose: 'own' | "sshuttle's",
): string | undefined {
  if (!/^--./.test(begin)) return undefined;
  const declaration = COMMANDS[used];
  const shapes = optionShapes({ ...declaration, answersSshuttle: whose !== 'own' });
  const common = used === 'connect' ? ['--help', '--version'] : ['--help'];
  const meant = [...shapes.flatMap(({ long = '' }) => long), ...common].filter((long) =>
    long.startsWith(begin),
  );
  if (meant.length === 0 || meant.length > MAX_MEANT) return undefined;
  return `Did you mean ${meant.join(' or ')}?`;
}

/**
 * A hint for an option that exists but is used wrongly: with a value that it doesn't take, or with
 * a command that doesn't take it.
 */
function optionElsewhere(option: string, used: CommandName): string | undefined {
  const takers = NAMES.filter((name) =>
    optionShapes(COMMANDS[name]).some(({ short, long }) => option === short || option === long),
  );
  if (takers.length === 0) return undefined;
  if (used === 'up' && ['-D', '--daemon'].includes(option))
    return 'leave it out: "tunnel up" runs on without the terminal in any case';
  if (used === 'up' && option === '--profile')
    return 'leave it out: "tunnel up" takes the name alone, as in: tunnel up office';
  if (used === 'up' && takers.includes('connect'))
    return `"tunnel up" takes what belongs to the run alone; write: tunnel -D --profile NAME ${option} ...`;
  if (takers.includes(used)) return `leave the value out: ${option} takes no value`;
  return `leave it out: it is an option of ${takers.map((name) => `"tunnel ${name}"`).join(', ')} only`;
}
