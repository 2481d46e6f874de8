/**
 * The addon's link, as far as it goes without a helper: its states, its errors, and that it never
 * holds up or crashes a process.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { addon, type LinkHandle } from '../../../../src/native/addon.ts';

const NATIVE_MODULE = new URL('../../../../src/native/addon.js', import.meta.url).href;
const { errno: ERRNO } = constants;
const PROCESS_LIMIT_MS = 10_000;

let directory = '';
let names = 0;

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
});

after(() => {
  rmSync(directory, { recursive: true });
});

function socketPath(): string {
  names += 1;
  return join(directory, `s${names}`);
}

function unexpected(): never {
  throw new Error('nobody has connected');
}

/** The status of a process that runs `script`; `native` is the addon, `path` a free socket path. */
function runScript(script: string): { status: number | null; stdout: string; stderr: string } {
  const text = `import { addon } from ${JSON.stringify(NATIVE_MODULE)};
    const native = addon(); const path = ${JSON.stringify(socketPath())};
    ${script}`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--expose-gc', '--input-type=module', '-e', text],
    {
      encoding: 'utf8',
      timeout: PROCESS_LIMIT_MS,
    },
  );
  return { status, stdout, stderr };
}

describe('link', () => {
  it('listens at a socket until it is closed, which may be repeated', () => {
    const path = socketPath();
    const link = addon().linkListen(path, unexpected);
    assert.ok(statSync(path).isSocket());
    addon().linkClose(link);
    addon().linkClose(link);
  });

  it('can’t send before somebody has come, nor after its close', () => {
    const link = addon().linkListen(socketPath(), unexpected);
    assert.throws(() => addon().linkSend(link, new Uint8Array(1)), { errno: ERRNO.ENOTCONN });
    assert.throws(() => addon().linkShutdown(link), { errno: ERRNO.ENOTCONN });
    addon().linkClose(link);
    assert.throws(() => addon().linkSend(link, new Uint8Array(1)), { errno: ERRNO.EBADF });
  });

  it('says why it can’t listen', () => {
    const path = socketPath();
    const link = addon().linkListen(path, unexpected);
    assert.throws(() => addon().linkListen(path, unexpected), { errno: ERRNO.EADDRINUSE });
    addon().linkClose(link);
    assert.throws(() => addon().linkListen(join(directory, 'x'.repeat(200)), unexpected), {
      errno: ERRNO.ENAMETOOLONG,
    });
    assert.throws(() => addon().linkListen(join(directory, 'missing', 'socket'), unexpected), {
      errno: ERRNO.ENOENT,
    });
  });

  it('takes nothing else for a link', () => {
    for (const other of [{}, 7, undefined, Object.create(null)]) {
      assert.throws(() => addon().linkClose(other as LinkHandle), TypeError);
    }
  });

  it('holds a process while it waits, and no longer', () => {
    const held = runScript(
      `native.linkListen(path, () => {}); setTimeout(() => process.exit(7), 100);`,
    );
    assert.equal(held.status, 7, held.stderr);
    const freed = runScript(
      `const link = native.linkListen(path, () => {}); native.linkClose(link);`,
    );
    assert.equal(freed.status, 0, freed.stderr);
  });

  it('survives the end of the process and the collection of its object', () => {
    const ended = runScript(`native.linkListen(path, () => {}); process.exit(0);`);
    assert.equal(ended.status, 0, ended.stderr);
    const collected = runScript(`for (let i = 0; i < 20; i++) native.linkListen(path + i, () => {});
      setImmediate(() => { gc(); console.log('collected'); });`);
    assert.deepEqual(collected, { status: 0, stdout: 'collected\n', stderr: '' });
  });

  it('survives the end of a worker that has one', () => {
    const worker = JSON.stringify(
      `import { addon } from ${JSON.stringify(NATIVE_MODULE)};
      import { parentPort, workerData } from 'node:worker_threads';
      addon().linkListen(workerData, () => {});
      parentPort.postMessage('listening');`,
    );
    const result = runScript(`
      const { Worker } = await import('node:worker_threads');
      const worker = new Worker(${worker}, { eval: true, workerData: path });
      worker.once('message', async (text) => { console.log(text); await worker.terminate(); });`);
    assert.deepEqual(result, { status: 0, stdout: 'listening\n', stderr: '' });
  });
});
