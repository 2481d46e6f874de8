import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { TunnelError } from '../../../src/errors/errors.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import { LogFile } from '../../../src/record/logfile.ts';
import type { FlowRecord } from '../../../src/record/records.ts';
import { recordText } from '../../support/recordtext.ts';

function place(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-flowlog-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, 'flows.log');
}

async function opened(
  t: TestContext,
  path: string,
  { size = 2 ** 20, keep = 3 } = {},
): Promise<LogFile> {
  const file = await LogFile.open({ path, size, keep, observer: silentObserver });
  t.after(() => file.close());
  return file;
}

function record(number: number): FlowRecord {
  return { time: '2026-11-29T05:01:41.123Z', event: 'opened', id: `run-${number}` };
}

function records(first: number, count: number): FlowRecord[] {
  return Array.from({ length: count }, (_, i) => record(first + i));
}

function idsIn(path: string): (string | undefined)[] {
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { id?: string }).id);
}

async function writeAll(file: LogFile, all: readonly FlowRecord[]): Promise<void> {
  for (let written = 0; written < all.length; ) {
    const lines = all.slice(written).map((one) => recordText(file.format, one));
    const ends = lines.map((_, i) => Buffer.byteLength(lines.slice(0, i + 1).join('')));
    written += await file.write(Buffer.from(lines.join('')), ends);
  }
}

test('a new file is for its owner alone, and holds a record a line', async (t) => {
  const path = place(t);
  const file = await opened(t, path);
  await writeAll(file, records(1, 3));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(idsIn(path), ['run-1', 'run-2', 'run-3']);
});

test('an earlier log is continued', async (t) => {
  const path = place(t);
  writeFileSync(path, '{"event":"ended"}\n', { mode: 0o600 });
  await writeAll(await opened(t, path), [record(1)]);
  assert.deepEqual(idsIn(path), [undefined, 'run-1']);
});

test('rotation keeps whole lines, so many files, and none larger than it may be', async (t) => {
  const path = place(t);
  const file = await opened(t, path, { size: 1000, keep: 3 });
  await writeAll(file, records(1, 100));
  const files = [`${path}.3`, `${path}.2`, `${path}.1`, path];
  for (const one of files) {
    assert.ok(statSync(one).size <= 1000, one);
    assert.equal(statSync(one).mode & 0o777, 0o600);
  }
  assert.ok(!existsSync(`${path}.4`));
  const kept = files.flatMap(idsIn);
  assert.deepEqual(
    kept,
    records(101 - kept.length, kept.length).map(({ id }) => id),
  );
});

test('a record that is larger than a file may be is written all the same', async (t) => {
  const path = place(t);
  const file = await opened(t, path, { size: 20, keep: 1 });
  await writeAll(file, records(1, 3));
  assert.deepEqual([...idsIn(`${path}.1`), ...idsIn(path)], ['run-2', 'run-3']);
});

test('a file that was renamed, removed or cut is followed by its name', async (t) => {
  const path = place(t);
  const file = await opened(t, path);
  await writeAll(file, [record(1)]);
  renameSync(path, `${path}-20261129`);
  await writeAll(file, [record(2)]);
  assert.deepEqual(idsIn(`${path}-20261129`), ['run-1']);
  assert.deepEqual(idsIn(path), ['run-2']);
  renameSync(path, `${path}-20261130`);
  writeFileSync(path, '', { mode: 0o640 }); // as with `create` of logrotate
  await writeAll(file, [record(3)]);
  assert.deepEqual(idsIn(path), ['run-3']);
  unlinkSync(path);
  await writeAll(file, [record(4)]);
  assert.deepEqual(idsIn(path), ['run-4']);
  truncateSync(path);
  await writeAll(file, [record(5)]);
  assert.deepEqual(idsIn(path), ['run-5']);
});

test('what takes its place is refused as at the start', async (t) => {
  const path = place(t);
  const file = await opened(t, path);
  const elsewhere = `${path}-elsewhere`;
  writeFileSync(elsewhere, '');
  unlinkSync(path);
  symlinkSync(elsewhere, path);
  await assert.rejects(writeAll(file, [record(1)]), { code: 'record-file' });
  assert.equal(readFileSync(elsewhere, 'utf8'), '');
});

test('a torn last line is taken out, and kept in a record', async (t) => {
  const path = place(t);
  writeFileSync(path, '{"event":"opened","id":"run-1"}\n{"event":"clo', { mode: 0o600 });
  await writeAll(await opened(t, path), [record(2)]);
  const lines = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((one) => JSON.parse(one));
  assert.equal(lines.length, 3);
  assert.equal(lines[1].event, 'repaired');
  assert.equal(lines[1].torn, '{"event":"clo');
});

test('a file is refused that is none, not ours, or something else', async (t) => {
  const path = place(t);
  const refused = async (what: RegExp, prepare: () => void, at = path): Promise<void> => {
    prepare();
    await assert.rejects(opened(t, at), (error: unknown) => {
      assert.ok(error instanceof TunnelError);
      assert.equal(error.code, 'record-file');
      assert.match(error.message, what);
      assert.ok((error.hint ?? '').length > 0);
      return true;
    });
    rmSync(path, { force: true, recursive: true });
  };
  await refused(/symbolic link/, () => symlinkSync('/etc/passwd', path));
  await refused(/not a regular file/, () => execFileSync('mkfifo', [path]));
  await refused(/not a regular file|can't be written|another user/, () => {}, '/dev/full');
  await refused(/can't be written/, () => execFileSync('mkdir', [path]));
  await refused(/can't be written/, () => {}, join(path, 'deeper'));
  await refused(/may be written by others/, () => {
    writeFileSync(path, '');
    chmodSync(path, 0o622);
  });
  const other = `${path}-other`;
  writeFileSync(other, '');
  await refused(/hard link/, () => linkSync(other, path));
  await refused(/something else/, () => writeFileSync(path, 'export PATH=/bin\n'));
  await refused(/something else/, () => writeFileSync(path, `{${'x'.repeat(70_000)}`));
  if (process.getuid?.() === 0)
    await refused(/another user/, () =>
      execFileSync('install', ['-o', '65534', '/dev/null', path]),
    );
});

test('a second tunnel on the same file is refused, also after a rotation', async (t) => {
  const path = place(t);
  const one = await LogFile.open({ path, size: 500, keep: 50, observer: silentObserver });
  const isTaken = (error: TunnelError) => {
    assert.equal(error.code, 'record-file');
    assert.match(error.message, /another tunnel writes to it$/);
    assert.match(error.hint ?? '', /a file of its own/);
    return true;
  };
  await assert.rejects(opened(t, path), isTaken);
  await writeAll(one, records(0, 20));
  assert.ok(existsSync(`${path}.1`), 'it was rotated');
  await assert.rejects(opened(t, path), isTaken);
  assert.equal(idsIn(path).at(-1), 'run-19');
  await one.close();
  await writeAll(await opened(t, path), records(20, 1));
  assert.equal(idsIn(path).at(-1), 'run-20');
});

const python =
  spawnSync('python3', ['--version']).status === 0 ? false : 'python3 is missing (package python3)';

test('who only reads the file can’t lock a tunnel out of it', { skip: python }, async (t) => {
  const path = place(t);
  writeFileSync(path, '', { mode: 0o600 });
  const reader = spawn(
    'python3',
    [
      '-c',
      `import fcntl, sys
file = open(sys.argv[1])
fcntl.lockf(file, fcntl.LOCK_SH)
print("locked", flush=True)
sys.stdin.read()`,
      path,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  t.after(() => reader.kill('SIGKILL'));
  await once(reader.stdout, 'data');
  await writeAll(await opened(t, path), records(0, 1));
  assert.deepEqual(idsIn(path), ['run-0']);
  reader.stdin.end();
  await once(reader, 'close');
});

test('each file but the first begins with the record that says whose run it is', async (t) => {
  const path = place(t);
  const file = await opened(t, path, { size: 1000, keep: 9 });
  let count = 0;
  file.beginsWith(() => ({ ...record(0), event: 'continued', id: `head-${++count}` }));
  const headOf = (one: string) => idsIn(one)[0];
  await writeAll(file, records(1, 30));
  assert.equal(headOf(path), `head-${count}`);
  assert.equal(idsIn(path).filter((id) => id?.startsWith('head')).length, 1);
  const oldest = readdirSync(dirname(path)).length - 1;
  assert.equal(headOf(`${path}.${oldest}`), 'run-1');
  assert.equal(count, oldest);
  assert.ok(statSync(`${path}.1`).size <= 1000);
  unlinkSync(path);
  await writeAll(file, [record(31)]);
  assert.deepEqual(idsIn(path), [`head-${count}`, 'run-31']);
  truncateSync(path);
  await writeAll(file, [record(32), record(33)]);
  assert.deepEqual(idsIn(path), [`head-${count}`, 'run-32', 'run-33']);
  assert.equal(count, oldest + 2);
});
