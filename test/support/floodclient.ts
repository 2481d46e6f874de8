/**
 * Asks for many connections and gives each up: `node floodclient.js JSON`, with these fields.
 *
 *   count, seconds   so many connects, in so many seconds, again and again if `again`
 *   hosts            an address, or many: 10.77.100.0 and the next ones (as many as `spread`)
 *   port, ports      from that port on, so many of them
 *   patience         milliseconds until each is given up
 *   from             local addresses to connect from, in turn
 *   socks, http      a proxy's port at 127.0.0.1, for the same through it
 *
 * Prints `done` after each round, and keeps running until it is ended.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface Flood {
  readonly count: number;
  readonly seconds: number;
  readonly again?: boolean;
  readonly host: string;
  readonly spread?: number;
  readonly port: number;
  readonly ports?: number;
  readonly patience: number;
  readonly from?: readonly string[];
  readonly socks?: number;
  readonly http?: number;
}

function socksRequest(host: string, port: number): Buffer {
  const address = host.split('.').map(Number);
  return Buffer.from([5, 1, 0, 5, 1, 0, 1, ...address, port >> 8, port & 255]);
}

function destination({ host, spread = 1, port, ports = 1 }: Flood, i: number) {
  const parts = host.split('.').map(Number);
  const [a = 0, b = 0, c = 0, d = 0] = parts;
  const number = ((c << 8) | d) + (i % spread);
  return { host: `${a}.${b}.${(number >> 8) & 255}.${number & 255}`, port: port + (i % ports) };
}

function attempt(flood: Flood, i: number): void {
  const { host, port } = destination(flood, i);
  const { from = [], socks, http, patience } = flood;
  const proxy = socks ?? http;
  const localAddress = from[i % Math.max(1, from.length)];
  const socket = connect({
    ...(proxy === undefined ? { host, port } : { host: '127.0.0.1', port: proxy }),
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  socket.on('error', () => {}); // it is given up in any case
  socket.once('connect', () => {
    if (socks !== undefined) socket.write(socksRequest(host, port));
    if (http !== undefined) socket.write(`CONNECT ${host}:${port} HTTP/1.1\r\n\r\n`);
  });
  setTimeout(() => socket.destroy(), patience);
}

const flood = JSON.parse(process.argv[2] ?? '{}') as Flood;
const STEP_MS = 20;
do {
  const began = performance.now();
  for (let i = 0; i < flood.count; ) {
    const due = Math.min(
      flood.count,
      Math.ceil((flood.count * (performance.now() - began + STEP_MS)) / (flood.seconds * 1000)),
    );
    for (; i < due; i++) attempt(flood, i);
    await delay(STEP_MS);
  }
  process.stdout.write('done\n');
} while (flood.again === true);
setInterval(() => {}, 1 << 30);
await once(process.stdin, 'never');
