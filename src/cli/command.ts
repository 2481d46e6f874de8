/**
 * Makes a commander command from a declaration: the groups of options that it takes
 * (config/option.ts), and its help. Commands share nothing, so the order in which they are added
 * matters only for lists of their names.
 */
import { type Command, Option as CommanderOption, Help } from 'commander';
import type { GivenArguments, Option, OptionGroup } from '../config/option.ts';
import { refuseSshuttleOptions, SSHUTTLE_OPTIONS } from '../config/sshuttle.ts';
import type { OptionShape } from '../config/words.ts';
import type { MarkedArguments } from './marks.ts';
import type { ValueKind } from './values.ts';

/** What a command is for: lists of commands are in this order. */
export const PURPOSES = ['Run', 'Look', 'Set up', 'Repair'] as const;
export type Purpose = (typeof PURPOSES)[number];

export interface CommandDeclaration {
  readonly name: string;
  /** One line for the help text. */
  readonly description: string;
  /** The same for the list of commands, in at most 75 characters; default: the description. */
  readonly summary?: string;
  /** Where the list of commands has it (commands.ts). */
  readonly purpose: Purpose;
  /** What follows the name: `-r REMOTE [options] TARGET...`. */
  readonly usage: string;
  /** How help shows the command, if not as `tunnel NAME`. */
  readonly shownAs?: string;
  /** The command to run when none is named. */
  readonly isDefault?: boolean;
  /** Whether it takes arguments that belong to no option. */
  readonly takesOperands: boolean;
  /** For completion: what they are, or their words; the last one stands for all that follow. */
  readonly operands?: readonly (ValueKind | readonly string[])[];
  /** In the order of help. */
  readonly groups: readonly OptionGroup[];
  /** Whether it answers sshuttle's options with an explanation. It takes none of them. */
  readonly answersSshuttle: boolean;
  /** First in help, because examples answer most questions. Ends in a newline. */
  readonly examples?: string;
  /** At the end of help. Begins and ends with a newline. */
  readonly after: string;
}

/** Adds a command to `program`. `marked`: the arguments to read. */
export function addCommand(
  program: Command,
  declaration: CommandDeclaration,
  marked: MarkedArguments,
  action: (given: GivenArguments) => Promise<void>,
): Command {
  const { name, description, usage, takesOperands, groups, answersSshuttle } = declaration;
  const command = program
    .command(name, { isDefault: declaration.isDefault === true })
    .description(description)
    .usage(usage);
  if (takesOperands) command.argument('[targets...]');
  const words = new Map<Option, (string | undefined)[]>();
  const add = (option: Option): CommanderOption => {
    const added = commanderOption(option, (word) => {
      words.set(option, [...(words.get(option) ?? []), word]);
    });
    command.addOption(added);
    return added;
  };
  for (const { heading, options } of groups)
    for (const option of Object.values(options)) add(option).helpGroup(heading);
  if (answersSshuttle) for (const option of SSHUTTLE_OPTIONS) add(option).hideHelp();
  command.addHelpOption(new CommanderOption('-h, --help', 'show this help').helpGroup(HELP));
  command.configureHelp({ formatHelp: (_, helper) => formatHelp(command, declaration, helper) });
  return command.action(() => {
    const given = givenArguments(command, words, marked);
    refuseSshuttleOptions(given.options);
    return action(given);
  });
}

const HELP = 'Help:';

/** The default command's help is the program's, with the program's own options. */
export function formatHelp(
  command: Command,
  { name, shownAs, isDefault, examples, after }: CommandDeclaration,
  helper: Help,
): string {
  helper.commandUsage = () => `${shownAs ?? `tunnel ${name}`} ${command.usage()}`;
  helper.showGlobalOptions = isDefault === true;
  const begin = examples === undefined ? '' : `${examples}\n`;
  return `${begin}${Help.prototype.formatHelp.call(helper, command, helper)}${after}`;
}

/** What the parser must know about a command's options to tell them from other words. */
export function optionShapes({ groups, answersSshuttle }: CommandDeclaration): OptionShape[] {
  const declared = groups.flatMap(({ options }) => Object.values(options));
  return [...declared, ...(answersSshuttle ? SSHUTTLE_OPTIONS : [])].map(optionShapeOf);
}

export function optionShapeOf({ flags, kind }: Option): OptionShape {
  const { short, long } = new CommanderOption(flags);
  return { short, long, takesValue: kind === 'once' || kind === 'repeated' };
}

/** Calls `given` for each occurrence, with the value's word if the option takes one. */
function commanderOption(
  { flags, help }: Option,
  given: (word: string | undefined) => void,
): CommanderOption {
  return new CommanderOption(flags, help).argParser((word: string | undefined) => {
    given(word);
    return true;
  });
}

function givenArguments(
  command: Command,
  words: ReadonlyMap<Option, readonly (string | undefined)[]>,
  marked: MarkedArguments,
): GivenArguments {
  const options = [...words].map(([option, given]) => {
    const places = marked.placesOf(optionShapeOf(option));
    const entries = given.map((word, index) =>
      word === undefined
        ? { text: '', place: places[index] ?? { kind: 'option' as const, name: option.name } }
        : marked.entryOf(word),
    );
    return [option, entries] as const;
  });
  return {
    operands: command.args.map((word) => marked.entryOf(word)),
    options: new Map(options),
  };
}
