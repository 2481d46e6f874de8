/**
 * What profiles are for on the command line: which command a line is for, and lines that only show
 * or save what they say.
 *
 *   line ─► askedBy() ─► a TunnelLine: command, arguments ─► --print-config or --save: done
 *                                                         └─► the command runs
 *
 * What writes YAML is loaded only for these.
 */
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type GivenArguments, type GivenOptions, readOptions } from '../config/option.ts';
import { buildConfiguration } from '../config/options.ts';
import { PROFILE_OPTIONS, SAVE_OPTIONS } from '../config/profileoptions.ts';
import { type Asked, askedBy, refuseOptionsOfConnect } from '../config/profiles/apply.ts';
import { type Surroundings, userConfigPath } from '../config/profiles/files.ts';
import { TUNNEL_COMMANDS, type TunnelCommand } from '../config/profiles/keys.ts';
import { UsageError } from '../errors/errors.ts';
import { filePrefix, formatPlace, type Place } from '../net/place.ts';

/** From dist/src/cli/. */
const SCHEMA = new URL('../../../docs/config.schema.json', import.meta.url);

/** A line for a command that runs a tunnel, with what its profile says. */
export interface TunnelLine {
  readonly command: TunnelCommand;
  readonly given: GivenArguments;
}

/**
 * `named`: the command that the line begins with; undefined: none, and the profile says what it is
 * for. Resolves with undefined when the line was only to be shown or saved. Throws UsageError.
 */
export async function readTunnelLine(
  line: GivenArguments,
  named: TunnelCommand | undefined,
  surroundings: Surroundings,
  output: (text: string) => void,
): Promise<TunnelLine | undefined> {
  const asked = await askedBy(line, surroundings);
  const command = named ?? commandOf(asked);
  const groups = TUNNEL_COMMANDS[command];
  if (named === undefined && command !== 'connect')
    refuseOptionsOfConnect(line.options, command, groups);
  const given = asked.argumentsFor(groups);
  const { save, force, printConfig } = readOptions(SAVE_OPTIONS, given.options);
  if (save === undefined && printConfig === undefined) {
    if (force !== undefined) throw belongsToSave(force);
    return { command, given };
  }
  if (save !== undefined && printConfig !== undefined) {
    throw new UsageError(`${filePrefix(printConfig)}--print-config and --save exclude each other`, {
      hint: 'leave one of them out',
    });
  }
  // What is wrong with the line is told now, and not when it is used.
  buildConfiguration(given, command);
  if (save === undefined) output(await printed(asked, named, command));
  else output(await saved(line, asked, command, save.value, force !== undefined, surroundings));
  return undefined;
}

/** The same for commands that take a profile, and run no tunnel. Throws UsageError. */
export async function withProfile(
  line: GivenArguments,
  groups: Parameters<Asked['argumentsFor']>[0],
  surroundings: Surroundings,
): Promise<GivenArguments> {
  return (await askedBy(line, surroundings)).argumentsFor(groups);
}

function commandOf({ command, profile = '' }: Asked): TunnelCommand {
  if (command?.value !== 'exec') return command?.value ?? 'connect';
  throw new UsageError(`${formatPlace(command.place)}: the profile is for "tunnel exec"`, {
    hint: `write "tunnel exec --profile ${profile} -- COMMAND"`,
  });
}

async function printed(
  { settings, profile, command: own }: Asked,
  named: TunnelCommand | undefined,
  command: TunnelCommand,
): Promise<string> {
  const { renderOutcome } = await import('../config/profiles/render.ts');
  const onLine: Place = { kind: 'argument', name: 'command' };
  const commandPlace = named === undefined ? own?.place : onLine;
  return renderOutcome({
    command,
    commandPlace,
    profile,
    settings,
    groups: TUNNEL_COMMANDS[command],
  });
}

async function saved(
  line: GivenArguments,
  asked: Asked,
  command: TunnelCommand,
  name: string,
  replace: boolean,
  surroundings: Surroundings,
): Promise<string> {
  const { saveProfile } = await import('../config/profiles/save.ts');
  const path = configOf(line.options) ?? userConfigPath(surroundings);
  await saveProfile({
    name,
    line,
    command,
    extends: asked.profile,
    path,
    replace,
    schema: pathToFileURL(fileURLToPath(SCHEMA)).href,
  });
  const start =
    command === 'exec'
      ? `tunnel exec --profile ${name} -- COMMAND`
      : `tunnel up ${name}, or at the terminal: tunnel --profile ${name}`;
  return `saved in ${path}; to use it: ${start}\n`;
}

function configOf(options: GivenOptions): string | undefined {
  return readOptions(PROFILE_OPTIONS, options).config?.value;
}

function belongsToSave(place: Place): UsageError {
  return new UsageError(`${formatPlace(place)} belongs to --save`, {
    hint: 'leave it out, or name the profile to write with --save',
  });
}
