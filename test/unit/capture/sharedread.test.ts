import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { acceptIntoShared, type SharedSocket } from '../../../src/capture/sharedread.ts';

describe('acceptIntoShared', { timeout: 20_000 }, () => {
  let server: Server;
  let port: number;
  const accepted: SharedSocket[] = [];
  before(async () => {
    server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    acceptIntoShared(server, (socket) => accepted.push(socket));
    ({ port } = server.address() as AddressInfo);
  });
  after(() => server.close());

  async function pair(): Promise<{ readonly near: SharedSocket; readonly app: Socket }> {
    const app = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    app.on('error', () => {
      // It is reset in some of these tests.
    });
    let near: SharedSocket | undefined;
    while (near === undefined) {
      await delay(1);
      near = accepted.shift();
    }
    return { near, app };
  }

  it('works with this version of Node: what is read is lent, and all sockets read into the same memory', async () => {
    const [first, second] = [await pair(), await pair()];
    assert.equal(first.near.lendsChunks, true);
    const chunks: Buffer[] = [];
    for (const { near } of [first, second]) near.on('data', (chunk: Buffer) => void chunks.push(chunk));
    first.near.resume();
    second.near.resume();
    first.app.write('first');
    await once(first.near, 'data');
    assert.equal(String(chunks[0]), 'first');
    second.app.write('other');
    await once(second.near, 'data');
    assert.equal(String(chunks[1]), 'other');
    assert.equal(
      String(chunks[0]),
      'other',
      'the first chunk was valid until its listener returned, and no longer',
    );
    for (const { near, app } of [first, second]) {
      near.destroy();
      app.destroy();
    }
  });

  it('reads nothing before it is resumed and while it is paused, and then all, to the end', async () => {
    const { near, app } = await pair();
    const sent = Buffer.alloc(1_000_000, 'x');
    app.end(sent);
    await delay(50);
    assert.equal(near.bytesRead, 0);
    let received = 0;
    near.on('data', (chunk: Buffer) => {
      received += chunk.length;
      near.pause();
      setImmediate(() => near.resume());
    });
    near.resume();
    await once(near, 'end');
    assert.equal(received, sent.length);
    assert.ok(near.writable, 'half-closed only');
    const closed = once(near, 'close');
    near.end('answer');
    assert.equal(String((await once(app, 'data'))[0]), 'answer');
    await closed;
    app.destroy();
  });

  it('a reset arrives as one, both ways', async () => {
    const one = await pair();
    one.near.resume();
    one.app.resetAndDestroy();
    const [error] = (await once(one.near, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    const other = await pair();
    other.near.resetAndDestroy();
    const [reset] = (await once(other.app, 'error')) as [NodeJS.ErrnoException];
    assert.equal(reset.code, 'ECONNRESET');
  });

  it('the server counts the connection until it is closed', async () => {
    const { near, app } = await pair();
    const count = (): Promise<number> =>
      new Promise((resolve) => server.getConnections((_error, connections) => resolve(connections)));
    assert.equal(await count(), 1);
    near.destroy();
    await once(near, 'close');
    assert.equal(await count(), 0);
    app.destroy();
  });
});
