/**
 * What an SSH server says when it doesn't open a channel, unchanged: `node openwords.js HOST PORT
 * USER KEYFILE` prints its identification as a line, and then for each line `HOST PORT` on standard
 * input the answer as JSON: `{"reason": 2, "text": "..."}`, or `{"open": true}`.
 *
 * It is ssh2's own client, not this program's, so that the words are what is on the wire. Nor does
 * it refuse what this program refuses.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import ssh2 from 'ssh2';

export type OpenAnswer =
  | { readonly open: true }
  | { readonly reason: number | undefined; readonly text: string };

const [host = '', port = '', username = '', key = ''] = process.argv.slice(2);
const client = new ssh2.Client();

function open(toHost: string, toPort: number): Promise<OpenAnswer> {
  return new Promise((resolve) => {
    client.forwardOut('127.0.0.1', 1, toHost, toPort, (error, channel) => {
      channel?.on('error', () => undefined).destroy();
      const { message = '', reason } = (error ?? {}) as { message?: string; reason?: number };
      const text = message.replace('(SSH) Channel open failure: ', '');
      resolve(error === undefined ? { open: true } : { reason, text });
    });
  });
}

await new Promise<void>((resolve, reject) => {
  client.once('ready', () => resolve());
  client.once('error', reject);
  client.connect({ host, port: Number(port), username, privateKey: readFileSync(key) });
});
const { _protocol: protocol } = client as unknown as { _protocol: { _remoteIdentRaw: Buffer } };
process.stdout.write(`${protocol._remoteIdentRaw.toString('latin1')}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  const [toHost = '', toPort = ''] = line.split(' ');
  process.stdout.write(`${JSON.stringify(await open(toHost, Number(toPort)))}\n`);
}
client.end();
