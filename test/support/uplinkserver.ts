/**
 * The network outside the tunnel: a server in the lab's uplink, on 192.0.2.1 and 2001:db8:1::1. It
 * prints `ready` when it listens.
 *
 *   53/udp, 53/tcp   DNS: A of direct.lab.example and behind.lab.example (the private network's
 *                    API1); the answer for big.lab.example is truncated over UDP,
 *                    so clients ask over TCP; other names don't exist
 *   7/udp            echoes; 8/udp is closed
 *   8080/tcp         sends the peer's address on each connection and ends it
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { addressBytes } from '../../src/net/address.ts';
import { API1, UPLINK4, UPLINK6, UplinkPort } from './addresses.ts';

const NAMES: Readonly<Record<string, string>> = {
  'direct.lab.example': UPLINK4,
  'behind.lab.example': API1,
  'big.lab.example': UPLINK4,
};
const TYPE_A = 1;
const HEADER = 12;
const FLAGS = { answer: 0x8180, truncated: 0x0200, noSuchName: 3 };

/** RFC 1035 §4: the answer to one query. */
function answer(query: Buffer, overUdp: boolean): Buffer {
  const labels: string[] = [];
  let at = HEADER;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const question = query.subarray(HEADER, at + 5);
  const name = labels.join('.').toLowerCase();
  const address = NAMES[name];
  const truncated = overUdp && name.startsWith('big.');
  const record =
    address !== undefined && query.readUInt16BE(at + 1) === TYPE_A && !truncated
      ? Buffer.from([0xc0, HEADER, 0, TYPE_A, 0, 1, 0, 0, 0, 1, 0, 4, ...addressBytes(address)])
      : Buffer.alloc(0);
  const header = Buffer.alloc(HEADER);
  query.copy(header, 0, 0, 2);
  const flags =
    FLAGS.answer |
    (truncated ? FLAGS.truncated : 0) |
    (address === undefined ? FLAGS.noSuchName : 0);
  header.writeUInt16BE(flags, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(record.length > 0 ? 1 : 0, 6);
  return Buffer.concat([header, question, record]);
}

async function listen(server: Server, port: number, host: string): Promise<void> {
  server.listen(port, host);
  await once(server, 'listening');
}

for (const host of [UPLINK4, UPLINK6]) {
  const type = host.includes(':') ? 'udp6' : 'udp4';
  const dns = createSocket(type).bind(UplinkPort.dns, host);
  dns.on('message', (query, from) => dns.send(answer(query, true), from.port, from.address));
  const echo = createSocket(type).bind(UplinkPort.echo, host);
  echo.on('message', (text, from) => echo.send(text, from.port, from.address));
  await listen(
    createServer((socket) => {
      socket.on('error', () => {}); // the client may vanish
      socket.on('data', (data: Buffer) => {
        const reply = answer(data.subarray(2), false);
        const length = Buffer.alloc(2);
        length.writeUInt16BE(reply.length);
        socket.end(Buffer.concat([length, reply]));
      });
    }),
    UplinkPort.dns,
    host,
  );
  await listen(
    createServer((socket) => {
      socket.on('error', () => {}); // the client may vanish
      socket.end(`${socket.remoteAddress}\n`);
    }),
    UplinkPort.peer,
    host,
  );
}
process.stdout.write('ready\n');
