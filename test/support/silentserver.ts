/**
 * An SSH server that answers no global request (RFC 4254 §4 obliges it to), or one that answers
 * them: `node silentserver.js silent|answering PORT AUTHORIZED_KEYS HOST_KEY...`. It carries
 * direct-tcpip channels to real TCP targets. After MOST_REQUESTS unanswered requests it reads
 * nothing more from that connection, as a server written in Go does that forgets about them.
 *
 * It prints `ready PORT`, and `frozen` when it stops reading. For each line on standard input it
 * prints how many global requests it has had: `requests N`.
 */
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Connection, ServerChannel } from 'ssh2';
import ssh2 from './ssh2.ts';

/** What is used of ssh2's server-side connection besides its interface. */
interface Internals {
  readonly _sock: Socket;
  readonly _protocol: { readonly _handlers: { GLOBAL_REQUEST: () => void } };
}

/** chanSize of golang.org/x/crypto/ssh. */
const MOST_REQUESTS = 16;
/** Longer than any test. */
const NEVER_MS = 24 * 3_600_000;

const [mode = '', port = '', authorizedKeys = '', ...hostKeys] = process.argv.slice(2);
const authorized = readFileSync(authorizedKeys, 'utf8').trim().split('\n');
let requests = 0;

function swallowRequests(connection: Connection): void {
  const { _sock: wire, _protocol: protocol } = connection as unknown as Internals;
  let waiting = 0;
  protocol._handlers.GLOBAL_REQUEST = () => {
    requests++;
    if (++waiting <= MOST_REQUESTS) return;
    wire.pause();
    process.stdout.write('frozen\n');
  };
}

function carry(channel: ServerChannel, target: Socket): void {
  channel.on('error', () => target.destroy());
  channel.on('close', () => target.destroy());
  target.on('error', () => channel.close());
  channel.pipe(target).pipe(channel);
}

const server = new ssh2.Server(
  // ssh2 asks its client every 15 s, which would keep the link from being silent.
  { hostKeys: hostKeys.map((path) => readFileSync(path)), keepaliveInterval: NEVER_MS },
  (connection) => {
    if (mode === 'silent') swallowRequests(connection);
    connection.on('authentication', (context) => {
      const key = context.method === 'publickey' ? context.key.data.toString('base64') : undefined;
      // ssh2 leaves checking the signature to its caller; here it is enough to compare the key.
      if (key !== undefined && authorized.some((line) => line.split(' ')[1] === key))
        context.accept();
      else context.reject(['publickey']);
    });
    connection.on('error', () => connection.end());
    connection.on('tcpip', (accept, reject, { destIP, destPort }) => {
      // Node throws for port 0, which a probe asks for.
      if (destPort === 0) {
        reject();
        return;
      }
      const target = connect({ host: destIP, port: destPort, allowHalfOpen: true });
      target.once('error', reject);
      target.once('connect', () => {
        target.off('error', reject);
        carry(accept(), target);
      });
    });
  },
);
server.listen(Number(port), '::', () =>
  process.stdout.write(`ready ${(server.address() as AddressInfo).port}\n`),
);
createInterface({ input: process.stdin })
  .on('line', () => process.stdout.write(`requests ${requests}\n`))
  .on('close', () => process.exit());
