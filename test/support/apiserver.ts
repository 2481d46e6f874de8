/**
 * The program that runs on the lab's API hosts: `node apiserver.js NAME`. It prints `ready` when it
 * listens on every port of addresses.ts, on all addresses of both families.
 *
 * HTTP, on port 80:
 *   GET  /                    JSON {host, peer, local}: who answered, and the addresses that it
 *                             sees, so that a test can prove that a connection came from the jump
 *                             host
 *   GET  /bytes/N?seed=S      N bytes of bytes.ts, with Content-Length, paced by the reader
 *   GET  /sha256/N?seed=S     their digest: JSON {sha256, bytes}
 *   POST /sha256              JSON {sha256, bytes} of the body
 *   POST /echo                the body, as it comes
 *   GET  /slow?ms=N           an answer N ms later
 *   GET  /half/ID             JSON {sha256, bytes, ended} of a connection to the half port
 *
 * The other ports speak plain TCP, each with one odd behaviour (see `Port`). All of them tolerate a
 * peer that vanishes. Nothing here has a timeout, so a connection is only ended by the test or by
 * the program under test.
 */
import { createHash, type Hash } from 'node:crypto';
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Port, RESET_AFTER_BYTES } from './addresses.ts';
import { pseudoRandomChunks, pseudoRandomDigest } from './bytes.ts';

/** Enough for a test that opens thousands of connections at once. */
const LISTEN_BACKLOG = 4096;
const MAX_TRANSFER_BYTES = 100e9;
const CHARGEN_LINE = 72;
const PRINTABLE = 95;
const FLOOD_CHUNK = Buffer.alloc(64 * 1024, 'flood ');

interface HalfReport {
  readonly hash: Hash;
  bytes: number;
  ended: boolean;
}

const name = process.argv[2] ?? 'api';
const halves = new Map<string, HalfReport>();

/** The dual-stack listener shows IPv4 peers as mapped addresses (RFC 4291, 2.5.5.2). */
function plainAddress(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:(?=\d+\.)/, '');
}

function sendJson(response: ServerResponse, value: object): void {
  response.setHeader('content-type', 'application/json');
  response.end(`${JSON.stringify(value)}\n`);
}

function sendError(response: ServerResponse, status: number, message: string): void {
  response.statusCode = status;
  response.end(`${message}\n`);
}

async function digestOf(request: IncomingMessage): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of request) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { sha256: hash.digest('hex'), bytes };
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://lab');
  const [, resource = '', argument = ''] = url.pathname.split('/');
  const seed = url.searchParams.get('seed') ?? '';
  const length = Number(argument);
  switch (`${request.method} ${resource}`) {
    case 'GET ': {
      const { remoteAddress, localAddress } = request.socket;
      return sendJson(response, {
        host: name,
        peer: plainAddress(remoteAddress),
        local: plainAddress(localAddress),
      });
    }
    case 'GET bytes':
    case 'GET sha256':
      if (!Number.isSafeInteger(length) || length < 0 || length > MAX_TRANSFER_BYTES)
        return sendError(response, 400, `not a length: ${argument}`);
      if (resource === 'sha256')
        return sendJson(response, { sha256: pseudoRandomDigest(length, seed), bytes: length });
      response.setHeader('content-type', 'application/octet-stream');
      response.setHeader('content-length', length);
      return pipeline(Readable.from(pseudoRandomChunks(length, seed)), response);
    case 'POST sha256':
      return sendJson(response, await digestOf(request));
    case 'POST echo':
      return pipeline(request, response);
    case 'GET slow': {
      const delay = Number(url.searchParams.get('ms') ?? 1000);
      setTimeout(() => sendJson(response, { host: name, delay }), delay);
      return;
    }
    case 'GET half': {
      const report = halves.get(argument);
      if (report === undefined) return sendError(response, 404, `no such connection: ${argument}`);
      const sha256 = report.hash.copy().digest('hex');
      return sendJson(response, { sha256, bytes: report.bytes, ended: report.ended });
    }
    default:
      return sendError(response, 404, `no such page: ${request.method} ${url.pathname}`);
  }
}

function echo(socket: Socket): void {
  let bytes = 0;
  socket.on('data', (chunk) => {
    bytes += chunk.length;
    if (!socket.write(chunk)) socket.pause();
  });
  socket.on('drain', () => socket.resume());
  socket.on('end', () => socket.end(`bye ${bytes} bytes\n`));
}

function discard(socket: Socket): void {
  socket.resume();
  socket.on('end', () => socket.end());
}

/** Writes what `next` returns, for as long as the peer takes it. */
function sendWithoutEnd(socket: Socket, next: () => string | Buffer): void {
  const fill = () => {
    while (socket.writable && socket.write(next()));
  };
  socket.on('drain', fill);
  fill();
}

function chargen(socket: Socket): void {
  let start = 0;
  sendWithoutEnd(socket, () => {
    const line = Array.from({ length: CHARGEN_LINE }, (_, i) => 32 + ((start + i) % PRINTABLE));
    start++;
    return `${String.fromCharCode(...line)}\r\n`;
  });
  discard(socket);
}

function reset(socket: Socket): void {
  let bytes = 0;
  socket.on('data', (chunk) => {
    bytes += chunk.length;
    if (bytes >= RESET_AFTER_BYTES) socket.resetAndDestroy();
  });
  socket.on('end', () => socket.end());
}

function half(socket: Socket): void {
  const id = String(halves.size + 1);
  const report: HalfReport = { hash: createHash('sha256'), bytes: 0, ended: false };
  halves.set(id, report);
  socket.end(`half ${id}\n`);
  socket.on('data', (chunk) => {
    report.hash.update(chunk);
    report.bytes += chunk.length;
  });
  socket.on('end', () => {
    report.ended = true;
  });
}

function late(socket: Socket): void {
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk) => {
    text += String(chunk);
  });
  socket.on('end', () => setTimeout(() => socket.end('late\n'), Number(text)));
}

/** `unread`: reads nothing at all, so only the kernel's buffer fills. */
function tcpServer(serve: (socket: Socket) => void, { unread = false } = {}): Server {
  return createServer({ allowHalfOpen: true, pauseOnConnect: unread }, (socket) => {
    // A test's peers may vanish at any moment; the connection is then over, and the reason doesn't
    // matter here.
    socket.on('error', () => socket.destroy());
    serve(socket);
  });
}

const http = createHttpServer((request, response) => {
  answer(request, response).catch((error: unknown) => {
    if (response.headersSent) response.destroy();
    else sendError(response, 500, String(error));
  });
});
http.requestTimeout = 0;
http.headersTimeout = 0;

const servers: readonly (readonly [number, Server])[] = [
  [Port.http, http],
  [Port.echo, tcpServer(echo)],
  [Port.discard, tcpServer(discard)],
  [Port.chargen, tcpServer(chargen)],
  [Port.reset, tcpServer(reset)],
  [Port.stall, tcpServer(() => undefined, { unread: true })],
  [Port.flood, tcpServer((socket) => sendWithoutEnd(socket, () => FLOOD_CHUNK), { unread: true })],
  [Port.half, tcpServer(half)],
  [Port.late, tcpServer(late)],
];
await Promise.all(
  servers.map(
    ([port, server]) =>
      new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen({ port, host: '::', backlog: LISTEN_BACKLOG }, resolve);
      }),
  ),
);
process.stdout.write('ready\n');
