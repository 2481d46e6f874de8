/**
 * Connections of Linux's own TCP, for tcplinux.ts: `tcplinuxclient.js FLOWS BYTES HOST...`. Each
 * sends BYTES and receives as many, in both directions at once. Even ones get data that the other
 * side generates, odd ones what they have sent. Prints errors.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { pseudoRandomChunks, pseudoRandomDigest } from './bytes.ts';
import { BASE_PORT, downSeed, echoes, upSeed } from './tcplinuxflows.ts';

const [flows, bytes, ...hosts] = process.argv.slice(2);
const size = Number(bytes);

async function flow(n: number): Promise<string | undefined> {
  const socket = connect({
    host: hosts[n % hosts.length] ?? '',
    port: BASE_PORT + n,
    allowHalfOpen: true,
  });
  await once(socket, 'connect');
  const hash = createHash('sha256');
  let received = 0;
  socket.on('data', (chunk) => {
    received += chunk.length;
    hash.update(chunk);
    if (n % 5 !== 0 || received % 7 !== 0) return;
    // Some readers are slow now and then, so that windows close.
    socket.pause();
    setTimeout(() => socket.resume(), 5);
  });
  const ended = once(socket, 'end');
  for (const chunk of pseudoRandomChunks(size, upSeed(n)))
    if (!socket.write(chunk)) await once(socket, 'drain');
  socket.end();
  await ended;
  const wanted = pseudoRandomDigest(size, echoes(n) ? upSeed(n) : downSeed(n));
  const digest = hash.digest('hex');
  return received === size && digest === wanted
    ? undefined
    : `flow ${n}: ${received} bytes, sha256 ${digest}`;
}

const results = await Promise.all(
  Array.from({ length: Number(flows) }, (_, n) =>
    flow(n).catch((error: Error) => `flow ${n}: ${error.message}`),
  ),
);
const wrong = results.filter((result) => result !== undefined);
process.stdout.write(wrong.map((line) => `${line}\n`).join(''));
process.exitCode = wrong.length === 0 ? 0 : 1;
