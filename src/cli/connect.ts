/** `tunnel connect`: its options and its help, which is also the program's. */
import { CONNECT_GROUPS } from '../config/options.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  tunnel -r user@jumphost 10.0.0.0/8
      reach 10.0.0.0/8 through jumphost, from any program, until Ctrl-C
  tunnel -r user@jumphost:2222 -i ~/.ssh/cloud 10/8 2001:db8::/32
      another port and key; IPv6 as well
  tunnel -r inner -J user@outer 10/8
      through another host to the jump host; names and keys as in ~/.ssh/config
  tunnel -r user@jumphost -x 10.1.0.0/16 10.0.0.0/8:443,8000-8999
      some ports only, without 10.1.0.0/16
  tunnel -r user@jumphost -s networks.txt -X offices.txt
      targets and exclusions from files
  tunnel -r user@jumphost api.example.com:443 '*.corp.example'
      by name: the jump host resolves them
  tunnel -r user@jumphost --dns-server 10.0.0.53 --domain corp.example 10.0.0.0/8
      names below corp.example are asked of 10.0.0.53, through jumphost
  tunnel -r user@jumphost -L 5432:db.internal:5432
      one port of this machine for one destination, as with ssh; it needs no privileges
  tunnel -r user@jumphost --os-cloud mycloud --allow mycloud.allow
      the endpoints of a cloud in clouds.yaml that a list permits
`;

const AFTER = `
REMOTE is [user@]host[:port], [user@][v6-address]:port, ssh://user@host:port or a Host of
ssh_config. The user ends at the last "@". Several -r name several addresses of the same
jump host.

TARGET is an address or a prefix (10.0.0.0/8, 10/8, 192.168.1.7, 2001:db8::/32). It can be
limited to some ports (10.0.0.0/8:443, 10/8:80,8000-8100, [2001:db8::]/32:443); its other
ports are then refused. An exclusion always wins.
The way to the jump host, loopback, link-local and multicast are never captured.
Only TCP and DNS are carried.

TARGET may also be a name, api.example.com, or *.example.com for all names below it, with
or without ports. Programs get one of the tunnel's addresses for it (198.18.x.y).
Connections to that address are opened by name: the jump host resolves the name, and its
PermitOpen may list it. Other names are resolved by this machine, unless --dns or
--dns-server is given. With --domain (repeatable) only names below it go to --dns-server.
The jump host's own name is always resolved by this machine.

"tunnel proxy" offers a SOCKS and HTTP proxy instead and needs no privileges; --listen,
--socks and --http add one here. "tunnel proxy --help" explains both.

-L is that of ssh: [bind:]port:host:hostport, or socket:host:hostport for a Unix socket of
this machine. The jump host resolves the host, and "localhost" is its own. LocalForward
and DynamicForward of ssh_config are obeyed as well, with GatewayPorts and
ExitOnForwardFailure; RemoteForward is not.

--os-cloud adds the endpoints of an OpenStack cloud to the targets. They are looked up
through the jump host before anything is captured. $OS_CLOUD alone adds none. "tunnel
openstack" shows them.

With --allow only what a rule of the file permits is opened through the jump host. That
also applies to targets, to the resolvers of --dns-server and to Keystone. Denials are
logged with the rule to add. --dry-run prints the rules that a run would have needed.

@FILE stands for the arguments in FILE: several to a line, quoted as in a shell,
"#" for comments.

Exit codes:
  0  orderly stop (INT, TERM, HUP)       4  host key rejected
  1  unexpected failure                  5  jump host not reachable
  2  usage                               6  capture not possible here
  3  authentication failed               7  already running
  130, 143  stopped by INT or TERM before it was ready
`;

export const CONNECT: CommandDeclaration = {
  name: 'connect',
  description: 'capture connections to the targets and carry them through the jump host',
  summary: 'capture connections to the targets; the command when none is named',
  purpose: 'Run',
  usage: '-r REMOTE [options] TARGET...',
  shownAs: 'tunnel [connect]',
  isDefault: true,
  takesOperands: true,
  groups: CONNECT_GROUPS,
  answersSshuttle: true,
  examples: EXAMPLES,
  after: AFTER,
};
