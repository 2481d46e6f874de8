/**
 * Public keys in the form that SSH sends ("key blobs", RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4)
 * and in the form that people read.
 */
import { createHash, type KeyObject } from 'node:crypto';
import { WireReader, wireMpint, wireString } from './wire.ts';

export interface PublicKey {
  /** `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, ... */
  readonly type: string;
  readonly blob: Buffer;
}

/** Longer key blobs are refused. RSA with 16384 bits has 2 KiB. */
const MAX_BLOB_BYTES = 16 * 1024;

/** `SHA256:...` without padding, as ssh-keygen -l prints it. */
export function fingerprint(blob: Buffer): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}

/** undefined if the blob is too long or doesn't begin with the name of a key type. */
export function publicKeyFromBlob(blob: Buffer): PublicKey | undefined {
  if (blob.length > MAX_BLOB_BYTES) return undefined;
  const type = new WireReader(blob).text();
  return type !== undefined && /^[\x21-\x7e]{1,128}$/.test(type) ? { type, blob } : undefined;
}

/**
 * Reads `ssh-ed25519 AAAA... [comment]`. undefined if it isn't a key, or if name and blob have
 * different types.
 */
export function parsePublicKey(
  line: string,
): (PublicKey & { readonly comment: string }) | undefined {
  const [type = '', encoded = '', ...comment] = line.trim().split(/\s+/);
  const blob = decodeBase64(encoded);
  const key = blob === undefined ? undefined : publicKeyFromBlob(blob);
  return key?.type === type ? { ...key, comment: comment.join(' ') } : undefined;
}

/** Strict, unlike Buffer.from: undefined for anything that isn't canonical base64. */
export function decodeBase64(text: string): Buffer | undefined {
  if (text.length === 0 || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text))
    return undefined;
  return Buffer.from(text, 'base64');
}

/** For messages: `ssh-ed25519 SHA256:...`. */
export function describeKey(key: PublicKey): string {
  return `${key.type} ${fingerprint(key.blob)}`;
}

/** The command that prints the fingerprint of a key of this type on the host that has it. */
export function fingerprintCommand(type: string | undefined): string {
  const kind = /^(?:ssh-(ed25519|rsa)|(ecdsa)-sha2-nistp\d+)$/.exec(type ?? '');
  const name = kind?.[1] ?? kind?.[2];
  // ssh-keygen -l takes one file.
  return name === undefined
    ? 'for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done'
    : `ssh-keygen -lf /etc/ssh/ssh_host_${name}_key.pub`;
}

const SSH_CURVES: Readonly<Record<string, string>> = {
  'P-256': 'nistp256',
  'P-384': 'nistp384',
  'P-521': 'nistp521',
};

/** The SSH form of an OpenSSL key. undefined for kinds that SSH has no name for. */
export function publicKeyFromKeyObject(key: KeyObject): PublicKey | undefined {
  const jwk = key.export({ format: 'jwk' });
  const octets = (value: string | undefined): Buffer => Buffer.from(value ?? '', 'base64url');
  if (jwk.kty === 'RSA') {
    const blob = Buffer.concat([
      wireString('ssh-rsa'),
      wireMpint(octets(jwk.e)),
      wireMpint(octets(jwk.n)),
    ]);
    return { type: 'ssh-rsa', blob };
  }
  if (jwk.kty === 'OKP' && jwk.crv === 'Ed25519') {
    return {
      type: 'ssh-ed25519',
      blob: Buffer.concat([wireString('ssh-ed25519'), wireString(octets(jwk.x))]),
    };
  }
  const curve = jwk.kty === 'EC' ? SSH_CURVES[jwk.crv ?? ''] : undefined;
  if (curve === undefined) return undefined;
  const type = `ecdsa-sha2-${curve}`;
  const point = Buffer.concat([Buffer.of(4), octets(jwk.x), octets(jwk.y)]);
  return { type, blob: Buffer.concat([wireString(type), wireString(curve), wireString(point)]) };
}

/** How many fields follow the type's name, of the plain keys that ssh knows. */
const FIELDS: readonly (readonly [RegExp, number])[] = [
  [/^ssh-ed25519$/, 1],
  [/^ssh-rsa$/, 2],
  [/^ssh-dss$/, 4],
  [/^ecdsa-sha2-nistp(256|384|521)$/, 2],
  [/^sk-ssh-ed25519@openssh\.com$/, 2],
  [/^sk-ecdsa-sha2-nistp256@openssh\.com$/, 3],
];

/** Whether it is a plain key of a known type, whole and with nothing after it. */
export function isPlainKey({ type, blob }: PublicKey): boolean {
  const count = FIELDS.find(([pattern]) => pattern.test(type))?.[1];
  if (count === undefined) return false;
  const reader = new WireReader(blob);
  const fields = Array.from({ length: count + 1 }, () => reader.string());
  if (fields.includes(undefined) || reader.left > 0) return false;
  const [, first, ...others] = fields;
  // Numbers, which are never negative.
  if (/^ssh-(rsa|dss)$/.test(type))
    return [first, ...others].every((field) => (field?.[0] ?? 0) < 0x80);
  if (type.includes('ed25519')) return first?.length === 32;
  return !type.includes('ecdsa') || type.includes(`ecdsa-sha2-${first?.toString('latin1')}`);
}

/** Whether it is named as a plain key that ssh knows, and isn't one: it may have been cut off. */
export function isMalformedKey(key: PublicKey): boolean {
  return FIELDS.some(([pattern]) => pattern.test(key.type)) && !isPlainKey(key);
}

/** The length of an RSA key in bits. undefined: it is of another type, or malformed. */
export function rsaBits({ type, blob }: PublicKey): number | undefined {
  if (type !== 'ssh-rsa') return undefined;
  const reader = new WireReader(blob);
  reader.string();
  reader.string();
  const modulus = reader.string();
  const first = modulus?.findIndex((octet) => octet !== 0) ?? -1;
  if (modulus === undefined || first < 0) return undefined;
  return (modulus.length - first) * 8 - Math.clz32(modulus[first] ?? 0) + 24;
}

/** For messages about a refused login. */
export function keysOffered(count: number): string {
  if (count === 0) return 'no key was offered';
  return count === 1 ? '1 key was offered' : `${count} keys were offered`;
}
