/** The command line of `tunnel up`: the profile's, with what belongs to the run itself. */
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { type GivenArguments, readOptions, toggle } from './option.ts';
import { PROFILE_OPTIONS, readProfileName } from './profileoptions.ts';
import { READY_OPTIONS, VERBOSITY_OPTIONS } from './runoptions.ts';

const { profile: PROFILE, config } = PROFILE_OPTIONS.options;

const UP_OPTIONS = {
  heading: 'Profiles:',
  options: {
    foreground: toggle('--foreground', 'stay in the foreground, until Ctrl-C'),
    config,
  },
} as const;

/** In the order of help. */
export const UP_GROUPS = [UP_OPTIONS, READY_OPTIONS, VERBOSITY_OPTIONS] as const;

/** The same as a line without a command: `tunnel --profile NAME`. Throws UsageError. */
export function lineOfUp({ operands, options }: GivenArguments): GivenArguments {
  const [name, other] = operands;
  if (name === undefined) {
    throw new UsageError('no profile is named', {
      hint: 'write its name, as in: tunnel up --foreground office; "tunnel list" shows the profiles',
    });
  }
  if (other !== undefined) {
    throw new UsageError(`${quoted(other.text)} is one word too many: a profile has its targets`, {
      hint: 'to add targets, write: tunnel --profile NAME TARGET...',
    });
  }
  const { foreground } = readOptions(UP_OPTIONS, options);
  if (foreground === undefined) {
    const line = `tunnel up --foreground ${readProfileName(name.text, name.place)}`;
    throw new UsageError('a tunnel stays in the foreground', {
      hint: `write: ${line}; with "setsid" or "systemd-run --user" before it, it runs on by itself`,
    });
  }
  const { foreground: FOREGROUND } = UP_OPTIONS.options;
  const rest = [...options].filter(([option]) => option !== FOREGROUND);
  return { operands: [], options: new Map([...rest, [PROFILE, [name]]]) };
}
