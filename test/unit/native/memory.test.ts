/** Who may read the memory of a process: the addon's hideMemory, and the program while it runs. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { addonFile } from '../../../src/native/files.ts';
import { closedToOthers } from '../../support/requirements.ts';

const MAIN = fileURLToPath(new URL('../../../src/main.js', import.meta.url));
const ADDON = addonFile();
const NOBODY = 65_534;
const isRoot = process.geteuid?.() === 0;
/** Root may read everything, so the processes run as another user. */
const asUser = isRoot ? { uid: NOBODY, gid: NOBODY } : {};

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, args, {
    ...asUser,
    cwd: '/',
    env: { PATH: process.env['PATH'], HOME: '/nowhere' },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
}

/** What another process of the user gets of its memory: its environment lies there. */
function readsMemory(pid: number | undefined): boolean {
  return spawnSync('cat', [`/proc/${pid}/environ`], asUser).status === 0;
}

function coreLimits(pid: number | undefined): string | undefined {
  return /^Max core file size +(\S+ +\S+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1];
}

describe('memory', { skip: isRoot && closedToOthers(MAIN), timeout: 30_000 }, () => {
  it('is hidden from other processes of the user by hideMemory, and not written to a core', async () => {
    const script = `console.log('begin'); process.stdin.once('data', () => {
      require(${JSON.stringify(ADDON)}).hideMemory(); console.log('hidden'); });`;
    const child = start(['-e', script]);
    try {
      assert.ok(child.stdout !== null && child.stdin !== null);
      await once(child.stdout, 'data');
      assert.equal(readsMemory(child.pid), true);
      child.stdin.write('go\n');
      await once(child.stdout, 'data');
      assert.equal(readsMemory(child.pid), false);
      assert.match(coreLimits(child.pid) ?? '', /^0 +0$/);
    } finally {
      child.kill('SIGKILL');
    }
  });

  for (const command of ['proxy', 'doctor'])
    it(`of tunnel ${command} is hidden before it connects`, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const remote = ['-F', 'none', '-p', String(port), '-r', 'x@127.0.0.1'];
      const child = start([MAIN, command, ...remote]);
      try {
        await once(server, 'connection');
        assert.equal(readsMemory(child.pid), false);
        assert.match(coreLimits(child.pid) ?? '', /^0 +0$/);
      } finally {
        child.kill('SIGKILL');
        server.close();
      }
    });
});
