/**
 * The command line: commander's program, one file per command.
 *
 * Arguments are expanded (@FILE) before commander sees them. Nothing here exits or prints errors: a
 * wrong command line is a UsageError, help and version are texts on `output`, and an action's own
 * failure passes through.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { type Entry, expandArguments } from '../config/argsfile.ts';
import type { Configuration } from '../config/configuration.ts';
import { buildDoctorConfiguration, type DoctorConfiguration } from '../config/doctoroptions.ts';
import {
  buildExecConfiguration,
  type ExecConfiguration,
  LIKE_A_COMMAND,
  type OptionShape,
  type SplitArguments,
  splitCommand,
} from '../config/execoptions.ts';
import {
  buildOpenStackConfiguration,
  type OpenStackConfiguration,
} from '../config/openstackreport.ts';
import { buildConfiguration } from '../config/options.ts';
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { addAllowOptions } from './allow.ts';
import { addCleanCommand } from './clean.ts';
import { addCloudOptions } from './cloud.ts';
import { addConnectCommand, connectHelp } from './connect.ts';
import { addDoctorCommand } from './doctor.ts';
import { addExecCommand, optionShapes } from './exec.ts';
import { addOpenStackCommand } from './openstack.ts';
import { addProxyCommand, addProxyOptions } from './proxy.ts';

/** From dist/src/cli/. */
const MANIFEST = new URL('../../../package.json', import.meta.url);

export interface Commands {
  connect(configuration: Configuration): Promise<void>;
  proxy(configuration: Configuration): Promise<void>;
  exec(configuration: ExecConfiguration): Promise<void>;
  doctor(configuration: DoctorConfiguration): Promise<void>;
  openstack(configuration: OpenStackConfiguration): Promise<void>;
  clean(): Promise<void>;
}

export interface Output {
  readonly output: (text: string) => void;
  /** The width that help is wrapped to. */
  readonly columns: number;
}

/** Reads the arguments (without node and script) and runs the command that they name. */
export async function runCommandLine(
  args: readonly string[],
  commands: Commands,
  output: Output,
): Promise<void> {
  const program = new Command('tunnel');
  program
    .exitOverride()
    .configureOutput({
      writeOut: output.output,
      writeErr: () => {}, // what is wrong arrives as a CommanderError as well
      getOutHelpWidth: () => output.columns,
    })
    .version(version(), '-V, --version', 'show the version')
    .helpOption(false)
    .showSuggestionAfterError(true);
  const connect = addConnectCommand(program, (targets, options) =>
    commands.connect(buildConfiguration(targets, options, placeOf)),
  );
  // Each takes the options that `connect` has by then: exec offers no proxies, these two capture
  // nothing.
  addDoctorCommand(program, connect, (targets, options) =>
    commands.doctor(buildDoctorConfiguration(targets, options, placeOf)),
  );
  addOpenStackCommand(program, connect, (options) =>
    commands.openstack(buildOpenStackConfiguration(options, placeOf)),
  );
  addCloudOptions(connect);
  addAllowOptions(connect);
  const exec = addExecCommand(program, connect, (targets, options) =>
    commands.exec(buildExecConfiguration(targets, command, options, placeOf)),
  );
  addCleanCommand(program, () => commands.clean());
  addProxyOptions(connect);
  addProxyCommand(program, connect, (targets, options) =>
    commands.proxy(buildConfiguration(targets, options, placeOf, 'proxy')),
  );
  // What the command of exec is given is nobody's but its own: it is taken off before anything is
  // expanded or read.
  const { own, command } = isExec(args)
    ? splitExec(args, optionShapes(exec))
    : { own: args, command: undefined };
  if (command === undefined) refuseCommands(own, program);
  const entries = expandArguments(own);
  const placeOf = placesOf(entries);
  // The default command's help is the program's.
  program.configureHelp({ formatHelp: (_, helper) => connectHelp(connect, helper) });
  try {
    await program.parseAsync(
      entries.map(({ text }) => text),
      { from: 'user' },
    );
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) {
      const named = program.commands.find((command) => command.name() === own[0]);
      throw usageError(error, program, named);
    }
  }
}

/**
 * Whether the arguments (without node and script) are for `tunnel exec`, whose exit status is
 * another.
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
 * A word that stands where commands do, and behind the `--` of a command that runs none, would be
 * captured as the name of a host. Throws UsageError.
 */
function refuseCommands([first = '', ...rest]: readonly string[], program: Command): void {
  const names = program.commands.map((command) => command.name());
  if (LIKE_A_COMMAND.test(first) && ![...names, 'help'].includes(first)) {
    throw new UsageError(`there is no command ${quoted(first)}`, {
      hint: `the commands are ${names.join(', ')}; a target that is called so comes behind the options`,
    });
  }
  const end = rest.indexOf('--');
  const word = end === -1 ? undefined : rest[end + 1];
  if (word !== undefined && LIKE_A_COMMAND.test(word)) {
    throw new UsageError(`${quoted(word)} stands where "tunnel exec" has its command`, {
      hint: `write "tunnel exec -r ..." to run it; a target comes before the "--"`,
    });
  }
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(MANIFEST, 'utf8'));
  const found =
    typeof manifest === 'object' && manifest !== null && 'version' in manifest
      ? manifest.version
      : '';
  return String(found);
}

function placesOf(entries: readonly Entry[]): (text: string) => string | undefined {
  const places = new Map(
    entries.flatMap(({ text, place }) => (place === undefined ? [] : [[text, place] as const])),
  );
  return (text) => places.get(text);
}

/** commander's message has the suggestion in a line of its own. */
function usageError(
  error: CommanderError,
  program: Command,
  named: Command | undefined,
): UsageError {
  const [first = '', suggestion] = error.message.split('\n');
  const message = first.replace(/^error: /, '');
  const command = named === undefined ? 'tunnel' : `tunnel ${named.name()}`;
  const hint =
    optionOfOthers(error, message, program) ??
    suggestion?.replace(/^\((.*)\)$/, '$1') ??
    `run "${command} --help" for the options`;
  return new UsageError(message, { hint, cause: error });
}

/** For those who put another command before the options that they have: which commands take it. */
function optionOfOthers(
  error: CommanderError,
  message: string,
  program: Command,
): string | undefined {
  if (error.code !== 'commander.unknownOption') return undefined;
  const option = /'(-[^'=]*)/.exec(message)?.[1] ?? '';
  const others = program.commands.filter(({ options }) =>
    options.some(({ short, long }) => option === short || option === long),
  );
  if (others.length === 0) return undefined;
  return `leave it out: it is an option of ${others.map((other) => `"tunnel ${other.name()}"`).join(', ')} only`;
}
