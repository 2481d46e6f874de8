/** readWaiting and writeFitting at pipes, sockets, files and what is none of them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { addon } from '../../../src/native/addon.ts';
import { addonFile } from '../../../src/native/files.ts';
import { systemErrorName } from '../../../src/system/helper/errors.ts';

/** open(2): O_NONBLOCK, as /proc/PID/fdinfo has it. */
const NONBLOCK = 0o4000;

/** Standard input gives five octets; nobody reads standard output until it has ended. */
const CHILD = `
const { readFileSync, writeFileSync } = require('node:fs');
process.on('exit', () => writeFileSync(process.argv[2], ''));
const { readWaiting, writeFitting } = require(process.argv[1]);
const into = Buffer.alloc(100);
let length = 0, ended = -1;
for (const until = Date.now() + 5000; ended !== 0 && Date.now() < until; ) {
  ended = readWaiting(0, into.subarray(length));
  if (ended > 0) length += ended;
}
let held = 0;
const block = Buffer.alloc(32 * 1024);
for (let some = 1; some > 0; ) {
  some = writeFitting(1, block, block);
  if (some > 0) held += some;
}
const [, flags] = /^flags:\\s+([0-7]+)/m.exec(readFileSync('/proc/self/fdinfo/1', 'utf8'));
console.error(JSON.stringify([into.toString('latin1', 0, length), ended, held, flags]));
`;

describe('transfers that never wait', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-transfer-'));
  const native = addon();
  const into = Buffer.alloc(100);
  const sockets: Socket[] = [];
  after(() => {
    for (const socket of sockets) socket.destroy();
    rmSync(directory, { recursive: true });
  });

  /** The descriptor of a socket that its peer has reset, and in which three octets wait. */
  const resetSocket = async (kind: 'TCP' | 'Unix'): Promise<number> => {
    const server = createServer({ pauseOnConnect: true });
    const path = join(directory, 'socket');
    await new Promise<void>((resolve) => {
      if (kind === 'TCP') server.listen(0, '127.0.0.1', resolve);
      else server.listen(path, resolve);
    });
    const accepted = once(server, 'connection');
    const socket = new Socket().on('error', () => {}).pause();
    sockets.push(socket);
    if (kind === 'TCP') socket.connect((server.address() as AddressInfo).port, '127.0.0.1');
    else socket.connect(path);
    const [peer] = (await accepted) as [Socket];
    server.close();
    await new Promise((resolve) => socket.write('x', resolve));
    await new Promise((resolve) => peer.write('abc', resolve));
    if (kind === 'TCP') peer.resetAndDestroy();
    // It has not read what it has, so this is a reset as well.
    else peer.destroy();
    await once(peer, 'close');
    const { _handle: handle } = socket as unknown as { _handle: { readonly fd: number } };
    return handle.fd;
  };
  /** Calls until it throws, because the reset may be on its way; or it returns 0. */
  const errorOf = async (call: () => number): Promise<string | undefined> => {
    try {
      for (const until = Date.now() + 10_000; Date.now() < until && call() !== 0; )
        await new Promise((resolve) => setTimeout(resolve, 1));
      return undefined;
    } catch (error) {
      return systemErrorName((error as { errno: number }).errno);
    }
  };

  it('a pipe: some, its end, all that fits; it stays blocking', (t) => {
    // Only unnamed pipes can do it, and only since Linux 6.4.
    const done = join(directory, 'done');
    spawnSync('mkfifo', [done]);
    const script = `printf abcde | "$0" -e "$1" "$2" "$3" | exec cat "$3"`;
    const words = [process.execPath, CHILD, addonFile(), done];
    const { stderr } = spawnSync('bash', ['--norc', '-c', script, ...words], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    const [read, ended, held, flags] = JSON.parse(stderr) as [string, number, number, string];
    if (read === '') return t.skip('no RWF_NOWAIT for pipes');
    assert.deepEqual([read, ended], ['abcde', 0]);
    assert.ok(held > 0);
    assert.equal(Number.parseInt(flags, 8) & NONBLOCK, 0);
  });

  it('a file: at its position, like read(2)', (t) => {
    const path = join(directory, 'file');
    writeFileSync(path, 'x'.repeat(150));
    const fd = openSync(path, 'r');
    const read = [native.readWaiting(fd, into), native.readWaiting(fd, into)];
    // 0 and -1 both say: ask again in a way that may wait.
    assert.ok(native.readWaiting(fd, into) <= 0);
    closeSync(fd);
    if (read[0] === -1) return t.skip('the file system has no RWF_NOWAIT, as tmpfs');
    assert.deepEqual(read, [100, 50]);
  });

  for (const kind of ['TCP', 'Unix'] as const) {
    it(`a ${kind} socket that is reset: what waits, then the error, told once`, async () => {
      const reader = await resetSocket(kind);
      let read = 0;
      const failed = await errorOf(() => {
        const octets = native.readWaiting(reader, into);
        read += Math.max(octets, 0);
        return octets;
      });
      assert.deepEqual([read, failed], [3, 'ECONNRESET']);
      assert.equal(native.readWaiting(reader, into), 0);
      const writer = await resetSocket(kind);
      const written = await errorOf(() => native.writeFitting(writer, into));
      assert.equal(written, kind === 'TCP' ? 'ECONNRESET' : 'EPIPE');
    });
  }

  it('what is no open descriptor, and what is no octets', async () => {
    assert.equal(await errorOf(() => native.readWaiting(9999, into)), 'EBADF');
    assert.equal(await errorOf(() => native.writeFitting(9999, into)), 'EBADF');
    const many = Array.from({ length: 33 }, () => into);
    assert.throws(() => native.writeFitting(1, ...many), /up to 32/);
    assert.throws(() => native.writeFitting(1, 'text' as unknown as Buffer), /octets are needed/);
  });
});
