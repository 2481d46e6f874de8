/**
 * A client program that tests run inside a namespace, where the tunnel captures: `node dialer.js
 * VERB ...` prints one JSON value.
 *
 *   connect HOST PORT...            [{port, outcome, ms}]: `open`, or the errno name of the failed
 *                                   connect
 *   give-up HOST PORT MS            connects and closes the socket MS later, without an answer
 *   echo HOST PORT COUNT BYTES      COUNT flows at once send BYTES each of their own pseudo-random
 *                                   bytes to an echo port: {flows, wrong}, the number of flows that
 *                                   did not get back exactly what they sent
 *   half-close HOST PORT            sends, ends its side, and reads on: {text}
 *   hold HOST PORT COUNT            opens COUNT connections, prints `held N` and keeps them until
 *                                   it is ended
 *   flood HOST PORT COUNT MS        connects COUNT times at once, and prints what has become of them
 *                                   MS later: {open, reset, refused, pending}; the refused ones by
 *                                   errno name
 *   fill-reset HOST PORT            writes until nothing more is taken, then resets: {sent}
 *   udp HOST PORT                   sends a datagram on a connected socket: {outcome, ms}
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { pseudoRandomBytes } from './bytes.ts';

interface Attempt {
  readonly port: number;
  /** `open`, or the code of the error. */
  readonly outcome: string;
  readonly ms: number;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

async function attempt(host: string, port: number): Promise<Attempt> {
  const begin = performance.now();
  const socket = connect({ host, port });
  let outcome = 'open';
  try {
    await once(socket, 'connect');
  } catch (error) {
    outcome = codeOf(error);
  }
  const ms = performance.now() - begin;
  socket.destroy();
  return { port, outcome, ms };
}

async function connectAll(host: string, ports: readonly number[]): Promise<Attempt[]> {
  return Promise.all(ports.map((port) => attempt(host, port)));
}

async function giveUp(host: string, port: number, ms: number): Promise<{ outcome: string }> {
  const socket = connect({ host, port });
  const opened = once(socket, 'connect').then(() => 'open', codeOf);
  const timer = new Promise<string>((resolve) => setTimeout(() => resolve('given up'), ms));
  const outcome = await Promise.race([opened, timer]);
  socket.destroy();
  return { outcome };
}

/**
 * Sends and receives at the same time; true when exactly the same bytes came back, and the server's
 * last line.
 */
async function echoOnce(host: string, port: number, bytes: Buffer): Promise<boolean> {
  const socket = connect({ host, port, allowHalfOpen: true });
  const expected = Buffer.concat([bytes, Buffer.from(`bye ${bytes.length} bytes\n`)]);
  let at = 0;
  let same = true;
  socket.on('data', (chunk: Buffer) => {
    const end = at + chunk.length;
    same &&= end <= expected.length && expected.compare(chunk, 0, chunk.length, at, end) === 0;
    at = end;
  });
  socket.end(bytes);
  await once(socket, 'close');
  return same && at === expected.length;
}

async function echo(host: string, port: number, count: number, length: number) {
  const flows = Array.from({ length: count }, (_, i) =>
    echoOnce(host, port, pseudoRandomBytes(length, `flow ${i}`)).catch(() => false),
  );
  const results = await Promise.all(flows);
  return { flows: count, wrong: results.filter((right) => !right).length };
}

async function halfClose(host: string, port: number): Promise<{ text: string }> {
  const socket = connect({ host, port, allowHalfOpen: true });
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  socket.end('0123456789');
  await once(socket, 'end');
  return { text };
}

async function hold(host: string, port: number, count: number): Promise<never> {
  const sockets: Socket[] = Array.from({ length: count }, () => connect({ host, port }));
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  for (const socket of sockets)
    socket.on('error', (error) => process.stdout.write(`${codeOf(error)}\n`));
  process.stdout.write(`held ${sockets.length}\n`);
  return new Promise(() => setInterval(() => {}, 1 << 30));
}

async function flood(host: string, port: number, count: number, ms: number) {
  let open = 0;
  let reset = 0;
  const refused: Record<string, number> = {};
  let settled = 0;
  const all = new Promise<void>((resolve) => {
    const settle = (): void => {
      if (++settled === count) resolve();
    };
    for (let i = 0; i < count; i++) {
      const socket = connect({ host, port });
      let connected = false;
      socket.once('connect', () => {
        connected = true;
        open++;
        settle();
      });
      socket.once('error', (error) => {
        if (connected) {
          reset++;
          return;
        }
        const code = codeOf(error);
        refused[code] = (refused[code] ?? 0) + 1;
        settle();
      });
    }
  });
  const time = new Promise((resolve) => setTimeout(resolve, ms));
  await Promise.race([all, time]);
  // What is open stays so until the time is over.
  await time;
  return { open, reset, refused, pending: count - settled };
}

async function fillAndReset(host: string, port: number): Promise<{ sent: number }> {
  const socket = connect({ host, port });
  socket.on('error', () => {}); // it is reset at the end
  await once(socket, 'connect');
  const chunk = Buffer.alloc(1 << 16);
  let sent = 0;
  for (;;) {
    if (socket.write(chunk)) {
      sent += chunk.length;
      continue;
    }
    const stuck = new Promise<string>((resolve) => setTimeout(() => resolve('stuck'), 500));
    if ((await Promise.race([once(socket, 'drain'), stuck])) === 'stuck') break;
  }
  socket.resetAndDestroy();
  await once(socket, 'close');
  return { sent };
}

async function udp(host: string, port: number): Promise<{ outcome: string; ms: number }> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.connect(port, host);
  await once(socket, 'connect');
  const begin = performance.now();
  socket.send('ping');
  const outcome = await Promise.race([
    once(socket, 'error').then(([error]) => codeOf(error)),
    new Promise<string>((resolve) => setTimeout(() => resolve('silence'), 3000)),
  ]);
  socket.close();
  return { outcome, ms: performance.now() - begin };
}

const [verb, host = '', ...rest] = process.argv.slice(2);
const numbers = rest.map(Number);
const [first = 0, second = 0, third = 0] = numbers;
const verbs: Readonly<Record<string, () => Promise<unknown>>> = {
  connect: () => connectAll(host, numbers),
  'give-up': () => giveUp(host, first, second),
  echo: () => echo(host, first, second, third),
  'half-close': () => halfClose(host, first),
  hold: () => hold(host, first, second),
  flood: () => flood(host, first, second, third),
  'fill-reset': () => fillAndReset(host, first),
  udp: () => udp(host, first),
};
const run = verbs[verb ?? ''];
if (run === undefined) throw new Error(`no such verb: ${verb}`);
process.stdout.write(`${JSON.stringify(await run())}\n`);
process.exit(0);
