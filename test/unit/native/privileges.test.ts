/** The addon's lockPrivileges: no thread of Node, nor what it starts, gains rights again. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { addonFile } from '../../../src/native/files.ts';

const ADDON = addonFile();

/** no_new_privs and the mode of seccomp, of each thread of a Node and of its child. */
function fieldsAfter(first: string): string[] {
  const script = `${first};
    const { execFileSync } = require('node:child_process');
    const { readdirSync, readFileSync } = require('node:fs');
    const own = readdirSync('/proc/self/task').map((it) =>
      readFileSync('/proc/self/task/' + it + '/status', 'latin1'));
    const child = execFileSync('cat', ['/proc/self/status'], { encoding: 'latin1' });
    const of = (text) => ['NoNewPrivs', 'Seccomp'].map((it) =>
      new RegExp('^' + it + ':\\\\t(.*)$', 'm').exec(text)?.[1]).join();
    console.log(JSON.stringify([...own, child].map(of)));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
  assert.equal(stderr, '');
  return JSON.parse(stdout);
}

describe('lockPrivileges', () => {
  it('sets no_new_privs and a filter in all threads and in children', () => {
    const fields = fieldsAfter(`require(${JSON.stringify(ADDON)}).lockPrivileges()`);
    assert.ok(fields.length > 5, `${fields.length} threads`);
    assert.deepEqual([...new Set(fields)], ['1,2']);
  });
});
