/**
 * Host names as text, and patterns for them.
 *
 * Inside the program a name is *canonical*: lower case, no dot at the end, internationalised labels
 * as A-labels (RFC 5891 §4.4). So names can be compared with `===`, and with the names in sshd's
 * PermitOpen, which compares text.
 *
 * Text that getaddrinfo(3) would read as a disguised address (`127.1`, `0x7f.1`, `2130706433`) is
 * neither a name nor an address here, because it would slip past every rule about the real address.
 * As in URLs, the last label decides (WHATWG URL, "ends in a number").
 */
import { domainToASCII } from 'node:url';
import { canonicalAddress, isAddress } from './address.ts';
import { NotationError, quoted } from './notation.ts';

/**
 * Without the dot at the end: the 255 octets of RFC 1035 §2.3.4, less the root's and the first
 * label's length.
 */
const MAX_NAME_LENGTH = 253;
/** RFC 1035 §2.3.4 */
const MAX_LABEL_LENGTH = 63;

/**
 * What domainToASCII is for. In a text with other ASCII characters it decodes "%41", leaves line
 * breaks out, and takes what follows a "/" for a path. Nobody means that in a host name.
 */
const INTERNATIONAL = /^[\w.-]*[\u0080-\u{10ffff}][\w.\u0080-\u{10ffff}-]*$/u;

/**
 * `api.example.com`; or with `below`, all names below `example.com` at any depth, but not
 * `example.com` itself.
 */
export interface NamePattern {
  readonly name: string;
  readonly below: boolean;
}

/** Checks a name and brings it into canonical form. Throws NotationError. */
export function canonicalName(text: string): string {
  const bare = text.replace(/\.$/, '');
  const ascii = INTERNATIONAL.test(bare) ? domainToASCII(bare) : bare;
  const name = ascii.toLowerCase();
  // RFC 1123 §2.1, and the underscore, which resolvers accept and people use.
  if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name))
    throw new NotationError(`${quoted(text)} is not a host name`);
  if (name.length > MAX_NAME_LENGTH)
    throw new NotationError(
      `a host name of ${name.length} characters, at most ${MAX_NAME_LENGTH} are possible`,
    );
  const labels = name.split('.');
  if (labels.some((label) => label.length > MAX_LABEL_LENGTH))
    throw new NotationError(
      `${quoted(text)} has a label of more than ${MAX_LABEL_LENGTH} characters`,
    );
  if (endsInNumber(name))
    throw new NotationError(
      `${quoted(text)} is neither a name nor an address: its last label is a number`,
      'write an IPv4 address as four decimal numbers',
    );
  return name;
}

/**
 * Whether a name from outside, in lower case, can be a destination as it is. DNS names may have
 * dots, spaces or anything else in a label (RFC 2181 §11); host names may not.
 */
export function isCanonicalName(text: string): boolean {
  try {
    return canonicalName(text) === text;
  } catch {
    return false;
  }
}

/**
 * A name or an address without brackets, as clients write their destinations. Throws NotationError.
 */
export function canonicalHost(text: string): string {
  return isAddress(text) ? canonicalAddress(text) : canonicalName(text);
}

/**
 * Whether the last label is a number, so that the text can only be an address or a malformed one.
 */
export function endsInNumber(text: string): boolean {
  return /(^|\.)([0-9]+|0x[0-9a-f]*)\.?$/i.test(text);
}

/** Reads `api.example.com` or `*.example.com`. Throws NotationError. */
export function parseNamePattern(text: string): NamePattern {
  const below = text.startsWith('*.');
  if (!below && /^[*.]/.test(text)) {
    const bare = text.replace(/^[*.]+/, '');
    const hint =
      bare === ''
        ? 'to send all names through the tunnel, use --dns'
        : `write "*.${bare}" for all names below it`;
    throw new NotationError(`${quoted(text)} is not a host name`, hint);
  }
  return { name: canonicalName(below ? text.slice(2) : text), below };
}

export function formatNamePattern({ name, below }: NamePattern): string {
  return below ? `*.${name}` : name;
}

/** `localhost` and names below it are always resolved to loopback addresses (RFC 6761 §6.3). */
export function isLocalhost(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost');
}
