/**
 * A jump host written with ssh2: `node ssh2server.js PORT AUTHORIZED_KEYS HOST_KEY`. Its refusals
 * are the library's: reason 2 without a text, also for port 9, which is denied. It ends the
 * direction that its peer has ended. Prints `ready`, and `session` when somebody opens a session
 * channel.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import type { ServerChannel } from 'ssh2';
import ssh2 from '../ssh2.ts';

const DENIED_PORT = 9;
const [port = '', authorizedKeys = '', hostKey = ''] = process.argv.slice(2);
const authorized = readFileSync(authorizedKeys, 'utf8').trim().split('\n');

function carry(channel: ServerChannel, target: Socket): void {
  channel.on('error', () => target.destroy()).on('close', () => target.destroy());
  target.on('error', () => channel.close());
  channel.pipe(target);
  target.pipe(channel);
}

const server = new ssh2.Server({ hostKeys: [readFileSync(hostKey)] }, (client) => {
  client.on('authentication', (context) => {
    const key = context.method === 'publickey' ? context.key.data.toString('base64') : undefined;
    // ssh2 leaves checking the signature to its caller; here it is enough to compare the key.
    if (key !== undefined && authorized.some((line) => line.split(' ')[1] === key))
      context.accept();
    else context.reject(['publickey']);
  });
  client.on('error', () => client.end());
  client.on('tcpip', (accept, reject, info) => {
    if (info.destPort === DENIED_PORT) return void reject();
    const target = connect({ host: info.destIP, port: info.destPort, allowHalfOpen: true });
    target.once('error', reject);
    target.once('connect', () => {
      target.off('error', reject);
      carry(accept(), target);
    });
  });
  client.on('session', (_accept, reject) => {
    process.stdout.write('session\n');
    reject();
  });
  client.on('request', (_accept, reject) => reject?.());
});
server.listen(Number(port), '0.0.0.0', () => process.stdout.write('ready\n'));
