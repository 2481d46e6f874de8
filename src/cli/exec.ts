/** `tunnel exec`: its options and its help. */
import { EXEC_GROUPS } from '../config/execoptions.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  tunnel exec -r user@jumphost 203.0.113.0/24 -- terraform apply
      terraform reaches 203.0.113.0/24 through jumphost and everything else as usual
  tunnel exec -r user@jumphost --isolate 10.0.0.0/8:443 -- ./untested
      the command reaches port 443 of 10.0.0.0/8 and nothing else
  tunnel exec -r user@jumphost curl http://10.0.0.1/
      without targets, all TCP goes through jumphost
  tunnel exec -r user@jumphost --os-cloud mycloud -- terraform apply
      terraform reaches the endpoints of a cloud in clouds.yaml; all else as usual
`;

const AFTER = `
The command runs in its own network, as the calling user and without privileges. Under
sudo or doas the command and the SSH client run as the user who called them. Nothing
on the machine changes. Only TCP to the targets is carried; other TCP, UDP and queries
to the host's resolvers go out directly. The command has its own loopback addresses.
Targets may be names, and --dns, --dns-server and --domain say who resolves other names,
as for "tunnel connect". With --isolate names are resolved only through the tunnel.

"--" may be left out where no TARGET is given.

With --allow every connection of the command needs a rule, whether it goes through
jumphost or not. --dry-run prints its rules to stderr when the command has ended.

Where the machine doesn't permit such a network, the command is run with HTTP_PROXY,
HTTPS_PROXY and NO_PROXY set instead; with --isolate it isn't run. "tunnel doctor" shows
what this machine permits, and why not more.

When the command ends, the tunnel ends. Its children that still run go on without
a network: its connections are reset, new ones fail at once.

Exit codes: the command's own; 128 + N when signal N ended it; 127 not found;
126 not executable; 125 the tunnel failed (stderr says why).
`;

export const EXEC: CommandDeclaration = {
  name: 'exec',
  description: 'run one command in its own network, without root',
  purpose: 'Run',
  usage: '-r REMOTE [options] [TARGET...] -- COMMAND [ARG...]',
  takesOperands: true,
  groups: EXEC_GROUPS,
  answersSshuttle: true,
  examples: EXAMPLES,
  after: AFTER,
};
