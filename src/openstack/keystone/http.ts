/**
 * HTTP requests to the cloud over the tunnel's connections: the transport opens the stream, and
 * this file speaks TLS and HTTP on it.
 *
 *   URL -> connect({host, port}) -> TLS against the URL's own name
 *        -> one request, one answer, closed
 *
 * The address in the URL is never replaced, so the certificate is checked against the same name
 * that the clients will use. Each request has its own connection: there are only a few, once per
 * run.
 *
 * Limits: REQUEST_TIMEOUT_MS for a request including connection and redirects, MAX_ANSWER_BYTES of
 * body, Node's 16 KiB of header, MAX_REDIRECTS. Redirects are followed only for GET, only to the
 * same host, and never from https to http.
 */
import { type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import { streamOf } from '../../flow/conduitstream.ts';
import { ConnectError, type Connector } from '../../flow/connector.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import { canonicalHost } from '../../net/name.ts';
import { NotationError } from '../../net/notation.ts';
import type { Observer } from '../../observe/observer.ts';
import { printable } from '../../observe/printable.ts';

/**
 * Clients of such APIs wait no longer. For an address that drops packets sshd needs two minutes to
 * give up.
 */
export const REQUEST_TIMEOUT_MS = 30_000;
/** The largest catalogs seen have a few hundred kilobytes. */
export const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const MAX_REDIRECTS = 5;

const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };
const USER_AGENT = 'tunnel';

export interface HttpOptions {
  readonly connect: Connector['connect'];
  /** For https. */
  readonly tls: { readonly context: SecureContext; readonly verify: boolean };
  readonly observer: Observer;
  /** Milliseconds. Default: REQUEST_TIMEOUT_MS. */
  readonly timeout?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
}

/** The host and port that a URL's connections go to. Throws TunnelError `openstack-url`. */
export function destinationOf(url: URL): Destination {
  const port = url.port === '' ? DEFAULT_PORTS[url.protocol] : Number(url.port);
  try {
    if (port === undefined || port === 0)
      throw new NotationError(`${url.protocol} is neither http nor https`);
    return { host: canonicalHost(url.hostname.replace(/^\[(.*)\]$/, '$1')), port };
  } catch (cause) {
    if (!(cause instanceof NotationError)) throw cause;
    throw new TunnelError(
      'openstack-url',
      `${printable(url.href)} can't be connected to: ${cause.message}`,
      {
        cause,
      },
    );
  }
}

export class HttpClient {
  readonly #options: HttpOptions;

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  /**
   * Resolves with any status that the server answers. Rejects with TunnelError:
   * openstack-unreachable (no connection), openstack-tls, openstack-timeout, openstack-answer (no
   * HTTP, too long, too many redirects); or with the signal's reason.
   */
  async request(asked: HttpRequest): Promise<HttpAnswer> {
    const { timeout = REQUEST_TIMEOUT_MS, signal: stop } = this.#options;
    const deadline = AbortSignal.timeout(timeout);
    const signal = stop === undefined ? deadline : AbortSignal.any([deadline, stop]);
    let { url } = asked;
    try {
      for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
        const answer = await this.#once({ ...asked, url }, signal);
        const next = redirection(asked.method, answer);
        if (next === undefined) return answer;
        url = next;
      }
    } catch (error) {
      if (stop?.aborted === true) throw stop.reason;
      if (!deadline.aborted) throw error;
      throw new TunnelError(
        'openstack-timeout',
        `${place(url)} has not answered within ${timeout / 1000} s`,
        {
          hint: 'check on the jump host whether it can reach the address; "tunnel openstack" tries all of them',
          cause: error,
        },
      );
    }
    throw new TunnelError(
      'openstack-answer',
      `${place(url)} redirects more than ${MAX_REDIRECTS} times`,
      {
        hint: 'check auth_url',
      },
    );
  }

  async #once(asked: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
    const { observer } = this.#options;
    observer.count('tunnel_openstack_requests_total');
    const stream = await this.#open(asked.url, signal);
    try {
      const answer = await exchange(stream, asked, signal, observer);
      observer.log(
        'debug',
        `${asked.method} ${place(asked.url)}${asked.url.pathname}: ${answer.status}`,
      );
      return answer;
    } finally {
      stream.destroy();
    }
  }

  async #open(url: URL, signal: AbortSignal): Promise<Duplex> {
    const destination = destinationOf(url);
    let stream: Duplex;
    try {
      stream = streamOf(await this.#options.connect(destination, { signal }));
    } catch (error) {
      throw error instanceof ConnectError ? unreachable(destination, error) : error;
    }
    if (url.protocol === 'http:') return stream;
    try {
      return await this.#secure(stream, url, signal);
    } catch (error) {
      stream.destroy();
      throw signal.aborted ? error : tlsError(url, error);
    }
  }

  #secure(stream: Duplex, url: URL, signal: AbortSignal): Promise<TLSSocket> {
    const { context, verify } = this.#options.tls;
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
    const socket = connectTls({
      socket: stream,
      secureContext: context,
      rejectUnauthorized: verify,
      // The name that the certificate must have; an address is no server name (RFC 6066 §3).
      host,
      ...(isIP(host) === 0 && { servername: host }),
      ALPNProtocols: ['http/1.1'],
    });
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        socket.destroy();
        reject(signal.reason);
      };
      signal.addEventListener('abort', abort, { once: true });
      socket.once('secureConnect', () => {
        signal.removeEventListener('abort', abort);
        resolve(socket);
      });
      // This listener stays: a socket may report more errors after the first.
      socket.on('error', reject);
      socket.once('close', () => reject(new Error('the server has closed the connection')));
    });
  }
}

function exchange(
  stream: Duplex,
  { method, url, headers, body }: HttpRequest,
  signal: AbortSignal,
  observer: Observer,
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const sent = request({
      method,
      host: url.hostname,
      path: `${url.pathname}${url.search}`,
      headers: {
        Host: url.host,
        'User-Agent': USER_AGENT,
        Accept: 'application/json',
        ...(body !== undefined && {
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(body),
        }),
        ...headers,
      },
      createConnection: () => stream,
      signal,
    });
    const fail = (cause: unknown): void =>
      reject(signal.aborted ? signal.reason : brokenOff(url, cause));
    sent.on('error', fail);
    sent.once('response', (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > MAX_ANSWER_BYTES) {
          observer.count('tunnel_openstack_answers_too_long_total');
          reject(tooLong(url));
          sent.destroy();
          return;
        }
        chunks.push(chunk);
      });
      response.on('error', fail);
      response.once('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text, url });
      });
    });
    sent.end(body);
  });
}

/** Where the answer redirects to; undefined: it doesn't redirect. */
function redirection(
  method: 'GET' | 'POST',
  { status, headers, url }: HttpAnswer,
): URL | undefined {
  const { location } = headers;
  if (![301, 302, 303, 307, 308].includes(status) || location === undefined) return undefined;
  const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
  if (
    method === 'GET' &&
    next?.hostname === url.hostname &&
    (next.protocol === 'https:' || next.protocol === url.protocol)
  )
    return next;
  throw new TunnelError('openstack-answer', `${place(url)} redirects to ${printable(location)}`, {
    hint: 'write the final address into clouds.yaml as auth_url: a redirect to another address is not followed with credentials',
  });
}

/** For messages: scheme, host and port. */
function place(url: URL): string {
  return `${url.protocol}//${url.host}`;
}

function unreachable(destination: Destination, error: ConnectError): TunnelError {
  const where = formatDestination(destination);
  const hint =
    error.refusal === 'prohibited'
      ? `the jump host doesn't permit it: ask for "PermitOpen ${where}" in its sshd_config`
      : 'check auth_url, and on the jump host whether it can reach that address';
  return new TunnelError(
    'openstack-unreachable',
    `no connection to ${where} through the jump host: ${error.message}`,
    {
      hint,
      cause: error,
    },
  );
}

function tlsError(url: URL, cause: unknown): TunnelError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const message = printable(reasonOf(cause));
  return new TunnelError('openstack-tls', `${place(url)}: ${message}`, {
    hint: tlsHint(url, code),
    cause,
  });
}

function tlsHint(url: URL, code: string): string {
  switch (code) {
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `the certificate is for other names than ${url.hostname}: write a name that it has into auth_url`;
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      return "check the server's certificate and this machine's clock";
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'CERT_SIGNATURE_FAILURE':
      return 'name the file with the authority of the cloud as "cacert" in clouds.yaml';
    default:
      return 'check that it speaks TLS on this port; an API without TLS is written http://';
  }
}

function brokenOff(url: URL, cause: unknown): TunnelError {
  if (cause instanceof TunnelError) return cause;
  const message = printable(reasonOf(cause));
  return new TunnelError('openstack-answer', `${place(url)} gave no proper answer: ${message}`, {
    hint: 'check that auth_url has the port and scheme (http, https) of Keystone',
    cause,
  });
}

function tooLong(url: URL): TunnelError {
  return new TunnelError(
    'openstack-answer',
    `${place(url)} answers with more than ${MAX_ANSWER_BYTES >> 20} MiB`,
    {
      hint: 'check that auth_url is the address of Keystone',
    },
  );
}
