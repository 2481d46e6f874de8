import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { createPair } from '../../../src/capture/proxy/pair.ts';
import { lookup } from '../../../src/embed/lookup.ts';
import { TunnelSocket } from '../../../src/embed/socket.ts';

/** A socket, and the far end that it gets when it connects. */
function pair(options = {}): { socket: TunnelSocket; far: Duplex; asked: string[] } {
  const [far, near] = createPair();
  far.on('error', () => {});
  const asked: string[] = [];
  const socket = new TunnelSocket(async ({ host, port }) => {
    asked.push(`${host}:${port}`);
    return near;
  }, options);
  return { socket, far, asked };
}

describe('TunnelSocket', () => {
  it('connects as a net.Socket does, and carries what was written before', async () => {
    for (const connect of [
      (socket: TunnelSocket) => socket.connect(5432, 'db.example'),
      (socket: TunnelSocket) => socket.connect({ port: 5432, host: 'db.example' }),
    ]) {
      const { socket, far, asked } = pair();
      connect(socket);
      assert.ok(socket.connecting);
      socket.end('early');
      await once(socket, 'connect');
      assert.ok(!socket.connecting);
      assert.deepEqual(asked, ['db.example:5432']);
      assert.equal(await text(far), 'early');
      assert.equal(socket.bytesWritten, 5);
      socket.destroy();
    }
  });

  it('connects to this machine of the far side if no host is named', async () => {
    const { socket, asked } = pair();
    await new Promise<void>((resolve) => socket.connect(5432, resolve));
    assert.deepEqual(asked, ['localhost:5432']);
    socket.destroy();
  });

  it('ends its own side with the other one, unless it may be half open', async () => {
    const { socket, far } = pair();
    socket.connect(1, 'a').resume();
    far.resume().end('x');
    await once(far, 'end');
    const half = pair({ allowHalfOpen: true });
    half.socket.connect(1, 'a').resume();
    half.far.end();
    await once(half.socket, 'end');
    assert.ok(half.socket.writable);
    half.socket.destroy();
  });

  it('says why it could not connect, and gives up when it is destroyed', async () => {
    const failing = new TunnelSocket(() => Promise.reject(new Error('refused')));
    const [error] = await once(failing.connect(1, 'a'), 'error');
    assert.match(String(error), /refused/);
    let aborted = false;
    const waiting = new TunnelSocket(
      (_to, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            aborted = true;
            reject(signal.reason);
          });
        }),
    );
    waiting.connect(1, 'a').destroy();
    await once(waiting, 'close');
    assert.ok(aborted);
  });

  it('passes a reset on', async () => {
    const { socket, far } = pair();
    socket.connect(1, 'a');
    await once(socket, 'connect');
    far.destroy();
    const [error] = await once(socket, 'error');
    assert.equal(error.code, 'ECONNRESET');
  });

  it('tells of a time without a byte', async () => {
    const { socket } = pair();
    socket.connect(1, 'a');
    // The socket's own timer doesn't keep the process running.
    const running = setInterval(() => {}, 1000);
    await new Promise<void>((resolve) => socket.setTimeout(5, resolve));
    clearInterval(running);
    socket.destroy();
  });
});

describe('lookup', () => {
  it('answers with what it was asked', async () => {
    const all = await new Promise((resolve) =>
      lookup('api.example', { all: true }, (_error, found) => resolve(found)),
    );
    assert.deepEqual(all, [{ address: 'api.example', family: 4 }]);
    const one = await new Promise((resolve) =>
      lookup('::1', {}, (_error, address, family) => resolve([address, family])),
    );
    assert.deepEqual(one, ['::1', 6]);
  });
});
