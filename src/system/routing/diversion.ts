/**
 * Whether what is captured really goes to the tunnel's device, as the kernel says.
 *
 *   captured prefixes ─┐
 *   routes, rules ─────┴─► samples ─► the kernel's answer for each ─► a verdict for each
 *
 * Samples are the first and last addresses of each captured prefix, of each route inside one, and
 * of what a rule names; where a rule is for some users or ports, for one of these. The answers are
 * judged, not the tables: the kernel knows its own order.
 *
 *   the answer leads                              verdict
 *   to the tunnel's device, to this machine       -
 *   to a network that this machine is connected   left out; with `captureLocal` it is in the way
 *   to, to the gateway, to another tunnel
 *   to an unreachable or prohibit route           left out: blocked, so nothing leaves
 *   by any other route of the main table          in the way: overrides.ts can win over it
 *   by another table, or a rule refuses           diverted: a rule comes before the main table
 *
 * Connected is a network that is the prefix of one of the device's own addresses, by a route of the
 * kernel's or of a router advertisement. Every other route is somebody else's: DHCP and router
 * advertisements can bring it.
 */
import { getSystemErrorName } from 'node:util';
import { ADDRESS_BITS, addressFromNumber, type Family } from '../../net/address.ts';
import {
  formatPrefix,
  hostPrefix,
  type Prefix,
  prefixBounds,
  prefixContains,
} from '../../net/prefix.ts';
import { PrefixMap } from '../../net/prefixmap.ts';
import type { KernelRouting } from './kernel.ts';
import { isWithin } from './overrides.ts';
import {
  ACTION,
  type ConnectedNetwork,
  isShared,
  type KernelRoute,
  type KernelRule,
  PROTOCOL,
  ROUTE_TYPE,
  type Sample,
  TABLE,
} from './rtnetlink.ts';
import { isFailClosed } from './unreachable.ts';

/** The priority of the rule for the main table. */
const MAIN_RULE = 32_766;
/** Captured prefixes of a family up to which each has two samples; beyond it has one. */
const MANY_PREFIXES = 128;
/** Captured prefixes that are tried for a rule of certain users or ports. */
const MAX_FOR_SELECTOR = 64;
/** For one family. Further routes and rules aren't looked at. */
export const MAX_SAMPLES = 16_384;

export interface CaptureQuestion {
  readonly captured: readonly Prefix[];
  /** The tunnel's own. */
  readonly device: string;
  /** Connected networks are to be captured as well. */
  readonly captureLocal: boolean;
}

export interface LeftOut {
  readonly prefix: Prefix;
  /** Completes "10.0.0.0/24 ...". */
  readonly why: string;
}

/** A route of the main table that takes captured addresses elsewhere. */
export interface RouteInTheWay {
  readonly destination: Prefix;
  /** `via 192.0.2.1 dev eth0` */
  readonly way: string;
}

export interface Diversions {
  readonly leftOut: readonly LeftOut[];
  readonly inTheWay: readonly RouteInTheWay[];
  /** A sentence for each. */
  readonly diverted: readonly string[];
  /** What else has a route in the main table, for overrides.ts. */
  readonly occupied: readonly Prefix[];
  /** The default routes' gateways, which must stay reachable. */
  readonly gateways: readonly Prefix[];
  /** There were more samples than MAX_SAMPLES. */
  readonly incomplete: boolean;
}

/** Asks the kernel. Throws what `routing` throws. */
export function findDiversions(routing: KernelRouting, question: CaptureQuestion): Diversions {
  const families = ([4, 6] as const).map((family) =>
    question.captured.some((prefix) => prefix.family === family)
      ? new FamilyCheck(routing, question, family).run()
      : undefined,
  );
  const found = families.filter((one) => one !== undefined);
  return {
    leftOut: found.flatMap(({ leftOut }) => leftOut),
    inTheWay: found.flatMap(({ inTheWay }) => inTheWay),
    diverted: found.flatMap(({ diverted }) => diverted),
    occupied: found.flatMap(({ occupied }) => occupied),
    gateways: found.flatMap(({ gateways }) => gateways),
    incomplete: found.some(({ incomplete }) => incomplete),
  };
}

/**
 * Prefixes that are networks which this machine is connected to, of both families. `own`: the
 * tunnel's device. Throws what `routing` throws.
 */
export function connectedNetworks(routing: KernelRouting, own: string | undefined): Prefix[] {
  return ([4, 6] as const).flatMap((family) => {
    const networks = routing.networks(family);
    return routing
      .routes(family)
      .filter((route) => route.table === TABLE.main && isConnected(route, networks))
      .filter(({ device }) => routing.deviceName(device) !== own)
      .map(({ destination }) => destination);
  });
}

/**
 * Prefixes to which somebody else has a route in the main table: not the kernel, not a tunnel.
 * Throws what `routing` throws.
 */
export function foreignRoutes(routing: KernelRouting): Prefix[] {
  return ([4, 6] as const).flatMap((family) =>
    routing
      .routes(family)
      .filter(({ table, protocol }) => table === TABLE.main && protocol !== PROTOCOL.kernel)
      .filter(({ protocol }) => protocol !== PROTOCOL.tunnel)
      .map(({ destination }) => destination),
  );
}

/**
 * Prefixes that lead to a tunnel's device by routes of its own. Two halves of everything count as
 * everything: the helper makes these of it. Throws what `routing` throws.
 */
export function tunnelRoutes(routing: KernelRouting, own: string | undefined): Prefix[] {
  return ([4, 6] as const).flatMap((family) => {
    const found = routing
      .routes(family)
      .filter(({ table, protocol }) => table === TABLE.main && protocol === PROTOCOL.tunnel)
      .filter(({ device }) => device !== 0 && routing.deviceName(device) === own)
      .map(({ destination }) => destination);
    const halves = found.filter(({ length }) => length === 1);
    const all = { family, address: family === 4 ? '0.0.0.0' : '::', length: 0 };
    return halves.length === 2 ? [...found, all] : found;
  });
}

class FamilyCheck {
  readonly #routing: KernelRouting;
  readonly #question: CaptureQuestion;
  readonly #captured: readonly Prefix[];
  readonly #map: PrefixMap<true>;
  readonly #routes: readonly KernelRoute[];
  readonly #rules: readonly KernelRule[];
  readonly #networks: readonly ConnectedNetwork[];
  readonly #defaults: readonly KernelRoute[];
  readonly #names = new Map<number, string>();
  readonly #leftOut = new Map<string, LeftOut>();
  readonly #inTheWay = new Map<string, RouteInTheWay>();
  readonly #diverted = new Set<string>();

  constructor(routing: KernelRouting, question: CaptureQuestion, family: Family) {
    this.#routing = routing;
    this.#question = question;
    this.#captured = question.captured.filter((prefix) => prefix.family === family);
    this.#map = new PrefixMap(this.#captured.map((prefix) => [prefix, true] as const));
    // Behind the routes of tunnels there may be what stays of them (unreachable.ts).
    this.#routes = routing
      .routes(family)
      .filter((route) => !isOwnAddress(route) && !isFailClosed(route));
    this.#rules = routing.rules(family);
    this.#networks = routing.networks(family);
    this.#defaults = this.#routes.filter(
      ({ destination, gateway }) => destination.length === 0 && gateway !== undefined,
    );
  }

  run(): Diversions {
    const others = this.#routes.filter(({ device }) => !this.#isOurs(device));
    const inside = others.filter(
      ({ destination: { address, length } }) => length > 0 && this.#map.find(address) !== undefined,
    );
    const gateways = this.#defaults.flatMap(({ gateway }) =>
      gateway === undefined || this.#map.find(gateway) === undefined ? [] : [hostPrefix(gateway)],
    );
    const samples = this.#samples([...inside.map(({ destination }) => destination), ...gateways]);
    for (const sample of samples.slice(0, MAX_SAMPLES)) this.#judge(sample);
    return {
      leftOut: [...this.#leftOut.values()],
      inTheWay: [...this.#inTheWay.values()],
      diverted: [...this.#diverted],
      occupied: others
        .filter(({ table }) => table === TABLE.main)
        .map(({ destination }) => destination),
      gateways,
      incomplete: samples.length > MAX_SAMPLES,
    };
  }

  #samples(inside: readonly Prefix[]): Sample[] {
    const found = new Map<string, Sample>();
    const add = (prefix: Prefix, uid?: number, port?: number): void => {
      for (const address of endsOf(prefix))
        found.set(`${address} ${uid} ${port}`, { address, uid, port });
    };
    const all = this.#captured.length > MANY_PREFIXES ? this.#captured.map(oneOf) : this.#captured;
    for (const prefix of [...all, ...inside]) add(prefix);
    for (const { priority, table, destination, inverted, uid, port } of this.#rules) {
      if (priority >= MAIN_RULE || table === TABLE.local) continue;
      const selected = uid !== undefined || port !== undefined;
      if (destination === undefined || inverted) {
        if (!selected) continue;
        for (const prefix of this.#captured.slice(0, MAX_FOR_SELECTOR)) add(prefix, uid, port);
        continue;
      }
      const overlapping = this.#captured.flatMap((prefix) => {
        if (prefixContains(prefix, destination)) return [destination];
        return prefixContains(destination, prefix) ? [prefix] : [];
      });
      for (const prefix of overlapping) add(prefix, uid, port);
    }
    return [...found.values()];
  }

  #judge(sample: Sample): void {
    const { address } = sample;
    const answer = this.#routing.lookUp(sample);
    if (typeof answer === 'number') {
      const blocking = this.#blocking(address);
      if (blocking === undefined) this.#diverted.add(this.#refusal(address, answer));
      else this.#leaveOut(blocking, 'is blocked by a route of this machine');
      return;
    }
    if (isOwnAddress(answer) || this.#isOurs(answer.device)) return;
    const name = this.#name(answer.device);
    if (answer.table !== TABLE.main) {
      this.#diverted.add(this.#byTable(sample, answer, name));
      return;
    }
    const { destination } = answer;
    // Shared with another tunnel, which passes on what is for this one.
    if (isShared(answer)) return;
    if (answer.protocol === PROTOCOL.tunnel)
      this.#leaveOut(destination, `belongs to another tunnel, ${name}`);
    else if (isBlock(answer)) this.#leaveOut(destination, 'is blocked by a route of this machine');
    else if (this.#isGateway(address, answer))
      this.#leaveOut(hostPrefix(address), `is the gateway by ${name}`);
    else if (!this.#question.captureLocal && isConnected(answer, this.#networks))
      this.#leaveOut(destination, `is connected by ${name}`);
    else if (isWithin(this.#map, destination)) {
      const gateway = answer.gateway === undefined ? '' : `via ${answer.gateway} `;
      const way = `${gateway}dev ${name}`;
      this.#inTheWay.set(formatPrefix(destination), { destination, way });
    } else {
      this.#diverted.add(`${address} goes to ${name} by the route ${formatPrefix(destination)}`);
    }
  }

  #leaveOut(prefix: Prefix, why: string): void {
    this.#leftOut.set(formatPrefix(prefix), { prefix, why });
  }

  /** The route that makes the kernel refuse an address. */
  #blocking(address: string): Prefix | undefined {
    const host = hostPrefix(address);
    const [narrowest] = this.#routes
      .filter((route) => route.table === TABLE.main && prefixContains(route.destination, host))
      .toSorted((a, b) => b.destination.length - a.destination.length);
    return narrowest !== undefined && isBlock(narrowest) ? narrowest.destination : undefined;
  }

  #refusal(address: string, errno: number): string {
    const refuses: readonly number[] = [ACTION.blackhole, ACTION.unreachable, ACTION.prohibit];
    const rule = this.#rules.find(
      ({ priority, action }) => priority < MAIN_RULE && refuses.includes(action),
    );
    const by = rule === undefined ? 'this machine' : `the rule ${rule.priority}`;
    return `${address} is refused by ${by} (${errno === 0 ? '?' : getSystemErrorName(-errno)})`;
  }

  #byTable({ address, uid, port }: Sample, { table }: KernelRoute, name: string): string {
    const host = hostPrefix(address);
    const rule = this.#rules.find(
      (one) =>
        one.table === table &&
        one.priority < MAIN_RULE &&
        (one.inverted || one.destination === undefined || prefixContains(one.destination, host)) &&
        (one.uid === undefined || one.uid === uid) &&
        (one.port === undefined || one.port === port),
    );
    const by = rule === undefined ? '' : `, which the rule ${rule.priority} asks first`;
    const who = `${uid === undefined ? '' : ` for user ${uid}`}${port === undefined ? '' : ` at port ${port}`}`;
    return `${address}${who} goes to ${name} by table ${table}${by}`;
  }

  /** Whether it leads to the gateway itself, as routes to everything else need it. */
  #isGateway(address: string, { device, byGateway }: KernelRoute): boolean {
    return (
      !byGateway &&
      this.#defaults.some((route) => route.gateway === address && route.device === device)
    );
  }

  #isOurs(device: number): boolean {
    return device !== 0 && this.#name(device) === this.#question.device;
  }

  #name(device: number): string {
    const known = this.#names.get(device);
    if (known !== undefined) return known;
    const name = device === 0 ? 'nowhere' : (this.#routing.deviceName(device) ?? `if${device}`);
    this.#names.set(device, name);
    return name;
  }
}

function isConnected(
  { destination, device, protocol, byGateway }: KernelRoute,
  networks: readonly ConnectedNetwork[],
): boolean {
  const local = protocol === PROTOCOL.kernel || protocol === PROTOCOL.routerAdvertisement;
  const wanted = formatPrefix(destination);
  return (
    local &&
    !byGateway &&
    networks.some((network) => network.device === device && formatPrefix(network.prefix) === wanted)
  );
}

function isOwnAddress({ type }: Pick<KernelRoute, 'type'>): boolean {
  return type >= ROUTE_TYPE.local && type <= ROUTE_TYPE.multicast;
}

function isBlock({ type }: KernelRoute): boolean {
  return type >= ROUTE_TYPE.blackhole && type <= ROUTE_TYPE.prohibit;
}

function oneOf(prefix: Prefix): Prefix {
  return hostPrefix(endsOf(prefix)[0] ?? prefix.address);
}

/** The first and the last address that programs would use. */
function endsOf(prefix: Prefix): string[] {
  const { family, length, address } = prefix;
  const { first, last } = prefixBounds(prefix);
  const bits = ADDRESS_BITS[family] - length;
  if (bits === 0) return [address];
  const inner = bits === 1 ? 0n : 1n;
  return [first + inner, last - inner].map((number) => addressFromNumber(number, family));
}
