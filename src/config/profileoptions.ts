/** The options that name a profile, show what came of it, or write one (config/profiles/). */
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { formatPlace, type Place } from '../net/place.ts';
import { nonEmpty, once, repeated, toggle } from './option.ts';

const HEADING = 'Profiles:';

/** A pid also names a tunnel, and a dash begins an option. */
const NAME = /^(?![0-9]+$)[A-Za-z0-9_][\w.@-]{0,63}$/;

/** Throws UsageError. */
export function readProfileName(text: string, place: Place): string {
  if (NAME.test(text)) return text;
  throw new UsageError(`${formatPlace(place)}: ${quoted(text)} can't be the name of a profile`, {
    hint: 'use up to 64 letters, digits, "_", ".", "@" and "-", and at least one that is no digit',
  });
}

/** For commands that take what a profile says. */
export const PROFILE_OPTIONS = {
  heading: HEADING,
  options: {
    profile: once(
      '--profile <name>',
      'add the options and targets of this profile in config.yaml',
      readProfileName,
    ),
    config: once(
      '--config <file>',
      'read profiles from this file instead of ~/.config/tunnel/config.yaml and the one of /etc',
      nonEmpty('the name of the file'),
    ),
    without: repeated(
      '--without <option>',
      'leave out what the profile says about this option, or about targets (repeatable)',
      nonEmpty('the name of the option'),
    ),
  },
} as const;

/** For commands whose line a profile can hold. */
export const SAVE_OPTIONS = {
  heading: HEADING,
  options: {
    save: once(
      '--save <name>',
      'write this line into the file as a profile, and start nothing',
      readProfileName,
    ),
    force: toggle('--force', 'with --save: replace a profile of that name'),
    printConfig: toggle(
      '--print-config',
      'show what the line and its profile say, and where each value is from; start nothing',
    ),
  },
} as const;
