/**
 * A separate process as the far end of many flows at once, so that it doesn't use the memory and
 * time of the program under test. A client's first line says what it wants:
 *
 *   idle                    nothing, for ever
 *   sink                    nothing; reads everything
 *   source                  bytes without end
 *   download SEED BYTES     BYTES pseudo-random bytes, then EOF
 *   upload                  a line with the SHA-256 of everything until EOF
 *
 * Sends its port to the parent process, and ends with it.
 */
import { createHash } from 'node:crypto';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pseudoRandomChunks } from './bytes.ts';

const BLOCK = Buffer.alloc(64 * 1024);

function serve(socket: Socket, line: string, rest: Buffer): void {
  const [verb, seed = '', bytes = '0'] = line.split(' ');
  if (verb === 'source') {
    const fill = (): void => {
      while (socket.write(BLOCK)) {
        // Until it is full.
      }
    };
    socket.on('drain', fill);
    fill();
  } else if (verb === 'sink') {
    socket.resume();
  } else if (verb === 'download') {
    Readable.from(pseudoRandomChunks(Number(bytes), seed)).pipe(socket);
  } else if (verb === 'upload') {
    const hash = createHash('sha256').update(rest);
    socket.on('data', (chunk: Buffer) => hash.update(chunk));
    socket.on('end', () => socket.end(`${hash.digest('hex')}\n`));
  }
}

const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => socket.destroy());
  let line = Buffer.alloc(0);
  const listener = (chunk: Buffer): void => {
    line = Buffer.concat([line, chunk]);
    const end = line.indexOf('\n');
    if (end < 0) return;
    socket.off('data', listener);
    serve(socket, line.toString('latin1', 0, end), line.subarray(end + 1));
  };
  socket.on('data', listener);
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, () =>
  process.send?.((server.address() as AddressInfo).port),
);
process.on('disconnect', () => process.exit());
