/**
 * OpenSSH certificates (PROTOCOL.certkeys): only until when one is valid, for an error that says
 * so.
 */
import { parsePublicKey } from '../keys/publickey.ts';
import { WireReader } from '../keys/wire.ts';

/** How many fields of the key stand between the nonce and the serial number. */
const KEY_FIELDS: readonly (readonly [RegExp, number])[] = [
  [/^ssh-ed25519-cert/, 1],
  [/^sk-ssh-ed25519-cert/, 2],
  [/^ecdsa-sha2-\w+-cert/, 2],
  [/^sk-ecdsa-sha2-\w+-cert/, 3],
  [/^(ssh-rsa|rsa-sha2-\d+)-cert/, 2],
];
const FOREVER = 0xffff_ffff_ffff_ffffn;

export interface Validity {
  /** undefined: without limit. */
  readonly from: Date | undefined;
  readonly until: Date | undefined;
}

/**
 * `line`: the content of a `-cert.pub` file. undefined: it isn't a certificate that can be read.
 */
export function certificateValidity(line: string): Validity | undefined {
  const key = parsePublicKey(line);
  const fields = KEY_FIELDS.find(([type]) => type.test(key?.type ?? ''))?.[1];
  if (key === undefined || fields === undefined) return undefined;
  const reader = new WireReader(key.blob);
  const uint64 = (): bigint | undefined => {
    const high = reader.uint32();
    const low = reader.uint32();
    return high === undefined || low === undefined
      ? undefined
      : (BigInt(high) << 32n) | BigInt(low);
  };
  // A field that isn't whole leaves the reader within it: nothing behind it is looked at.
  const before = [
    ...Array.from({ length: 2 + fields }, () => reader.string()), // the type, the nonce, the key
    uint64(), // serial
    reader.uint32(), // user or host
    reader.string(), // key id
    reader.string(), // principals
  ];
  const from = uint64();
  const until = uint64();
  if (before.includes(undefined) || from === undefined || until === undefined) return undefined;
  return {
    from: from === 0n ? undefined : date(from),
    until: until === FOREVER ? undefined : date(until),
  };
}

function date(seconds: bigint): Date | undefined {
  const result = new Date(Number(seconds) * 1000);
  return Number.isNaN(result.getTime()) ? undefined : result;
}
