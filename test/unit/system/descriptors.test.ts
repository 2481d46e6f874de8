import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';

const MODULE = new URL('../../../src/system/descriptors.js', import.meta.url).href;
/** Prints which of the descriptors 3 to 30 are open, and which of them Node's own. */
const SCRIPT = `
  import { fstatSync } from 'node:fs';
  import { descriptorsOfNode } from ${JSON.stringify(MODULE)};
  const own = descriptorsOfNode();
  const isOpen = (fd) => { try { fstatSync(fd); return true; } catch { return false; } };
  const open = Array.from({ length: 28 }, (_, i) => i + 3).filter(isOpen);
  console.log(JSON.stringify({ open, own: open.filter((fd) => own.has(fd)) }));`;

function run(redirections: string): { open: number[]; own: number[] } {
  const command = [process.execPath, '--input-type=module', '-e', SCRIPT];
  const { stdout, stderr } = spawnSync(
    'bash',
    ['-c', `exec "$@" ${redirections}`, 'bash', ...command],
    { encoding: 'utf8' },
  );
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout);
}

describe('Node’s own descriptors', () => {
  it('are all that a program has open that has inherited none', () => {
    const { open, own } = run('');
    assert.ok(own.length > 5, `${own.length}`);
    assert.deepEqual(own, open);
  });

  it('are not those that it has inherited: files, devices, and pipes', () => {
    const { open, own } = run('5</dev/null 6> >(cat) 7< <(:) 8</etc/passwd');
    assert.deepEqual(
      open.filter((fd) => !own.includes(fd)),
      [5, 6, 7, 8],
    );
  });
});
