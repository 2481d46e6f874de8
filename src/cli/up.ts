/** `tunnel up`: starts a profile. */
import { UP_GROUPS } from '../config/upoptions.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  tunnel up office
      start the tunnel of the profile "office" in config.yaml, and return when it is ready
  tunnel up --foreground office
      the same at the terminal, until Ctrl-C
`;

const AFTER = `
It asks for passwords at the terminal, fails with the exit status of "tunnel", and then runs on
by itself, as with -D; "tunnel down NAME" ends it. The profile says which command it is
for, "connect" or "proxy". "tunnel --profile NAME" runs it at the terminal, and takes
further options and targets. "tunnel list" shows the profiles.
`;

export const UP: CommandDeclaration = {
  name: 'up',
  description: 'start a profile of the configuration files',
  purpose: 'Run',
  usage: '[options] NAME',
  takesOperands: true,
  operands: ['profile'],
  groups: UP_GROUPS,
  answersSshuttle: false,
  examples: EXAMPLES,
  after: AFTER,
};
