/**
 * What may answer in the place of an SSH server: `node brokenserver.js DIRECTORY KIND=PORT...`,
 * with the certificate of certificates.ts in DIRECTORY. Prints `ready` when all listen.
 */
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';

const [directory = '', ...wanted] = process.argv.slice(2);

const KINDS: Readonly<Record<string, () => Server>> = {
  /** As a load balancer without a working server behind it. */
  closes: () => createServer((socket) => socket.destroy()),
  silent: () => createServer(() => {}),
  http: () => createHttpServer(),
  tls: () =>
    createTlsServer({
      cert: readFileSync(join(directory, 'server.pem')),
      key: readFileSync(join(directory, 'server.key')),
    }),
  /** As an sshd that shuts a source out. */
  'hangs-up': () => createServer((socket) => socket.end('SSH-2.0-OpenSSH_9.9\r\n')),
  /** As telnet. */
  login: () => createServer((socket) => socket.write('Welcome to router 7\r\nlogin: ')),
};

await Promise.all(
  wanted.map((text) => {
    const [kind = '', port] = text.split('=');
    const server = KINDS[kind]?.();
    if (server === undefined) throw new Error(`no kind ${kind}`);
    server.on('error', (error) => {
      throw error;
    });
    server.on('connection', (socket) => socket.on('error', () => {}));
    return new Promise<void>((resolve) => server.listen(Number(port), resolve));
  }),
);
process.stdout.write('ready\n');
