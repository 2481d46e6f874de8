/**
 * OpenSSH certificates (PROTOCOL.certkeys), as `-cert.pub` files have them. The signature isn't
 * checked: that is for those who are shown the certificate.
 *
 *   type, nonce, fields of the key, serial, user or host, key id, principals, valid after,
 *   valid before, critical options, extensions, reserved, key of the authority, signature
 */
import { type PublicKey, parsePublicKey, publicKeyFromBlob } from './publickey.ts';
import { WireReader, wireString } from './wire.ts';

/** For each key type, the number of key fields between the nonce and the serial number. */
const KEY_FIELDS: readonly (readonly [RegExp, number])[] = [
  [/^ssh-ed25519-cert/, 1],
  [/^sk-ssh-ed25519-cert/, 2],
  [/^ecdsa-sha2-\w+-cert/, 2],
  [/^sk-ecdsa-sha2-\w+-cert/, 3],
  [/^(ssh-rsa|rsa-sha2-\d+)-cert/, 2],
];
const HOST = 2;
const FOREVER = 0xffff_ffff_ffff_ffffn;

export interface Validity {
  /** undefined: no limit. */
  readonly from: Date | undefined;
  readonly until: Date | undefined;
}

export interface Certificate extends Validity {
  /** Whose it is: a host's, or otherwise a user's. */
  readonly ofHost: boolean;
  /** The certified key, as it is without its certificate. */
  readonly key: PublicKey;
  /** Names of the host, or logins of the user. Empty: of any. */
  readonly principals: readonly string[];
  /** Who has signed it. */
  readonly authority: PublicKey;
}

/** `line`: the content of a `-cert.pub` file. Returns undefined if it isn't a whole certificate. */
export function parseCertificate(line: string): Certificate | undefined {
  const whole = parsePublicKey(line);
  const count = KEY_FIELDS.find(([type]) => type.test(whole?.type ?? ''))?.[1];
  if (whole === undefined || count === undefined) return undefined;
  const reader = new WireReader(whole.blob);
  // If a field is cut off, the reader stays in it, and the fields after it are undefined or wrong.
  const [, , ...fields] = Array.from({ length: 2 + count }, () => reader.string());
  const serial = reader.uint64();
  const role = reader.uint32();
  const keyId = reader.string();
  const principals = strings(reader.string());
  const from = reader.uint64();
  const until = reader.uint64();
  const rest = [reader.string(), reader.string(), reader.string()];
  const authorityBlob = reader.string();
  const signature = reader.string();
  const authority = authorityBlob === undefined ? undefined : publicKeyFromBlob(authorityBlob);
  const key = plainKey(whole.type, fields);
  if ([serial, role, keyId, signature, ...rest].includes(undefined)) return undefined;
  if (from === undefined || until === undefined || principals === undefined) return undefined;
  if (authority === undefined || key === undefined) return undefined;
  return {
    ofHost: role === HOST,
    key,
    principals,
    authority,
    from: from === 0n ? undefined : date(from),
    until: until === FOREVER ? undefined : date(until),
  };
}

/** `ssh-ed25519` of `ssh-ed25519-cert-v01@openssh.com`; those of security keys keep their end. */
function plainKey(
  certified: string,
  fields: readonly (Buffer | undefined)[],
): PublicKey | undefined {
  const name = certified.replace(/-cert-v\d+@openssh\.com$/, '');
  const type = name.startsWith('sk-') ? `${name}@openssh.com` : name;
  const whole = fields.flatMap((field) => (field === undefined ? [] : [wireString(field)]));
  if (whole.length !== fields.length) return undefined;
  return { type, blob: Buffer.concat([wireString(type), ...whole]) };
}

function strings(list: Buffer | undefined): string[] | undefined {
  if (list === undefined) return undefined;
  const reader = new WireReader(list);
  const found: string[] = [];
  for (let next = reader.text(); next !== undefined; next = reader.text()) found.push(next);
  return found;
}

function date(seconds: bigint): Date | undefined {
  const result = new Date(Number(seconds) * 1000);
  return Number.isNaN(result.getTime()) ? undefined : result;
}
