/** How targets and exclusions are written: a prefix or a name, optionally with `:ports`. */
import { isAddress } from '../net/address.ts';
import { endsInNumber, parseNamePattern } from '../net/name.ts';
import { NotationError, quoted } from '../net/notation.ts';
import { type Place, readAt } from '../net/place.ts';
import { MAX_PORT, parsePorts } from '../net/ports.ts';
import { formatPrefix, type ParsedPrefix, parsePrefix } from '../net/prefix.ts';
import { specialRangeOf } from '../net/special.ts';
import type { Entry } from './argsfile.ts';
import type { NameTarget, Target } from './configuration.ts';

/** The hint for readAt. */
export const TARGET_FORM =
  'write 10.0.0.0/8, 10.1.2.3:443, [2001:db8::]/32:8000-8100, api.example.com:443 or *.example.com';

export interface ParsedTarget {
  readonly target: Target;
  /** Notes about input that may have meant something else, one sentence each. */
  readonly notes: readonly string[];
}

/** Reads a target. Refuses ranges that are never captured. Throws UsageError. */
export function parseTarget(text: string, place: Place): ParsedTarget {
  const parsed = parseExclusion(text, place);
  const { prefix } = parsed.target;
  const special = specialRangeOf(prefix);
  if (special !== undefined && !special.onRequest) {
    return readAt(place, text, TARGET_FORM, () => {
      throw new NotationError(
        `${formatPrefix(prefix)} is ${special.reason}, which is never captured`,
        'name the networks behind the jump host',
      );
    });
  }
  return parsed;
}

/** Reads an exclusion: the same notation, but anything may be excluded. Throws UsageError. */
export function parseExclusion(text: string, place: Place): ParsedTarget {
  return readAt(place, text, TARGET_FORM, () => {
    refuseUrl(text);
    refuseList(text);
    refusePort(text);
    const split = splitPorts(text);
    const { prefix, note } = readPrefix(text, split.prefix);
    const ports = split.ports === undefined ? [] : parsePorts(split.ports);
    const notes = [note, portLookalike(text)].filter((entry) => entry !== undefined);
    return { target: { prefix, ports, text }, notes };
  });
}

/** With its place, where that is a line of a file. */
export function placed<T extends Target | NameTarget>(target: T, place: Place): T {
  return place.kind === 'file' ? { ...target, place } : target;
}

/**
 * Separates the names (`api.example.com[:ports]`, `*.example.com[:ports]`) from the addresses.
 * Throws UsageError.
 */
export function separateNames(entries: readonly Entry[]): {
  readonly addresses: readonly Entry[];
  readonly names: readonly NameTarget[];
} {
  return {
    addresses: entries.filter(({ text }) => !isNameTarget(text)),
    names: entries
      .filter(({ text }) => isNameTarget(text))
      .map(({ text, place }) => placed(readNameTarget(text, place), place)),
  };
}

/**
 * A name has a letter, is not an address, and doesn't end in a number. parseNamePattern checks
 * whether it is valid.
 */
function isNameTarget(text: string): boolean {
  if (isUrl(text)) return false;
  const [, host = ''] = /^([^:/[\]]+)(?::[^:]*)?$/.exec(text) ?? [];
  return /[^0-9.]/.test(host) && !endsInNumber(host) && !isMistypedAddress(host);
}

/**
 * Whether a host can only have been meant as an IPv4 address: it has two or more parts, and each
 * begins with a digit or consists of digits and letters that look like digits (`10.0.0.O`,
 * `10.0.0.1x`, `10.0.0,0`). No top-level domain begins with a digit (RFC 3696 §2), so no valid name
 * is refused.
 */
function isMistypedAddress(host: string): boolean {
  const parts = host.split(/[.,]/);
  return (
    parts.length > 1 &&
    parts.some((part) => /[0-9]/.test(part)) &&
    parts.every((part) => /^([0-9].*|[0-9oil|]+)$/is.test(part))
  );
}

function readNameTarget(text: string, place: Place): NameTarget {
  return readAt(place, text, TARGET_FORM, () => {
    refuseList(text);
    const [host = '', ports] = text.split(':');
    if (host.startsWith('-'))
      throw new NotationError(
        `${quoted(text)} begins with a dash, which no host name does`,
        'options come before "--"; "tunnel --help" lists them',
      );
    return {
      pattern: parseNamePattern(host),
      ports: ports === undefined ? [] : parsePorts(ports),
      text,
    };
  });
}

const SCHEME_PORTS: Readonly<Record<string, string>> = { 'http:': '80', 'https:': '443' };

/**
 * A URL as in a browser or a service catalog. It is not a target, although its scheme looks like a
 * name and a port.
 */
export function isUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}

/** Refuses a URL: throws NotationError with the URL's host and port as the hint. */
function refuseUrl(text: string): void {
  if (!isUrl(text)) return;
  const { hostname, port, protocol } = URL.canParse(text) ? new URL(text) : NO_URL;
  const meant = [hostname, port || SCHEME_PORTS[protocol]].filter((part) => part).join(':');
  throw new NotationError(
    'this is a URL; a target is a host or a network, optionally with ports',
    hostname === '' ? undefined : `write ${meant}`,
  );
}

/** Refuses a port on its own, as users of `ssh -D 1080` write it after `tunnel proxy`. */
function refusePort(text: string): void {
  const [, colon = '', digits = ''] = /^(:?)([0-9]{1,5})$/.exec(text) ?? [];
  if (digits === '' || (colon === '' && Number(digits) <= 255)) return;
  throw new NotationError(
    `${quoted(text)} has a port and no address`,
    `write 10.0.0.0/8:${digits}; the port of "tunnel proxy" is given as --listen 127.0.0.1:${digits}`,
  );
}

/** Refuses targets that are joined by commas. A comma separates ports only. */
function refuseList(text: string): void {
  const parts = text.split(',').map((part) => part.trim());
  if (parts.length < 2 || !parts.every((part) => WHOLE_TARGET.test(part))) return;
  throw new NotationError(
    `${quoted(text)} has several targets in one word`,
    `write them with blanks between them: ${parts.join(' ')}`,
  );
}

/** A prefix with its length, an address with four parts, or a name with a dot; with ports. */
const WHOLE_TARGET =
  /^([0-9a-f.:]+\/[0-9]+|[0-9]+(\.[0-9]+){3}|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.[a-z]+)(:[0-9-]+)?$/i;

const NO_URL = { hostname: '', port: '', protocol: '' } as const;

interface Split {
  readonly prefix: string;
  /** undefined: there was no colon. */
  readonly ports: string | undefined;
}

function splitPorts(text: string): Split {
  if (text.startsWith('[')) return splitBrackets(text);
  if (text.includes(']')) throw new NotationError(`${quoted(text)} has a "]" without "["`);
  const slash = text.indexOf('/');
  if (slash !== -1) {
    const misplaced = /^([^:/]+):([^:/]+)(\/.*)$/.exec(text);
    if (misplaced !== null) {
      const [, address = '', ports = '', length = ''] = misplaced;
      throw new NotationError(
        `${quoted(text)} has its ports before the prefix length`,
        `write ${address}${length}:${ports}`,
      );
    }
    // After the prefix length a colon can only introduce ports, also for IPv6 addresses without
    // brackets.
    return splitAt(text, text.indexOf(':', slash));
  }
  const first = text.indexOf(':');
  return first === text.lastIndexOf(':')
    ? splitAt(text, first)
    : { prefix: text, ports: undefined };
}

function splitAt(text: string, colon: number): Split {
  if (colon === -1) return { prefix: text, ports: undefined };
  return { prefix: text.slice(0, colon), ports: text.slice(colon + 1) };
}

/** `[2001:db8::]/32:443`, and sshuttle's `[2001:db8::/32]:443`. */
function splitBrackets(text: string): Split {
  const close = text.indexOf(']');
  if (close === -1) throw new NotationError(`${quoted(text)} has a "[" without "]"`);
  const inside = text.slice(1, close);
  const rest = text.slice(close + 1);
  if (!inside.includes(':')) {
    throw new NotationError(
      `${quoted(text)} has brackets around something that is not an IPv6 address`,
    );
  }
  if (rest !== '' && !rest.startsWith('/') && !rest.startsWith(':')) {
    throw new NotationError(
      `${quoted(text)} has ${quoted(rest)} after the "]"`,
      'ports are written as [address]:port',
    );
  }
  const { prefix: length, ports } = splitAt(rest, rest.indexOf(':'));
  return { prefix: inside + length, ports };
}

function readPrefix(text: string, prefixText: string): ParsedPrefix {
  const addressText = prefixText.replace(/\/.*$/s, '');
  if (isName(addressText) && !isMistypedAddress(addressText)) {
    throw new NotationError(
      `${quoted(text)} begins with a name, and a name takes no prefix length`,
      'write it alone or with ports, as in api.example.com:443',
    );
  }
  try {
    return parsePrefix(prefixText);
  } catch (error) {
    if (!(error instanceof NotationError)) throw error;
    const bracketed = withPort(text);
    if (bracketed !== undefined) {
      const hint = `an IPv6 address needs brackets when ports follow: write ${bracketed}`;
      throw new NotationError(error.message, hint);
    }
    const meant = error.hint === undefined ? withoutTypos(prefixText) : undefined;
    if (meant === undefined) throw error;
    const ports = text.slice(prefixText.length);
    throw new NotationError(error.message, `did you mean ${meant}${ports}?`);
  }
}

/**
 * The IPv4 address or prefix that the user may have meant: with digits for the letters that look
 * like them, dots for commas, a slash for a backslash, and nothing after the last digit.
 */
function withoutTypos(text: string): string | undefined {
  const tidy = text
    .replaceAll(/o/gi, '0')
    .replaceAll(/[il|]/gi, '1')
    .replaceAll(',', '.')
    .replaceAll('\\', '/')
    .replace(/[^0-9]+$/, '');
  try {
    parsePrefix(tidy);
  } catch {
    return undefined; // the user meant something else
  }
  return tidy === text || tidy.includes(':') ? undefined : tidy;
}

/** Host names as written in practice. The last label tells them from addresses, as in URLs. */
function isName(text: string): boolean {
  if (!/^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?$/i.test(text)) return false;
  const last = text.replace(/\.$/, '').split('.').at(-1) ?? '';
  return /[a-z]/i.test(last) && !/^0x[0-9a-f]*$/i.test(last);
}

/** `[address]:ports`, if an IPv6 address without brackets may have been meant as that. */
function withPort(text: string): string | undefined {
  if (text.startsWith('[') || text.includes('/')) return undefined;
  const colon = text.lastIndexOf(':');
  const address = text.slice(0, colon);
  const ports = text.slice(colon + 1);
  if (!address.includes(':') || !isAddress(address) || !/^[1-9][0-9,-]*$/.test(ports))
    return undefined;
  return `[${address}]:${ports}`;
}

/**
 * `2001:db8::1:443` is an address. If the last group looks like a port, a notice says that a port
 * may have been meant.
 */
function portLookalike(text: string): string | undefined {
  const meant = withPort(text);
  const port = /:([0-9]{2,4})$/.exec(text)?.[1];
  if (meant === undefined || port === undefined || Number(port) > MAX_PORT) return undefined;
  return `${text} is read as an address without a port; if you mean port ${port}, write ${meant}`;
}
