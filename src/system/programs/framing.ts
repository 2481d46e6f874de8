/**
 * The framing of the messages between the program and its C helpers (system/helper/protocol.ts,
 * system/launcher/protocol.ts): C structs with fixed offsets, integers in this machine's byte
 * order. Each begins with this header:
 *
 *   0  uint32  magic     which protocol
 *   4  uint16  version
 *   6  uint16  type
 *   8  uint32  length    of the whole message
 */
import { endianness } from 'node:os';

export const HEADER_LAYOUT = { size: 12, magic: 0, version: 4, type: 6, length: 8 } as const;
/** For DataView. */
export const LITTLE_ENDIAN = endianness() === 'LE';

export interface Frame {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** The frames of one protocol. */
export class MessageFraming {
  readonly #magic: number;
  readonly #version: number;

  constructor(magic: number, version: number) {
    this.#magic = magic;
    this.#version = version;
  }

  /** A message of `length` bytes with its header, the rest zero. */
  begin(type: number, length: number): Frame {
    const bytes = new Uint8Array(length);
    const view = viewOf(bytes);
    view.setUint32(HEADER_LAYOUT.magic, this.#magic, LITTLE_ENDIAN);
    view.setUint16(HEADER_LAYOUT.version, this.#version, LITTLE_ENDIAN);
    view.setUint16(HEADER_LAYOUT.type, type, LITTLE_ENDIAN);
    view.setUint32(HEADER_LAYOUT.length, length, LITTLE_ENDIAN);
    return { bytes, view };
  }

  /** The version in a message's header; undefined if it isn't a message of this protocol. */
  version(bytes: Uint8Array): number | undefined {
    if (bytes.length < HEADER_LAYOUT.size) return undefined;
    const view = viewOf(bytes);
    if (view.getUint32(HEADER_LAYOUT.magic, LITTLE_ENDIAN) !== this.#magic) return undefined;
    return view.getUint16(HEADER_LAYOUT.version, LITTLE_ENDIAN);
  }

  /** Reads a message of this version with the right length; undefined for anything else. */
  read(bytes: Uint8Array): { readonly type: number; readonly view: DataView } | undefined {
    if (this.version(bytes) !== this.#version) return undefined;
    const view = viewOf(bytes);
    if (view.getUint32(HEADER_LAYOUT.length, LITTLE_ENDIAN) !== bytes.length) return undefined;
    return { type: view.getUint16(HEADER_LAYOUT.type, LITTLE_ENDIAN), view };
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Text up to the first NUL. */
export function fieldText(field: Uint8Array): string {
  const end = field.indexOf(0);
  return Buffer.from(end === -1 ? field : field.subarray(0, end)).toString('latin1');
}
