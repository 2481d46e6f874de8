/** TCP connections on loopback; the test has both ends. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

const sockets: Socket[] = [];

/** The end that has connected, and its peer. Either may end its side first. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  const accepted = once(server, 'connection');
  const socket = connect({ port: address.port, host: '127.0.0.1', allowHalfOpen: true });
  const [peer] = (await accepted) as [Socket];
  if (socket.connecting) await once(socket, 'connect');
  server.close();
  socket.on('error', () => {
    // Many tests reset it.
  });
  sockets.push(socket, peer);
  return [socket, peer];
}

/** For `afterEach`. */
export function closeSockets(): void {
  for (const socket of sockets.splice(0)) socket.destroy();
}
