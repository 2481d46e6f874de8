/**
 * Key revocation lists of OpenSSH (PROTOCOL.krl), as `ssh-keygen -k` makes them. Whether a plain
 * key is revoked: by itself, or by its SHA-1 or SHA-256 digest. What a list says about certificates
 * concerns only certificates, but must be well-formed, as in ssh (krl.c). A list that isn't, or
 * that has something unknown in it, may revoke any key.
 *
 *   magic, format, version, date, flags, reserved, comment, then sections: a byte and a string
 */
import { createHash } from 'node:crypto';
import { isPlainKey, publicKeyFromBlob } from '../keys/publickey.ts';
import { WireReader } from '../keys/wire.ts';

const MAGIC = Buffer.from('SSHKRL\n\0', 'latin1');
const FORMAT_VERSION = 1;
const SECTION = {
  certificates: 1,
  explicitKey: 2,
  sha1: 3,
  signature: 4,
  sha256: 5,
  extension: 255,
} as const;
/** Within `certificates`. */
const CERTIFICATES = {
  serials: 0x20,
  range: 0x21,
  bitmap: 0x22,
  keyIds: 0x23,
  extension: 0x39,
} as const;
/** As in ssh (krl.c, bitmap.c). */
const MAX_BITMAP_BYTES = 2 ** 24 / 8;

/** `malformed`: also what this program doesn't know. */
export type KrlVerdict = 'revoked' | 'not revoked' | 'malformed';

export function isKrl(data: Buffer): boolean {
  return data.subarray(0, MAGIC.length).equals(MAGIC);
}

/** `data`: a file for which isKrl() is true. `blob`: a plain key, without certificate. */
export function checkKrl(data: Buffer, blob: Buffer): KrlVerdict {
  const reader = new WireReader(data.subarray(MAGIC.length));
  if (reader.uint32() !== FORMAT_VERSION) return 'malformed';
  const numbers = [reader.uint64(), reader.uint64(), reader.uint64()];
  const texts = [reader.string(), reader.string()];
  if (numbers.includes(undefined) || texts.includes(undefined)) return 'malformed';
  const digest = (name: string): Buffer => createHash(name).update(blob).digest();
  let revoked = false;
  while (reader.left > 0) {
    const type = reader.byte();
    const section = reader.string();
    if (section === undefined) return 'malformed';
    let found: boolean | undefined;
    if (type === SECTION.explicitKey) found = holds(section, blob, undefined);
    else if (type === SECTION.sha1) found = holds(section, digest('sha1'), 20);
    else if (type === SECTION.sha256) found = holds(section, digest('sha256'), 32);
    else if (type === SECTION.certificates) found = areCertificates(section) ? false : undefined;
    else if (type === SECTION.extension) found = isUncritical(section) ? false : undefined;
    else if (type === SECTION.signature && reader.string() !== undefined) found = false;
    if (found === undefined) return 'malformed';
    revoked ||= found;
  }
  return revoked ? 'revoked' : 'not revoked';
}

/** Whether one of the strings is `wanted`. undefined: they are malformed, or of a wrong length. */
function holds(section: Buffer, wanted: Buffer, length: number | undefined): boolean | undefined {
  const reader = new WireReader(section);
  let found = false;
  while (reader.left > 0) {
    const entry = reader.string();
    if (entry === undefined || (length !== undefined && entry.length !== length)) return undefined;
    found ||= entry.equals(wanted);
  }
  return found;
}

function areCertificates(section: Buffer): boolean {
  const reader = new WireReader(section);
  const authority = reader.string();
  if (authority === undefined || reader.string() === undefined) return false;
  if (authority.length > 0) {
    const key = publicKeyFromBlob(authority);
    if (key === undefined || !isPlainKey(key)) return false;
  }
  while (reader.left > 0) {
    const type = reader.byte() ?? 0;
    const content = reader.string();
    if (content === undefined || !isCertificateSection(type, content)) return false;
  }
  return true;
}

function isCertificateSection(type: number, content: Buffer): boolean {
  const reader = new WireReader(content);
  switch (type) {
    // Certificates without a serial number have 0, which can't be revoked.
    case CERTIFICATES.serials:
      while (reader.left > 0) if (!reader.uint64()) return false;
      return true;
    case CERTIFICATES.range: {
      const [low, high] = [reader.uint64(), reader.uint64()];
      return !!low && high !== undefined && low <= high && reader.left === 0;
    }
    case CERTIFICATES.bitmap: {
      const first = reader.uint64();
      const bits = reader.string();
      if (first === undefined || bits === undefined || reader.left > 0) return false;
      return bits.length <= MAX_BITMAP_BYTES && (first > 0n || ((bits.at(-1) ?? 0) & 1) === 0);
    }
    case CERTIFICATES.keyIds: {
      while (reader.left > 0) {
        const id = reader.string();
        if (id === undefined || id.includes(0)) return false;
      }
      return true;
    }
    case CERTIFICATES.extension:
      return isUncritical(content);
    default:
      return false;
  }
}

/** An extension: name, whether it is critical, content. None is known. */
function isUncritical(section: Buffer): boolean {
  const reader = new WireReader(section);
  const name = reader.string();
  const critical = reader.byte();
  const content = reader.string();
  return name !== undefined && critical === 0 && content !== undefined && reader.left === 0;
}
