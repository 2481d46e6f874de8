/** `tunnel help`: one screen of what there is. `tunnel --help` has each option of `connect`. */
import { COMMANDS, listOf } from './commands.ts';

const EXAMPLES = `\
Reach networks behind a jump host from this machine, over one SSH connection.

Examples:
  tunnel -r user@jumphost 10.0.0.0/8
      all programs reach 10.0.0.0/8, until Ctrl-C; asks for root once
  tunnel exec -r user@jumphost 10.0.0.0/8 -- curl http://10.1.2.3/
      one command does, without root
  tunnel proxy -r user@jumphost
      a SOCKS and HTTP proxy on port 1080, as with ssh -D
  tunnel -r user@jumphost -L 5432:db.internal:5432
      one port, as with ssh -L
  tunnel doctor -r user@jumphost 10.0.0.0/8
      what works, and why the rest does not

`;

const MORE = `
Read more:
  tunnel COMMAND --help   examples, options and exit codes of a command
  tunnel --help           those of "connect", with what REMOTE and TARGET can be
  man tunnel              all of it, and "man tunnel-exec" and the like
  docs/README.md          in the package: for each kind of user, by error code, and
                          what to write in place of a line of sshuttle or ssh
`;

export function overview(): string {
  return `${EXAMPLES}Commands:\n${listOf(Object.values(COMMANDS))}${MORE}`;
}
