/** What a command line and its profile say, as a file with one profile: for --print-config. */
import { formatPlace, type Place } from '../../net/place.ts';
import { yamlText } from '../../yaml/edit.ts';
import type { Entry } from '../argsfile.ts';
import type { Option, OptionGroup } from '../option.ts';
import type { Setting } from './document.ts';
import { PROFILE_KEYS, TARGETS, type TunnelCommand } from './keys.ts';

export interface Outcome {
  readonly command: TunnelCommand;
  /** Where the command is from. undefined: from nowhere, it is the default. */
  readonly commandPlace: Place | undefined;
  /** undefined: no profile is named. */
  readonly profile: string | undefined;
  readonly settings: ReadonlyMap<string, Setting>;
  /** Of the command. */
  readonly groups: readonly OptionGroup[];
}

/** Ends in a newline. It can be read as a config.yaml; where a value is from is a comment. */
export function renderOutcome(outcome: Outcome): string {
  const { command, commandPlace, profile = 'example', settings, groups } = outcome;
  const taken = new Set<Option>(groups.flatMap((group) => Object.values(group.options)));
  const lines = [
    'profiles:',
    `  ${yamlText(profile)}:`,
    line(4, `command: ${command}`, commandPlace),
  ];
  const left: string[] = [];
  for (const [name, key] of PROFILE_KEYS) {
    const setting = settings.get(name);
    const isTaken = name === TARGETS || key.options.some((option) => taken.has(option));
    if (setting === undefined) {
      const usual = isTaken ? defaultOf(key.help) : undefined;
      if (usual !== undefined) lines.push(`    # ${name}: ${usual}  (default)`);
    } else if (isTaken) lines.push(...settingLines(name, key.kind, setting));
    else left.push(...settingLines(name, key.kind, setting).map((text) => `    # ${text.trim()}`));
  }
  const others = left.length === 0 ? [] : [`    # not for "tunnel ${command}":`, ...left];
  return `${[...lines, ...others].join('\n')}\n`;
}

function settingLines(name: string, kind: Option['kind'], { entries, place }: Setting): string[] {
  switch (kind) {
    case 'switch':
      return [line(4, `${name}: true`, place)];
    case 'counted':
      return [line(4, `${name}: ${entries.length}`, place)];
    case 'once':
      return entries.map((entry) => line(4, `${name}: ${yamlText(entry.text)}`, entry.place));
    case 'repeated':
      return [`    ${name}:`, ...entries.map((entry) => itemLine(entry))];
  }
}

function itemLine({ text, place }: Entry): string {
  return line(6, `- ${yamlText(text)}`, place);
}

function line(indent: number, text: string, place: Place | undefined): string {
  return `${' '.repeat(indent)}${text}  # ${place === undefined ? 'default' : sourceOf(place)}`;
}

function sourceOf(place: Place): string {
  if (place.kind !== 'file') return 'command line';
  const { option, ...where } = place;
  return formatPlace(where);
}

/** Help says it in brackets, for those options that have one. */
function defaultOf(help: string): string | undefined {
  return /\(default: ([^)]*)\)/.exec(help)?.[1];
}
