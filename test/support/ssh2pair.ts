/**
 * ssh2's own client and server over a TCP connection, with one cipher. The server echoes data on
 * direct-tcpip channels, or leaves channels to the test.
 */
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { CipherAlgorithm, Client, Connection, MacAlgorithm } from 'ssh2';
import { silentObserver } from '../../src/observe/observer.ts';
import { Inbox } from '../../src/ssh/embedded/channels/inbox.ts';
import { Ssh2Link } from '../../src/ssh/embedded/channels/link.ts';
import { protocolOf, type SshProtocol } from '../../src/ssh/embedded/ssh2/internals.ts';
import ssh2 from './ssh2.ts';

/** The members of the server's protocol object that tests use. */
export interface PeerProtocol {
  readonly _kexinit: unknown;
  readonly _cipher: { allocPacket(payloadLength: number): Buffer; encrypt(packet: Buffer): void };
  readonly _handlers: Record<string, ((...fields: never[]) => void) | undefined>;
  channelOpenConfirm(remote: number, local: number, window: number, maxPacket: number): void;
  channelOpenFail(remote: number, reason: number, text: string): void;
  channelData(channel: number, data: Buffer): void;
  channelExtData(channel: number, data: Buffer, type: number): void;
  channelWindowAdjust(channel: number, bytes: number): void;
  channelEOF(channel: number): void;
  channelClose(channel: number): void;
  channelSuccess(channel: number): void;
  channelFailure(channel: number): void;
  exitStatus(channel: number, status: number): void;
  forwardedTcpip(channel: number, window: number, maxPacket: number, addresses: object): void;
  requestSuccess(): void;
  requestFailure(): void;
  ping(): void;
  rekey(): void;
}

const hostKey = generateKeyPairSync('rsa', { modulusLength: 2048 })
  .privateKey.export({ type: 'pkcs1', format: 'pem' })
  .toString();

export interface Pair {
  readonly client: Client;
  readonly socket: Socket;
  readonly inbox: Inbox | undefined;
  readonly protocol: SshProtocol;
  readonly peer: PeerProtocol;
  close(): void;
}

/** `inbox`: the client reads as the program does; otherwise as ssh2 does. */
export async function connectPair(
  cipher: string,
  options: { readonly inbox: boolean; readonly mac?: string },
): Promise<Pair> {
  const algorithms = {
    cipher: [cipher as CipherAlgorithm],
    ...(options.mac && { hmac: [options.mac as MacAlgorithm] }),
  };
  let connection: Connection | undefined;
  const server = new ssh2.Server({ hostKeys: [hostKey], algorithms }, (incoming) => {
    connection = incoming;
    incoming.on('authentication', (context) => context.accept());
    incoming.on('tcpip', (accept) => {
      const echo = accept() as Duplex;
      echo.on('error', () => echo.destroy());
      echo.pipe(echo);
    });
    incoming.on('error', () => {
      // These tests cut it.
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const inbox = options.inbox ? new Inbox() : undefined;
  const socket = connect({
    port,
    host: '127.0.0.1',
    ...(inbox && {
      onread: { buffer: inbox.space as unknown as Uint8Array, callback: inbox.received },
    }),
  });
  inbox?.openEarly(socket);
  await once(socket, 'connect');
  const client = new ssh2.Client();
  client.connect({ sock: socket, username: 'test', algorithms });
  await once(client, 'ready');
  client.removeAllListeners();
  const { _protocol: peer } = connection as unknown as { readonly _protocol: PeerProtocol };
  return {
    client,
    socket,
    inbox,
    protocol: protocolOf(client),
    peer,
    close() {
      socket.destroy();
      server.close();
    },
  };
}

/** The program's link on top of it. */
export async function connectLink(cipher: string): Promise<Pair & { readonly link: Ssh2Link }> {
  const pair = await connectPair(cipher, { inbox: true });
  const { client, socket, inbox } = pair;
  return Object.assign(pair, {
    link: new Ssh2Link({ client, socket, inbox, at: 'the pair', observer: silentObserver }),
  });
}
