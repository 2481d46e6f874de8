/**
 * What the proxies answer when a connection is refused. One table, so that all fronts agree:
 *
 * | refusal       | SOCKS5 (RFC 1928 §6)          | SOCKS4 | HTTP | Proxy-Status (RFC 9209 §2.3) |
 * |---------------|-------------------------------|--------|------|------------------------------|
 * | `refused`     | 05 connection refused         | 91     | 502  | connection_refused           |
 * | `unreachable` | 04 host unreachable           | 91     | 502  | destination_ip_unroutable    |
 * | `no-network`  | 03 network unreachable        | 91     | 502  | destination_ip_unroutable    |
 * | `prohibited`  | 02 not allowed by ruleset     | 91     | 403  | http_request_denied          |
 * | `timeout`     | 06 TTL expired                | 91     | 504  | connection_timeout           |
 *
 * A name that can't be resolved is `unreachable`. RFC 1928 has no code for silence. Other servers
 * use 06 for it, which distinguishes it from a host that is known to be down.
 *
 * Other answers of SOCKS5: 07 for BIND and UDP ASSOCIATE, 08 for an unknown address type, 01 for an
 * invalid destination, and no acceptable method (SOCKS4: 91) for another user's client and for a
 * protocol that isn't offered. Other answers of HTTP: 400, 401, 403, 405, 407, 408, 417, 429, 431,
 * 500 and 501, each with a body that says why.
 */
import { STATUS_CODES } from 'node:http';
import type { Refusal } from '../../net/refusal.ts';
import { printable } from '../../observe/printable.ts';

/** RFC 1928 §6 */
export const SOCKS5_REPLY = {
  succeeded: 0x00,
  generalFailure: 0x01,
  notAllowed: 0x02,
  networkUnreachable: 0x03,
  hostUnreachable: 0x04,
  connectionRefused: 0x05,
  ttlExpired: 0x06,
  commandNotSupported: 0x07,
  addressTypeNotSupported: 0x08,
} as const;

export const SOCKS5_REPLIES: Readonly<Record<Refusal, number>> = {
  refused: SOCKS5_REPLY.connectionRefused,
  unreachable: SOCKS5_REPLY.hostUnreachable,
  'no-network': SOCKS5_REPLY.networkUnreachable,
  prohibited: SOCKS5_REPLY.notAllowed,
  timeout: SOCKS5_REPLY.ttlExpired,
};

/** The proxy's own answer to a request. */
export interface HttpAnswer {
  readonly status: number;
  /** An error type of RFC 9209 §2.3. */
  readonly error: string;
  /** One sentence: what happened. */
  readonly why: string;
  /** One sentence: what to do next. */
  readonly hint: string;
  /** More header lines, as alternating names and values. */
  readonly headers?: readonly string[];
}

const HTTP_REFUSALS: Readonly<Record<Refusal, Omit<HttpAnswer, 'why'>>> = {
  refused: {
    status: 502,
    error: 'connection_refused',
    hint: 'Check the port, and that the service is running.',
  },
  unreachable: {
    status: 502,
    error: 'destination_ip_unroutable',
    hint: 'Check the address or the name. If the tunnel has targets, a name that only the jump host can resolve must be one of them.',
  },
  'no-network': {
    status: 502,
    error: 'destination_ip_unroutable',
    hint: 'Check the address, and whether the jump host has a route there.',
  },
  prohibited: {
    status: 403,
    error: 'http_request_denied',
    hint: 'Add the destination to the targets of the tunnel, or allow it on the jump host (PermitOpen).',
  },
  timeout: {
    status: 504,
    error: 'connection_timeout',
    hint: 'Check the address; a firewall on the way may drop the connection.',
  },
};

export function refusalAnswer(refusal: Refusal, why: string): HttpAnswer {
  return { ...HTTP_REFUSALS[refusal], why };
}

export const SOCKS_ONLY: HttpAnswer = {
  status: 400,
  error: 'http_request_error',
  why: 'this port speaks SOCKS only',
  hint: 'Use socks5h:// instead of http:// in the address of the proxy.',
};

/** RFC 6585 §4 */
export const TOO_MANY_GUESSES: HttpAnswer = {
  status: 429,
  error: 'http_request_denied',
  why: 'too many wrong passwords have come from this address',
  hint: 'Check the user and the password, and try again in a few seconds.',
  headers: ['Retry-After', '2'],
};

export const OTHER_USER: HttpAnswer = {
  status: 403,
  error: 'http_request_denied',
  why: 'this proxy is for the user who runs the tunnel, and the client runs as another',
  hint: 'Start the tunnel with --proxy-shared if all users of this machine may use it.',
};

export function badRequest(why: string, hint: string): HttpAnswer {
  return { status: 400, error: 'http_request_error', why, hint };
}

/** RFC 9110 §15.5.8 */
export const AUTHENTICATION_REQUIRED: HttpAnswer = {
  status: 407,
  error: 'http_request_denied',
  why: 'the proxy requires a user and a password',
  hint: 'Put them into the address of the proxy: http://user:password@host:port.',
  headers: ['Proxy-Authenticate', 'Basic realm="tunnel", charset="UTF-8"'],
};

/** RFC 9110 §15.5.2: for what the proxy itself serves. */
export const PASSWORD_REQUIRED: HttpAnswer = {
  status: 401,
  error: 'http_request_denied',
  why: 'the proxy requires a user and a password',
  hint: 'Put them into the address: http://user:password@host:port/proxy.pac.',
  headers: ['WWW-Authenticate', 'Basic realm="tunnel", charset="UTF-8"'],
};

/**
 * Returns the header lines, as alternating names and values, and the body. `close`: the connection
 * ends after this answer.
 */
export function renderAnswer(
  { error, why, hint, headers = [] }: HttpAnswer,
  close: boolean,
): { readonly headers: string[]; readonly body: Buffer } {
  const text = printable(why);
  const body = Buffer.from(`tunnel: ${text}\n${hint}\n`);
  return {
    headers: [
      ...headers,
      'Proxy-Status',
      `tunnel; error=${error}; details=${structuredString(text)}`,
      'Content-Type',
      'text/plain; charset=utf-8',
      'Content-Length',
      String(body.length),
      'Cache-Control',
      'no-store',
      ...(close ? ['Connection', 'close'] : []),
    ],
    body,
  };
}

/**
 * The whole answer, for a connection that Node's HTTP server does not serve (any more). The
 * connection ends after it.
 */
export function formatAnswer(answer: HttpAnswer): Buffer {
  const { headers, body } = renderAnswer(answer, true);
  return Buffer.concat([
    Buffer.from(formatHead(answer.status, STATUS_CODES[answer.status], headers)),
    body,
  ]);
}

/** Status line and header. Send the result as latin1. */
export function formatHead(
  status: number,
  reason: string | undefined,
  headers: readonly string[],
): string {
  let head = `HTTP/1.1 ${status} ${reason ?? ''}\r\n`;
  for (let index = 0; index + 1 < headers.length; index += 2)
    head += `${headers[index]}: ${headers[index + 1]}\r\n`;
  return `${head}\r\n`;
}

/** An sf-string of RFC 8941 §3.3.3: printable ASCII. */
function structuredString(text: string): string {
  return `"${text.replace(/[^\x20-\x7e]/g, '?').replace(/["\\]/g, '\\$&')}"`;
}
