/** The data types and messages of RFC 4251 to 4254, for a server that may write anything. */

export const MESSAGE = {
  disconnect: 1,
  ignore: 2,
  unimplemented: 3,
  debug: 4,
  serviceRequest: 5,
  serviceAccept: 6,
  extInfo: 7,
  kexInit: 20,
  newKeys: 21,
  ecdhInit: 30,
  ecdhReply: 31,
  userauthRequest: 50,
  userauthFailure: 51,
  userauthSuccess: 52,
  userauthBanner: 53,
  userauthPkOk: 60,
  userauthInfoRequest: 60,
  userauthInfoResponse: 61,
  globalRequest: 80,
  requestSuccess: 81,
  requestFailure: 82,
  channelOpen: 90,
  channelConfirmation: 91,
  channelFailureToOpen: 92,
  windowAdjust: 93,
  channelData: 94,
  channelExtendedData: 95,
  channelEof: 96,
  channelClose: 97,
  channelRequest: 98,
  channelSuccess: 99,
  channelFailure: 100,
} as const;

/** byte (RFC 4251 §5), also for booleans. */
export function byte(value: number | boolean): Buffer {
  return Buffer.from([Number(value)]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

export function string(value: string | Uint8Array): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([uint32(bytes.length), bytes]);
}

/** mpint of an unsigned number. */
export function mpint(value: Uint8Array): Buffer {
  let from = 0;
  while (from < value.length && value[from] === 0) from++;
  const digits = value.subarray(from);
  return string((digits[0] ?? 0) < 0x80 ? digits : Buffer.concat([byte(0), digits]));
}

/** A message: its number, then fields. */
export function message(number: number, ...fields: readonly Uint8Array[]): Buffer {
  return Buffer.concat([byte(number), ...fields]);
}

/** Reads the fields of a message in order. Throws when it is too short. */
export class Fields {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at = 1) {
    this.#bytes = bytes;
    this.#at = at;
  }

  byte(): number {
    return this.#bytes.readUInt8(this.#at++);
  }

  uint32(): number {
    this.#at += 4;
    return this.#bytes.readUInt32BE(this.#at - 4);
  }

  string(): Buffer {
    const length = this.uint32();
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  text(): string {
    return this.string().toString('utf8');
  }
}
