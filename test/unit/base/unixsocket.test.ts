import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import {
  type ListenedPath,
  listenOnSocket,
  makeRoomForSocket,
  SocketPathError,
} from '../../../src/base/unixsocket.ts';

describe('sockets at a path of the user', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-socket-'));
  let path = '';
  let count = 0;
  beforeEach(() => {
    path = join(directory, `${count++}.sock`);
  });
  after(() => rmSync(directory, { recursive: true }));

  const listened = (mode?: number) => listenOnSocket(createServer().unref(), path, mode);
  const closed = (it: ListenedPath) => new Promise<void>((resolve) => it.close(resolve));
  const isRefused = (why: RegExp) => (error: unknown) =>
    error instanceof SocketPathError && why.test(error.message);

  /** Leaves a socket that nobody listens on. */
  function abandon(): void {
    const program = `require('net').createServer().listen(process.argv[1], () => process.exit())`;
    assert.equal(spawnSync(process.execPath, ['-e', program, path]).status, 0);
    assert.ok(lstatSync(path).isSocket());
  }

  it('have their mode whatever the umask is, and go with the server', async () => {
    const mask = process.umask(0o077);
    try {
      for (const mode of [0o600, 0o660, 0o666]) {
        const it = await listened(mode);
        assert.equal(statSync(path).mode & 0o777, mode);
        await closed(it);
        assert.ok(!existsSync(path));
      }
      assert.equal(process.umask(), 0o077);
    } finally {
      process.umask(mask);
    }
  });

  it('get no mode through a link that stands in their place', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, 'x', { mode: 0o640 });
    class Swapped extends Server {
      // Overloaded, and only this form is called.
      override listen(...args: unknown[]): this {
        const [, callback] = args;
        symlinkSync(file, path);
        if (typeof callback === 'function') callback();
        return this;
      }
    }
    await assert.rejects(listenOnSocket(new Swapped(), path, 0o666), isRefused(/another file in/));
    assert.equal(statSync(file).mode & 0o777, 0o640);
  });

  it('are left to somebody else who has taken the path', async () => {
    const first = await listened();
    unlinkSync(path);
    const second = await listened();
    await closed(first);
    const client = connect(path);
    await once(client, 'connect');
    client.destroy();
    await closed(second);
    assert.ok(!existsSync(path));
  });

  it('leave a file in their place', async () => {
    const it = await listened();
    unlinkSync(path);
    writeFileSync(path, 'theirs');
    await closed(it);
    assert.equal(readFileSync(path, 'utf8'), 'theirs');
  });

  it('end without a file as well', async () => {
    const it = await listened();
    unlinkSync(path);
    await closed(it);
    assert.ok(!existsSync(path));
  });

  it('take the place of one that was killed, and of nothing else', async () => {
    await makeRoomForSocket(path);
    abandon();
    await makeRoomForSocket(path);
    assert.ok(!existsSync(path));
    const it = await listened();
    await assert.rejects(makeRoomForSocket(path), isRefused(/another program listens/));
    await closed(it);
    symlinkSync('/dev/null', path);
    await assert.rejects(makeRoomForSocket(path), isRefused(/no socket/));
    await assert.rejects(makeRoomForSocket('/nowhere/x.sock'), isRefused(/does not exist/));
  });

  it('two that make room at once remove nothing of each other', async () => {
    abandon();
    const one = makeRoomForSocket(path).then(() => listened());
    const other = makeRoomForSocket(path).then(() => listened());
    const [first, second] = await Promise.allSettled([one, other]);
    const listening = [first, second].filter(({ status }) => status === 'fulfilled');
    assert.equal(listening.length, 1);
    const client = connect(path);
    await once(client, 'connect');
    client.destroy();
    for (const result of [first, second])
      if (result?.status === 'fulfilled') await closed(result.value);
  });
});
