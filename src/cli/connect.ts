/** `tunnel connect`: the options of the main job, and its help. */
import { type Command, Help, Option } from 'commander';
import type { ConnectOptions } from '../config/options.ts';
import { UsageError } from '../errors/errors.ts';
import { DEFAULT_MAX_WINDOW, DEFAULT_WINDOW_BUDGET } from '../ssh/limits.ts';
import {
  DEFAULT_AUTH_TIMEOUT,
  DEFAULT_CONNECT_TIMEOUT,
  DEFAULT_KEEPALIVE,
  DEFAULT_RECONNECT_HOLD,
} from '../ssh/options.ts';

const MIB = 2 ** 20;

export type ConnectAction = (targets: readonly string[], options: ConnectOptions) => Promise<void>;

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
  tunnel -r user@jumphost --os-cloud mycloud --allow mycloud.allow
      the endpoints of a cloud of clouds.yaml, and of these what a list permits
`;

const AFTER = `
REMOTE is [user@]host[:port], [user@][v6-address]:port, ssh://user@host:port or a Host of
ssh_config. The user ends at the last "@". Given more than once: other addresses of the
same jump host.

TARGET is an address or a prefix (10.0.0.0/8, 10/8, 192.168.1.7, 2001:db8::/32), with
ports if only these are to be reached (10.0.0.0/8:443, 10/8:80,8000-8100,
[2001:db8::]/32:443). Other ports of it are refused. An exclusion always wins.
The jump host's own addresses, loopback, link-local and multicast are never captured.
Only TCP is carried, and DNS.

TARGET may also be a name, api.example.com, or *.example.com for all names below it, with
ports likewise. Programs get an address of the tunnel's for it (198.18.x.y), and what they
connect to is opened by name, by the jump host's resolver and as its PermitOpen has it.
Other names are resolved by this machine, unless --dns or --dns-server is given. With
--domain (repeatable) only the names below are asked of --dns-server. The jump host's
own name is always this machine's to resolve.

"tunnel proxy" offers a SOCKS and HTTP proxy instead and needs no privileges; --listen,
--socks and --http add one here. "tunnel proxy --help" tells about both.

--os-cloud adds the endpoints of an OpenStack cloud to the targets, found out through the
jump host before anything is captured; $OS_CLOUD alone adds none. "tunnel openstack" shows
them.

With --allow nothing is opened through the jump host that no rule of the file permits: not
what is a target, and neither a resolver of --dns-server nor Keystone. What it denies is
logged with the rule to add. --dry-run prints the rules that a run would have needed.

@FILE stands for the arguments in FILE: several to a line, quoted as in a shell,
"#" for comments.

Exit codes:
  0  stopped in order (INT, TERM, HUP)   4  host key rejected
  1  unexpected failure                  5  jump host not reachable
  2  usage                               6  capture not possible here
  3  authentication failed               7  already running
`;

/** What sshuttle has and this program hasn't: never ignored, always answered with the way to go. */
const SSHUTTLE_OPTIONS: readonly (readonly [flags: string, reason: string, alternative: string])[] =
  [
    [
      '-N, --auto-nets',
      'it would read the routes of the jump host with a program there, and nothing is run on it',
      'name the networks as targets; "ip route" on the jump host shows them',
    ],
    [
      '-H, --auto-hosts',
      'it would rewrite /etc/hosts from what a program on the jump host finds, and nothing is run on it',
      'use addresses, or put the names into /etc/hosts or your DNS',
    ],
    ['--python <path>', 'the jump host needs no Python, only sshd', 'leave the option out'],
    [
      '--method <name>',
      'connections are captured with a TUN device, there are no firewall rules to choose between',
      'leave the option out',
    ],
    [
      '-l <address>',
      'connections arrive through a TUN device, so there is no port to listen on',
      'leave the option out, or use --listen for a proxy beside the capture',
    ],
    [
      '--seed-hosts <names>',
      'it belongs to --auto-hosts, for which a program would have to run on the jump host',
      'use addresses, or put the names into /etc/hosts or your DNS',
    ],
    [
      '--no-latency-control',
      'no program at the far side buffers the connections, so there is no such latency to control',
      'leave the option out',
    ],
    [
      '--latency-buffer-size <bytes>',
      'no program at the far side buffers the connections, so there is no such latency to control',
      'leave the option out',
    ],
    [
      '--disable-ipv6',
      'only the address families of the targets are captured',
      'leave the option out, and give no IPv6 targets',
    ],
    [
      '-D, --daemon',
      'it stays in the foreground',
      'start it with "setsid" or "systemd-run --user"; for a SOCKS proxy as of "ssh -D", use "tunnel proxy"',
    ],
    [
      '--pidfile <file>',
      'it stays in the foreground',
      'the process that you start is the one to stop',
    ],
  ];

/** Adds the command to `program` as the one that is meant when none is named. */
export function addConnectCommand(program: Command, action: ConnectAction): Command {
  const command = program
    .command('connect', { isDefault: true })
    .description('capture connections to the targets and carry them through the jump host')
    .usage('-r REMOTE [options] TARGET...')
    .argument('[targets...]')
    .option('-r, --remote <remote>', 'the jump host (repeatable)', collect)
    .option('-x, --exclude <target>', 'leave this out of the targets (repeatable)', collect)
    .option(
      '-s, --targets-from <file>',
      'read targets from a file, one a line, "-" for stdin (repeatable)',
      collect,
    )
    .option(
      '-X, --excludes-from <file>',
      'read exclusions from a file in the same way (repeatable)',
      collect,
    )
    .option('--dns', "send this machine's queries through the jump host")
    .option(
      '--dns-server <address[:port]>',
      'send queries to this resolver behind the jump host, by TCP (repeatable: in order)',
      collect,
    )
    .option('--domain <suffix>', 'only names below this go to --dns-server (repeatable)', collect)
    .option(
      '-i, --identity <file>',
      'private key (repeatable); otherwise the agent and ~/.ssh/id_*',
      collect,
    )
    .option('-p, --port <port>', 'port of the jump host, unless REMOTE says it', once('-p'))
    .option(
      '-J, --jump <hops>',
      'pass these hosts on the way, "a,user@b:2222"; "none": not ssh_config\'s either',
      once('-J'),
    )
    .option(
      '-F, --ssh-config <file>',
      'read this instead of ~/.ssh/config; "none": nothing',
      once('-F'),
    )
    .option('-o, --ssh-option <option>', 'Keyword=value as in ssh_config (repeatable)', collect)
    .option(
      '--transport <name>',
      'SSH client: ssh2 (embedded), openssh (the ssh program) or auto (default: auto)',
      once('--transport'),
    )
    .option(
      '-e, --ssh-cmd <command>',
      'the ssh program to use, with its first arguments',
      once('-e'),
    )
    .option(
      '--host-key <key>',
      'accept only this host key: SHA256:... or "ssh-ed25519 AAAA..." (repeatable); otherwise ~/.ssh/known_hosts decides',
      collect,
    )
    .option(
      '--connect-timeout <seconds>',
      `for TCP and key exchange, an address (default: ssh_config, else ${DEFAULT_CONNECT_TIMEOUT})`,
      once('--connect-timeout'),
    )
    .option(
      '--auth-timeout <seconds>',
      `for authentication, without questions (default: ${DEFAULT_AUTH_TIMEOUT})`,
      once('--auth-timeout'),
    )
    .option(
      '--keepalive <seconds>',
      `ask the jump host for a sign of life after such a silence; 0: never (default: ssh_config, else ${DEFAULT_KEEPALIVE})`,
      once('--keepalive'),
    )
    .option(
      '--reconnect-hold <seconds>',
      `let new connections wait while the link is down; 0: refuse them (default: ${DEFAULT_RECONNECT_HOLD})`,
      once('--reconnect-hold'),
    )
    .option(
      '--max-window <size>',
      `bytes that one connection may have under way or waiting for its reader (default: ${DEFAULT_MAX_WINDOW / MIB}M)`,
      once('--max-window'),
    )
    .option(
      '--window-budget <size>',
      `bytes that all of them together may (default: ${DEFAULT_WINDOW_BUDGET / MIB}M)`,
      once('--window-budget'),
    )
    .option(
      '--no-flush',
      'ask nothing of the jump host to make up for its TCP delays (Nagle, OpenSSH up to 10.0)',
    )
    .option(
      '--ready-fd <number>',
      'write READY=1 to this descriptor when traffic flows',
      once('--ready-fd'),
    )
    .option('-v, --verbose', 'say more (-vv: everything)', (_, count: number) => count + 1, 0)
    .option('-q, --quiet', 'say only what goes wrong');
  command.helpOption('-h, --help', 'show this help');
  for (const [flags, reason, alternative] of SSHUTTLE_OPTIONS) {
    command.addOption(
      new Option(flags).hideHelp().argParser(() => rejectOption(flags, reason, alternative)),
    );
  }
  command.configureHelp({ formatHelp: connectHelp });
  command.action((targets: string[], options: ConnectOptions) => {
    const [first] = targets;
    if (program.commands.some((other) => other.name() === first)) {
      throw new UsageError(`the command "${first}" comes before its options`, {
        hint: `write "tunnel ${first} -r ..."${first === command.name() ? ', or leave the word out' : ''}`,
      });
    }
    return action(targets, options);
  });
  return command;
}

/** Examples first, because they answer most questions. */
export function connectHelp(command: Command, helper: Help): string {
  helper.commandUsage = () => `tunnel [connect] ${command.usage()}`;
  helper.showGlobalOptions = true;
  return `${EXAMPLES}\n${Help.prototype.formatHelp.call(helper, command, helper)}${AFTER}`;
}

export function collect(value: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

/** An option whose second value would silently replace the first. */
export function once(option: string): (value: string, previous: string | undefined) => string {
  return (value, previous) => {
    if (previous !== undefined)
      throw new UsageError(`${option} is given twice (${previous} and ${value})`, {
        hint: 'leave one of them out; look into the files of @FILE as well',
      });
    return value;
  };
}

function rejectOption(flags: string, reason: string, alternative: string): never {
  const name = flags.replace(/ <.*$/, '').replace(', ', '/');
  throw new UsageError(`${name} is an option of sshuttle that doesn't exist here: ${reason}`, {
    hint: alternative,
  });
}
