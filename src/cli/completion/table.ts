/**
 * What completion knows of the commands: their declarations as plain data. The build writes it to a
 * file, because loading the declarations takes longer than a person at a prompt should wait.
 */
import { Option as CommanderOption } from 'commander';
import type { Option } from '../../config/option.ts';
import type { OptionShape } from '../../config/words.ts';
import { KEYWORDS } from '../../ssh/config/keywords.ts';
import { type CommandDeclaration, optionShapeOf } from '../command.ts';
import type { ValueKind } from '../values.ts';

export interface CompletedOption extends OptionShape {
  readonly help: string;
  /** Whether it may be given again. */
  readonly again: boolean;
  readonly kind: ValueKind;
  readonly words: readonly string[];
}

export interface CompletedCommand {
  readonly name: string;
  readonly help: string;
  readonly options: readonly CompletedOption[];
  /** Of each operand; the last one stands for all that follow. */
  readonly operands: readonly (ValueKind | readonly string[])[];
}

export type CompletionTable = readonly CompletedCommand[];

/** What a value is, by the word that stands for it in help. */
const BY_PLACEHOLDER: Readonly<Record<string, ValueKind>> = {
  file: 'file',
  path: 'file',
  directory: 'directory',
  remote: 'host',
  hops: 'hops',
};
/** What the placeholder doesn't say, and words that are no files. */
const BY_NAME: Readonly<Record<string, { kind?: ValueKind; words?: readonly string[] }>> = {
  '--os-cloud': { kind: 'cloud', words: ['envvars'] },
  '--profile': { kind: 'profile' },
  '--ssh-config': { words: ['none'] },
  '--jump': { words: ['none'] },
  '--key': { words: ['agent'] },
  '--ssh-option': { words: KEYWORDS.map((keyword) => `${keyword}=`) },
};

const HELP: CompletedOption = {
  short: '-h',
  long: '--help',
  takesValue: false,
  help: 'show this help',
  again: false,
  kind: 'none',
  words: [],
};
const VERSION: CompletedOption = {
  ...HELP,
  short: '-V',
  long: '--version',
  help: 'show the version',
};

export function completionTable(declarations: readonly CommandDeclaration[]): CompletionTable {
  return declarations.map(
    ({ name, summary, description, groups, takesOperands, operands, isDefault }) => ({
      name,
      help: summary ?? description,
      options: [
        ...groups.flatMap(({ options }) => Object.values(options)).map(optionOf),
        HELP,
        ...(isDefault === true ? [VERSION] : []),
      ],
      operands: operands ?? (takesOperands ? ['target'] : []),
    }),
  );
}

function optionOf(option: Option): CompletedOption {
  const { flags, help, kind } = option;
  const placeholder = /<([^>]*)>/.exec(new CommanderOption(flags).flags)?.[1] ?? '';
  const { short, long, takesValue } = optionShapeOf(option);
  const special = BY_NAME[long ?? ''] ?? {};
  return {
    ...(short === undefined ? {} : { short }),
    ...(long === undefined ? {} : { long }),
    takesValue,
    help,
    again: kind === 'repeated' || kind === 'counted',
    kind: special.kind ?? BY_PLACEHOLDER[placeholder] ?? 'none',
    words: [...(special.words ?? []), ...(option.choices ?? [])],
  };
}
