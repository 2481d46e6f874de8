import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readSmallFile } from '../../../src/system/smallfile.ts';

describe('a file of which nothing is known', () => {
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tunnel-smallfile-'));
  });
  after(() => rm(directory, { recursive: true, force: true }));

  it('is read when it is regular and small enough', async () => {
    const path = join(directory, 'small');
    await writeFile(path, 'ä'.repeat(8), { mode: 0o640 });
    const { text, mode, uid } = (await readSmallFile(path, 16)) ?? {};
    assert.deepEqual([text, mode, uid], ['ä'.repeat(8), 0o640, process.getuid?.()]);
    assert.equal(await readSmallFile(path, 15), undefined);
  });

  it('is not read when it is a device, a FIFO that nobody writes to, or a directory', async () => {
    const fifo = join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const path of ['/dev/zero', fifo, directory])
      assert.equal(await readSmallFile(path, 1000), undefined, path);
  });

  it('is not read when it is enormous, or says that it is empty and is not', async () => {
    const path = join(directory, 'enormous');
    await writeFile(path, '');
    await truncate(path, 2 ** 40);
    assert.equal(await readSmallFile(path, 1000), undefined);
    assert.equal(await readSmallFile('/proc/self/smaps', 1000), undefined);
  });

  it("rejects with the system's error when it can't be opened", () =>
    assert.rejects(readSmallFile(join(directory, 'nothing'), 1), { code: 'ENOENT' }));
});
