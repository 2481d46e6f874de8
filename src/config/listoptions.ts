/** The command line of `tunnel list`. */
import { toggle } from './option.ts';
import { PROFILE_OPTIONS } from './profileoptions.ts';

const { config } = PROFILE_OPTIONS.options;

export const LIST_OPTIONS = {
  heading: 'List:',
  options: { config, json: toggle('--json', 'print the list as JSON') },
} as const;

/** In the order of help. */
export const LIST_GROUPS = [LIST_OPTIONS] as const;
