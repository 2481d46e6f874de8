import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readAtMost } from '../../../src/base/boundedread.ts';

describe('reading up to a limit', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-boundedread-'));
  after(() => rmSync(directory, { recursive: true }));

  function read(path: string, most: number): Buffer | undefined {
    const fd = openSync(path, 'r');
    try {
      return readAtMost(fd, most);
    } finally {
      closeSync(fd);
    }
  }

  it('gives the whole file up to the limit, and nothing of a larger one', () => {
    const file = join(directory, 'file');
    const content = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251));
    writeFileSync(file, content);
    assert.deepEqual(read(file, content.length), content);
    assert.equal(read(file, content.length - 1), undefined);
    writeFileSync(file, '');
    assert.deepEqual(read(file, 0), Buffer.alloc(0));
  });

  it('ends at what never ends', () => {
    assert.equal(read('/dev/zero', 1_000_000), undefined);
  });

  it('reads a pipe to its end', () => {
    const module = JSON.stringify(
      new URL('../../../src/base/boundedread.js', import.meta.url).href,
    );
    const code = `import { readAtMost } from ${module}; console.log(readAtMost(0, 300000).length);`;
    const { stdout, stderr } = spawnSync(
      'sh',
      [
        '-c',
        `(head -c 150000 /dev/zero; sleep 0.1; head -c 150000 /dev/zero) | "$0" --input-type=module -e "$1"`,
        process.execPath,
        code,
      ],
      { encoding: 'utf8', timeout: 20_000 },
    );
    assert.equal(stdout, '300000\n', stderr);
  });
});
