import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, Socket } from 'node:net';
import { constants } from 'node:os';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { addon } from '../../../../src/native/addon.ts';
import {
  acknowledge,
  acknowledgedBytes,
  setUserTimeout,
} from '../../../../src/ssh/dial/tcpoptions.ts';

describe('acknowledge', () => {
  it('can be asked for on a connected socket, as often as wanted, and on no other', async () => {
    const server = createServer((socket) => socket.on('error', () => {}).resume());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    const socket = connect(address.port, '127.0.0.1');
    await once(socket, 'connect');
    assert.equal(acknowledge(socket), true);
    assert.equal(acknowledge(socket), true);
    socket.destroy();
    await once(socket, 'close');
    assert.equal(acknowledge(socket), false);
    assert.equal(acknowledge(new PassThrough()), false);
    server.close();
  });
});

describe('acknowledgedBytes', () => {
  it("counts what the peer's kernel has acknowledged, whether or not the peer reads it", async () => {
    const server = createServer((socket) => socket.on('error', () => {}).pause());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    const socket = connect(address.port, '127.0.0.1');
    await once(socket, 'connect');
    const before = acknowledgedBytes(socket);
    assert.ok(before !== undefined);
    socket.write(Buffer.alloc(1000));
    for (const since = Date.now(); Date.now() - since < 5_000; await delay(5))
      if (acknowledgedBytes(socket) === before + 1000) break;
    assert.equal(acknowledgedBytes(socket), before + 1000);
    socket.destroy();
    await once(socket, 'close');
    assert.equal(acknowledgedBytes(socket), undefined);
    assert.equal(acknowledgedBytes(new PassThrough()), undefined);
    server.close();
  });
});

describe('setUserTimeout', () => {
  it('sets it on a connected socket', async () => {
    const server = createServer((socket) => socket.on('error', () => {}).resume());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    const socket = connect(address.port, '127.0.0.1');
    await once(socket, 'connect');
    assert.equal(setUserTimeout(socket, 45_000), true);
    for (const more of [2 ** 31, 2 ** 32 - 1])
      assert.equal(setUserTimeout(socket, more), true, 'more than the kernel can count');
    socket.destroy();
    await once(socket, 'close');
    assert.equal(setUserTimeout(socket, 45_000), false);
    server.close();
  });

  it('says so when there is no socket to set it on', () => {
    assert.equal(setUserTimeout(new Socket(), 45_000), false);
    assert.throws(() => addon().setTcpUserTimeout(-1, 1), { errno: constants.errno.EBADF });
    assert.throws(() => addon().setTcpUserTimeout(0.5, -1) as unknown, Error);
  });
});
