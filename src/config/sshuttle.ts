/** Options that only sshuttle has: never ignored, always answered with the alternative. */
import { UsageError } from '../errors/errors.ts';
import { filePrefix } from '../net/place.ts';
import { asText, type GivenOptions, type Option, once, toggle } from './option.ts';

interface Refused {
  readonly option: Option;
  readonly reason: string;
  readonly alternative: string;
}

const REFUSED: readonly Refused[] = [
  refused(
    '-N, --auto-nets',
    'it would need a program on the jump host that reads its routes, and the tunnel runs nothing there',
    'name the networks as targets; "ip route" on the jump host shows them',
  ),
  refused(
    '-H, --auto-hosts',
    'it would need a program on the jump host to fill /etc/hosts, and the tunnel runs nothing there',
    'use addresses, or put the names into /etc/hosts or your DNS',
  ),
  refused('--python <path>', 'the jump host needs no Python, only sshd', 'leave the option out'),
  refused(
    '--method <name>',
    'connections are captured with a TUN device, so there is no method to choose',
    'leave the option out',
  ),
  refused(
    '-l <address>',
    'connections arrive through a TUN device, so there is no port to listen on',
    'leave the option out, or use --listen to add a proxy',
  ),
  refused(
    '--seed-hosts <names>',
    'it belongs to --auto-hosts, which needs a program on the jump host',
    'use addresses, or put the names into /etc/hosts or your DNS',
  ),
  refused(
    '--no-latency-control',
    'no program at the far side buffers the connections, so there is no such latency to control',
    'leave the option out',
  ),
  refused(
    '--latency-buffer-size <bytes>',
    'no program at the far side buffers the connections, so there is no such latency to control',
    'leave the option out',
  ),
  refused(
    '--disable-ipv6',
    'only the address families of the targets are captured',
    'leave the option out, and give no IPv6 targets',
  ),
  refused(
    '-D, --daemon',
    'it stays in the foreground',
    'start it with "setsid" or "systemd-run --user"; for a SOCKS proxy like that of "ssh -D", use "tunnel proxy"',
  ),
  refused(
    '--pidfile <file>',
    'it stays in the foreground',
    'the process that you start is the one to stop',
  ),
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
