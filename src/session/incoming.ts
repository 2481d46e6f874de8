/**
 * Connections into this machine whose answers the capture would take: a wide target (`0/0`) holds
 * their peers, so the answers go to the tunnel's device, and the connections break.
 *
 *   the peer of the SSH login in which the program runs    left out by itself, and named
 *   other peers, ports that are passed on (containers)     warned about
 *   peers in connected networks                            stay local anyway
 *
 * Leaving out is an exclusion of the one address: the routes around it are more specific than the
 * target, but never than a connected network, except where the address is inside one. There it
 * is local without help. With --capture-local it isn't, and then the gateway is left out as well.
 */
import type { Configuration, Target } from '../config/configuration.ts';
import { ADDRESS_BITS, addressNumber, type Family } from '../net/address.ts';
import { formatPorts } from '../net/ports.ts';
import {
  formatPrefix,
  hostPrefix,
  type Prefix,
  prefixAround,
  prefixContains,
} from '../net/prefix.ts';
import { subtractPrefixes } from '../net/prefixset.ts';
import { specialRangeOf } from '../net/special.ts';
import type { Observer } from '../observe/observer.ts';
import type { Incoming, IncomingConnection } from '../system/incoming.ts';
import type { KernelRouting } from '../system/routing/kernel.ts';
import { ROUTE_TYPE } from '../system/routing/rtnetlink.ts';

/** Addresses or ports named in one message. */
const MAX_NAMED = 8;

type Networks = Pick<KernelRouting, 'networks' | 'routes'>;
type Capturing = Pick<Configuration, 'targets' | 'exclusions' | 'capture'>;

/**
 * The configuration with the login's peers excluded that are captured but for that. An address that
 * is named as a target by itself stays one.
 */
export function leaveOutLogin<C extends Capturing>(
  configuration: C,
  peers: readonly string[],
  routing: Networks,
): C {
  const leftOut = peers.flatMap((peer) => prefixesToLeaveOut(configuration, peer, routing));
  if (leftOut.length === 0) return configuration;
  return {
    ...configuration,
    exclusions: [...configuration.exclusions, ...leftOut.map(asRule)],
  };
}

function prefixesToLeaveOut(
  configuration: Capturing,
  peer: string,
  routing: Networks,
): readonly Prefix[] {
  const { targets, capture } = configuration;
  const host = hostPrefix(peer);
  const named = targets.some(({ prefix }) => formatPrefix(prefix) === peer);
  if (named || staysLocal(host, configuration, routing)) return [];
  const around = networksOf(host.family, routing);
  // What the routes around the address would have as their prefix must not be a network's own.
  const beside = around.filter(
    (network) => !prefixContains(network, host) && prefixContains(widened(network), host),
  );
  const gateways = gatewaysOf(host.family, routing).filter((gateway) =>
    around.some((network) => prefixContains(network, host) && prefixContains(network, gateway)),
  );
  return [host, ...(capture.captureLocal ? gateways : beside)];
}

/** Whether the targets hold the address, and no exclusion for all ports. */
export function isCaptured(
  { targets, exclusions }: Pick<Capturing, 'targets' | 'exclusions'>,
  address: string,
): boolean {
  const host = hostPrefix(address);
  const special = specialRangeOf(host);
  const may = (target: Prefix) =>
    special === undefined || (special.onRequest && prefixContains(special.prefix, target));
  return (
    targets.some(({ prefix }) => prefixContains(prefix, host) && may(prefix)) &&
    !exclusions.some(({ prefix, ports }) => ports.length === 0 && prefixContains(prefix, host))
  );
}

/**
 * Says who is cut off, and who is left out. `wanted`: without what leaveOutLogin() has added for
 * `login`, the login's peers. Rejects if the kernel can't be asked, as without descriptors.
 */
export async function reportIncoming(
  { wanted, captured, login }: { wanted: Capturing; captured: Capturing; login: readonly string[] },
  { incoming, routing, observer }: { incoming: Incoming; routing: Networks; observer: Observer },
): Promise<void> {
  for (const peer of login)
    if (isCaptured(wanted, peer) && !isCaptured(captured, peer))
      observer.log('notice', `left out: ${peer}, the peer of this SSH login`);
  warnOfPeers(await incoming.connections(), captured, { routing, observer });
  const taken = captured.targets.map(({ prefix }) => prefix);
  if (!takesAll(taken, 4) && !takesAll(taken, 6)) return;
  const ports = await incoming.passedOnPorts();
  if (ports.length === 0) return;
  const some = formatPorts(ports.slice(0, MAX_NAMED)) + (ports.length > MAX_NAMED ? ', ...' : '');
  observer.log(
    'warning',
    `connections from outside to port ${some}, which this machine passes on (containers, DNAT), get no answers: these go into the tunnel`,
    { hint: 'leave out where they come from with -x, as in: -x 203.0.113.0/24' },
  );
}

function warnOfPeers(
  connections: readonly IncomingConnection[],
  captured: Capturing,
  { routing, observer }: { routing: Networks; observer: Observer },
): void {
  const cut = connections
    .filter(({ peer }) => isCaptured(captured, peer))
    .filter(({ peer }) => !staysLocal(hostPrefix(peer), captured, routing));
  if (cut.length === 0) return;
  const peers = [...new Set(cut.map(({ peer }) => peer))];
  const named = cut
    .slice(0, MAX_NAMED)
    .map(({ peer, port }) => `${peer} (port ${port})`)
    .join(', ');
  const rest = cut.length > MAX_NAMED ? ` and ${cut.length - MAX_NAMED} more` : '';
  observer.log(
    'warning',
    `connections into this machine break, because their answers go into the tunnel: from ${named}${rest}`,
    {
      hint: `leave them out: ${peers
        .slice(0, MAX_NAMED)
        .map((it) => `-x ${it}`)
        .join(' ')}`,
    },
  );
}

/**
 * Warns where only one of 0/0 and ::/0 is captured and the machine has a way out by the other
 * family.
 */
export function warnOfOtherFamily(
  { targets, exclusions }: Capturing,
  routing: Networks,
  observer: Observer,
): void {
  const captured = targets.map(({ prefix }) => prefix);
  const meant = exclusions.filter(({ ports }) => ports.length === 0).map(({ prefix }) => prefix);
  for (const [taken, other] of [
    [4, 6],
    [6, 4],
  ] as const) {
    if (!takesAll(captured, taken) || takesAll([...captured, ...meant], other)) continue;
    if (!hasWayOut(other, routing)) continue;
    const [all, past] = taken === 4 ? ['0/0', '::/0'] : ['::/0', '0/0'];
    observer.log(
      'warning',
      `${all} is captured and ${past} is not: IPv${other} goes past the tunnel`,
      {
        hint: `add ${past} to the targets, or exclude it with "-x ${past}" if that is meant`,
      },
    );
  }
}

/** All addresses of the internet: of IPv6 these are 2000::/3. */
function takesAll(prefixes: readonly Prefix[], family: Family): boolean {
  const all: Prefix =
    family === 4
      ? { family, address: '0.0.0.0', length: 0 }
      : { family, address: '2000::', length: 3 };
  const same = prefixes.filter((prefix) => prefix.family === family);
  return subtractPrefixes([all], same).length === 0;
}

/** An address that isn't link-local or loopback, and a default route. */
function hasWayOut(family: Family, routing: Networks): boolean {
  const here: readonly Prefix[] = [
    { family: 4, address: '127.0.0.0', length: 8 },
    { family: 4, address: '169.254.0.0', length: 16 },
    { family: 4, address: '198.18.0.0', length: 15 },
    { family: 6, address: '::1', length: 128 },
    { family: 6, address: 'fe80::', length: 10 },
    { family: 6, address: '2001:2::', length: 48 },
  ];
  const outward = routing
    .networks(family)
    .some(({ prefix }) => !here.some((range) => prefixContains(range, prefix)));
  return (
    outward &&
    routing
      .routes(family)
      .some(
        ({ destination, type, device }) =>
          type === ROUTE_TYPE.unicast && device !== 0 && isDefault(destination),
      )
  );
}

/** Some routers advertise 2000::/3. */
function isDefault({ address, length }: Prefix): boolean {
  return length === 0 || (length === 3 && address === '2000::');
}

/** In a network that stays local, as CaptureGuard leaves it out: no narrower target takes it. */
function staysLocal(host: Prefix, { targets, capture }: Capturing, routing: Networks): boolean {
  if (capture.captureLocal) return false;
  return networksOf(host.family, routing).some(
    (network) =>
      prefixContains(network, host) &&
      targets.every(
        ({ prefix }) => !prefixContains(network, prefix) || !prefixContains(prefix, host),
      ),
  );
}

function networksOf(family: Family, routing: Networks): Prefix[] {
  return routing
    .networks(family)
    .map(({ prefix }) => prefix)
    .filter(({ length }) => length < ADDRESS_BITS[family]);
}

function gatewaysOf(family: Family, routing: Networks): Prefix[] {
  return routing
    .routes(family)
    .filter(({ destination }) => destination.length === 0)
    .flatMap(({ gateway }) => (gateway === undefined ? [] : [hostPrefix(gateway)]));
}

/** The prefix of which this is a half. */
function widened(prefix: Prefix): Prefix {
  const { family, address, length } = prefix;
  return prefixAround(addressNumber(address), family, Math.max(0, length - 1));
}

function asRule(prefix: Prefix): Target {
  return { prefix, ports: [], text: formatPrefix(prefix) };
}
