/**
 * Frames of a TUN with a virtio header, built and parsed without the program's own code.
 *
 *   tcpFrame({ flags: 'S', ... }), udpFrame, icmpFrame -> Buffer, as a kernel or a card sends them
 *   readFrame(bytes) -> what the endpoint has sent; throws if anything in it is malformed
 *
 * Flags are written as packetdrill writes them: S F R P U, and a dot for ACK.
 */
import assert from 'node:assert/strict';
import { isIPv4 } from 'node:net';
import { endianness } from 'node:os';
import { addressBytes, addressFromBytes } from '../../src/net/address.ts';

export const VNET_BYTES = 10;
const LITTLE = endianness() === 'LE';
const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmp6: 58 } as const;
const FLAGS = 'FSRP.U';
/** linux/virtio_net.h */
const NEEDS_CSUM = 1;
const DATA_VALID = 2;
const GSO = { 4: 1, 6: 4 } as const;

/** Complete; left to the receiver; verified by the card (and not filled in); wrong. */
export type Checksum = 'complete' | 'needed' | 'valid' | 'wrong';

export interface IpFields {
  readonly source: string;
  readonly destination: string;
  readonly checksum?: Checksum;
  /** IPv4: options, of a length that 4 divides. */
  readonly options?: Buffer;
  /** IPv6: types of extension headers, and the length of each in octets (8 by default). */
  readonly extensions?: readonly (readonly [kind: number, octets?: number])[];
  /** IPv4: the flags and offset of fragments. */
  readonly fragment?: number;
}

export interface TcpFields extends IpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly flags: string;
  readonly seq: number;
  readonly ack: number;
  readonly window?: number;
  readonly mss?: number | undefined;
  readonly scale?: number | undefined;
  /** Value and echo. */
  readonly ts?: readonly [number, number] | undefined;
  /** Raw options, after the others. */
  readonly rawOptions?: Buffer;
  readonly data?: Buffer | string;
}

export interface ReadIp {
  readonly family: 4 | 6;
  readonly source: string;
  readonly destination: string;
}

export interface ReadTcp extends ReadIp {
  readonly kind: 'tcp';
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly flags: string;
  /** As int32. */
  readonly seq: number;
  readonly ack: number;
  readonly window: number;
  readonly mss: number | undefined;
  readonly scale: number | undefined;
  readonly ts: readonly [number, number] | undefined;
  readonly data: Buffer;
  /** The payload of each packet that the kernel splits it into; 0: it is one packet. */
  readonly gso: number;
}

export interface ReadIcmp extends ReadIp {
  readonly kind: 'icmp';
  readonly type: number;
  readonly code: number;
  readonly quoted: Buffer;
}

export interface ReadUdp extends ReadIp {
  readonly kind: 'udp';
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly data: Buffer;
}

export type ReadFrame = ReadTcp | ReadIcmp | ReadUdp;

/** The one's complement sum of RFC 1071, as slow and plain as its definition. */
export function internetSum(...parts: readonly Buffer[]): number {
  let sum = 0;
  for (const part of parts)
    for (let i = 0; i < part.length; i += 2) {
      sum += ((part[i] ?? 0) << 8) + (part[i + 1] ?? 0);
      if (sum > 0xffff) sum -= 0xffff;
    }
  return sum;
}

function pseudoHeader(
  source: string,
  destination: string,
  protocol: number,
  length: number,
): Buffer {
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(length, 0);
  tail.writeUInt32BE(protocol, 4);
  return Buffer.concat([addressBytes(source), addressBytes(destination), tail]);
}

/** An IP packet around `transport`, whose checksum is at `field`. */
function ipFrame(fields: IpFields, protocol: number, transport: Buffer, field: number): Buffer {
  const { source, destination, checksum = 'complete' } = fields;
  const virtio = Buffer.alloc(VNET_BYTES);
  const four = isIPv4(source);
  const header = four
    ? ipv4Header(fields, protocol, transport.length)
    : ipv6Header(fields, protocol, transport.length);
  const pseudo = pseudoHeader(source, destination, protocol, transport.length);
  const covered = four && protocol === PROTOCOL.icmp ? [] : [pseudo];
  if (checksum === 'needed') {
    virtio[0] = NEEDS_CSUM;
    for (const [at, value] of [
      [6, header.length],
      [8, field],
    ] as const)
      virtio.writeUInt16LE(LITTLE ? value : swapped(value), at);
    transport.writeUInt16BE(internetSum(pseudo), field);
  } else if (checksum === 'valid') {
    virtio[0] = DATA_VALID;
  } else {
    const sum = ~internetSum(...covered, transport) & 0xffff;
    // In UDP, zero means no checksum.
    const sent = protocol === PROTOCOL.udp && sum === 0 ? 0xffff : sum;
    transport.writeUInt16BE(checksum === 'wrong' ? sent ^ 0x0101 : sent, field);
  }
  return Buffer.concat([virtio, header, transport]);
}

function ipv4Header(fields: IpFields, protocol: number, length: number): Buffer {
  const { source, destination, options = Buffer.alloc(0), fragment = 0x4000 } = fields;
  const header = Buffer.concat([Buffer.alloc(20), options]);
  header[0] = 0x40 | (header.length / 4);
  header.writeUInt16BE(header.length + length, 2);
  header.writeUInt16BE(fragment, 6);
  header[8] = 64;
  header[9] = protocol;
  header.set(addressBytes(source), 12);
  header.set(addressBytes(destination), 16);
  header.writeUInt16BE(~internetSum(header) & 0xffff, 10);
  return header;
}

function ipv6Header(fields: IpFields, protocol: number, length: number): Buffer {
  const { source, destination, extensions = [] } = fields;
  const chain = extensions.map(([, octets = 8]) => Buffer.alloc(octets));
  extensions.forEach(([kind], i) => {
    const part = chain[i] ?? Buffer.alloc(0);
    part[0] = extensions[i + 1]?.[0] ?? protocol;
    // A fragment header has no length. The other headers contain one padding option.
    if (kind === 44) return;
    part[1] = part.length / 8 - 1;
    if (kind !== 43) part.set([1, Math.min(255, part.length - 4)], 2);
  });
  const rest = Buffer.concat(chain);
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(rest.length + length, 4);
  header[6] = extensions[0]?.[0] ?? protocol;
  header[7] = 64;
  header.set(addressBytes(source), 8);
  header.set(addressBytes(destination), 24);
  return Buffer.concat([header, rest]);
}

export function tcpFrame(fields: TcpFields): Buffer {
  const { mss, scale, ts, rawOptions = Buffer.alloc(0), data = '', window = 0xffff } = fields;
  const options: Buffer[] = [];
  if (mss !== undefined) options.push(Buffer.from([2, 4, mss >> 8, mss & 0xff]));
  if (ts !== undefined) {
    const option = Buffer.from([1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]);
    option.writeInt32BE(ts[0] | 0, 4);
    option.writeInt32BE(ts[1] | 0, 8);
    options.push(option);
  }
  if (scale !== undefined) options.push(Buffer.from([1, 3, 3, scale]));
  options.push(rawOptions);
  const list = Buffer.concat(options);
  const padding = Buffer.alloc((4 - (list.length % 4)) % 4);
  const header = Buffer.alloc(20);
  header.writeUInt16BE(fields.sourcePort, 0);
  header.writeUInt16BE(fields.destinationPort, 2);
  header.writeInt32BE(fields.seq | 0, 4);
  header.writeInt32BE(fields.ack | 0, 8);
  header[12] = ((20 + list.length + padding.length) / 4) << 4;
  for (const flag of fields.flags) {
    const bit = FLAGS.indexOf(flag);
    assert.ok(bit >= 0, `no such flag: ${flag}`);
    header[13] = (header[13] ?? 0) | (1 << bit);
  }
  header.writeUInt16BE(window, 14);
  const segment = Buffer.concat([header, list, padding, Buffer.from(data)]);
  return ipFrame(fields, PROTOCOL.tcp, segment, 16);
}

export interface UdpFields extends IpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly data?: Buffer | string;
}

export function udpFrame(fields: UdpFields): Buffer {
  const data = Buffer.from(fields.data ?? '');
  const header = Buffer.alloc(8);
  header.writeUInt16BE(fields.sourcePort, 0);
  header.writeUInt16BE(fields.destinationPort, 2);
  header.writeUInt16BE(8 + data.length, 4);
  return ipFrame(fields, PROTOCOL.udp, Buffer.concat([header, data]), 6);
}

export interface IcmpFields extends IpFields {
  readonly type: number;
  readonly code: number;
  /** The second word of the header: an MTU, or numbers. */
  readonly word?: number;
  readonly body?: Buffer;
}

export function icmpFrame(fields: IcmpFields): Buffer {
  const header = Buffer.from([fields.type, fields.code, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(fields.word ?? 0, 4);
  const message = Buffer.concat([header, fields.body ?? Buffer.alloc(0)]);
  return ipFrame(fields, isIPv4(fields.source) ? PROTOCOL.icmp : PROTOCOL.icmp6, message, 2);
}

/** A packet of any other protocol. */
export function otherFrame(fields: IpFields & { readonly protocol: number }): Buffer {
  return ipFrame({ ...fields, checksum: 'valid' }, fields.protocol, Buffer.alloc(16), 0);
}

function swapped(value: number): number {
  return ((value & 0xff) << 8) | (value >> 8);
}

/**
 * Parses a frame from the endpoint. Throws an AssertionError for frames that a kernel would not
 * accept.
 */
export function readFrame(bytes: Buffer): ReadFrame {
  const version = (bytes[VNET_BYTES] ?? 0) >> 4;
  assert.ok(version === 4 || version === 6, `IP version ${version}`);
  const packet = bytes.subarray(VNET_BYTES);
  const headerLength = version === 4 ? 20 : 40;
  const header = packet.subarray(0, headerLength);
  const transport = packet.subarray(headerLength);
  if (version === 4) {
    assert.equal(header[0], 0x45, 'an IPv4 header without options');
    assert.equal(header.readUInt16BE(2), packet.length, 'the length of the packet');
    assert.equal(internetSum(header), 0xffff, 'the checksum of the IPv4 header');
    assert.equal(header.readUInt16BE(6), 0x4000, 'not to be fragmented');
  } else {
    assert.equal(header.readUInt32BE(0), 0x60000000, 'an IPv6 header without class and label');
    assert.equal(header.readUInt16BE(4), transport.length, 'the length of the payload');
  }
  assert.equal(header[version === 4 ? 8 : 7], 64, 'the hop limit');
  const protocol = header[version === 4 ? 9 : 6] ?? 0;
  const [from, size] = version === 4 ? [12, 4] : [8, 16];
  const source = addressFromBytes(header.subarray(from, from + size));
  const destination = addressFromBytes(header.subarray(from + size, from + 2 * size));
  const ip: ReadIp = { family: version, source, destination };
  const pseudo = pseudoHeader(source, destination, protocol, transport.length);
  const needed = bytes[0] === NEEDS_CSUM;
  assert.ok(needed || bytes[0] === 0, `virtio flags ${bytes[0]}`);
  if (needed) {
    assert.equal(protocol, PROTOCOL.tcp, 'only segments leave without a checksum');
    assert.equal(readVirtio(bytes, 6), headerLength, 'where the checksum begins');
    assert.equal(readVirtio(bytes, 8), 16, 'where the checksum is put');
    assert.equal(
      transport.readUInt16BE(16) % 0xffff,
      internetSum(pseudo) % 0xffff,
      'the pseudo-header',
    );
  } else {
    const covered = protocol === PROTOCOL.icmp ? [] : [pseudo];
    assert.equal(internetSum(...covered, transport), 0xffff, 'the checksum');
    assert.ok(
      bytes.subarray(0, VNET_BYTES).every((byte) => byte === 0),
      'an empty virtio header',
    );
  }
  if (protocol === PROTOCOL.tcp) return readTcp(ip, bytes, headerLength, transport, needed);
  if (protocol === PROTOCOL.udp) return readUdp(ip, transport);
  assert.equal(protocol, version === 4 ? PROTOCOL.icmp : PROTOCOL.icmp6, 'the protocol');
  assert.ok(packet.length <= (version === 4 ? 576 : 1280), 'an ICMP error is no longer than that');
  const [type = -1, code = -1] = transport;
  return { kind: 'icmp', ...ip, type, code, quoted: transport.subarray(8) };
}

function readVirtio(bytes: Buffer, at: number): number {
  return LITTLE ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
}

function readUdp(ip: ReadIp, transport: Buffer): ReadUdp {
  assert.equal(transport.readUInt16BE(4), transport.length, 'the length of the datagram');
  assert.notEqual(transport.readUInt16BE(6), 0, 'a datagram with a checksum');
  return {
    kind: 'udp',
    ...ip,
    sourcePort: transport.readUInt16BE(0),
    destinationPort: transport.readUInt16BE(2),
    data: transport.subarray(8),
  };
}

function readTcp(
  ip: ReadIp,
  bytes: Buffer,
  ipHeader: number,
  segment: Buffer,
  needed: boolean,
): ReadTcp {
  const header = ((segment[12] ?? 0) >> 4) * 4;
  assert.ok(header >= 20 && header <= segment.length, `a header of ${header} octets`);
  assert.equal((segment[12] ?? 0) & 15, 0, 'the reserved bits');
  const bits = segment[13] ?? 0;
  const flags = [...'SFRPU.'].filter((flag) => (bits & (1 << FLAGS.indexOf(flag))) !== 0).join('');
  assert.equal(bits >> 6, 0, 'ECN is not negotiated');
  assert.ok(flags.includes('.') || flags === 'R', `flags ${flags}`);
  assert.equal(segment.readUInt16BE(18), 0, 'no urgent pointer');
  const data = segment.subarray(header);
  const gsoType = bytes[1] ?? 0;
  const gso = readVirtio(bytes, 4);
  if (needed) assert.equal(readVirtio(bytes, 2), ipHeader + header, 'the length of the headers');
  if (gsoType === 0) assert.equal(gso, 0, 'no size without segmentation');
  else {
    assert.equal(gsoType, GSO[ip.family], 'segmentation of its own family');
    assert.ok(gso > 0 && data.length > gso, `${data.length} octets in packets of ${gso}`);
  }
  const options = readOptions(segment.subarray(20, header));
  assert.ok(flags.includes('S') || (options.mss === undefined && options.scale === undefined));
  return {
    kind: 'tcp',
    ...ip,
    sourcePort: segment.readUInt16BE(0),
    destinationPort: segment.readUInt16BE(2),
    flags,
    seq: segment.readInt32BE(4),
    ack: segment.readInt32BE(8),
    window: segment.readUInt16BE(14),
    ...options,
    data,
    gso,
  };
}

function readOptions(options: Buffer): Pick<ReadTcp, 'mss' | 'scale' | 'ts'> {
  let mss: number | undefined;
  let scale: number | undefined;
  let ts: readonly [number, number] | undefined;
  for (let at = 0; at < options.length; ) {
    const kind = options[at];
    const size = kind === 1 ? 1 : (options[at + 1] ?? 0);
    assert.ok(size >= 1 && at + size <= options.length, 'options that add up');
    if (kind === 2) mss = options.readUInt16BE(at + 2);
    else if (kind === 3) scale = options[at + 2];
    else if (kind === 8) ts = [options.readInt32BE(at + 2), options.readInt32BE(at + 6)];
    else assert.equal(kind, 1, 'no option but these');
    at += size;
  }
  return { mss, scale, ts };
}
