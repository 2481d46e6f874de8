/**
 * Fetches http://NAME/ as browsers do: asks the first resolver of resolv.conf for A, AAAA and HTTPS
 * at once (RFC 9460 §3), and connects to the addresses by RFC 8305, IPv6 first. Prints one line of
 * JSON (`BrowserLike`).
 *
 *   node browserlike.js NAME
 */
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { type Answer, decode, encode, type RecordType } from 'dns-packet';

export interface BrowserLike {
  /** Milliseconds until the last of the three answers. */
  readonly resolvedMs: number;
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
  /** The number of HTTPS records, and the answer's RCODE. */
  readonly https: readonly [number, number];
  /** Milliseconds from the first query to the connection. */
  readonly connectedMs: number;
  readonly connectedTo: string;
  readonly body: string;
}

const HTTPS = 65;
const RCODE = 0xf;
const PATIENCE_MS = 4_000;
/** RFC 8305 §5: the connection attempt delay. */
const ATTEMPT_DELAY_MS = 250;

const [name = ''] = process.argv.slice(2);
const server =
  /^nameserver\s+(\S+)/m.exec(readFileSync('/etc/resolv.conf', 'utf8'))?.[1] ?? '127.0.0.1';
const begun = performance.now();
const types: readonly (readonly [string, number])[] = [
  ['A', 1],
  ['AAAA', 28],
  ['HTTPS', HTTPS],
];

const replies = await new Promise<Map<number, Buffer>>((resolve, reject) => {
  const socket = createSocket(server.includes(':') ? 'udp6' : 'udp4');
  const received = new Map<number, Buffer>();
  const timer = setTimeout(() => reject(new Error(`${received.size} of 3 answers`)), PATIENCE_MS);
  socket.on('message', (bytes) => {
    received.set(bytes.readUInt16BE(0), bytes);
    if (received.size < types.length) return;
    clearTimeout(timer);
    socket.close();
    resolve(received);
  });
  for (const [type, number] of types) {
    const asked = type === 'HTTPS' ? 'A' : type;
    const query = encode({
      type: 'query',
      id: number,
      flags: 0x0100,
      questions: [{ type: asked as RecordType & ('A' | 'AAAA'), name }],
    });
    // The encoder doesn't know the type; the question's type and class end the message.
    query.writeUInt16BE(number, query.length - 4);
    socket.send(query, 53, server);
  }
});
const resolvedMs = performance.now() - begun;
const addresses = (number: number): string[] =>
  (decode(replies.get(number) ?? Buffer.alloc(0)).answers ?? []).flatMap((record: Answer) =>
    record.type === 'A' || record.type === 'AAAA' ? [record.data] : [],
  );
const [ipv4, ipv6] = [addresses(1), addresses(28)];
const httpsReply = replies.get(HTTPS) ?? Buffer.alloc(12);

const candidates = [...ipv6, ...ipv4];
const socket = await Promise.any(
  candidates.map(
    (host, i) =>
      new Promise<ReturnType<typeof connect>>((resolve, reject) => {
        setTimeout(() => {
          const attempt = connect({ host, port: 80 });
          attempt.once('connect', () => resolve(attempt));
          attempt.once('error', reject);
        }, i * ATTEMPT_DELAY_MS);
      }),
  ),
);
const connectedMs = performance.now() - begun;
const connectedTo = socket.remoteAddress ?? '';
socket.write(`GET / HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);
let text = '';
for await (const chunk of socket) text += String(chunk);
const result: BrowserLike = {
  resolvedMs,
  ipv4,
  ipv6,
  https: [httpsReply.readUInt16BE(6), httpsReply.readUInt16BE(2) & RCODE],
  connectedMs,
  connectedTo,
  body: text.split('\r\n\r\n').slice(1).join(''),
};
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit());
