/**
 * Parses a jump host: `[user@]host[:port]`, `[user@][v6]:port`, `[user@]v6`,
 * `ssh://[user@]host[:port]`.
 *
 * The user ends at the last `@`, because some bastions take `user@session@domain` as the user.
 * Whatever is before it is the user, as with ssh: `user:target` and `DOMAIN\user` as well. In a URI
 * the user is percent-encoded, and a `:` in it would begin a password (RFC 3986 §3.2.1).
 *
 * User and host must not begin with a dash: a program that gets them as arguments would take them
 * for options.
 */
import { isIPv6 } from 'node:net';
import { UsageError } from '../errors/errors.ts';
import { NotationError, quoted } from '../net/notation.ts';
import { formatPlace, type Place, readAt } from '../net/place.ts';
import { parsePort } from '../net/ports.ts';
import type { Remote } from './options.ts';

const REMOTE_FORM =
  'write USER@HOST, HOST:PORT, [IPV6]:PORT, ssh://USER@HOST:PORT, or a Host alias of ssh_config';
const SCHEME = 'ssh://';
/** RFC 1035 §2.3.4 */
const MAX_HOST_LENGTH = 255;

/** Throws UsageError. */
export function parseRemote(text: string, place: Place): Remote {
  return readAt(place, text, REMOTE_FORM, () => {
    if (text === '') throw new NotationError('the jump host is empty');
    if (/[\u0000-\u001f\u007f-\u009f]/.test(text))
      throw new NotationError(`${quoted(text)} has control characters`);
    return text.toLowerCase().startsWith(SCHEME) ? parseUri(text) : parsePlain(text);
  });
}

/**
 * More hosts on the way than this are probably a mistake: each costs several round trips at the
 * start.
 */
export const MAX_JUMP_HOPS = 8;

/**
 * Parses the argument of -J and ProxyJump: jump hosts in the order in which they are passed,
 * separated by commas; `none` is the empty list. Throws UsageError.
 */
export function parseJump(text: string, place: Place): Remote[] {
  if (text.toLowerCase() === 'none') return [];
  const hops = text.split(',').map((hop) => parseRemote(hop.trim(), place));
  // As in ssh. A jump host of -r may be such an alias.
  const slash = hops.find(({ host }) => host.includes('/'));
  if (slash !== undefined) {
    throw new UsageError(`${formatPlace(place)}: ${quoted(slash.text)} has a host with "/" in it`, {
      hint: REMOTE_FORM,
    });
  }
  const comma = hops.find(({ user }) => user?.includes(','));
  if (comma !== undefined) {
    throw new UsageError(
      `${formatPlace(place)}: ${quoted(comma.text)} has a user with a "," in it`,
      {
        hint: 'give the host a section in ssh_config with HostName and User, and name that here',
      },
    );
  }
  if (hops.length > MAX_JUMP_HOPS) {
    throw new UsageError(
      `${formatPlace(place)}: a chain of ${hops.length} hosts is too long, at most ${MAX_JUMP_HOPS} are allowed`,
      { hint: 'shorten the chain of -J or ProxyJump' },
    );
  }
  return hops;
}

/** In the form that parseJump and ssh's -J read. */
export function formatJump(hops: readonly Remote[]): string {
  return hops.length === 0 ? 'none' : hops.map(formatHop).join(',');
}

function formatHop({ user, host, port }: Remote): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return `${user === undefined ? '' : `${user}@`}${name}${port === undefined ? '' : `:${port}`}`;
}

function parsePlain(text: string): Remote {
  const [prefix, scheme] = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text) ?? [];
  if (prefix !== undefined) throw notSsh(text, text.slice(prefix.length), scheme ?? '');
  return assemble(text, text);
}

/** `rest`: what follows the `://`. */
function notSsh(text: string, rest: string, scheme: string): NotationError {
  // The port of a web address is not that of SSH.
  const [host = ''] = rest.replace(/^.*@/, '').split(/[/?#:]/, 1);
  if (/^https?$/i.test(scheme)) {
    return new NotationError(
      `${quoted(text)} is a web address`,
      `name the SSH server, as its page or administrator does: USER@${host === '' ? 'HOST' : host}, with :PORT if it isn't 22`,
    );
  }
  const [authority = ''] = rest.split(/[/?#]/, 1);
  return new NotationError(`${quoted(text)} is not an SSH address`, `write ssh://${authority}`);
}

/** draft-salowey-ssh-uri-00, as ssh(1) reads it. */
function parseUri(text: string): Remote {
  const rest = text.slice(SCHEME.length).replace(/\/$/, '');
  if (/[/?#]/.test(rest))
    throw new NotationError(`${quoted(text)} has something after the host`, 'leave out the path');
  const at = rest.lastIndexOf('@');
  const user = rest.slice(0, Math.max(at, 0));
  if (user.includes(':')) {
    throw new NotationError(
      'the URI has a ":" in the user, and what may be a password after it',
      'leave a password out: it is asked for when it is needed; write %3A if the ":" belongs to the user',
    );
  }
  return assemble(text, at === -1 ? rest : `${decodePercent(text, user)}@${rest.slice(at + 1)}`);
}

function decodePercent(text: string, part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    // decodeURIComponent only says that it is malformed.
    throw new NotationError(
      `${quoted(text)} has a "%" that isn't followed by two hexadecimal digits of UTF-8`,
    );
  }
}

function assemble(text: string, rest: string): Remote {
  const at = rest.lastIndexOf('@');
  const user = at === -1 ? undefined : rest.slice(0, at);
  if (user !== undefined) checkUser(text, user);
  const { host, port } = splitPort(text, rest.slice(at + 1));
  checkHost(text, host);
  return { user, host, port: port === undefined ? undefined : parsePort(port), text };
}

function checkUser(text: string, user: string): void {
  if (user === '') throw new NotationError(`${quoted(text)} has no user before the "@"`);
  if (user.startsWith('-'))
    throw new NotationError(`${quoted(text)} has a user that begins with a dash`);
  // Percent-decoding can produce them.
  if (/[\u0000-\u001f\u007f-\u009f]/.test(user))
    throw new NotationError(`${quoted(text)} has control characters`);
}

function splitPort(
  text: string,
  hostPort: string,
): { readonly host: string; readonly port: string | undefined } {
  if (hostPort.startsWith('[')) {
    const close = hostPort.indexOf(']');
    if (close === -1) throw new NotationError(`${quoted(text)} has a "[" without "]"`);
    const host = hostPort.slice(1, close);
    const rest = hostPort.slice(close + 1);
    // ssh -G also prints hops of digits and dots in brackets.
    if (!host.includes(':') && !/^[0-9.]+$/.test(host))
      throw new NotationError(`${quoted(text)} has brackets around something that is no address`);
    if (rest === '') return { host, port: undefined };
    if (!rest.startsWith(':'))
      throw new NotationError(`${quoted(text)} has ${quoted(rest)} after the "]"`);
    return { host, port: rest.slice(1) };
  }
  const first = hostPort.indexOf(':');
  const last = hostPort.lastIndexOf(':');
  if (first === -1 || first !== last) return { host: hostPort, port: undefined };
  return { host: hostPort.slice(0, first), port: hostPort.slice(first + 1) };
}

function checkHost(text: string, host: string): void {
  if (host === '') throw new NotationError(`${quoted(text)} has no host`);
  if (host.startsWith('-'))
    throw new NotationError(`${quoted(text)} has a host that begins with a dash`);
  if (host.length > MAX_HOST_LENGTH)
    throw new NotationError(`the host is longer than ${MAX_HOST_LENGTH} characters`);
  if (host.includes(':')) {
    if (isIPv6(host)) return; // a zone is allowed: the jump host may be on a local link
    const [, address = '', port = ''] = /^(.*):([0-9]+)$/.exec(host) ?? [];
    const hint = isIPv6(address)
      ? `an IPv6 address needs brackets when a port follows: write [${address}]:${port}`
      : undefined;
    throw new NotationError(`${quoted(text)} has a host that is no IPv6 address (${host})`, hint);
  }
  // The characters that OpenSSH refuses in host names, and those that end a host here. What only
  // an alias of ssh_config can be is looked at when that is known (numerichost.ts).
  const strange = /[\s'"`$\\;&<>|(){},[\]@]/u.exec(host);
  if (strange !== null)
    throw new NotationError(`${quoted(text)} has a host with ${quoted(strange[0])} in it`);
}
