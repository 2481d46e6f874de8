/**
 * The messages of rtnetlink(7) that tell of routes, rules, addresses and devices: C structs and
 * attributes, integers in this machine's byte order. Only what the checks of diversion.ts need is
 * read. What is malformed or unknown is left out; nothing here throws.
 */
import { endianness } from 'node:os';
import { addressBytes, addressFromBytes, type Family } from '../../net/address.ts';
import type { Prefix } from '../../net/prefix.ts';

const LITTLE = endianness() === 'LE';
const HEADER_BYTES = 16;
const ALIGNMENT = 4;
const ATTRIBUTE_HEADER = 4;
const NESTED_OR_SWAPPED = 0xc000;

export const RTM = {
  newLink: 16,
  getLink: 18,
  newAddress: 20,
  getAddress: 22,
  newRoute: 24,
  getRoute: 26,
  newRule: 32,
  getRule: 34,
} as const;

/** rtm_type (RTN_*) */
export const ROUTE_TYPE = {
  unicast: 1,
  local: 2,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
} as const;
/** rtm_protocol (RTPROT_*) */
export const PROTOCOL = { kernel: 2, routerAdvertisement: 9, tunnel: 116 } as const;
/** Of routes that tunnels share (native/helper/routes.h): the first metric, and how many. */
const SHARED_METRIC = { first: 16, count: 512 } as const;
export const TABLE = { default: 253, main: 254, local: 255 } as const;
/** fib_rule_hdr.action (FR_ACT_*) */
export const ACTION = { table: 1, blackhole: 6, unreachable: 7, prohibit: 8 } as const;

const ADDRESS_FAMILY: Readonly<Record<Family, number>> = { 4: 2, 6: 10 };
const ADDRESS_OCTETS: Readonly<Record<Family, number>> = { 4: 4, 6: 16 };
/** struct rtmsg, fib_rule_hdr, ifaddrmsg, ifinfomsg */
const BODY = { route: 12, rule: 12, address: 8, link: 16 } as const;
const CLONED = 0x200;
/** The route that was found, and its table (RTM_F_FIB_MATCH, RTM_F_LOOKUP_TABLE). */
const WHICH_ROUTE = 0x2000 | 0x1000;
const RULE_INVERTED = 2;
const TCP = 6;
/** IFF_UP; RTEXT_FILTER_SKIP_STATS keeps a dump of devices short. */
const DEVICE_UP = 1;
const WITHOUT_STATISTICS = 8;

const RTA = {
  destination: 1,
  source: 2,
  device: 4,
  gateway: 5,
  metric: 6,
  multipath: 9,
  table: 15,
  via: 18,
  uid: 25,
  ipProtocol: 27,
  destinationPort: 29,
} as const;
const FRA = {
  destination: 1,
  source: 2,
  priority: 6,
  mark: 10,
  suppressedLength: 14,
  table: 15,
  uids: 20,
  destinationPorts: 24,
} as const;
const IFA = { address: 1, local: 2 } as const;
const IFLA = { name: 3, master: 10, filter: 29 } as const;
const NOT_SUPPRESSED = 0xffff_ffff;

export interface KernelRoute {
  readonly destination: Prefix;
  readonly table: number;
  readonly protocol: number;
  readonly type: number;
  /** Index of the first hop's device; 0: none, as of a blackhole. */
  readonly device: number;
  /** Whether packets go to a gateway, not to the destination itself. */
  readonly byGateway: boolean;
  /** The gateway's address, if it is of the destination's family. */
  readonly gateway: string | undefined;
  readonly metric: number;
}

/** Whether a tunnel shares the route's address with others, as it does a resolver's. */
export function isShared({ protocol, metric }: KernelRoute): boolean {
  const { first, count } = SHARED_METRIC;
  return protocol === PROTOCOL.tunnel && metric >= first && metric < first + count;
}

export interface KernelRule {
  readonly family: Family;
  readonly priority: number;
  readonly action: number;
  readonly table: number;
  /** Applies to everything that the selectors don't match. */
  readonly inverted: boolean;
  readonly source: Prefix | undefined;
  readonly destination: Prefix | undefined;
  readonly mark: number | undefined;
  /** The lowest user id and destination port that it applies to. */
  readonly uid: number | undefined;
  readonly port: number | undefined;
  /** The rule passes over routes to prefixes of this length or shorter. */
  readonly suppressedLength: number | undefined;
}

/** The network of an address that a device has. */
export interface ConnectedNetwork {
  readonly prefix: Prefix;
  readonly device: number;
}

/** A device that packets may leave by. */
export interface KernelDevice {
  readonly index: number;
  readonly name: string;
}

/** A connection for which the kernel is asked. */
export interface Sample {
  readonly address: string;
  /** Default: this process's user; any port. */
  readonly uid?: number | undefined;
  readonly port?: number | undefined;
  /** The address of this machine that the socket is bound to. Default: none. */
  readonly source?: string | undefined;
  /** The device that the socket is bound to. Default: none. */
  readonly device?: number | undefined;
}

/** The body of RTM_GETROUTE for one connection. */
export function lookUpBody({ address, uid, port, source, device }: Sample): Uint8Array {
  const octets = addressBytes(address);
  const family: Family = octets.length === ADDRESS_OCTETS[4] ? 4 : 6;
  const parts = [attribute(RTA.destination, octets), attribute(RTA.ipProtocol, Buffer.of(TCP))];
  if (uid !== undefined) parts.push(attribute(RTA.uid, word(uid)));
  // Ports are in network byte order here, unlike in rules.
  if (port !== undefined)
    parts.push(attribute(RTA.destinationPort, Buffer.of(port >> 8, port & 0xff)));
  if (device !== undefined) parts.push(attribute(RTA.device, word(device)));
  const body = Buffer.alloc(BODY.route);
  body[0] = ADDRESS_FAMILY[family];
  body[1] = octets.length * 8;
  if (source !== undefined) {
    const from = addressBytes(source);
    parts.push(attribute(RTA.source, from));
    body[2] = from.length * 8;
  }
  word(WHICH_ROUTE).copy(body, 8);
  return Buffer.concat([body, ...parts]);
}

/** The body of a dump: of routes, rules or addresses of one family. */
export function dumpBody(kind: 'route' | 'rule' | 'address', family: Family): Uint8Array {
  const body = Buffer.alloc(BODY[kind]);
  body[0] = ADDRESS_FAMILY[family];
  return body;
}

/** The body of a dump of devices. */
export function linksBody(): Uint8Array {
  const body = Buffer.alloc(BODY.link);
  return Buffer.concat([body, attribute(IFLA.filter, word(WITHOUT_STATISTICS))]);
}

/** The body of RTM_GETLINK for one device. */
export function linkBody(device: number): Uint8Array {
  const body = Buffer.alloc(BODY.link);
  word(device).copy(body, 4);
  return body;
}

export function readRoutes(answers: Uint8Array): KernelRoute[] {
  return messagesOf(answers, RTM.newRoute, BODY.route).flatMap((message) => readRoute(message));
}

export function readRules(answers: Uint8Array): KernelRule[] {
  return messagesOf(answers, RTM.newRule, BODY.rule).flatMap((message) => readRule(message));
}

export function readNetworks(answers: Uint8Array): ConnectedNetwork[] {
  return messagesOf(answers, RTM.newAddress, BODY.address).flatMap(({ view, attributes }) => {
    const family = familyOf(view.getUint8(0));
    const address = attributes.get(IFA.address) ?? attributes.get(IFA.local);
    const prefix = family && address && networkOf(family, address, view.getUint8(1));
    return prefix === undefined ? [] : [{ prefix, device: view.getUint32(4, LITTLE) }];
  });
}

/** The name of the first device. undefined: there is none. */
export function readDeviceName(answers: Uint8Array): string | undefined {
  const [message] = messagesOf(answers, RTM.newLink, BODY.link);
  return message && nameOf(message);
}

/** Devices that are up, except those that belong to a bridge, a bond or a VRF. */
export function readDevices(answers: Uint8Array): KernelDevice[] {
  return messagesOf(answers, RTM.newLink, BODY.link).flatMap((message) => {
    const { view, attributes } = message;
    const name = nameOf(message);
    const up = (view.getUint32(8, LITTLE) & DEVICE_UP) !== 0;
    if (name === undefined || !up || attributes.has(IFLA.master)) return [];
    return [{ index: view.getUint32(4, LITTLE), name }];
  });
}

function nameOf({ attributes }: Message): string | undefined {
  return attributes.get(IFLA.name)?.toString('latin1').replace(/\0.*$/s, '');
}

interface Message {
  /** What follows the netlink header. */
  readonly view: DataView;
  readonly attributes: ReadonlyMap<number, Buffer>;
}

function messagesOf(answers: Uint8Array, type: number, bodyBytes: number): Message[] {
  const bytes = Buffer.from(answers.buffer, answers.byteOffset, answers.byteLength);
  const view = viewOf(bytes);
  const found: Message[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = view.getUint32(at, LITTLE);
    if (length < HEADER_BYTES || at + length > bytes.length) break;
    if (view.getUint16(at + 4, LITTLE) === type && length >= HEADER_BYTES + bodyBytes) {
      const body = bytes.subarray(at + HEADER_BYTES, at + length);
      found.push({ view: viewOf(body), attributes: attributesOf(body.subarray(bodyBytes)) });
    }
    at += aligned(length);
  }
  return found;
}

function attributesOf(bytes: Buffer): Map<number, Buffer> {
  const view = viewOf(bytes);
  const found = new Map<number, Buffer>();
  for (let at = 0; at + ATTRIBUTE_HEADER <= bytes.length; ) {
    const length = view.getUint16(at, LITTLE);
    if (length < ATTRIBUTE_HEADER || at + length > bytes.length) break;
    const type = view.getUint16(at + 2, LITTLE) & ~NESTED_OR_SWAPPED;
    found.set(type, bytes.subarray(at + ATTRIBUTE_HEADER, at + length));
    at += aligned(length);
  }
  return found;
}

function readRoute({ view, attributes }: Message): KernelRoute[] {
  const family = familyOf(view.getUint8(0));
  if (family === undefined || (view.getUint32(8, LITTLE) & CLONED) !== 0) return [];
  const destination = prefixOf(family, attributes.get(RTA.destination), view.getUint8(1));
  if (destination === undefined) return [];
  const hop = firstHop(attributes.get(RTA.multipath));
  const gateway = attributes.get(RTA.gateway) ?? hop?.attributes.get(RTA.gateway);
  return [
    {
      destination,
      table: numberOf(attributes.get(RTA.table)) ?? view.getUint8(4),
      protocol: view.getUint8(5),
      type: view.getUint8(7),
      device: hop?.device ?? numberOf(attributes.get(RTA.device)) ?? 0,
      byGateway: gateway !== undefined || attributes.has(RTA.via) || hop !== undefined,
      gateway: gateway?.length === ADDRESS_OCTETS[family] ? addressFromBytes(gateway) : undefined,
      metric: numberOf(attributes.get(RTA.metric)) ?? 0,
    },
  ];
}

/** struct rtnexthop, and its attributes. */
function firstHop(
  hops: Buffer | undefined,
): { device: number; attributes: ReadonlyMap<number, Buffer> } | undefined {
  const bytes = 8;
  if (hops === undefined || hops.length < bytes) return undefined;
  const view = viewOf(hops);
  const length = Math.min(view.getUint16(0, LITTLE), hops.length);
  const attributes = attributesOf(hops.subarray(bytes, Math.max(bytes, length)));
  return { device: view.getUint32(4, LITTLE), attributes };
}

function readRule({ view, attributes }: Message): KernelRule[] {
  const family = familyOf(view.getUint8(0));
  if (family === undefined) return [];
  const source = attributes.get(FRA.source);
  const destination = attributes.get(FRA.destination);
  const ports = attributes.get(FRA.destinationPorts);
  const suppressed = numberOf(attributes.get(FRA.suppressedLength));
  return [
    {
      family,
      priority: numberOf(attributes.get(FRA.priority)) ?? 0,
      action: view.getUint8(7),
      table: numberOf(attributes.get(FRA.table)) ?? view.getUint8(4),
      inverted: (view.getUint32(8, LITTLE) & RULE_INVERTED) !== 0,
      source: source && networkOf(family, source, view.getUint8(2)),
      destination: destination && networkOf(family, destination, view.getUint8(1)),
      mark: numberOf(attributes.get(FRA.mark)),
      uid: numberOf(attributes.get(FRA.uids)),
      port:
        ports === undefined || ports.length < 2 ? undefined : viewOf(ports).getUint16(0, LITTLE),
      suppressedLength: suppressed === NOT_SUPPRESSED ? undefined : suppressed,
    },
  ];
}

/** Without an address it is all of the family. */
function prefixOf(family: Family, address: Buffer | undefined, length: number): Prefix | undefined {
  return networkOf(family, address ?? Buffer.alloc(ADDRESS_OCTETS[family]), length);
}

function networkOf(family: Family, address: Buffer, length: number): Prefix | undefined {
  const size = ADDRESS_OCTETS[family];
  if (address.length < size || length > size * 8) return undefined;
  const network = Buffer.from(address.subarray(0, size));
  for (let bit = length; bit < size * 8; bit++)
    network[bit >> 3] = (network[bit >> 3] ?? 0) & ~(0x80 >> (bit & 7));
  return { family, address: addressFromBytes(network), length };
}

function familyOf(value: number): Family | undefined {
  if (value === ADDRESS_FAMILY[4]) return 4;
  return value === ADDRESS_FAMILY[6] ? 6 : undefined;
}

function numberOf(value: Buffer | undefined): number | undefined {
  return value === undefined || value.length < 4 ? undefined : viewOf(value).getUint32(0, LITTLE);
}

function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc(aligned(ATTRIBUTE_HEADER + value.length));
  const view = viewOf(bytes);
  view.setUint16(0, ATTRIBUTE_HEADER + value.length, LITTLE);
  view.setUint16(2, type, LITTLE);
  bytes.set(value, ATTRIBUTE_HEADER);
  return bytes;
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  viewOf(bytes).setUint32(0, value, LITTLE);
  return bytes;
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function aligned(length: number): number {
  return (length + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
}
