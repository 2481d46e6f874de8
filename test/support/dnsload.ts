/**
 * Sends DNS queries by UDP at a steady rate, from a separate process, and prints one line of JSON:
 * how many were answered, and the 99th percentile of the times in milliseconds.
 *
 *   node dnsload.js HOST PORT PER_SECOND SECONDS NAME...
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { encode } from 'dns-packet';

/**
 * Seconds of warm-up at the same rate, in which V8 compiles the server's code.
 */
const WARM_UP_SECONDS = 0.5;
const IDS = 65_536;

export interface LoadResult {
  readonly sent: number;
  /** Including the warm-up. */
  readonly asked: number;
  readonly answered: number;
  readonly p99: number;
}

const [host = '', port = '', perSecond = '', seconds = '', ...names] = process.argv.slice(2);
const socket = createSocket('udp4');
socket.connect(Number(port), host);
await once(socket, 'connect');

const sentAt = new Map<number, number>();
let times: number[] = [];
socket.on('message', (bytes) => {
  times.push(performance.now() - (sentAt.get(bytes.readUInt16BE(0)) ?? Number.NaN));
});
const send = (count: number) => {
  const id = count % IDS;
  sentAt.set(id, performance.now());
  socket.send(
    encode({
      type: 'query',
      id,
      flags: 0x0100,
      questions: [{ type: 'A', name: names[count % names.length] ?? '' }],
    }),
  );
};

/** Sends the queries that are due by now. */
async function sendFor(duration: number): Promise<number> {
  const total = Number(perSecond) * duration;
  const start = performance.now();
  for (let sent = 0; sent < total; ) {
    const due = Math.min(
      total,
      Math.ceil(((performance.now() - start) * Number(perSecond)) / 1000),
    );
    for (; sent < due; sent++) send(sent);
    await sleep(1);
  }
  await sleep(200);
  return total;
}

const before = await sendFor(WARM_UP_SECONDS);
times = [];
const total = await sendFor(Number(seconds));
socket.close();
times.sort((x, y) => x - y);
const result: LoadResult = {
  sent: total,
  asked: before + total,
  answered: times.length,
  p99: times[Math.floor(times.length * 0.99)] ?? -1,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
