/** Views of what the packet engine reports (struct nat_event in native/nat.h), and the numbers that it is told. */
import { endianness } from 'node:os';
import { addressFromBytes } from '../net/address.ts';
import type { Refusal } from '../net/refusal.ts';

const EVENT_SIZE = 56;
const LITTLE_ENDIAN = endianness() === 'LE';
/** Events copied from the engine at a time. */
const EVENT_BATCH = 256;

const EVENT_KINDS = { syn: 1, gone: 2 } as const;

export interface TunEvent {
  readonly kind: 'syn' | 'gone';
  /** The engine's handle, below 2^52. */
  readonly flow: number;
  /** Where the accepted socket will come from, see `leaseKey`. */
  readonly lease: number;
  readonly source: { readonly host: string; readonly port: number };
  readonly destination: { readonly host: string; readonly port: number };
}

/** Identifies a lease among those of one capture: family, peer address (0: the first) and port. */
export function leaseKey(family: 4 | 6, peer: number, port: number): number {
  return (family * 256 + peer) * 65536 + port;
}

/** A buffer of events; `fill` copies from the engine and returns the number of events copied. */
export class TunEventReader {
  readonly #bytes = new Uint8Array(EVENT_SIZE * EVENT_BATCH);
  readonly #view = new DataView(this.#bytes.buffer);

  /** Takes all waiting events out of the engine and hands them to `handle` one by one. */
  drain(fill: (into: Uint8Array) => number, handle: (event: TunEvent) => void): void {
    let count: number;
    do {
      count = fill(this.#bytes);
      for (let i = 0; i < count; i++) handle(this.#at(i * EVENT_SIZE));
    } while (count === EVENT_BATCH);
  }

  #at(offset: number): TunEvent {
    const low = this.#view.getUint32(offset + (LITTLE_ENDIAN ? 0 : 4), LITTLE_ENDIAN);
    const high = this.#view.getUint32(offset + (LITTLE_ENDIAN ? 4 : 0), LITTLE_ENDIAN);
    const family = this.#view.getUint8(offset + 9) === 6 ? 6 : 4;
    const port = (at: number) => this.#view.getUint16(offset + at, LITTLE_ENDIAN);
    const host = (at: number) =>
      addressFromBytes(this.#bytes.subarray(offset + at, offset + at + (family === 6 ? 16 : 4)));
    return {
      kind: this.#view.getUint8(offset + 8) === EVENT_KINDS.gone ? 'gone' : 'syn',
      flow: high * 2 ** 32 + low,
      lease: leaseKey(family, this.#view.getUint8(offset + 48), port(10)),
      source: { host: host(16), port: port(12) },
      destination: { host: host(32), port: port(14) },
    };
  }
}

/** enum nat_refusal */
export const NAT_REFUSALS: Readonly<Record<Refusal, number>> = {
  refused: 0,
  unreachable: 1,
  'no-network': 2,
  prohibited: 3,
  timeout: 4,
};
