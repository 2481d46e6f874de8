/** `tunnel up`: starts a profile. */
import { UP_GROUPS } from '../config/upoptions.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  tunnel up --foreground office
      the tunnel of the profile "office" in config.yaml, until Ctrl-C
`;

const AFTER = `
The profile says which command it is for, "connect" or "proxy". "tunnel --profile NAME" is the
same, and takes further options and targets. "tunnel list" shows the profiles.
`;

export const UP: CommandDeclaration = {
  name: 'up',
  description: 'start a profile of the configuration files',
  purpose: 'Run',
  usage: '--foreground [options] NAME',
  takesOperands: true,
  operands: ['profile'],
  groups: UP_GROUPS,
  answersSshuttle: false,
  examples: EXAMPLES,
  after: AFTER,
};
