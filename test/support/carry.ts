/**
 * A client that tries what a jump host carries: `node carry.js WAY VERB ...` prints one JSON value.
 * WAY is `direct`, where the tunnel captures, or `socks:PORT` for a proxy on 127.0.0.1.
 *
 *   opens HOST PORT [HOST PORT]...  [outcome]: `open`, the error's code, or `socks N` with the
 *                                   proxy's reply (RFC 1928 §6), in this order
 *   halves HOST                     HalfCloses, tried at the ports `late` and `half`
 *   bytes HOST BYTES                {down, up}: whether as many came unchanged, and went
 *   many HOST COUNT BYTES           {open, right}: COUNT connections to the echo port at once, each
 *                                   with its own bytes, which go when all are open
 *   idle HOST SECONDS               {same}: whether a connection works after it
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { Port } from './addresses.ts';
import { pseudoRandomBytes, pseudoRandomDigest } from './bytes.ts';

/** What becomes of a connection of which one end says that it sends no more. */
export type HalfClose =
  /** The other direction goes on. */
  | 'carried'
  /** The other direction ends with it. */
  | 'dropped'
  /** The end doesn't arrive. */
  | 'hangs';
export interface HalfCloses {
  /** The application ends first. */
  readonly application: HalfClose;
  /** The far side ends first. */
  readonly far: HalfClose;
}

const LATE_MS = 300;
const HANGS_MS = 4_000;
const HALF_BYTES = 1_000_000;
const SETTLE_MS = 500;

const [way = '', verb = '', ...rest] = process.argv.slice(2);
const proxy = /^socks:(\d+)$/.exec(way)?.[1];

class SocksReply extends Error {
  readonly code: string;

  constructor(reply: number) {
    super(`the proxy replies ${reply}`);
    this.code = `socks ${reply}`;
  }
}

/** Rejects if the connection ends before. */
function take(socket: Socket, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let all = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      all = Buffer.concat([all, chunk]);
      if (all.length < length) return;
      stop();
      if (all.length > length) socket.unshift(all.subarray(length));
      resolve(all.subarray(0, length));
    };
    const onEnd = (): void => {
      stop();
      reject(new Error('the connection has ended'));
    };
    const stop = (): void => {
      socket.off('data', onData).off('end', onEnd).off('close', onEnd).pause();
    };
    socket.on('data', onData).on('end', onEnd).on('close', onEnd).resume();
  });
}

/** Rejects with an error that has a code. */
async function open(host: string, port: number): Promise<Socket> {
  const to = proxy === undefined ? { host, port } : { host: '127.0.0.1', port: Number(proxy) };
  const socket = connect({ ...to, allowHalfOpen: true });
  await once(socket, 'connect');
  if (proxy === undefined) return socket;
  const name = Buffer.from(host);
  const request = Buffer.from([5, 1, 0, 3, name.length, ...name, port >> 8, port & 255]);
  socket.write(Buffer.from([5, 1, 0]));
  await take(socket, 2);
  socket.write(request);
  const reply = (await take(socket, 10))[1] ?? -1;
  if (reply === 0) return socket;
  socket.destroy();
  throw new SocksReply(reply);
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : String(error);

async function opens(): Promise<string[]> {
  const pairs = rest.flatMap((host, at) =>
    at % 2 === 0 ? [[host, Number(rest[at + 1])] as const] : [],
  );
  return Promise.all(
    pairs.map(async ([host, port]) => {
      try {
        (await open(host, port)).destroy();
        return 'open';
      } catch (error) {
        return codeOf(error);
      }
    }),
  );
}

/** What comes until the end, an error, or `ms` later. */
async function received(socket: Socket, ms: number): Promise<{ text: string; ended: boolean }> {
  let all = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    all += chunk;
  });
  const over = new Promise<boolean>((resolve) => {
    for (const event of ['end', 'error', 'close']) socket.on(event, () => resolve(true));
    socket.resume();
  });
  const ended = await Promise.race([over, delay(ms, false)]);
  return { text: all, ended };
}

async function applicationEnds(host: string): Promise<HalfClose> {
  const socket = await open(host, Port.late);
  socket.end(String(LATE_MS));
  const { text, ended } = await received(socket, HANGS_MS);
  socket.destroy();
  if (text === 'late\n') return 'carried';
  return ended ? 'dropped' : 'hangs';
}

async function farEnds(host: string): Promise<HalfClose> {
  const socket = await open(host, Port.half);
  const { text, ended } = await received(socket, HANGS_MS);
  if (!ended) return 'hangs';
  // Later than the server might end the connection as a whole.
  await delay(SETTLE_MS);
  socket.on('error', () => undefined).end(Buffer.alloc(HALF_BYTES));
  const id = /^half (\d+)\n$/.exec(text)?.[1] ?? '';
  for (const until = performance.now() + HANGS_MS; performance.now() < until; await delay(50)) {
    const report = JSON.parse(await get(host, `/half/${id}`)) as { bytes: number; ended: boolean };
    if (report.ended || socket.errored) return report.bytes === HALF_BYTES ? 'carried' : 'dropped';
  }
  return 'dropped';
}

/** An answer's body. */
async function get(host: string, path: string): Promise<string> {
  const socket = await open(host, Port.http);
  socket.write(`GET ${path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n`);
  const answer = await text(socket);
  return answer.slice(answer.indexOf('\r\n\r\n') + 4);
}

async function download(host: string, size: number): Promise<boolean> {
  const socket = await open(host, Port.http);
  socket.write(`GET /bytes/${size}?seed=carry HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n`);
  const hash = createHash('sha256');
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    if (head === undefined) {
      hash.update(chunk);
      continue;
    }
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end === -1) continue;
    hash.update(head.subarray(end + 4));
    head = undefined;
  }
  return hash.digest('hex') === pseudoRandomDigest(size, 'carry');
}

async function upload(host: string, size: number): Promise<boolean> {
  const socket = await open(host, Port.http);
  socket.write(
    `POST /sha256 HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n`,
  );
  socket.write(pseudoRandomBytes(size, 'carry'));
  const answer = await text(socket);
  return answer.includes(pseudoRandomDigest(size, 'carry'));
}

async function many(host: string, count: number, length: number) {
  const sockets = (
    await Promise.allSettled(Array.from({ length: count }, () => open(host, Port.echo)))
  ).flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const rights = await Promise.all(
    sockets.map(async (socket, at) => {
      const bytes = pseudoRandomBytes(length, `flow ${at}`);
      socket.on('error', () => undefined).write(bytes);
      const back = await take(socket, length).catch(() => Buffer.alloc(0));
      socket.destroy();
      return back.equals(bytes);
    }),
  );
  return { open: sockets.length, right: rights.filter(Boolean).length };
}

async function idle(host: string, seconds: number): Promise<{ same: boolean }> {
  const socket = await open(host, Port.echo);
  const echoes = async (): Promise<boolean> => {
    socket.write('hello');
    return (await take(socket, 5)).toString() === 'hello';
  };
  const before = await echoes();
  await delay(seconds * 1000);
  return { same: before && (await echoes()) };
}

const [host = ''] = rest;
const [first = 0, second = 0] = rest.slice(1).map(Number);
const verbs: Readonly<Record<string, () => Promise<unknown>>> = {
  opens,
  halves: async () => ({ application: await applicationEnds(host), far: await farEnds(host) }),
  bytes: async () => ({ down: await download(host, first), up: await upload(host, first) }),
  many: () => many(host, first, second),
  idle: () => idle(host, first),
};
const run = verbs[verb];
if (run === undefined) throw new Error(`no such verb: ${verb}`);
process.stdout.write(`${JSON.stringify(await run())}\n`);
process.exit(0);
