/**
 * The keys that an authorized_keys file of sshd(8) may list, and how each looks in base64. All
 * lines of a type begin alike, since the blob begins with the type's name (RFC 4253 §6.6). Neither
 * certificates nor DSA: sshd takes the first only by their authority, and the second not at all.
 */

export interface KeyType {
  readonly name: string;
  /** What the base64 begins with. */
  readonly start: string;
  /** Characters of base64, padding included. */
  readonly least: number;
  readonly most: number;
}

/** Octets of a blob beyond the name of its type. The lengths of fields are included. */
const OCTETS: readonly (readonly [name: string, least: number, most: number])[] = [
  ['ssh-ed25519', 36, 36],
  ['ecdsa-sha2-nistp256', 81, 81],
  ['ecdsa-sha2-nistp384', 113, 113],
  ['ecdsa-sha2-nistp521', 149, 149],
  // From 2048 to 16384 bits: exponent, and modulus with a sign octet.
  ['ssh-rsa', 266, 2069],
  // Security keys end with the name of an application, usually `ssh:`.
  ['sk-ssh-ed25519@openssh.com', 40, 300],
  ['sk-ecdsa-sha2-nistp256@openssh.com', 85, 345],
];

export const KEY_TYPES: readonly KeyType[] = OCTETS.map(([name, least, most]) => ({
  name,
  start: startOf(name),
  least: base64Length(4 + name.length + least),
  most: base64Length(4 + name.length + most),
}));

/** undefined when the type is none of KEY_TYPES, or the key too short or too long for it. */
export function keyTypeOf(name: string, base64: string): KeyType | undefined {
  return KEY_TYPES.find(
    (type) =>
      type.name === name &&
      base64.startsWith(type.start) &&
      base64.length >= type.least &&
      base64.length <= type.most,
  );
}

/** As much as the name alone decides: whole groups of three octets. */
function startOf(name: string): string {
  const head = Buffer.alloc(4 + name.length);
  head.writeUInt32BE(name.length);
  head.write(name, 4, 'latin1');
  return head.subarray(0, head.length - (head.length % 3)).toString('base64');
}

function base64Length(octets: number): number {
  return Math.ceil(octets / 3) * 4;
}
