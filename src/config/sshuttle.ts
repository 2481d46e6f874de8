/**
 * Options that only sshuttle has (up to 2.0): never ignored, always answered with the alternative.
 */
import { UsageError } from '../errors/errors.ts';
import { filePrefix } from '../net/place.ts';
import { asText, type GivenOptions, type Option, once, toggle } from './option.ts';

interface Refused {
  readonly option: Option;
  readonly reason: string;
  readonly alternative: string;
}

const NO_PROGRAM = 'and the tunnel runs nothing there';
const NO_BUFFER =
  'no program at the far side buffers the connections, so there is no such latency to control';
const NO_SUDOERS =
  'it writes rules for sudo, and only a small helper of the tunnel needs root, not the program';
const INTERNAL = 'sshuttle starts itself with it';
const NAMES_ELSEWHERE = 'use addresses, or put the names into /etc/hosts or your DNS';
const ALL_USERS = 'a TUN device captures the connections of all users';
const ONE_COMMAND = 'use "tunnel exec", which captures the connections of one command';
const LEAVE_OUT = 'leave the option out';
const FOREGROUND = 'this command ends by itself, or with the command that it runs';

const REFUSED: readonly Refused[] = [
  refused(
    '-N, --auto-nets',
    `it would need a program on the jump host that reads its routes, ${NO_PROGRAM}`,
    'name the networks as targets; "ip route" on the jump host shows them. ssh\'s -N is not needed here',
  ),
  refused(
    '-H, --auto-hosts',
    `it would need a program on the jump host to fill /etc/hosts, ${NO_PROGRAM}`,
    NAMES_ELSEWHERE,
  ),
  refused(
    '--seed-hosts <names>',
    'it belongs to --auto-hosts, which needs a program on the jump host',
    NAMES_ELSEWHERE,
  ),
  refused(
    '--to-ns <address[:port]>',
    'queries go over TCP to resolvers that --dns-server names',
    'use --dns-server ADDRESS[:PORT], and --domain for the names that it is asked',
  ),
  refused(
    '--ns-hosts <addresses>',
    'with --dns, queries to all resolvers of this machine are captured',
    'use --dns; or --dns-server with --domain, for names below some domains only',
  ),
  refused('--python <path>', 'the jump host needs no Python, only sshd', LEAVE_OUT),
  refused(
    '--remote-shell <program>',
    'no program is started on the jump host, so its shell does not matter',
    LEAVE_OUT,
  ),
  refused(
    '--no-cmd-delimiter',
    'no program is started on the jump host, so there is no command to separate',
    LEAVE_OUT,
  ),
  refused(
    '--method <name>',
    'connections are captured with a TUN device, so there is no method to choose',
    LEAVE_OUT,
  ),
  refused(
    '-t, --tmark <mark>',
    'packets reach the TUN device by routes, so none is marked for tproxy',
    LEAVE_OUT,
  ),
  refused(
    '-l <address>',
    'connections arrive through a TUN device, so there is no port to listen on',
    'leave the option out, or use --listen to add a proxy',
  ),
  refused('--user <name>', ALL_USERS, ONE_COMMAND),
  refused('--group <name>', ALL_USERS, ONE_COMMAND),
  refused(
    '--namespace <name>',
    'it runs in the network namespace in which it is started',
    'write "ip netns exec NAME" in front, as root; for one command use "tunnel exec"',
  ),
  refused(
    '--namespace-pid <pid>',
    'it runs in the network namespace in which it is started',
    'write "nsenter --net --target PID" in front, as root; for one command use "tunnel exec"',
  ),
  refused('--no-latency-control', NO_BUFFER, LEAVE_OUT),
  refused('--latency-buffer-size <bytes>', NO_BUFFER, LEAVE_OUT),
  refused('--wrap <number>', 'it is for tests of sshuttle', LEAVE_OUT),
  refused(
    '--disable-ipv6',
    'only the address families of the targets are captured',
    'leave the option out, and give no IPv6 targets',
  ),
  refused(
    '--subnets <file>',
    'the same option has another name',
    'use -s, or its long form --targets-from',
  ),
  refused(
    '--exclude-from <file>',
    'the same option has another name',
    'use -X, or its long form --excludes-from',
  ),
  refused(
    '-D, --daemon',
    FOREGROUND,
    'leave it out; "tunnel" and "tunnel proxy" take it, and "systemd-run --user" starts any command',
  ),
  refused('--pidfile <file>', FOREGROUND, 'the process that you start is the one to stop'),
  refused(
    '--syslog',
    'messages go to standard error',
    'append: 2>&1 | logger -t tunnel; "systemd-run --user" keeps them in the journal',
  ),
  refused(
    '--sudoers',
    NO_SUDOERS,
    'leave the option out: connect asks for root once; exec and proxy need none',
  ),
  refused(
    '--sudoers-no-modify',
    NO_SUDOERS,
    'leave the option out: connect asks for root once; exec and proxy need none',
  ),
  refused('--sudoers-user <name>', 'it belongs to --sudoers', LEAVE_OUT),
  refused('--sudoers-filename <name>', 'it belongs to --sudoers', LEAVE_OUT),
  refused('--no-sudo-pythonpath', 'there is no Python to find', LEAVE_OUT),
  refused('--firewall', INTERNAL, LEAVE_OUT),
  refused('--hostwatch', INTERNAL, LEAVE_OUT),
];

/** Not shown in help. */
export const SSHUTTLE_OPTIONS: readonly Option[] = REFUSED.map(({ option }) => option);

/** Throws UsageError if one of them is given. */
export function refuseSshuttleOptions(given: GivenOptions): void {
  for (const { option, reason, alternative } of REFUSED) {
    const [entry] = given.get(option) ?? [];
    if (entry === undefined) continue;
    const name = option.flags.replace(/ <.*$/, '').replace(', ', '/');
    throw new UsageError(
      `${filePrefix(entry.place)}${name} is an option of sshuttle that doesn't exist here: ${reason}`,
      { hint: alternative },
    );
  }
}

function refused(flags: string, reason: string, alternative: string): Refused {
  const option = flags.endsWith('>') ? once(flags, '', asText) : toggle(flags, '');
  return { option, reason, alternative };
}
