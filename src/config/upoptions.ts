/** The command line of `tunnel up`: the profile's, with what belongs to the run itself. */
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import type { Place } from '../net/place.ts';
import type { Entry } from './argsfile.ts';
import { type GivenArguments, type Option, readOptions, toggle } from './option.ts';
import { PROFILE_OPTIONS } from './profileoptions.ts';
import { PROGRESS_OPTIONS, READY_OPTIONS, VERBOSITY_OPTIONS } from './runoptions.ts';
import { SERVICE_OPTIONS } from './serviceoptions.ts';
import { LINK_OPTIONS } from './sshoptions.ts';

const { profile: PROFILE, config } = PROFILE_OPTIONS.options;

const UP_OPTIONS = {
  heading: 'Profiles:',
  options: {
    foreground: toggle('--foreground', 'stay at the terminal, until Ctrl-C'),
    config,
  },
} as const;

/** In the order of help. */
/** -D is what it does anyway. */
const { daemon: _, ...OF_SERVICE } = SERVICE_OPTIONS.options;
const RUN_OPTIONS = {
  heading: SERVICE_OPTIONS.heading,
  options: { ...OF_SERVICE, waitOnline: LINK_OPTIONS.options.waitOnline },
} as const;

export const UP_GROUPS = [
  UP_OPTIONS,
  RUN_OPTIONS,
  READY_OPTIONS,
  PROGRESS_OPTIONS,
  VERBOSITY_OPTIONS,
] as const;

/** The same as a line without a command: `tunnel --profile NAME`. Throws UsageError. */
export function lineOfUp({ operands, options }: GivenArguments): GivenArguments {
  const [name, other] = operands;
  if (name === undefined) {
    throw new UsageError('no profile is named', {
      hint: 'write its name, as in: tunnel up office; "tunnel list" shows the profiles',
    });
  }
  if (other !== undefined) {
    throw new UsageError(`${quoted(other.text)} is one word too many: a profile has its targets`, {
      hint: 'to add targets, write: tunnel --profile NAME TARGET...',
    });
  }
  const { foreground } = readOptions(UP_OPTIONS, options);
  const { foreground: FOREGROUND } = UP_OPTIONS.options;
  const rest = new Map<Option, readonly Entry[]>(options);
  rest.delete(FOREGROUND);
  // Messages are about what was written, and that was no --profile.
  const place: Place = name.place.kind === 'argument' ? { kind: 'option', name: 'up' } : name.place;
  rest.set(PROFILE, [{ ...name, place }]);
  const { daemon: DAEMON } = SERVICE_OPTIONS.options;
  if (foreground === undefined) rest.set(DAEMON, [{ text: '', place: name.place }]);
  return { operands: [], options: rest };
}
