/**
 * Hosts that are written as numbers, or with a slash. As an alias of ssh_config they are names like
 * any other (`Host 61`, `Host db.1`, `Host prod/db`). Without a HostName they are mistakes:
 * getaddrinfo(3) reads 10.1, 010.0.0.1 and 0x7f.1 as addresses that nobody expects.
 */
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { canonicalAddress, requireAddress } from '../net/address.ts';
import { NotationError, quoted } from '../net/notation.ts';

/**
 * The address that getaddrinfo(3) reads in a text without asking a resolver, as it prints it:
 * decimal, octal and hexadecimal parts, up to four (inet_aton(3)), and IPv6 without a zone.
 * undefined: the text is a name.
 */
export function numericAddress(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (isIPv6(text)) {
    if (text.includes('%') || text.includes('.')) return text.toLowerCase();
    return canonicalAddress(text);
  }
  const parts = text.split('.');
  if (parts.length > 4) return undefined;
  const numbers = parts.map(readPart);
  let address = 0;
  for (const [index, number] of numbers.entries()) {
    const octets = index === numbers.length - 1 ? 4 - index : 1;
    if (number === undefined || number >= 256 ** octets) return undefined;
    address = address * 256 ** octets + number;
  }
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

function readPart(text: string): number | undefined {
  if (/^(0x[0-9a-f]+|[1-9][0-9]*)$/i.test(text)) return Number(text);
  return /^0[0-7]*$/.test(text) ? Number.parseInt(text, 8) : undefined;
}

/**
 * Throws NotationError for a host without a HostName that can't be meant: no name that a resolver
 * accepts, and no address in its usual form.
 */
export function requireUsualHost(host: string): void {
  if (isIP(host) !== 0) return;
  if (looksLikePrefix(host)) {
    throw new NotationError(
      `${quoted(host)} is a network, not a host`,
      `name the jump host with -r, and the network after it: tunnel -r user@jumphost ${host}`,
    );
  }
  if (host.includes('/')) throw new NotationError(`${quoted(host)} has "/" in it`);
  const labels = host.replace(/\.$/, '').split('.');
  if (labels.every((label) => /^(0x[0-9a-f]*|[0-9]+)$/i.test(label))) requireAddress(host);
}

/** `10.0.0.0/8` or `2001:db8::/32` where a host belongs. */
export function looksLikePrefix(host: string): boolean {
  const [, address = ''] = /^(.+)\/[0-9]{1,3}$/.exec(host) ?? [];
  return numericAddress(address) !== undefined;
}
