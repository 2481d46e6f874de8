import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Duplex, PassThrough } from 'node:stream';
import { afterEach, describe, it } from 'node:test';
import { type RelayResult, relay as relayThen } from '../../../src/flow/relay.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** Both ends of a TCP connection on loopback. */
async function pair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  const accepted = once(server, 'connection');
  const socket = connect({ port: address.port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  const [other] = (await accepted) as [Socket];
  return [socket, other];
}

/** Resolves when it is over. */
function relay(near: Duplex, far: Duplex): Promise<RelayResult> {
  return new Promise((resolve) => relayThen(near, far, resolve));
}

/** application <-> near | relay | far <-> server */
async function relayed() {
  const [application, near] = await pair();
  const [far, server] = await pair();
  return { application, near, far, server, result: relay(near, far) };
}

/** Unlike `for await`, leaves the stream's writable side alone. */
async function readAll(stream: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(stream, 'end');
  return Buffer.concat(chunks).toString();
}

describe('relay', () => {
  it('copies both ways and counts', async () => {
    const { application, server, result } = await relayed();
    application.end('question');
    assert.equal(await readAll(server), 'question');
    server.end('a longer answer');
    assert.equal(await readAll(application), 'a longer answer');
    assert.deepEqual(await result, { sent: 8, received: 15, error: undefined });
  });

  it('keeps the other direction open after a half-close', async () => {
    const { application, server, result } = await relayed();
    server.end();
    assert.equal(await readAll(application), '');
    application.write('still ');
    application.end('here');
    assert.equal(await readAll(server), 'still here');
    assert.equal((await result).error, undefined);
  });

  it('loses nothing that is still to be written when both sides have ended', async () => {
    const [application, near] = await pair();
    const far = new Duplex({ read() {}, write: (_chunk, _encoding, callback) => callback() });
    const result = relay(near, far);
    application.pause();
    application.end();
    await once(near, 'end');
    let sent = 0;
    // Until the kernel takes no more of it, and the socket holds less than what would stop the relay.
    for (; near.writableLength === 0; await new Promise(setImmediate)) {
      far.push(Buffer.alloc(8_000, 'x'));
      sent += 8_000;
    }
    far.push(null);
    await once(far, 'end');
    const received = readAll(application);
    application.resume();
    assert.equal((await received).length, sent);
    assert.deepEqual(await result, { sent: 0, received: sent, error: undefined });
  });

  it('loses nothing that the far side has yet to take when the near side is closed outright', async () => {
    const [application, near] = await pair();
    const taken: Buffer[] = [];
    let take = () => {};
    const far = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, callback) {
        taken.push(chunk);
        take = callback;
      },
    });
    const result = relay(near, far);
    application.end('question');
    await once(near, 'end');
    far.push(null);
    await once(near, 'close');
    assert.ok(!far.destroyed);
    take();
    assert.deepEqual(await result, { sent: 8, received: 0, error: undefined });
    assert.ok(far.writableFinished);
    assert.equal(String(Buffer.concat(taken)), 'question');
    application.destroy();
  });

  it('turns a reset of the far side into a reset of the near side', async () => {
    const { application, server, result } = await relayed();
    server.resetAndDestroy();
    const [error] = (await once(application, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    assert.notEqual((await result).error, undefined);
  });

  it('turns a reset of the near side into a reset of the far side', async () => {
    const { application, server, result } = await relayed();
    application.resetAndDestroy();
    const [error] = (await once(server, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    await result;
  });

  it('resets the near side when the far stream is destroyed without an error', async () => {
    const { application, far, result } = await relayed();
    far.destroy();
    const [error] = (await once(application, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    await result;
  });

  it('ends when the far side resets while the near side is being ended', async () => {
    // In one of these turns of the event loop the FIN is on its way, and libuv refuses to reset the socket.
    for (let turns = 0; turns < 6; turns++) {
      const [application, near] = await pair();
      application.on('error', () => {}); // whether it sees the reset depends on the turn
      const far = new Duplex({
        allowHalfOpen: true,
        read() {},
        write: (_chunk, _encoding, callback) => callback(),
      });
      const result = relay(near, far);
      const later = (left: number): void => {
        if (left === 0) far.destroy();
        else process.nextTick(later, left - 1);
      };
      far.on('end', () => later(turns));
      far.push('last words');
      far.push(null);
      assert.equal(await readAll(application), 'last words');
      await result;
      assert.ok(near.closed && far.closed);
    }
  });

  it('resets the near side when the far stream was closed before the relay began', async () => {
    const [application, near] = await pair();
    const far = new PassThrough();
    far.destroy();
    await once(far, 'close');
    const result = relay(near, far);
    const [error] = (await once(application, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    await result;
  });

  it('reads no more than the buffers hold while the other side does not take it', async () => {
    const [application, near] = await pair();
    let produced = 0;
    const far = new Duplex({
      allowHalfOpen: true,
      read() {},
      write(chunk, _encoding, _callback) {
        produced += chunk.length; // never calls back: a stalled reader
      },
    });
    const result = relay(near, far);
    application.on('error', () => {}); // it is reset at the end
    application.write(Buffer.alloc(32 << 20));
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.ok(produced > 0);
    assert.ok(near.bytesRead < 1 << 20, `${near.bytesRead} bytes were read for a reader that takes nothing`);
    far.destroy();
    await result;
  });
});
