/** The data types of RFC 4251 §5 that keys, key files and the agent protocol need. */

/** Reads fields one after another. Each method returns undefined if the data is too short. */
export class WireReader {
  readonly #data: Buffer;
  #position = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  byte(): number | undefined {
    return this.#data[this.#position++];
  }

  uint32(): number | undefined {
    if (this.#data.length - this.#position < 4) return undefined;
    const value = this.#data.readUInt32BE(this.#position);
    this.#position += 4;
    return value;
  }

  uint64(): bigint | undefined {
    const high = this.uint32();
    const low = this.uint32();
    return high === undefined || low === undefined
      ? undefined
      : (BigInt(high) << 32n) | BigInt(low);
  }

  /** Bytes that have not been read. */
  get left(): number {
    return Math.max(0, this.#data.length - this.#position);
  }

  /** A view, not a copy. */
  string(): Buffer | undefined {
    const length = this.uint32();
    if (length === undefined || this.#data.length - this.#position < length) return undefined;
    const value = this.#data.subarray(this.#position, this.#position + length);
    this.#position += length;
    return value;
  }

  text(): string | undefined {
    return this.string()?.toString('utf8');
  }
}

export function wireUint32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeUInt32BE(value);
  return out;
}

export function wireString(value: Buffer | string): Buffer {
  const data = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([wireUint32(data.length), data]);
}

/** A positive multiple precision integer (mpint), from unsigned big-endian octets. */
export function wireMpint(octets: Buffer): Buffer {
  let start = 0;
  while (start < octets.length && octets[start] === 0) start++;
  const digits = octets.subarray(start);
  const signed = (digits[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits;
  return wireString(signed);
}
