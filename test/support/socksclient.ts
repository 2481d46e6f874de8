/** A client of the SOCKS proxy at a port of loopback, and of an echo server behind it. */
import { connect, type Socket } from 'node:net';

/** A connection to `port` of a host through the proxy. Rejects if it is refused. */
export function throughProxy(proxy: number, port: number, host = '127.0.0.1'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: proxy });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('it was closed')));
    const address = host.split('.').map(Number);
    socket.write(Buffer.from([5, 1, 0, 5, 1, 0, 1, ...address, port >> 8, port & 255]));
    let got = Buffer.alloc(0);
    const take = (chunk: Buffer): void => {
      got = Buffer.concat([got, chunk]);
      if (got.length < 12) return;
      socket.off('data', take);
      if (got[3] === 0) resolve(socket);
      else reject(new Error(`reply ${got[3]}`));
    };
    socket.on('data', take);
  });
}

/** Sends so many bytes, and waits until they have come back. */
export function exchange(socket: Socket, bytes: number): Promise<void> {
  return new Promise((resolve) => {
    let left = bytes;
    socket.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left === 0) resolve();
    });
    socket.write(Buffer.alloc(bytes));
  });
}
