/**
 * What a jump host is to admit: sshd's PermitOpen entries from an allow-list.
 *
 *   10.0.0.5:443             -> 10.0.0.5:443
 *   10.0.0.0/30:80,443       -> each address with each port
 *   [2001:db8::5]:443        -> [2001:db8::5]:443
 *   API.Example.com:8000-02  -> api.example.com:8000, :8001, :8002
 *   10.0.0.5                 -> 10.0.0.5:*
 *
 * sshd compares host and port as text (sshd_config(5), PermitOpen; channels.c): neither prefixes
 * nor patterns nor upper case ever match. So each entry is written in the form that this client
 * sends, and what can't be written so is an error that says what to write instead.
 */
import { UsageError } from '../errors/errors.ts';
import { addressFromNumber, isAddress } from '../net/address.ts';
import type { NamePattern } from '../net/name.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, type Place } from '../net/place.ts';
import type { PortRange } from '../net/ports.ts';
import { type Prefix, parsePrefix, prefixBounds, prefixContains } from '../net/prefix.ts';

/**
 * Entries that one prefix or one range of ports may become: more is no list that a person reads.
 */
export const MAX_EXPANDED = 256;
/** Entries of one jump host. sshd reads them all for each login. */
export const MAX_PERMITTED = 4096;

/**
 * Nothing is there: groups, links that need a zone, and addresses that the kernel takes for the
 * jump host itself, which `0.0.0.0:22` would open to everybody.
 */
const NO_DESTINATIONS: readonly Prefix[] = [
  '0.0.0.0/8',
  '224.0.0.0/4',
  '255.255.255.255',
  '::',
  'fe80::/10',
  'ff00::/8',
].map((text) => parsePrefix(text).prefix);

/** One entry. */
export interface PermittedDestination {
  /** A canonical address without brackets, or a name in lower case. */
  readonly host: string;
  /** `*`: every port. */
  readonly port: number | '*';
}

interface Allowed {
  /** Empty: every port. */
  readonly ports: readonly PortRange[];
  /** As the user wrote it. */
  readonly text: string;
  /** Where, if it was in a file. */
  readonly place?: Place;
}

export interface AllowedPrefix extends Allowed {
  readonly prefix: Prefix;
}

export interface AllowedName extends Allowed {
  readonly pattern: NamePattern;
}

/**
 * Without repetition, names before addresses, each sorted. Throws UsageError for an empty list, for
 * what would never match, and for what would become too many entries.
 */
export function permittedDestinations(
  prefixes: readonly AllowedPrefix[],
  names: readonly AllowedName[],
): PermittedDestination[] {
  const entries = [...names.flatMap(expandName), ...prefixes.flatMap(expandPrefix)];
  const unique = new Map(entries.map((entry) => [formatPermitted(entry), entry]));
  if (unique.size === 0) {
    throw new UsageError('nothing is listed that the jump host could admit', {
      hint: 'name what it may connect to, as in: tunnel jumphost sshd api.example.com:443',
    });
  }
  if (unique.size > MAX_PERMITTED) {
    throw new UsageError(
      `the list has ${unique.size} entries, and at most ${MAX_PERMITTED} are rendered`,
      { hint: 'list fewer destinations, or every port of an address by leaving its ports out' },
    );
  }
  return [...unique.values()].filter((entry) => !isCovered(entry, unique)).sort(compare);
}

/** As PermitOpen takes it: an IPv6 address in brackets. */
export function formatPermitted({ host, port }: PermittedDestination): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** For the beginning of a message. */
function written({ text, place }: Allowed): string {
  return `${place === undefined ? '' : filePrefix(place)}${quoted(text)}`;
}

function expandName(allowed: AllowedName): PermittedDestination[] {
  const { name, below } = allowed.pattern;
  if (below) {
    throw new UsageError(
      `${written(allowed)}: sshd knows no patterns in names, so that it would never match`,
      {
        hint: `list each name by itself, as in: api.${name}:443`,
      },
    );
  }
  return portsOf(allowed).map((port) => ({ host: name, port }));
}

function expandPrefix(allowed: AllowedPrefix): PermittedDestination[] {
  const { prefix } = allowed;
  const { first, last } = prefixBounds(prefix);
  const count = last - first + 1n;
  if (count > BigInt(MAX_EXPANDED)) {
    throw new UsageError(
      `${written(allowed)}: sshd knows no prefixes, and this one has ${count} addresses; at most ${MAX_EXPANDED} are listed one by one`,
      { hint: 'list the addresses that are needed, or a smaller prefix' },
    );
  }
  const overlaps = (range: Prefix) =>
    prefixContains(range, prefix) || prefixContains(prefix, range);
  if (NO_DESTINATIONS.some(overlaps)) {
    throw new UsageError(`${written(allowed)} is or holds an address that no host can have`, {
      hint: 'list what is behind the jump host; services of its own are at 127.0.0.1',
    });
  }
  const allPorts = portsOf(allowed);
  if (count * BigInt(allPorts.length) > BigInt(MAX_EXPANDED)) {
    throw new UsageError(
      `${written(allowed)} would become ${count * BigInt(allPorts.length)} entries, at most ${MAX_EXPANDED} are rendered`,
      { hint: 'leave the ports out to admit every port of these addresses, or list fewer' },
    );
  }
  return Array.from({ length: Number(count) }, (_, i) =>
    addressFromNumber(first + BigInt(i), prefix.family),
  ).flatMap((host) => allPorts.map((port) => ({ host, port })));
}

function portsOf(allowed: Allowed): (number | '*')[] {
  const { ports: ranges } = allowed;
  if (ranges.length === 0) return ['*'];
  const count = ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  if (count > MAX_EXPANDED) {
    throw new UsageError(
      `${written(allowed)}: sshd knows no ranges of ports, and these are ${count}; at most ${MAX_EXPANDED} are listed one by one`,
      { hint: 'list the ports that are needed, or leave them out to admit every port' },
    );
  }
  return ranges.flatMap(({ first, last }) =>
    Array.from({ length: last - first + 1 }, (_, i) => first + i),
  );
}

/** Every port of the same host is listed as well. */
function isCovered(
  { host, port }: PermittedDestination,
  all: ReadonlyMap<string, PermittedDestination>,
): boolean {
  return port !== '*' && all.has(formatPermitted({ host, port: '*' }));
}

function compare(a: PermittedDestination, b: PermittedDestination): number {
  const [addressA, addressB] = [isAddress(a.host), isAddress(b.host)];
  if (addressA !== addressB) return addressA ? 1 : -1;
  if (a.host !== b.host) return a.host < b.host ? -1 : 1;
  return Number(a.port) - Number(b.port);
}
