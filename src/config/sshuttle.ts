/**
 * The options of sshuttle(8), up to 2.0: one table, for two kinds of lines.
 *
 *   tunnel ... --method nft      those that tunnel doesn't have are refused, with the alternative
 *   tunnel sshuttle -r ...       all are translated (pastedsshuttle.ts)
 *
 * None is ever ignored in silence.
 */
import { UsageError } from '../errors/errors.ts';
import { filePrefix } from '../net/place.ts';
import { asText, type GivenOptions, type Option, once, toggle } from './option.ts';

export interface SshuttleOption {
  readonly short: string | undefined;
  readonly long: string | undefined;
  readonly takesValue: boolean;
  /** In a pasted line: an option of tunnel, or nothing, which is said with `why`. */
  readonly becomes:
    | { readonly own: string }
    | { readonly own: undefined; readonly isNeeded: boolean; readonly why: string };
  /** Where a command of tunnel doesn't have it. */
  readonly refusal?: Refusal | undefined;
}

interface Refusal {
  readonly reason: string;
  readonly alternative: string;
  /** Names that tunnel has as well, with the same meaning. */
  readonly except?: string;
}

const NO_PROGRAM = 'and the tunnel runs nothing there';
const NO_BUFFER =
  'no program at the far side buffers the connections, so there is no such latency to control';
const NO_SUDOERS =
  'it writes rules for sudo, and only a small helper of the tunnel needs root, not the program';
const NO_SUDO = 'connect asks for root once, exec and proxy need none';
const INTERNAL = 'sshuttle starts itself with it';
const NAMES_ELSEWHERE = 'name the hosts as targets, or use --dns';
const ALL_USERS = 'a TUN device captures the connections of all users';
const ONE_COMMAND = 'use "tunnel exec", which captures the connections of one command';
const LEAVE_OUT = 'leave the option out';
const FOREGROUND = 'it ends by itself, or with the command that it runs';
const ITS_NAMESPACE = 'it runs in the network namespace in which it is started';
const OTHER_NAME = 'the same option has another name';
const ABOUT_ITSELF = '"tunnel --help" and "tunnel --version" are about tunnel';

export const SSHUTTLE: readonly SshuttleOption[] = [
  kept('-r, --remote <host>', '-r'),
  kept('-x, --exclude <subnet>', '-x'),
  kept('-e, --ssh-cmd <command>', '-e'),
  kept('--dns', '--dns'),
  kept('-v, --verbose', '-v'),
  kept('-s, --subnets <file>', '-s', {
    reason: OTHER_NAME,
    alternative: 'use -s, or its long form --targets-from',
    except: '-s',
  }),
  kept('-X, --exclude-from <file>', '-X', {
    reason: OTHER_NAME,
    alternative: 'use -X, or its long form --excludes-from',
    except: '-X',
  }),
  kept('--to-ns <address[:port]>', '--dns-server', {
    reason: 'queries go over TCP to resolvers that --dns-server names',
    alternative: 'use --dns-server ADDRESS[:PORT], and --domain for the names that it is asked',
  }),
  kept('-D, --daemon', '-D', {
    reason: FOREGROUND,
    alternative:
      'leave it out; "tunnel" and "tunnel proxy" take it, and "systemd-run --user" starts any command',
  }),
  kept('--pidfile <file>', '--pidfile', {
    reason: FOREGROUND,
    alternative: 'the process that you start is the one to stop',
  }),
  kept('--syslog', '--syslog', {
    reason: 'messages go to standard error',
    alternative: 'append: 2>&1 | logger -t tunnel; "systemd-run --user" keeps them in the journal',
  }),
  aboutItself('-h, --help'),
  aboutItself('-V, --version'),
  needless(
    '-l, --listen <address>',
    'connections arrive through a TUN device, so there is no port to listen on',
    {
      alternative: 'leave the option out, or use --listen to add a proxy',
      except: '--listen',
    },
  ),
  needless(
    '--method <name>',
    'connections are captured with a TUN device, so there is no method to choose',
  ),
  needless(
    '-t, --tmark <mark>',
    'packets reach the TUN device by routes, so none is marked for tproxy',
  ),
  needless('--python <path>', 'the jump host needs no Python, only sshd'),
  needless(
    '--remote-shell <program>',
    'no program is started on the jump host, so its shell does not matter',
  ),
  needless(
    '--no-cmd-delimiter',
    'no program is started on the jump host, so there is no command to separate',
  ),
  needless('--no-latency-control', NO_BUFFER),
  needless('--latency-buffer-size <bytes>', NO_BUFFER),
  needless('--wrap <number>', 'it is for tests of sshuttle'),
  needless('--disable-ipv6', 'only the address families of the targets are captured', {
    alternative: 'leave the option out, and give no IPv6 targets',
  }),
  needless('--sudoers-user <name>', 'it belongs to --sudoers'),
  needless('--sudoers-filename <name>', 'it belongs to --sudoers'),
  needless('--no-sudo-pythonpath', 'there is no Python to find'),
  needless('--firewall', INTERNAL),
  needless('--hostwatch', INTERNAL),
  lacking(
    '-N, --auto-nets',
    `it would need a program on the jump host that reads its routes, ${NO_PROGRAM}; ssh's -N is not needed here`,
    'name the networks as targets, as "ip route" on the jump host shows them',
  ),
  lacking(
    '-H, --auto-hosts',
    `it would need a program on the jump host to fill /etc/hosts, ${NO_PROGRAM}`,
    NAMES_ELSEWHERE,
  ),
  lacking(
    '--seed-hosts <names>',
    'it belongs to --auto-hosts, which needs a program on the jump host',
    NAMES_ELSEWHERE,
  ),
  lacking(
    '--ns-hosts <addresses>',
    'with --dns, queries to all resolvers of this machine are captured',
    'use --dns, or --dns-server with --domain for names below some domains only',
  ),
  lacking('--user <name>', ALL_USERS, ONE_COMMAND),
  lacking('--group <name>', ALL_USERS, ONE_COMMAND),
  lacking(
    '--namespace <name>',
    ITS_NAMESPACE,
    'write "ip netns exec NAME" in front, as root, or use "tunnel exec" for one command',
  ),
  lacking(
    '--namespace-pid <pid>',
    ITS_NAMESPACE,
    'write "nsenter --net --target PID" in front, as root, or use "tunnel exec" for one command',
  ),
  lacking('--sudoers', NO_SUDOERS, NO_SUDO),
  lacking('--sudoers-no-modify', NO_SUDOERS, NO_SUDO),
];

/** Those that tunnel doesn't have, with the option that takes them to refuse them. */
const REFUSED = SSHUTTLE.flatMap(({ short, long, takesValue, becomes, refusal }) => {
  if (refusal === undefined) return [];
  const names = [short, long].filter((name) => name !== undefined && name !== refusal.except);
  const flags = names.join(', ');
  const option = takesValue ? once(`${flags} <value>`, '', asText) : toggle(flags, '');
  const isOfOthers = becomes.own !== undefined && names.includes(becomes.own);
  return [{ option, name: names.join('/'), isOfOthers, ...refusal }];
});

/** Not shown in help. */
export const SSHUTTLE_OPTIONS: readonly Option[] = REFUSED.map(({ option }) => option);

/** Throws UsageError if one of them is given. */
export function refuseSshuttleOptions(given: GivenOptions): void {
  for (const { option, name, isOfOthers, reason, alternative } of REFUSED) {
    const [entry] = given.get(option) ?? [];
    if (entry === undefined) continue;
    const what = isOfOthers
      ? 'is not an option of this command'
      : "is an option of sshuttle that doesn't exist here";
    throw new UsageError(`${filePrefix(entry.place)}${name} ${what}: ${reason}`, {
      hint: alternative,
    });
  }
}

/** `own`: what it is called here. */
function kept(flags: string, own: string, refusal?: Refusal): SshuttleOption {
  return { ...namesOf(flags), becomes: { own }, refusal };
}

/** One that changes nothing here. */
function needless(flags: string, reason: string, more: Partial<Refusal> = {}): SshuttleOption {
  return {
    ...namesOf(flags),
    becomes: { own: undefined, isNeeded: false, why: reason },
    refusal: { reason, alternative: LEAVE_OUT, ...more },
  };
}

function aboutItself(flags: string): SshuttleOption {
  return { ...needless(flags, ABOUT_ITSELF), refusal: undefined };
}

/** One whose user has to do something else. */
function lacking(flags: string, reason: string, alternative: string): SshuttleOption {
  return {
    ...namesOf(flags),
    becomes: { own: undefined, isNeeded: true, why: alternative },
    refusal: { reason, alternative },
  };
}

function namesOf(flags: string): Pick<SshuttleOption, 'short' | 'long' | 'takesValue'> {
  const names = flags.replace(/ <.*$/, '').split(', ');
  return {
    short: names.find((name) => !name.startsWith('--')),
    long: names.find((name) => name.startsWith('--')),
    takesValue: flags.endsWith('>'),
  };
}
