/**
 * Writes frames to a device: TCP segments, the answers of a host or a router (RST, ICMP errors),
 * UDP datagrams.
 *
 * Headers are built in the device's `header`; the payload follows from where it lies, without a
 * copy. A flow's segments leave without a checksum (VIRTIO_NET_HDR_F_NEEDS_CSUM): the receiving
 * kernel treats them as verified, or completes them if it forwards them. For the same reason,
 * segments larger than the peer's MSS are only marked for splitting (gso). Answers are short and
 * have a complete checksum.
 */
import { checksumOf, foldSum, pseudoHeaderSum } from './checksum.ts';
import type { PacketDevice } from './device.ts';
import { ACK, type FrameView, LITTLE, RST, VNET_BYTES } from './frame.ts';
import type { Tuple } from './tuple.ts';

/**
 * Destination unreachable: codes of ICMP type 3 (RFC 792, RFC 1812) and ICMPv6 type 1 (RFC 4443).
 */
export const UNREACHABLE = {
  host: { icmp: 1, icmp6: 3 },
  network: { icmp: 0, icmp6: 0 },
  prohibited: { icmp: 13, icmp6: 1 },
  port: { icmp: 3, icmp6: 4 },
} as const;
export type Unreachable = (typeof UNREACHABLE)[keyof typeof UNREACHABLE];

const TCP_HEADER = 20;
const TIMESTAMPS_BYTES = 12;
const UDP_HEADER = 8;
const ICMP_HEADER = 8;
const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmp6: 58 } as const;
const HOPS = 64;
const DONT_FRAGMENT = 0x4000;
/** RFC 1812 §4.3.2.3; RFC 4443 §2.4 (c). */
const ICMP_MAX = 576;
const ICMP6_MAX = 1280;

/** linux/virtio_net.h */
const NEEDS_CSUM = 1;
const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;

/** What a segment's header says, except its addresses. Sequence numbers as int32. */
export interface SegmentFields {
  flags: number;
  sequence: number;
  acknowledgement: number;
  /** Scaled, as it goes into the header. */
  window: number;
  hasTimestamps: boolean;
  timestamp: number;
  timestampEcho: number;
  /** Options of a SYN. 0 and -1: no such option. */
  mss: number;
  scale: number;
  /** The largest payload that the peer accepts in one packet. */
  segmentSize: number;
}

export class FrameWriter {
  readonly #device: PacketDevice;
  readonly #header: Buffer;
  readonly #view: DataView;

  constructor(device: PacketDevice) {
    this.#device = device;
    this.#header = device.header;
    const { buffer, byteOffset, byteLength } = device.header;
    this.#view = new DataView(buffer, byteOffset, byteLength);
  }

  /** A segment from b to a of `tuple`, with `length` bytes in up to four parts. */
  segment(
    tuple: Tuple,
    fields: SegmentFields,
    length: number,
    a?: Buffer,
    b?: Buffer,
    c?: Buffer,
    d?: Buffer,
  ): void {
    const view = this.#view;
    const four = tuple.family === 4;
    const ip = VNET_BYTES;
    const tcp = ip + (four ? 20 : 40);
    const header = TCP_HEADER + this.#options(tcp + TCP_HEADER, fields);
    const total = header + length;
    view.setUint16(tcp, tuple.bPort);
    view.setUint16(tcp + 2, tuple.aPort);
    view.setInt32(tcp + 4, fields.sequence);
    view.setInt32(tcp + 8, fields.acknowledgement);
    view.setUint16(tcp + 12, ((header >> 2) << 12) | fields.flags);
    view.setUint16(tcp + 14, fields.window);
    view.setInt32(tcp + 16, 0);
    let sum: number;
    if (four) {
      this.#ipv4(total, PROTOCOL.tcp, 0, tuple.b0, tuple.a0);
      sum = halves(tuple.b0) + halves(tuple.a0);
    } else {
      this.#ipv6Of(tuple, total);
      sum =
        halves(tuple.b0) +
        halves(tuple.b1) +
        halves(tuple.b2) +
        halves(tuple.b3) +
        halves(tuple.a0) +
        halves(tuple.a1) +
        halves(tuple.a2) +
        halves(tuple.a3);
    }
    // Not complemented: the kernel or network card that completes it adds the segment.
    view.setUint16(tcp + 16, foldSum(sum + PROTOCOL.tcp + (total >>> 16) + (total & 0xffff)));
    view.setUint8(0, NEEDS_CSUM);
    const gso = length > fields.segmentSize;
    view.setUint8(1, gso ? (four ? GSO_TCPV4 : GSO_TCPV6) : 0);
    // hdr_len: the kernel puts this many bytes in one piece of memory and the rest into pages.
    // Without it the kernel would have to move the header first.
    view.setUint16(2, tcp - ip + header, LITTLE);
    view.setUint16(4, gso ? fields.segmentSize : 0, LITTLE);
    view.setUint16(6, tcp - ip, LITTLE);
    view.setUint16(8, 16, LITTLE);
    this.#device.write(tcp + header, a, b, c, d);
  }

  /** A host's answer to a segment of no known connection (RFC 9293 §3.10.7.1). */
  reset(frame: FrameView): void {
    const acknowledges = (frame.flags & ACK) !== 0;
    const tcp = this.#begin(frame, PROTOCOL.tcp, TCP_HEADER, frame.destination, frame.source);
    const view = this.#view;
    view.setUint16(tcp, frame.destinationPort);
    view.setUint16(tcp + 2, frame.sourcePort);
    view.setInt32(tcp + 4, acknowledges ? frame.acknowledgement : 0);
    view.setInt32(tcp + 8, acknowledges ? 0 : (frame.sequence + frame.segmentLength) | 0);
    view.setUint16(tcp + 12, ((TCP_HEADER >> 2) << 12) | RST | (acknowledges ? 0 : ACK));
    view.setUint16(tcp + 14, 0);
    view.setInt32(tcp + 16, 0);
    const pseudo = pseudoHeaderSum(
      frame.family,
      frame.source,
      frame.destination,
      PROTOCOL.tcp,
      TCP_HEADER,
    );
    this.#finish(tcp + 16, pseudo, tcp, TCP_HEADER);
    this.#device.write(tcp + TCP_HEADER);
  }

  /**
   * An ICMP error about `frame`. `source` is the address of a router on the way, or of the
   * destination itself.
   */
  unreachable(frame: FrameView, why: Unreachable, source: Int32Array): void {
    const four = frame.family === 4;
    const headers = (four ? 20 : 40) + ICMP_HEADER;
    const quoted = Math.min(frame.end - frame.ip, (four ? ICMP_MAX : ICMP6_MAX) - headers);
    const length = ICMP_HEADER + quoted;
    const protocol = four ? PROTOCOL.icmp : PROTOCOL.icmp6;
    const icmp = this.#begin(frame, protocol, length, source, frame.source);
    const view = this.#view;
    view.setUint8(icmp, four ? 3 : 1);
    view.setUint8(icmp + 1, four ? why.icmp : why.icmp6);
    view.setUint16(icmp + 2, 0);
    view.setInt32(icmp + 4, 0);
    frame.bytes.copy(this.#header, icmp + ICMP_HEADER, frame.ip, frame.ip + quoted);
    const pseudo = four ? 0 : pseudoHeaderSum(6, source, frame.source, protocol, length);
    this.#finish(icmp + 2, pseudo, icmp, length);
    this.#device.write(icmp + length);
  }

  /** A UDP datagram of at most 65507 bytes. Addresses as int32 words. */
  datagram(
    family: 4 | 6,
    source: Int32Array,
    sourcePort: number,
    destination: Int32Array,
    destinationPort: number,
    payload: Buffer,
  ): void {
    const length = UDP_HEADER + payload.length;
    const view = this.#view;
    const udp = this.#begin({ family }, PROTOCOL.udp, length, source, destination);
    view.setUint16(udp, sourcePort);
    view.setUint16(udp + 2, destinationPort);
    view.setUint16(udp + 4, length);
    view.setUint16(udp + 6, 0);
    const content = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    const pseudo = pseudoHeaderSum(family, source, destination, PROTOCOL.udp, length);
    this.#finish(udp + 6, pseudo + checksumOf(content, 0, payload.length), udp, UDP_HEADER);
    // Zero would mean no checksum (RFC 768), so write the same number in one's complement instead.
    if (view.getUint16(udp + 6) === 0) view.setUint16(udp + 6, 0xffff);
    this.#device.write(udp + UDP_HEADER, payload);
  }

  #options(at: number, fields: SegmentFields): number {
    const view = this.#view;
    let size = 0;
    if (fields.mss > 0) {
      view.setUint16(at, 0x0204);
      view.setUint16(at + 2, fields.mss);
      size += 4;
    }
    if (fields.hasTimestamps) {
      view.setInt32(at + size, 0x0101080a);
      view.setInt32(at + size + 4, fields.timestamp);
      view.setInt32(at + size + 8, fields.timestampEcho);
      size += TIMESTAMPS_BYTES;
    }
    if (fields.scale >= 0) {
      view.setInt32(at + size, 0x01030300 | fields.scale);
      size += 4;
    }
    return size;
  }

  /**
   * Writes the virtio and IP headers for `length` bytes of payload. Returns where the payload
   * begins.
   */
  #begin(
    { family }: { readonly family: 4 | 6 },
    protocol: number,
    length: number,
    source: Int32Array,
    destination: Int32Array,
  ): number {
    this.#header.fill(0, 0, VNET_BYTES);
    if (family === 4) {
      // Internetwork control: RFC 1812 §4.3.2.5.
      const service = protocol === PROTOCOL.icmp ? 0xc0 : 0;
      this.#ipv4(length, protocol, service, source[0] ?? 0, destination[0] ?? 0);
      return VNET_BYTES + 20;
    }
    this.#ipv6(length, protocol);
    for (let i = 0; i < 4; i++) {
      this.#view.setInt32(VNET_BYTES + 8 + 4 * i, source[i] ?? 0);
      this.#view.setInt32(VNET_BYTES + 24 + 4 * i, destination[i] ?? 0);
    }
    return VNET_BYTES + 40;
  }

  #ipv4(
    length: number,
    protocol: number,
    service: number,
    source: number,
    destination: number,
  ): void {
    const view = this.#view;
    const ip = VNET_BYTES;
    const first = 0x4500 | service;
    const total = 20 + length;
    view.setUint16(ip, first);
    view.setUint16(ip + 2, total);
    // An atomic datagram (RFC 6864): no identification, don't fragment.
    view.setInt32(ip + 4, DONT_FRAGMENT);
    view.setUint16(ip + 8, (HOPS << 8) | protocol);
    view.setInt32(ip + 12, source);
    view.setInt32(ip + 16, destination);
    const sum =
      first +
      total +
      DONT_FRAGMENT +
      ((HOPS << 8) | protocol) +
      halves(source) +
      halves(destination);
    view.setUint16(ip + 10, ~foldSum(sum) & 0xffff);
  }

  #ipv6(length: number, protocol: number): void {
    const view = this.#view;
    const ip = VNET_BYTES;
    view.setInt32(ip, 6 << 28);
    view.setUint16(ip + 4, length);
    view.setUint16(ip + 6, (protocol << 8) | HOPS);
  }

  #ipv6Of(tuple: Tuple, length: number): void {
    const view = this.#view;
    const ip = VNET_BYTES;
    this.#ipv6(length, PROTOCOL.tcp);
    view.setInt32(ip + 8, tuple.b0);
    view.setInt32(ip + 12, tuple.b1);
    view.setInt32(ip + 16, tuple.b2);
    view.setInt32(ip + 20, tuple.b3);
    view.setInt32(ip + 24, tuple.a0);
    view.setInt32(ip + 28, tuple.a1);
    view.setInt32(ip + 32, tuple.a2);
    view.setInt32(ip + 36, tuple.a3);
  }

  #finish(field: number, pseudo: number, from: number, length: number): void {
    const sum = foldSum(pseudo + checksumOf(this.#view, from, from + length));
    this.#view.setUint16(field, ~sum & 0xffff);
  }
}

function halves(word: number): number {
  return (word >>> 16) + (word & 0xffff);
}
