import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { learnedList } from '../../../src/cli/allow.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-learned-'));
after(() => rmSync(directory, { recursive: true, force: true }));

describe('a list that was learned', () => {
  function told(dryRunTo: string | undefined): { printed: string[]; logged: string[] } {
    const printed: string[] = [];
    const logged: string[] = [];
    const observer = { log: (_: string, message: string) => logged.push(message), count: () => {} };
    learnedList(
      { rules: undefined, dryRun: true, dryRunTo },
      (text) => printed.push(text),
      observer,
    )('a:1\n');
    return { printed, logged };
  }

  it('is printed, or written to a file', () => {
    assert.deepEqual(told(undefined), { printed: ['a:1\n'], logged: [] });
    const file = join(directory, 'list');
    assert.deepEqual(told(file), { printed: [], logged: [] });
    assert.equal(readFileSync(file, 'utf8'), 'a:1\n');
  });

  it('is printed when the file can not be written: the run will not be repeated for it', () => {
    const { printed, logged } = told(join(directory, 'no', 'such'));
    assert.deepEqual(printed, ['a:1\n']);
    assert.match(logged.join(), /--dry-run-to: .*ENOENT/);
  });
});
