/** The lab's namespaces and how they are connected; lab.ts has a drawing. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as address from './addresses.ts';
import { LabError } from './laberror.ts';
import type { Namespace } from './namespace.ts';
import { type Child, mustRun } from './process.ts';

export const HOSTS = ['client', 'uplink', 'jumphost', 'api1', 'api2'] as const;
export type Host = (typeof HOSTS)[number];
export type Namespaces = Readonly<Record<Host, Namespace>>;

const DELAYLINE = fileURLToPath(new URL('../../native-test/delayline', import.meta.url));
/** A TUN's queue towards the delay line: enough for what TCP sends at once on a long, fast line. */
const LINE_QUEUE_PACKETS = 10_000;
const MICROSECONDS = 1000;

/**
 * Many tests wait for ICMP errors; the kernel's limits on them would make those tests depend on
 * each other.
 */
const NO_ICMP_LIMITS = ['net/ipv4/icmp_ratelimit=0', 'net/ipv6/icmp/ratelimit=0'];

export interface LineOptions {
  /**
   * Round-trip time between client and jump host in milliseconds; 0 or none: a veth pair instead of
   * a delay line.
   */
  readonly rtt?: number;
  /** Fraction of packets lost in each direction, at random but reproducibly. */
  readonly loss?: number;
  /** Bytes per second in each direction. */
  readonly bandwidth?: number;
}

/**
 * Brings a device up with its addresses. We set link-local addresses rather than let the kernel
 * generate them: a router can't look for neighbours without one, and generated ones appear a second
 * later, so the lab's state would change during its life.
 */
function device(name: string, ...addresses: readonly string[]): string[] {
  return [
    `link set dev ${name} addrgenmode none`,
    // Duplicate address detection would make the address unusable for a second.
    ...addresses.map(
      (prefix) => `addr add ${prefix} dev ${name}${prefix.includes(':') ? ' nodad' : ''}`,
    ),
    `link set dev ${name} up`,
  ];
}

const loopback = 'link set dev lo up';

function clientLines(): string[] {
  return [
    loopback,
    ...device('uplink', '192.0.2.2/24', '2001:db8:1::2/64', 'fe80::2/64'),
    'route add default via 192.0.2.1',
    'route add default via 2001:db8:1::1',
  ];
}

function uplinkLines(): string[] {
  return [
    loopback,
    ...device('client', '192.0.2.1/24', '2001:db8:1::1/64', 'fe80::1/64'),
    ...device('jumphost', '198.51.100.1/24', '2001:db8:2::1/64', 'fe80::1/64'),
  ];
}

function jumphostLines(): string[] {
  return [
    loopback,
    ...device('uplink', `${address.JUMPHOST4}/24`, `${address.JUMPHOST6}/64`, 'fe80::10/64'),
    'route add default via 198.51.100.1',
    'route add default via 2001:db8:2::1',
    'link add name private type bridge forward_delay 0 mcast_snooping 0',
    ...(['api1', 'api2'] as const).flatMap((port) => [
      ...device(port),
      `link set dev ${port} master private`,
    ]),
    ...device(
      'private',
      `${address.JUMPHOST_PRIVATE4}/16`,
      `${address.JUMPHOST_PRIVATE6}/64`,
      'fe80::1/64',
    ),
    `route add unreachable ${address.UNREACHABLE_PREFIX4}`,
    `route add unreachable ${address.UNREACHABLE_PREFIX6}`,
  ];
}

function apiLines(host: 1 | 2): string[] {
  const extra = Array.from({ length: address.EXTRA_ADDRESSES }, (_, i) => i + 1);
  const main = host === 1 ? [address.API1, address.API1_6] : [address.API2, address.API2_6];
  const addresses = [
    ...main,
    ...(host === 1 ? [address.BLACKHOLE4, address.BLACKHOLE6] : []),
    ...extra.flatMap((i) => [address.extraAddress4(host, i), address.extraAddress6(host, i)]),
  ];
  const prefixes = addresses.map((text) => (text.includes(':') ? `${text}/64` : `${text}/16`));
  return [loopback, ...device('jumphost', ...prefixes, `fe80::1${host}/64`)];
}

const SILENCE = `table inet lab {
  chain input {
    type filter hook input priority filter; policy accept;
    meta l4proto tcp ip daddr ${address.BLACKHOLE4} drop
    meta l4proto tcp ip6 daddr ${address.BLACKHOLE6} drop
    tcp dport ${address.Port.blackhole} drop
  }
}
`;

async function startDelayLine(namespaces: Namespaces, line: LineOptions): Promise<Child> {
  if (!existsSync(DELAYLINE)) {
    throw new LabError('lab-delayline', `there is no delay line at ${DELAYLINE}`, {
      hint: 'build it with "make -C native lab"',
    });
  }
  const { uplink, jumphost } = namespaces;
  // Inside one of its two namespaces, so that the code that removes them finds it.
  const child = await uplink.spawn(
    [
      DELAYLINE,
      ...['--left', `${uplink.name}:jumphost`, '--right', `${jumphost.name}:uplink`],
      ...['--delay', String(Math.round(((line.rtt ?? 0) * MICROSECONDS) / 2))],
      ...(line.loss === undefined ? [] : ['--loss', String(line.loss)]),
      ...(line.bandwidth === undefined ? [] : ['--rate', String(Math.round(line.bandwidth))]),
    ],
    { stdin: 'open' },
  );
  await child.waitForLine(/ready\n/);
  const queue = `link set dev %s txqueuelen ${LINE_QUEUE_PACKETS}`;
  await Promise.all([
    uplink.configure([queue.replace('%s', 'jumphost')]),
    jumphost.configure([queue.replace('%s', 'uplink')]),
  ]);
  return child;
}

/**
 * A veth pair whose ends differ in their interface index. The kernel reports a device's carrier at
 * once if its `iflink` differs from its own index, and otherwise up to a second later
 * (net/core/link_watch.c); different namespaces use the same numbers.
 */
function wire(
  left: Namespace,
  leftDevice: string,
  right: Namespace,
  rightDevice: string,
  index: number,
): string {
  const end = (namespace: Namespace, name: string, i: number) =>
    `name ${name} index ${i} netns ${namespace.name}`;
  return `link add ${end(left, leftDevice, index)} type veth peer ${end(right, rightDevice, index + 1)}`;
}

/** Makes the namespaces and connects them; returns the delay line's process, if there is one. */
export async function build(namespaces: Namespaces, line: LineOptions): Promise<Child | undefined> {
  const { client, uplink, jumphost, api1, api2 } = namespaces;
  const delayed = (line.rtt ?? 0) > 0 || (line.loss ?? 0) > 0 || line.bandwidth !== undefined;
  const lines = [
    ...HOSTS.map((host) => `netns add ${namespaces[host].name}`),
    wire(client, 'uplink', uplink, 'client', 11),
    ...(delayed ? [] : [wire(uplink, 'jumphost', jumphost, 'uplink', 21)]),
    wire(jumphost, 'api1', api1, 'jumphost', 31),
    wire(jumphost, 'api2', api2, 'jumphost', 41),
  ];
  await mustRun(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` });
  const child = delayed ? await startDelayLine(namespaces, line) : undefined;
  const forwarding = (value: 0 | 1) => [
    `net/ipv4/ip_forward=${value}`,
    `net/ipv6/conf/all/forwarding=${value}`,
    ...NO_ICMP_LIMITS,
  ];
  const drop = (api: Namespace) =>
    mustRun(['ip', 'netns', 'exec', api.name, 'nft', '-f', '-'], { input: SILENCE });
  await Promise.all([
    client.configure(clientLines(), forwarding(0)),
    uplink.configure(uplinkLines(), forwarding(1)),
    jumphost.configure(jumphostLines(), forwarding(0)),
    api1.configure(apiLines(1), forwarding(0)),
    api2.configure(apiLines(2), forwarding(0)),
    drop(api1),
    drop(api2),
  ]);
  return child;
}
