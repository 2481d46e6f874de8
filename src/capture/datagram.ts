/** UDP datagrams as the engine hands them over (struct datagram in native/datagram.h), read and written. */
import { endianness } from 'node:os';
import { addressBytes, addressFromBytes } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';

/** ENGINE_DATAGRAM_BYTES of native/engine.h */
const BUFFER_SIZE = 262_144;
/** DATAGRAM_MAX_PAYLOAD of native/datagram.h, in bytes */
export const MAX_DATAGRAM = 65_507;
const HEADER = {
  size: 40,
  family: 0,
  length: 2,
  sourcePort: 4,
  destinationPort: 6,
  source: 8,
  destination: 24,
};
const ALIGNMENT = 8;
const LITTLE = endianness() === 'LE';

export interface Datagram {
  readonly source: Destination;
  readonly destination: Destination;
  /** At most MAX_DATAGRAM bytes. */
  readonly payload: Uint8Array;
}

/** enum packet_unreachable of native/packet.h; silence is no answer. */
export const UNREACHABLE_CODES: Readonly<Record<Refusal, number | undefined>> = {
  unreachable: 0,
  'no-network': 1,
  prohibited: 2,
  refused: 3,
  timeout: undefined,
};

/** A buffer of datagrams; `fill` moves those that wait out of the engine and returns the bytes filled. */
export class DatagramReader {
  readonly #bytes = new Uint8Array(BUFFER_SIZE);
  readonly #view = new DataView(this.#bytes.buffer);

  /** Hands over each datagram that waits; what `handle` gets is its own. */
  drain(fill: (into: Uint8Array) => number, handle: (datagram: Datagram) => void): void {
    const filled = fill(this.#bytes);
    for (let at = 0; at + HEADER.size <= filled; ) {
      const length = this.#view.getUint16(at + HEADER.length, LITTLE);
      const end = at + HEADER.size + length;
      handle({
        source: this.#endpoint(at, HEADER.source, HEADER.sourcePort),
        destination: this.#endpoint(at, HEADER.destination, HEADER.destinationPort),
        payload: this.#bytes.slice(at + HEADER.size, end),
      });
      at = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    }
  }

  #endpoint(at: number, address: number, port: number): Destination {
    const size = this.#bytes[at + HEADER.family] === 6 ? 16 : 4;
    const from = at + address;
    return {
      host: addressFromBytes(this.#bytes.subarray(from, from + size)),
      port: this.#view.getUint16(at + port, LITTLE),
    };
  }
}

export function encodeDatagram({ source, destination, payload }: Datagram): Uint8Array {
  const bytes = new Uint8Array(HEADER.size + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(HEADER.family, source.host.includes(':') ? 6 : 4);
  view.setUint16(HEADER.length, payload.length, LITTLE);
  view.setUint16(HEADER.sourcePort, source.port, LITTLE);
  view.setUint16(HEADER.destinationPort, destination.port, LITTLE);
  bytes.set(addressBytes(source.host), HEADER.source);
  bytes.set(addressBytes(destination.host), HEADER.destination);
  bytes.set(payload, HEADER.size);
  return bytes;
}
