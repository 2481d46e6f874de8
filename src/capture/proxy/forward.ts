/**
 * Forwards one plain request from the client to the server that its target names, and the answer
 * back.
 *
 *   client --IncomingMessage--> end-to-end fields, body --ClientRequest--> flow --> server
 *   client <--ServerResponse--- end-to-end fields, body <--IncomingMessage--/
 *
 * Bodies are streamed with back-pressure and framed again on each side; no part of a message is
 * kept. The server answers Expect: 100-continue. Until the server's head has arrived, a failure is
 * answered with a status. After that the client's connection is cut, as the server's was.
 *
 * The server may close a connection kept from an earlier request at the very moment when it is used
 * again. A request without a body and with an idempotent method is then sent again on a new
 * connection. For any other request the client's connection is closed without an answer. The client
 * would have seen the same without a proxy, and knows how to handle it (RFC 9110 §9.2.2).
 */
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { reasonOf } from '../../errors/reason.ts';
import { pump } from '../../flow/pump.ts';
import { badRequest, type HttpAnswer, refusalAnswer, renderAnswer } from './answers.ts';
import { endToEnd, isPlainCoding, maxForwardsField, type RequestTarget } from './head.ts';
import { RefusedError, type UpstreamAgent } from './upstreamagent.ts';

const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);
/** Methods with which Node sends no body by default. */
const WITHOUT_BODY = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT']);

export interface Forward {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: RequestTarget;
  readonly upstreams: UpstreamAgent;
  /** The client waits for "100 Continue" before it sends the body. */
  readonly expectsContinue: boolean;
  /**
   * The protocol that the client wants to change to. `done` is called when the server has changed
   * to it.
   */
  readonly upgrade?: {
    readonly protocol: string;
    readonly done: (answer: IncomingMessage, stream: Duplex, head: Buffer) => void;
  };
}

/** Resolves when the client's side is over: answered, cut or upgraded. Never rejects. */
export async function forward(work: Forward): Promise<void> {
  const { response } = work;
  const closed = new Promise<void>((resolve) => {
    if (response.closed) resolve();
    else response.once('close', resolve);
  });
  try {
    if (await attempt(work, hasBody(work.request) ? 'last' : 'first')) return;
  } catch (cause) {
    // Node's client refuses to write some requests that Node's server has read. Nothing has been
    // sent in this case.
    const text = reasonOf(cause);
    answerWith(
      work.request,
      response,
      badRequest(`the request can't be passed on: ${text}`, 'Check its fields.'),
    );
  }
  await closed;
}

/**
 * Resolves with true when the connection has been upgraded, and with false when the answer has
 * begun or is over. Rejects when the request can't be written.
 */
function attempt(work: Forward, which: 'first' | 'last'): Promise<boolean> {
  const { request, response, target, upstreams, expectsContinue, upgrade } = work;
  const { host, port } = target.destination;
  return new Promise((resolve) => {
    const upstream = httpRequest({
      agent: upstreams,
      host,
      port,
      method: request.method ?? 'GET',
      path: target.path,
      headers: requestFields(work),
    });
    const abandoned = () => upstream.destroy();
    response.once('close', abandoned);

    let bodyHeldBack = expectsContinue;
    upstream.on('continue', () => {
      if (bodyHeldBack) response.writeContinue();
      bodyHeldBack = false;
    });
    upstream.on('response', (answer) => {
      resolve(false);
      passAnswer(work, answer, bodyHeldBack && !request.complete);
    });
    upstream.on('upgrade', (answer, stream, head) => {
      response.off('close', abandoned);
      if (upgrade === undefined) {
        // Nobody asked for this upgrade (RFC 9110 §15.2.2).
        stream.destroy();
        answerWith(
          request,
          response,
          serverFault('the server changes to a protocol that nobody asked for'),
        );
        resolve(false);
        return;
      }
      upgrade.done(answer, stream, head);
      resolve(true);
    });
    upstream.on('error', (error: Error) => {
      response.off('close', abandoned);
      if (response.headersSent || response.destroyed) {
        response.destroy();
        resolve(false);
      } else if (error instanceof RefusedError) {
        answerWith(request, response, refusalAnswer(error.refusal, error.message));
        resolve(false);
      } else if (!upstream.reusedSocket) {
        answerWith(
          request,
          response,
          serverFault(`the server's answer can't be read: ${error.message}`),
        );
        resolve(false);
      } else if (which === 'first' && IDEMPOTENT.has(request.method ?? '')) {
        resolve(attempt(work, 'last'));
      } else {
        response.destroy();
        request.socket.destroy();
        resolve(false);
      }
    });
    pump(request, upstream);
    // A repeated request has no body and has already ended.
    if (request.readableEnded) upstream.end();
  });
}

function requestFields({ request, target, expectsContinue, upgrade }: Forward): string[] {
  const maxForwards = maxForwardsField(request);
  // The target names the host, whatever the client's Host field says (RFC 9112 §3.2.2).
  const fields = [
    'Host',
    target.authority,
    ...endToEnd(request.rawHeaders, [
      'host',
      ...(expectsContinue ? [] : ['expect']),
      ...(maxForwards.length > 0 ? ['max-forwards'] : []),
    ]),
    ...maxForwards,
  ];
  if (upgrade !== undefined) fields.push('Connection', 'Upgrade', 'Upgrade', upgrade.protocol);
  if (request.headers['transfer-encoding'] !== undefined)
    fields.push('Transfer-Encoding', 'chunked');
  else if (
    request.headers['content-length'] === undefined &&
    !WITHOUT_BODY.has(request.method ?? '')
  )
    fields.push('Content-Length', '0');
  return fields;
}

/** RFC 9112 §6.3 */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * `bodyHeldBack`: the client was not asked for its body, and may or may not send it. What it sends
 * next can't be told from a body, so the connection closes.
 */
function passAnswer(
  { request, response }: Forward,
  answer: IncomingMessage,
  bodyHeldBack: boolean,
): void {
  if (!isPlainCoding(answer.headers['transfer-encoding'])) {
    answer.destroy();
    answerWith(
      request,
      response,
      serverFault('the answer has a transfer coding other than chunked'),
    );
    return;
  }
  const fields = endToEnd(answer.rawHeaders);
  if (bodyHeldBack) fields.push('Connection', 'close');
  response.sendDate = false;
  try {
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? '', fields);
  } catch (cause) {
    // Node reads some characters that it refuses to write.
    answer.destroy();
    const text = reasonOf(cause);
    answerWith(request, response, serverFault(`the server's answer can't be passed on: ${text}`));
    return;
  }
  answer.on('error', () => response.destroy());
  answer.once('end', () => {
    const trailers: [string, string][] = [];
    for (let index = 0; index + 1 < answer.rawTrailers.length; index += 2)
      trailers.push([answer.rawTrailers[index] ?? '', answer.rawTrailers[index + 1] ?? '']);
    if (trailers.length > 0) response.addTrailers(trailers);
  });
  pump(answer, response);
}

function serverFault(why: string): HttpAnswer {
  return {
    status: 502,
    error: 'http_protocol_error',
    why,
    hint: 'Check the log of the server.',
  };
}

/** Sends the proxy's own answer. The connection stays open if the whole request has been read. */
export function answerWith(
  request: IncomingMessage,
  response: ServerResponse,
  answer: HttpAnswer,
): void {
  const { headers, body } = renderAnswer(answer, !request.complete);
  response.writeHead(answer.status, headers);
  response.end(body);
  // Reads the rest, so that the answer arrives although the client is still sending.
  request.resume();
}
