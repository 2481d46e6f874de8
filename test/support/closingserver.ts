/**
 * An SSH server whose channels end with CHANNEL_CLOSE alone: `node closingserver.js PORT
 * AUTHORIZED_KEYS HOST_KEY...`. Servers written in Go or with Twisted end channels this way when
 * the target has ended. It carries direct-tcpip channels to real TCP targets. RFC 4254, 5.3: data
 * sent before the CLOSE must still be delivered.
 *
 * It prints `ready`, and for each line on standard input how many CHANNEL_EOF and CHANNEL_CLOSE it
 * has sent, counted in ssh2's own output: `sent EOF CLOSE`.
 */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import type { ServerChannel } from 'ssh2';
import ssh2 from './ssh2.ts';

const [port = '', authorizedKeys = '', ...hostKeys] = process.argv.slice(2);
const authorized = readFileSync(authorizedKeys, 'utf8').trim().split('\n');
const sent = { eof: 0, close: 0 };

function record(line: string): void {
  if (line.includes('Outbound: Sending CHANNEL_EOF')) sent.eof++;
  if (line.includes('Outbound: Sending CHANNEL_CLOSE')) sent.close++;
}

/**
 * Copies both ways. When the target has ended, it closes the channel as soon as the last byte is
 * sent, without an EOF.
 */
function carry(channel: ServerChannel, target: ReturnType<typeof connect>): void {
  target.on('data', (chunk) => {
    // Called back when the window has admitted all of it.
    target.pause();
    channel.write(chunk, () => target.resume());
  });
  target.on('end', () => channel.write('', () => channel.close()));
  target.on('error', () => channel.close());
  channel.on('data', (chunk: Buffer) => {
    if (!target.write(chunk)) channel.pause();
  });
  target.on('drain', () => channel.resume());
  channel.on('end', () => target.end());
  channel.on('close', () => target.destroy());
  channel.on('error', () => target.destroy());
}

const server = new ssh2.Server(
  { hostKeys: hostKeys.map((path) => readFileSync(path)), debug: record },
  (client) => {
    client.on('authentication', (context) => {
      const key = context.method === 'publickey' ? context.key.data.toString('base64') : undefined;
      // ssh2 leaves checking the signature to its caller; here it is enough to compare the key.
      if (key !== undefined && authorized.some((line) => line.split(' ')[1] === key))
        context.accept();
      else context.reject(['publickey']);
    });
    client.on('error', () => client.end());
    client.on('tcpip', (accept, reject, info) => {
      const target = connect({ host: info.destIP, port: info.destPort, allowHalfOpen: true });
      target.once('error', reject);
      target.once('connect', () => {
        target.off('error', reject);
        carry(accept(), target);
      });
    });
    client.on('request', (_accept, reject) => reject?.());
  },
);
server.listen(Number(port), '::', () => process.stdout.write('ready\n'));
createInterface({ input: process.stdin })
  .on('line', () => process.stdout.write(`sent ${sent.eof} ${sent.close}\n`))
  .on('close', () => process.exit());
