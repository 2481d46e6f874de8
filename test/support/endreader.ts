/**
 * A client that sees how a connection ends: `node endreader.js WAY HOST PORT PATH PAUSE_MS`. It
 * asks an HTTP server for PATH, reads to the end, with a pause of PAUSE_MS after the first data,
 * and then goes on writing. WAY is `direct`, or `socks:PORT`, `connect:PORT` or `http:PORT` for a
 * proxy on 127.0.0.1. It prints one line of JSON, `EndReport`.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface EndReport {
  readonly bytes: number;
  readonly sha256: string;
  /** `end`, or the code of the error instead. */
  readonly end: string;
  /** The code of the error that further writes got, or `taken` if there was none. */
  readonly after: string;
}

const WRITE_EVERY_MS = 20;
const WRITE_FOR_MS = 4000;

const [way = '', host = '', port = '', path = '', pause = '0'] = process.argv.slice(2);
const [kind, proxy] = way.split(':');

/** A proxy's answer, up to its end mark. */
async function answer(socket: Socket, isWhole: (answer: Buffer) => boolean): Promise<void> {
  let all = Buffer.alloc(0);
  while (!isWhole(all)) {
    await once(socket, 'readable');
    for (let chunk = socket.read(); chunk !== null; chunk = socket.read())
      all = Buffer.concat([all, chunk]);
  }
}

const whole = (length: number) => (text: Buffer) => text.length >= length;

const socket = connect({
  host: kind === 'direct' ? host : '127.0.0.1',
  port: Number(proxy ?? port),
  allowHalfOpen: true,
});
let failure: string | undefined;
socket.on('error', (error: Error & { code?: string }) => {
  failure ??= error.code ?? error.message;
});
await once(socket, 'connect');
if (kind === 'connect') {
  socket.write(`CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`);
  await answer(socket, (text) => text.includes('\r\n\r\n'));
} else if (kind === 'socks') {
  socket.write(Buffer.from([5, 1, 0]));
  await answer(socket, whole(2));
  const destination = [...host.split('.').map(Number), Number(port) >> 8, Number(port) & 255];
  socket.write(Buffer.from([5, 1, 0, 1, ...destination]));
  await answer(socket, whole(10));
}
const target = kind === 'http' ? `http://${host}:${port}${path}` : path;
socket.write(`GET ${target} HTTP/1.1\r\nHost: ${host}:${port}\r\nConnection: close\r\n\r\n`);

const hash = createHash('sha256');
let bytes = 0;
let head = Buffer.alloc(0);
let inBody = false;
let paused = false;
socket.on('data', (chunk: Buffer) => {
  let body = chunk;
  if (!inBody) {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end === -1) return;
    inBody = true;
    body = head.subarray(end + 4);
  }
  hash.update(body);
  bytes += body.length;
  if (paused) return;
  paused = true;
  socket.pause();
  setTimeout(() => socket.resume(), Number(pause));
});
await Promise.race([once(socket, 'end'), once(socket, 'close')]).catch(() => {});
const end = failure ?? 'end';
if (failure === undefined) {
  for (
    const until = performance.now() + WRITE_FOR_MS;
    performance.now() < until && failure === undefined;
  ) {
    socket.write('more');
    await delay(WRITE_EVERY_MS);
  }
}
const report: EndReport = { bytes, sha256: hash.digest('hex'), end, after: failure ?? 'taken' };
process.stdout.write(`${JSON.stringify(report)}\n`);
process.exit();
