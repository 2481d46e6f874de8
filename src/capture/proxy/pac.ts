/**
 * `GET /proxy.pac`: the script by which a browser finds out what goes to the proxy. The script
 * itself is made elsewhere (policy/pac.ts), again for each request, so it follows the targets.
 *
 * It lists the targets, and browsers run pages of strangers, who must not read it:
 *
 *   a page includes it as a script   `nosniff`: browsers run only what has a JavaScript type;
 *                                    Cross-Origin-Resource-Policy; Sec-Fetch-Site
 *   a page fetches it                no CORS fields, and an Origin is refused
 *   a page that has had its name     the Host field must be an address or `localhost`, which
 *   resolved to this proxy           nobody can have resolved to anything else
 *
 * Browsers that fetch the script for themselves send no Origin, and no Sec-Fetch-Site or `none`
 * (Fetch Metadata §2.4). They can't fetch from a path that changes with each start, because it is
 * written into their settings once: so there is no secret in the path.
 *
 * The script names the proxy as the client did. That is right also where the client reaches it by
 * another port than it listens on.
 *
 * Limit: MAX_PAC_BYTES.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isAddress } from '../../net/address.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import type { HttpAnswer } from './answers.ts';
import { answerWith } from './forward.ts';
import { checkHostFields, HTTP_PORT, parseAuthority } from './head.ts';
import { proxyEndOf, type WritePac } from './request.ts';

export const PAC_PATH = '/proxy.pac';
/** Chromium takes no larger one: it opens everything directly then. */
export const MAX_PAC_BYTES = 1024 * 1024;

/** Whether the target of a request is the script. A query is ignored. */
export function isPacTarget(target: string | undefined): boolean {
  return target?.split('?', 1)[0] === PAC_PATH;
}

/**
 * Why a request for the script is refused, whoever makes it; undefined: it isn't. Throws
 * NotationError for a bad Host.
 */
export function pacRefusal(request: IncomingMessage): HttpAnswer | undefined {
  const { method, headers } = request;
  if (method !== 'GET' && method !== 'HEAD') return WRONG_METHOD;
  const site = headers['sec-fetch-site'];
  if (headers.origin !== undefined || (site !== undefined && site !== 'none')) return FROM_A_PAGE;
  const { host } = proxyAsNamedBy(request);
  return isAddress(host) || host === 'localhost' ? undefined : BY_NAME;
}

/** Answers a request that isn't refused. */
export function answerWithPac(
  request: IncomingMessage,
  response: ServerResponse,
  write: WritePac,
  observer: Observer,
): void {
  const script = Buffer.from(write(formatDestination(proxyAsNamedBy(request))), 'latin1');
  if (script.length > MAX_PAC_BYTES) {
    observer.count('tunnel_proxy_pac_too_large_total');
    answerWith(request, response, TOO_LARGE);
    return;
  }
  observer.count('tunnel_proxy_pac_total');
  response.writeHead(200, [
    ...['Content-Type', 'application/x-ns-proxy-autoconfig'],
    ...['Content-Length', String(script.length)],
    ...['Cache-Control', 'no-store'],
    ...['X-Content-Type-Options', 'nosniff'],
    ...['Cross-Origin-Resource-Policy', 'same-origin'],
    ...(request.complete ? [] : ['Connection', 'close']),
  ]);
  response.end(request.method === 'HEAD' ? undefined : script);
  request.resume();
}

/** Where the client has found the proxy. Throws NotationError. */
function proxyAsNamedBy(request: IncomingMessage): Destination {
  checkHostFields(request);
  const { host } = request.headers;
  return host === undefined ? proxyEndOf(request.socket) : parseAuthority(host, HTTP_PORT);
}

/** RFC 9110 §15.5.6 */
const WRONG_METHOD: HttpAnswer = {
  status: 405,
  error: 'http_request_error',
  why: `${PAC_PATH} can only be read`,
  hint: 'Use GET.',
  headers: ['Allow', 'GET, HEAD'],
};

const FROM_A_PAGE: HttpAnswer = {
  status: 403,
  error: 'http_request_denied',
  why: `a web page asks for ${PAC_PATH}, which says where the tunnel leads`,
  hint: 'Write its address into the settings of the browser, as that of its proxy configuration.',
};

const BY_NAME: HttpAnswer = {
  status: 403,
  error: 'http_request_denied',
  why: `${PAC_PATH} is asked for under a name, which could be that of a web page`,
  hint: 'Use the address of the proxy in place of its name, as the tunnel prints it.',
};

/** RFC 9209 §2.3.28 */
const TOO_LARGE: HttpAnswer = {
  status: 500,
  error: 'proxy_configuration_error',
  why: `${PAC_PATH} would be larger than ${MAX_PAC_BYTES} bytes, which some browsers do not take`,
  hint: 'Use fewer and wider targets, or set the proxy in the browser without a script.',
};
