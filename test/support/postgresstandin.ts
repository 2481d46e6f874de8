/**
 * A stand-in of a PostgreSQL server on the loopback device: as much of its protocol (version 3.0,
 * "Message Flow" in its manual) as a client needs to log in without a password and to ask one
 * simple query, to which it answers one row of one text.
 */
import { createServer, type Server, type Socket } from 'node:net';

const SSL_REQUEST = 80_877_103;
const TEXT_OID = 25;

export async function startPostgres(text: string): Promise<{ port: number; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    serve(socket, text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: portOf(server),
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

function serve(socket: Socket, text: string): void {
  let octets = Buffer.alloc(0);
  let started = false;
  socket.on('data', (chunk: Buffer) => {
    octets = Buffer.concat([octets, chunk]);
    for (;;) {
      const head = started ? 1 : 0;
      if (octets.length < head + 4) return;
      const length = head + octets.readUInt32BE(head);
      if (octets.length < length) return;
      const message = octets.subarray(0, length);
      octets = octets.subarray(length);
      if (!started) {
        const code = message.readUInt32BE(4);
        if (code === SSL_REQUEST) socket.write('N');
        else {
          started = true;
          socket.write(Buffer.concat([packet('R', int32(0)), READY]));
        }
      } else if (message[0] === 'Q'.charCodeAt(0)) socket.write(rowOf(text));
      else if (message[0] === 'X'.charCodeAt(0)) socket.end();
    }
  });
}

const READY = packet('Z', Buffer.from('I'));

function rowOf(text: string): Buffer {
  const value = Buffer.from(text);
  const column = [Buffer.from('version\0'), int32(0), int16(0), int32(TEXT_OID)];
  return Buffer.concat([
    packet('T', int16(1), ...column, int16(-1), int32(-1), int16(0)),
    packet('D', int16(1), int32(value.length), value),
    packet('C', Buffer.from('SELECT 1\0')),
    READY,
  ]);
}

function packet(type: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

function int32(value: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeInt32BE(value);
  return octets;
}

function int16(value: number): Buffer {
  const octets = Buffer.alloc(2);
  octets.writeInt16BE(value);
  return octets;
}
