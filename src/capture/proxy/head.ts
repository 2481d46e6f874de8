/**
 * What a proxy reads from a request's head, and what it passes on (RFC 9110 §7.6, RFC 9112 §3.2).
 */
import type { IncomingMessage } from 'node:http';
import type { Destination } from '../../net/destination.ts';
import { canonicalHost } from '../../net/name.ts';
import { NotationError, quoted } from '../../net/notation.ts';
import { parsePort } from '../../net/ports.ts';

export const HTTP_PORT = 80;
/** RFC 9110 §7.6.3 */
const VIA = '1.1 tunnel';

export interface RequestTarget {
  readonly destination: Destination;
  /** The Host field for the server: as the client wrote it, without a user. */
  readonly authority: string;
  /** Origin form, exactly as the client wrote it: no part of it is decoded or normalised. */
  readonly path: string;
}

/** `http://host[:port]/path?query` (RFC 9112 §3.2.2). Throws NotationError. */
export function parseAbsoluteForm(target: string, method: string | undefined): RequestTarget {
  // A target with two "@" is rejected. Some programs end the user at the first one, some at the
  // last.
  const [, authority, rest = ''] =
    /^http:\/\/(?:[^/?#@]*@)?([^/?#@]+)((?:[/?][^#]*)?)(?:#|$)/i.exec(target) ?? [];
  if (authority === undefined) throw notAbsolute(target);
  const destination = parseAuthority(authority, HTTP_PORT);
  if (rest.startsWith('/')) return { destination, authority, path: rest };
  // OPTIONS for the server as a whole (RFC 9112 §3.2.4).
  const path = rest === '' && method === 'OPTIONS' ? '*' : `/${rest}`;
  return { destination, authority, path };
}

function notAbsolute(target: string): NotationError {
  if (/^(https|wss):/i.test(target)) {
    return new NotationError(
      'a proxy does not speak TLS on a client’s behalf',
      'Let the client use CONNECT. It does so when this is set as its proxy for https.',
    );
  }
  if (target.startsWith('/') || target === '*') {
    return new NotationError(
      'this is a proxy, not a server, and the request names no server',
      'Set it as the proxy of the program (http_proxy, https_proxy) instead of opening its address.',
    );
  }
  return new NotationError(
    `${quoted(target.slice(0, 80))} is not the address of a web server`,
    'Use http:// addresses, and CONNECT for anything else.',
  );
}

/**
 * `host:port` or `[v6]:port` (RFC 9110 §7.2). Without `defaultPort` the port is required. Throws
 * NotationError.
 */
export function parseAuthority(text: string, defaultPort?: number): Destination {
  const [, bracketed, plain, portText] =
    /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([0-9]*))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || (bracketed !== undefined && !bracketed.includes(':'))) {
    throw new NotationError(`${quoted(text.slice(0, 300))} is not host:port`);
  }
  if ((portText ?? '') !== '')
    return { host: canonicalHost(host), port: parsePort(portText ?? '') };
  if (defaultPort === undefined)
    throw new NotationError(`${quoted(text.slice(0, 300))} has no port`);
  return { host: canonicalHost(host), port: defaultPort };
}

/**
 * Throws NotationError if the request has several Host fields, or lacks the one that HTTP/1.1
 * requires (RFC 9112 §3.2).
 */
export function checkHostFields({ httpVersion, rawHeaders }: IncomingMessage): void {
  const count = pairs(rawHeaders).filter(([name]) => name.toLowerCase() === 'host').length;
  if (count > 1) throw new NotationError('the request has several Host fields', 'Send only one.');
  if (count === 0 && httpVersion === '1.1')
    throw new NotationError('the request has no Host field', 'HTTP/1.1 requires one.');
}

/** Methods to which Max-Forwards applies (RFC 9110 §7.6.2). */
const COUNTED_METHODS = new Set(['OPTIONS', 'TRACE']);

/** Whether Max-Forwards forbids passing the request on. */
export function isLastRecipient({ method, headers }: IncomingMessage): boolean {
  return COUNTED_METHODS.has(method ?? '') && /^0+$/.test(String(headers['max-forwards']));
}

/**
 * The Max-Forwards field to send on, one lower. Empty if the request has no such field or its
 * method doesn't use it.
 */
export function maxForwardsField({ method, headers }: IncomingMessage): readonly string[] {
  const given = String(headers['max-forwards']);
  if (!COUNTED_METHODS.has(method ?? '') || !/^[0-9]{1,9}$/.test(given)) return [];
  return ['Max-Forwards', String(Number(given) - 1)];
}

/**
 * Fields that concern one hop only (RFC 9110 §7.6.1), in addition to those that Connection names.
 * Trailer announces the fields after the last chunk. It belongs to the framing, which is done
 * again, and Node refuses to write it without chunks.
 */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/**
 * The fields to pass on, as alternating names and values like Node's rawHeaders, with a Via field
 * for this proxy. Transfer-Encoding is left out, because each side frames its own body. `without`:
 * more names to leave out, in lower case.
 */
export function endToEnd(raw: readonly string[], without: readonly string[] = []): string[] {
  const dropped = new Set([...HOP_BY_HOP, ...without]);
  const fields = pairs(raw);
  for (const [name, value] of fields) {
    if (name.toLowerCase() !== 'connection') continue;
    for (const option of value.split(',')) {
      const named = option.trim().toLowerCase();
      // "Connection: Content-Length" would change where the body ends.
      if (named !== 'content-length') dropped.add(named);
    }
  }
  const kept = fields.filter(([name]) => !dropped.has(name.toLowerCase()));
  return [...kept.flat(), 'Via', VIA];
}

/**
 * Whether the body can be passed on. `chunked` is only framing, which each side does again. Any
 * other transfer coding changes the body and would be lost (RFC 9112 §6.1). Takes the value of
 * Transfer-Encoding.
 */
export function isPlainCoding(coding: string | undefined): boolean {
  return coding === undefined || coding.trim().toLowerCase() === 'chunked';
}

function pairs(raw: readonly string[]): [string, string][] {
  const result: [string, string][] = [];
  for (let index = 0; index + 1 < raw.length; index += 2)
    result.push([raw[index] ?? '', raw[index + 1] ?? '']);
  return result;
}
