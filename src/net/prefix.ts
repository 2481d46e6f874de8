/** Network prefixes (CIDR, RFC 4632 and RFC 4291 §2.3), and the forms in which users write them. */
import {
  ADDRESS_BITS,
  addressBytes,
  addressFromBytes,
  addressFromNumber,
  addressNumber,
  type Family,
  family,
  requireAddress,
  requireIPv4Parts,
} from './address.ts';
import { NotationError, quoted } from './notation.ts';

export interface Prefix {
  readonly family: Family;
  /** The network address, canonical (RFC 5952 for IPv6); no host bits are set. */
  readonly address: string;
  /** 0-32 or 0-128 */
  readonly length: number;
}

/** A prefix to be routed. */
export interface RoutedPrefix extends Prefix {
  /** It wins over somebody else's route to the same prefix. */
  readonly preferred?: boolean;
  /** A single address: other tunnels may route it to themselves as well. The kernel takes one. */
  readonly shared?: boolean;
}

export interface ParsedPrefix {
  readonly prefix: Prefix;
  /** A sentence for the user if the prefix isn't as written: its host bits were dropped. */
  readonly note: string | undefined;
}

/** ::ffff:0:0/96: a prefix in it of at least this length means IPv4. */
const MAPPED_LENGTH = 96;
const IPV4_OCTETS = 4;

/**
 * Reads a prefix or a bare address (a prefix of full length). Accepts what sshuttle's users write:
 * `10.0.0.0/8`, the short `10/8` and `0/0` (missing octets are zeros on the right),
 * `10.0.0.0/255.0.0.0`, `2001:db8::/32`, and set host bits (`10.0.0.1/8`), which it reports in
 * `note`. Throws NotationError.
 */
export function parsePrefix(text: string): ParsedPrefix {
  const slash = text.indexOf('/');
  if (slash === -1) {
    requireWholeAddress(text);
    const address = addressFromBytes(addressBytes(text));
    return { prefix: hostPrefix(address), note: undefined };
  }
  const addressText = text.slice(0, slash);
  const lengthText = text.slice(slash + 1);
  if (addressText === '') throw new NotationError(`${quoted(text)} has no address before the "/"`);
  if (lengthText === '')
    throw new NotationError(`${quoted(text)} has no prefix length after the "/"`);
  if (lengthText.includes('/')) throw new NotationError(`${quoted(text)} has more than one "/"`);
  return addressText.includes(':')
    ? parseIPv6(text, addressText, lengthText)
    : parseIPv4(text, addressText, lengthText);
}

/** The prefix of a single canonical address. */
export function hostPrefix(address: string): Prefix {
  const of = family(address);
  return { family: of, address, length: ADDRESS_BITS[of] };
}

/** `10.0.0.0/8`; a single address is written without length. */
export function formatPrefix(prefix: Prefix): string {
  return prefix.length === ADDRESS_BITS[prefix.family] ? prefix.address : prefixNotation(prefix);
}

/** `10.0.0.0/8`, `10.0.0.1/32`: always with length, as routing tables and libraries want it. */
export function prefixNotation(prefix: Prefix): string {
  return `${prefix.address}/${prefix.length}`;
}

/** The lowest and the highest address of a prefix, as numbers of its family. */
export function prefixBounds(prefix: Prefix): { readonly first: bigint; readonly last: bigint } {
  const first = addressNumber(prefix.address);
  return { first, last: first + (1n << BigInt(ADDRESS_BITS[prefix.family] - prefix.length)) - 1n };
}

/** Whether every address of `inner` is one of `outer`. */
export function prefixContains(outer: Prefix, inner: Prefix): boolean {
  if (outer.family !== inner.family || outer.length > inner.length) return false;
  const hostBits = BigInt(ADDRESS_BITS[outer.family] - outer.length);
  return addressNumber(outer.address) >> hostBits === addressNumber(inner.address) >> hostBits;
}

/** The prefix of `length` bits around an address given as a number. */
export function prefixAround(value: bigint, of: Family, length: number): Prefix {
  const hostBits = BigInt(ADDRESS_BITS[of] - length);
  return { family: of, address: addressFromNumber((value >> hostBits) << hostBits, of), length };
}

function requireWholeAddress(text: string): void {
  if (/^[0-9]+(\.[0-9]+){0,2}$/.test(text)) {
    requireIPv4Parts(text);
    throw new NotationError(
      `${quoted(text)} is neither an address nor a prefix`,
      `write all four parts of an address, or a short prefix with its length, such as ${text}/${text.split('.').length * 8}`,
    );
  }
  requireAddress(text);
}

function parseIPv4(text: string, addressText: string, lengthText: string): ParsedPrefix {
  requireIPv4Parts(addressText);
  const octets = addressText.split('.');
  if (octets.length > IPV4_OCTETS) requireAddress(addressText);
  const netmask = lengthText.includes('.');
  if (netmask) requireAddress(lengthText);
  else requireLength(text, lengthText, 4);
  // inet_aton(3) reads `10` as 0.0.0.10, but in a prefix the missing octets are those on the right.
  const complete = [...octets, ...Array<string>(IPV4_OCTETS - octets.length).fill('0')].join('.');
  return networkOf(text, complete, netmask ? maskLength(text, lengthText) : Number(lengthText));
}

function maskLength(text: string, mask: string): number {
  const hosts = 0xffff_ffffn - addressNumber(mask);
  if ((hosts & (hosts + 1n)) !== 0n)
    throw new NotationError(
      `${quoted(text)} has a mask that isn't a row of ones followed by zeros (${mask})`,
      'give the prefix length in bits instead, such as /24',
    );
  return ADDRESS_BITS[4] - (hosts === 0n ? 0 : hosts.toString(2).length);
}

function parseIPv6(text: string, addressText: string, lengthText: string): ParsedPrefix {
  requireAddress(addressText);
  requireLength(text, lengthText, 6);
  const length = Number(lengthText);
  const address = addressFromBytes(addressBytes(addressText));
  if (family(address) === 6) return networkOf(text, address, length);
  if (length >= MAPPED_LENGTH) return networkOf(text, address, length - MAPPED_LENGTH);
  // Wider than the mapped range, so it must stay IPv6.
  return networkOf(text, addressFromNumber(addressNumber(addressText), 6), length);
}

function requireLength(text: string, lengthText: string, of: Family): void {
  if (!/^[0-9]+$/.test(lengthText)) {
    throw new NotationError(
      `${quoted(text)} has a prefix length that isn't a number (${quoted(lengthText)})`,
    );
  }
  if (lengthText.length > 1 && lengthText.startsWith('0')) {
    throw new NotationError(
      `${quoted(text)} has a prefix length with a leading zero (/${lengthText})`,
    );
  }
  if (Number(lengthText) > ADDRESS_BITS[of]) {
    throw new NotationError(
      `${quoted(text)} has a prefix length of ${lengthText}, an IPv${of} prefix has at most ${ADDRESS_BITS[of]} bits`,
    );
  }
}

/** `address` is valid; `length` is for its family. */
function networkOf(text: string, address: string, length: number): ParsedPrefix {
  const value = addressNumber(address);
  const prefix = prefixAround(value, family(address), length);
  const note =
    value === addressNumber(prefix.address)
      ? undefined
      : `${text} has host bits set, it is read as ${prefixNotation(prefix)}`;
  return { prefix, note };
}
