/**
 * IP addresses as text, octets and numbers.
 *
 * Inside the program an address is a *canonical* string: dotted decimal, or RFC 5952 for IPv6
 * (lower case, no leading zeros, the longest run of zero groups as `::`). The canonical form of an
 * IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) is the IPv4 address, because both name the same
 * destination and sshd's PermitOpen compares text. So canonical addresses can be compared with
 * `===`, and a string with a colon is IPv6.
 *
 * Text from outside goes through `canonicalAddress` once. The other functions expect a valid
 * address and check only what costs nothing. Never accepted: zone ids (`fe80::1%eth0`), octal or
 * hexadecimal parts, fewer than four parts. prefix.ts reads the short forms of prefixes (`10/8`).
 */
import { isIPv4, isIPv6 } from 'node:net';
import { NotationError, quoted } from './notation.ts';

export type Family = 4 | 6;

export const ADDRESS_BITS: Readonly<Record<Family, number>> = { 4: 32, 6: 128 };

const IPV4_PARTS = 4;
/** The character. */
const ZERO = 0x30;
const IPV6_GROUPS = 8;
const IPV6_OCTETS = 16;
/** First octets of ::ffff:0:0/96 (RFC 4291 §2.5.5.2). */
const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] as const;

/** The family of a valid address. */
export function family(address: string): Family {
  return address.includes(':') ? 6 : 4;
}

/** Whether `text` is an address, without a zone id. */
export function isAddress(text: string): boolean {
  return isIPv4(text) || (isIPv6(text) && !text.includes('%'));
}

/**
 * Whether `text` is an IPv6 address with a zone id: `fe80::53%eth0` (RFC 4007 §11). Only a resolver
 * of this machine is ever written so. It is not a canonical address.
 */
export function isZoned(text: string): boolean {
  return text.includes('%') && isIPv6(text);
}

/** Checks an address and brings it into canonical form. Throws NotationError. */
export function canonicalAddress(text: string): string {
  if (isIPv4(text)) return text; // there is only one way to write it
  requireAddress(text);
  return addressFromBytes(addressBytes(text));
}

/** Throws a NotationError that says what is wrong with `text`, if it isn't an address. */
export function requireAddress(text: string): void {
  if (isAddress(text)) return;
  if (text === '') throw new NotationError('the address is missing');
  if (text.includes('%')) {
    throw new NotationError(
      `${quoted(text)} has a zone id ("%...")`,
      "leave the zone out; link-local IPv6 addresses belong to one link and can't be carried",
    );
  }
  if (text.includes(':')) throw new NotationError(ipv6Problem(text));
  requireIPv4Parts(text);
  throw new NotationError(
    `${quoted(text)} has ${count(text.split('.').length, 'part')}, an IPv4 address has four`,
  );
}

/**
 * Checks that `text` consists of decimal octets, any number of them. Throws NotationError for the
 * first that isn't one.
 */
export function requireIPv4Parts(text: string): void {
  for (const part of text.split('.')) {
    if (part === '') throw new NotationError(`${quoted(text)} has an empty part`);
    if (!/^[0-9]+$/.test(part)) {
      throw new NotationError(
        `${quoted(text)} is not an address: ${quoted(part)} is not a decimal number`,
      );
    }
    if (part.length > 1 && part.startsWith('0')) {
      throw new NotationError(
        `${quoted(text)} has a part with a leading zero (${part}), which some programs read as octal`,
        `write ${part.replace(/^0+(?=.)/, '')} instead of ${part} if decimal is meant`,
      );
    }
    if (Number(part) > 255)
      throw new NotationError(`${quoted(text)} has a part above 255 (${part})`);
  }
}

function ipv6Problem(text: string): string {
  if (text.indexOf('::') !== text.lastIndexOf('::'))
    return `${quoted(text)} has "::" more than once`;
  const strange = /[^0-9a-fA-F:.]/.exec(text);
  if (strange !== null)
    return `${quoted(text)} is not an IPv6 address: it contains ${quoted(strange[0])}`;
  const groups = text.split(':').filter((group) => group !== '');
  const long = groups.find((group) => group.length > 4 && !group.includes('.'));
  if (long !== undefined) return `${quoted(text)} has a group of more than four digits (${long})`;
  if (groups.length > IPV6_GROUPS)
    return `${quoted(text)} has ${groups.length} groups, an IPv6 address has eight`;
  if (!text.includes('::') && groups.length < IPV6_GROUPS && !text.includes('.')) {
    return `${quoted(text)} has ${count(groups.length, 'group')} and no "::", an IPv6 address has eight`;
  }
  return `${quoted(text)} is not an IPv6 address`;
}

function count(n: number, noun: string): string {
  return n === 1 ? `one ${noun}` : `${n} ${noun}s`;
}

/**
 * The octets of a valid address in network order: 4 or 16, depending on how it is written (a mapped
 * address has 16).
 */
export function addressBytes(address: string): Uint8Array {
  return address.includes(':') ? ipv6Bytes(address) : ipv4Bytes(address);
}

/** Character by character: it is done for each connection, and `split` takes five times as long. */
function ipv4Bytes(address: string): Uint8Array {
  const bytes = new Uint8Array(IPV4_PARTS);
  let part = 0;
  let value = 0;
  for (let at = 0; at < address.length; at++) {
    const digit = address.charCodeAt(at) - ZERO;
    if (digit >= 0) {
      value = 10 * value + digit;
      continue;
    }
    bytes[part++] = value;
    value = 0;
  }
  bytes[part] = value;
  if (part === IPV4_PARTS - 1) return bytes;
  throw new NotationError(`${quoted(address)} is not an IPv4 address`);
}

function ipv6Bytes(address: string): Uint8Array {
  const lastColon = address.lastIndexOf(':');
  if (address.includes('.', lastColon)) {
    // The dotted tail (RFC 4291 §2.2 form 3) becomes the two groups that it stands for.
    const [a = 0, b = 0, c = 0, d = 0] = ipv4Bytes(address.slice(lastColon + 1));
    const tail = `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
    return ipv6Bytes(address.slice(0, lastColon + 1) + tail);
  }
  const gap = address.indexOf('::');
  const head = groupsOf(gap === -1 ? address : address.slice(0, gap));
  const tail = gap === -1 ? [] : groupsOf(address.slice(gap + 2));
  const zeros = IPV6_GROUPS - head.length - tail.length;
  if (zeros < 0 || (gap === -1 && zeros > 0)) {
    throw new NotationError(`${quoted(address)} is not an IPv6 address`);
  }
  const bytes = new Uint8Array(IPV6_OCTETS);
  const view = new DataView(bytes.buffer);
  head.forEach((group, index) => {
    view.setUint16(index * 2, group);
  });
  tail.forEach((group, index) => {
    view.setUint16((head.length + zeros + index) * 2, group);
  });
  return bytes;
}

function groupsOf(text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
}

/**
 * The canonical address of 4 or 16 octets; for a mapped address, the IPv4 address. Throws
 * RangeError for other lengths.
 */
export function addressFromBytes(bytes: Uint8Array): string {
  if (bytes.length === IPV4_PARTS) return bytes.join('.');
  if (bytes.length !== IPV6_OCTETS) throw new RangeError(`an address of ${bytes.length} octets`);
  if (MAPPED.every((octet, index) => bytes[index] === octet))
    return bytes.subarray(MAPPED.length).join('.');
  return formatIPv6(bytes);
}

/** RFC 5952 §4 without the mapped form, so that the text stays IPv6. */
function formatIPv6(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, IPV6_OCTETS);
  const groups = Array.from({ length: IPV6_GROUPS }, (_, index) => view.getUint16(index * 2));
  let gapStart = 0;
  let gapLength = 0;
  for (let start = 0; start < IPV6_GROUPS; ) {
    let end = start;
    while (end < IPV6_GROUPS && groups[end] === 0) end += 1;
    if (end - start > gapLength) {
      gapStart = start;
      gapLength = end - start;
    }
    start = end + 1;
  }
  const hex = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  // RFC 5952 §4.2.2: a single zero group is not shortened.
  if (gapLength < 2) return hex(0, IPV6_GROUPS);
  return `${hex(0, gapStart)}::${hex(gapStart + gapLength, IPV6_GROUPS)}`;
}

/** A valid address as a number, for comparisons within its family. */
export function addressNumber(address: string): bigint {
  if (!address.includes(':')) {
    // As in ipv4Bytes. Every rule of a policy is looked up by such a number.
    let value = 0;
    let part = 0;
    for (let at = 0; at < address.length; at++) {
      const digit = address.charCodeAt(at) - ZERO;
      if (digit >= 0) {
        part = 10 * part + digit;
        continue;
      }
      value = 256 * value + part;
      part = 0;
    }
    return BigInt(256 * value + part);
  }
  const view = new DataView(ipv6Bytes(address).buffer);
  return (view.getBigUint64(0) << 64n) | view.getBigUint64(8);
}

/** The address with this number. Unlike `canonicalAddress`, it always has the given family. */
export function addressFromNumber(value: bigint, of: Family): string {
  const view = new DataView(new ArrayBuffer(of === 4 ? IPV4_PARTS : IPV6_OCTETS));
  if (of === 4) {
    view.setUint32(0, Number(value));
    return addressFromBytes(new Uint8Array(view.buffer));
  }
  view.setBigUint64(0, value >> 64n);
  view.setBigUint64(8, value & 0xffff_ffff_ffff_ffffn);
  return formatIPv6(new Uint8Array(view.buffer));
}
