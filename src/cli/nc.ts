/** `tunnel nc`: its options and its help. */
import { NC_GROUPS } from '../config/ncoptions.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  ssh -o ProxyCommand='tunnel nc -r user@jumphost %h %p' user@host
      ssh to a host behind jumphost; in ssh_config the ProxyCommand is the same
  tunnel nc -r user@jumphost db.internal 5432 < request > answer
      one connection, with standard input and output
`;

const AFTER = `
HOST is a name or an address. jumphost resolves a name, and "localhost" is jumphost itself.

Standard input goes to HOST, and what HOST sends to standard output. The end of one is
passed on while the other goes on. It is done when both have ended and jumphost has passed
on all of it.

It makes a connection of its own to jumphost, and changes nothing on this machine.
Passwords are asked for at the terminal.

The exit status is 0 when both directions have ended in order, 1 when HOST refused or the
connection was reset, and else as for "tunnel connect".
`;

export const NC: CommandDeclaration = {
  name: 'nc',
  description: 'connect standard input and output to one host and port, for ProxyCommand',
  summary: 'one connection with standard input and output, for ProxyCommand',
  purpose: 'Run',
  usage: '-r REMOTE [options] HOST PORT',
  takesOperands: true,
  operands: ['host', 'none'],
  groups: NC_GROUPS,
  answersSshuttle: false,
  examples: EXAMPLES,
  after: AFTER,
};
