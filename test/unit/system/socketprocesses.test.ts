import assert from 'node:assert/strict';
import fs, { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AT_ONCE, MAX_DESCRIPTORS, SocketProcesses } from '../../../src/system/socketprocesses.ts';

/** A /proc with these processes, each with a name and the inodes of its sockets. */
function procWith(t: TestContext, processes: Readonly<Record<number, [string, ...number[]]>>) {
  const proc = mkdtempSync(join(tmpdir(), 'socketprocesses-'));
  t.after(() => rmSync(proc, { recursive: true }));
  for (const [pid, [name, ...inodes]] of Object.entries(processes)) {
    mkdirSync(join(proc, pid, 'fd'), { recursive: true });
    writeFileSync(join(proc, pid, 'comm'), `${name}\n`);
    symlinkSync('/dev/null', join(proc, pid, 'fd', '0'));
    for (const [i, inode] of inodes.entries())
      symlinkSync(`socket:[${inode}]`, join(proc, pid, 'fd', String(i + 3)));
  }
  return proc;
}

async function searched(processes: SocketProcesses, inodes: readonly string[]) {
  const found: [string, string][] = [];
  await processes.search(
    inodes.map((inode) => [inode, inode] as const),
    (inode, process) => found.push([inode, process]),
  );
  return found.sort();
}

test('each socket is found with the process that has it', async (t) => {
  const proc = procWith(t, { 10: ['sshd', 1], 900: ['curl', 2, 3], 50: ['psql', 4] });
  const processes = new SocketProcesses(proc);
  assert.deepEqual(await searched(processes, ['1', '3', '5']), [
    ['1', '10 (sshd)'],
    ['3', '900 (curl)'],
  ]);
});

test('the process that was found last is looked at first, and alone if it has all', async (t) => {
  const proc = procWith(t, { 10: ['browser', 1, 2], 900: ['other', 3] });
  const processes = new SocketProcesses(proc);
  assert.deepEqual(await searched(processes, ['1']), [['1', '10 (browser)']]);
  // The other one would be found first among all: it is newer.
  rmSync(join(proc, '900'), { recursive: true });
  mkdirSync(join(proc, '900', 'fd'), { recursive: true });
  symlinkSync('socket:[2]', join(proc, '900', 'fd', '3'));
  assert.deepEqual(await searched(processes, ['2']), [['2', '10 (browser)']]);
  rmSync(join(proc, '10'), { recursive: true });
  assert.deepEqual(await searched(processes, ['2']), [['2', '900']]);
});

test('processes that can not be listed end the search', async () => {
  await assert.rejects(searched(new SocketProcesses('/nowhere'), ['1']), { code: 'ENOENT' });
});

/** How many descriptors are read in each turn of the event loop. */
async function turnsOf(t: TestContext, work: () => Promise<unknown>): Promise<readonly number[]> {
  const turns = [0];
  const { readlinkSync } = fs;
  t.mock.method(fs, 'readlinkSync', (path: string) => {
    turns.push((turns.pop() ?? 0) + 1);
    return readlinkSync(path);
  });
  syncBuiltinESMExports();
  let clock = setImmediate(function next() {
    turns.push(0);
    clock = setImmediate(next);
  });
  try {
    await work();
  } finally {
    clearImmediate(clock);
    t.mock.restoreAll();
    syncBuiltinESMExports();
  }
  return turns;
}

const many = (count: number) => Array.from({ length: count }, (_, i) => i + 1000);

test('a process with many descriptors does not hold up other work', async (t) => {
  const proc = procWith(t, { 10: ['server', ...many(4 * AT_ONCE)], 5: ['client', 7] });
  const turns = await turnsOf(t, async () => {
    assert.deepEqual(await searched(new SocketProcesses(proc), ['7']), [['7', '5 (client)']]);
  });
  assert.equal(Math.max(...turns), AT_ONCE);
});

test('a search ends within a process, at the limit and when all are found', async (t) => {
  const proc = procWith(t, {
    10: ['server', ...many(MAX_DESCRIPTORS + AT_ONCE)],
    5: ['client', 7],
  });
  const read = async (inode: string): Promise<number> => {
    const turns = await turnsOf(t, () => searched(new SocketProcesses(proc), [inode]));
    return turns.reduce((sum, turn) => sum + turn, 0);
  };
  assert.equal(await read('7'), MAX_DESCRIPTORS);
  for (const fd of many(3 * AT_ONCE)) {
    const path = join(proc, '10', 'fd', String(fd));
    rmSync(path);
    symlinkSync('socket:[8]', path);
  }
  assert.ok((await read('8')) < MAX_DESCRIPTORS / 2);
});
