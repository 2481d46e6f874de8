/**
 * A checked view of one frame as it comes from a TUN: a virtio_net_hdr of 10 bytes
 * (linux/virtio_net.h), then an IP packet.
 *
 *   parse(slab, length) -> kind; the fields have what was found
 *
 * `parse` checks every length once; after that the fields are reliable. One view serves all frames:
 * it is valid until the next `parse`.
 *
 * A frame that this machine made itself has no checksum yet (VIRTIO_NET_HDR_F_NEEDS_CSUM). A
 * network card may have verified the checksum of a forwarded frame (DATA_VALID). All other
 * checksums are verified here. IPv6 extension headers are skipped. But TCP and UDP behind a routing
 * header are not parsed: the packet's destination may differ from the one in the pseudo-header (RFC
 * 8200 §8.1). Nor are fragments: they may contain no transport header.
 */
import { endianness } from 'node:os';
import { checksumOf, foldSum, pseudoHeaderSum } from './checksum.ts';

export const VNET_BYTES = 10;
/** The largest IP packet and its virtio header, rounded up. */
export const FRAME_BYTES = 66 * 1024;

export const KIND = {
  /** Too short, wrong version, lengths that disagree, wrong checksum. */
  malformed: 0,
  fragment: 1,
  tcp: 2,
  udp: 3,
  /** ICMP error: a packet of ours was too large (RFC 1191, RFC 8201). */
  tooBig: 4,
  /** ICMP that isn't a request: never answered (RFC 1122 §3.2.2, RFC 4443 §2.4). */
  unanswerable: 5,
  other: 6,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;

/** The virtio header is in the machine's byte order. */
export const LITTLE = endianness() === 'LE';

const NEEDS_CSUM = 1;
const DATA_VALID = 2;

const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const TCP_HEADER = 20;
const UDP_HEADER = 8;
const ICMP_HEADER = 8;
/** A packet with more extension headers is an attack on the parser. */
const MAX_EXTENSIONS = 8;

const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmp6: 58 } as const;
const EXTENSION = { hopByHop: 0, routing: 43, fragment: 44, options: 60 } as const;

/** TCP options (RFC 9293 §3.1, RFC 7323). */
const OPTION = { end: 0, nop: 1, mss: 2, scale: 3, timestamps: 8 } as const;

/** Memory that contains a frame: a slab, or a copy that somebody keeps. */
export interface FrameMemory {
  readonly bytes: Buffer;
  readonly view: DataView;
}

export class FrameView {
  bytes: Buffer = Buffer.alloc(0);
  view = new DataView(this.bytes.buffer, this.bytes.byteOffset, 0);
  family: 4 | 6 = 4;
  /** Offsets in `bytes`: the IP packet, its end, the transport header. */
  readonly ip = VNET_BYTES;
  end = 0;
  transport = 0;
  protocol = 0;
  /** TCP and UDP: where the payload begins. */
  payload = 0;
  /** Words in network order, as int32. IPv4 uses only the first. */
  readonly source = new Int32Array(4);
  readonly destination = new Int32Array(4);
  sourcePort = 0;
  destinationPort = 0;
  /** TCP. Sequence numbers as int32. */
  sequence = 0;
  acknowledgement = 0;
  flags = 0;
  window = 0;
  hasTimestamps = false;
  timestamp = 0;
  timestampEcho = 0;
  /** Options of a SYN: if missing, `mss` is 0 and `scale` is -1. */
  mss = 0;
  scale = -1;
  /**
   * `tooBig`: the size that fits. `source` and the other addresses and ports are then those of the
   * packet that did not fit, swapped as if its receiver had sent it.
   */
  mtu = 0;

  parse(memory: FrameMemory, length: number): Kind {
    this.bytes = memory.bytes;
    this.view = memory.view;
    if (length <= VNET_BYTES) return KIND.malformed;
    const version = (this.bytes[VNET_BYTES] ?? 0) >> 4;
    if (version === 4) return this.#parse4(length);
    return version === 6 ? this.#parse6(length) : KIND.malformed;
  }

  /**
   * A copy of the frame up to `end`. It is marked as verified, so its checksum isn't checked again.
   */
  keep(): FrameMemory {
    const bytes = Buffer.alloc(this.end);
    this.bytes.copy(bytes, VNET_BYTES, VNET_BYTES, this.end);
    bytes[0] = DATA_VALID;
    if (this.family === 4) bytes.writeUInt16BE(this.end - this.ip, this.ip + 2);
    else bytes.writeUInt16BE(this.end - this.ip - IPV6_HEADER, this.ip + 4);
    return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
  }

  /** How many sequence numbers the segment takes up. SYN and FIN count (RFC 9293 §3.4). */
  get segmentLength(): number {
    return this.end - this.payload + ((this.flags & SYN) >> 1) + (this.flags & FIN);
  }

  #parse4(length: number): Kind {
    const { view, ip } = this;
    if (length - ip < IPV4_HEADER) return KIND.malformed;
    this.family = 4;
    const header = (view.getUint8(ip) & 15) * 4;
    const total = view.getUint16(ip + 2);
    if (header < IPV4_HEADER || total < header || total > length - ip) return KIND.malformed;
    this.end = ip + total;
    this.transport = ip + header;
    this.protocol = view.getUint8(ip + 9);
    this.source[0] = view.getInt32(ip + 12);
    this.destination[0] = view.getInt32(ip + 16);
    this.sourcePort = 0;
    this.destinationPort = 0;
    // More fragments, or an offset.
    if ((view.getUint16(ip + 6) & 0x3fff) !== 0) return KIND.fragment;
    return this.#transport(true);
  }

  #parse6(length: number): Kind {
    const { view, ip } = this;
    if (length - ip < IPV6_HEADER) return KIND.malformed;
    this.family = 6;
    this.end = ip + IPV6_HEADER + view.getUint16(ip + 4);
    if (this.end > length) return KIND.malformed;
    this.protocol = view.getUint8(ip + 6);
    for (let i = 0; i < 4; i++) {
      this.source[i] = view.getInt32(ip + 8 + 4 * i);
      this.destination[i] = view.getInt32(ip + 24 + 4 * i);
    }
    this.sourcePort = 0;
    this.destinationPort = 0;
    this.transport = ip + IPV6_HEADER;
    let routed = false;
    for (let extensions = 0; ; extensions++) {
      const { hopByHop, routing, fragment, options } = EXTENSION;
      const { protocol } = this;
      const known = protocol === hopByHop || protocol === routing || protocol === options;
      if (!known && protocol !== fragment) return this.#transport(!routed);
      if (this.end - this.transport < 8 || extensions === MAX_EXTENSIONS) return KIND.malformed;
      if (protocol === fragment) return KIND.fragment;
      routed ||= protocol === routing;
      const size = (view.getUint8(this.transport + 1) + 1) * 8;
      if (size > this.end - this.transport) return KIND.malformed;
      this.protocol = view.getUint8(this.transport);
      this.transport += size;
    }
  }

  /** `direct`: the IP header and the pseudo-header have the same addresses. */
  #transport(direct: boolean): Kind {
    const { protocol, family } = this;
    if (protocol === PROTOCOL.tcp) return direct ? this.#tcp() : KIND.other;
    if (protocol === PROTOCOL.udp) return direct ? this.#udp() : KIND.other;
    if (protocol === (family === 4 ? PROTOCOL.icmp : PROTOCOL.icmp6)) return this.#icmp();
    return KIND.other;
  }

  #tcp(): Kind {
    const { view, transport, end } = this;
    if (end - transport < TCP_HEADER) return KIND.malformed;
    const header = (view.getUint8(transport + 12) >> 4) * 4;
    if (header < TCP_HEADER || header > end - transport) return KIND.malformed;
    if (!this.#intact(transport + 16)) return KIND.malformed;
    this.sourcePort = view.getUint16(transport);
    this.destinationPort = view.getUint16(transport + 2);
    this.sequence = view.getInt32(transport + 4);
    this.acknowledgement = view.getInt32(transport + 8);
    this.flags = view.getUint8(transport + 13) & 0x3f;
    this.window = view.getUint16(transport + 14);
    this.payload = transport + header;
    this.#options(transport + TCP_HEADER, this.payload);
    return KIND.tcp;
  }

  #options(from: number, to: number): void {
    const { view } = this;
    this.hasTimestamps = false;
    this.mss = 0;
    this.scale = -1;
    // Nearly every segment has exactly two NOPs and the timestamps (RFC 7323 appendix A).
    if (to - from === 12 && view.getInt32(from) === 0x0101080a) {
      this.#timestamps(from + 4);
      return;
    }
    for (let at = from; at < to; ) {
      const kind = view.getUint8(at);
      if (kind === OPTION.end) return;
      if (kind === OPTION.nop) {
        at++;
        continue;
      }
      const size = at + 1 < to ? view.getUint8(at + 1) : 0;
      // Malformed options are no reason to drop the segment (RFC 9293 §3.1). The remaining options
      // can't be read.
      if (size < 2 || at + size > to) return;
      if (kind === OPTION.mss && size === 4) this.mss = view.getUint16(at + 2);
      else if (kind === OPTION.scale && size === 3) this.scale = view.getUint8(at + 2);
      else if (kind === OPTION.timestamps && size === 10) this.#timestamps(at + 2);
      at += size;
    }
  }

  #timestamps(at: number): void {
    this.hasTimestamps = true;
    this.timestamp = this.view.getInt32(at);
    this.timestampEcho = this.view.getInt32(at + 4);
  }

  #udp(): Kind {
    const { view, transport, end } = this;
    if (end - transport < UDP_HEADER) return KIND.malformed;
    const length = view.getUint16(transport + 4);
    if (length < UDP_HEADER || length > end - transport) return KIND.malformed;
    // Zero means no checksum (RFC 768).
    const hasChecksum = view.getUint16(transport + 6) !== 0;
    if (hasChecksum && !this.#intact(transport + 6)) return KIND.malformed;
    this.sourcePort = view.getUint16(transport);
    this.destinationPort = view.getUint16(transport + 2);
    this.payload = transport + UDP_HEADER;
    this.end = transport + length;
    return KIND.udp;
  }

  /**
   * Only requests are answered. Errors must not be answered, and nobody waits for an answer to the
   * rest.
   */
  #icmp(): Kind {
    const { view, transport, end, family } = this;
    if (end - transport < ICMP_HEADER) return KIND.malformed;
    const type = view.getUint8(transport);
    const code = view.getUint8(transport + 1);
    if (family === 6) {
      if (type === 2) return this.#tooBig(transport + ICMP_HEADER, view.getUint32(transport + 4));
      return type === 128 ? KIND.other : KIND.unanswerable;
    }
    if (type === 3 && code === 4)
      return this.#tooBig(transport + ICMP_HEADER, view.getUint16(transport + 6));
    // Echo, timestamp, information, address mask.
    return type === 8 || type === 13 || type === 15 || type === 17 ? KIND.other : KIND.unanswerable;
  }

  /** The quoted packet is ours: it went from the flow's destination to its source. */
  #tooBig(quoted: number, mtu: number): Kind {
    const { view, end, family } = this;
    const header =
      family === 4 ? ((quoted < end ? view.getUint8(quoted) : 0) & 15) * 4 : IPV6_HEADER;
    const least = family === 4 ? IPV4_HEADER : IPV6_HEADER;
    if (header < least || end - quoted < header + 8) return KIND.unanswerable;
    if (view.getUint8(quoted) >> 4 !== family) return KIND.unanswerable;
    if (view.getUint8(quoted + (family === 4 ? 9 : 6)) !== PROTOCOL.tcp) return KIND.unanswerable;
    const words = family === 4 ? 1 : 4;
    const from = quoted + (family === 4 ? 12 : 8);
    for (let i = 0; i < words; i++) {
      this.destination[i] = view.getInt32(from + 4 * i);
      this.source[i] = view.getInt32(from + 4 * (words + i));
    }
    this.destinationPort = view.getUint16(quoted + header);
    this.sourcePort = view.getUint16(quoted + header + 2);
    this.sequence = view.getInt32(quoted + header + 4);
    this.mtu = mtu;
    return KIND.tooBig;
  }

  /** Whether the transport checksum, at offset `field`, is right. */
  #intact(field: number): boolean {
    const { view, transport, end } = this;
    const flags = view.getUint8(0);
    if ((flags & NEEDS_CSUM) !== 0) {
      // csum_start and csum_offset, in the machine's byte order.
      return (
        view.getUint16(6, LITTLE) === transport - this.ip &&
        view.getUint16(8, LITTLE) === field - transport
      );
    }
    if ((flags & DATA_VALID) !== 0) return true;
    const pseudo = pseudoHeaderSum(
      this.family,
      this.source,
      this.destination,
      this.protocol,
      end - transport,
    );
    return foldSum(pseudo + checksumOf(view, transport, end)) === 0xffff;
  }
}
