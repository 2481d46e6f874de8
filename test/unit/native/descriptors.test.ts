/** The addon keeps descriptors that Node has inherited from the programs that Node starts. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { addonFile } from '../../../src/native/files.ts';

const ADDON = addonFile();
/** Far above those that Node closes by itself. */
const INHERITED = 200;

/** What a child of a Node that has inherited the descriptor says of it; `first` runs before. */
function inChild(first: string, stdio = "'inherit'"): string {
  const list = `[1, 'inherit', 'inherit', ...Array(${INHERITED - 3}).fill('ignore'), ${INHERITED}]`;
  const script = `${first}; require('node:child_process').spawnSync('sh',
    ['-c', '[ -e /proc/self/fd/${INHERITED} ] && echo open || echo closed'],
    { stdio: ${stdio === 'passed on' ? list : stdio} });`;
  const opens = 'import os, sys; os.dup2(0, 200); os.execv(sys.argv[1], sys.argv[1:])';
  const { stdout, stderr } = spawnSync(
    '/usr/bin/python3',
    ['-c', opens, process.execPath, '-e', script],
    { encoding: 'utf8' },
  );
  assert.equal(stderr, '');
  return stdout.trim();
}

describe('descriptors that Node has inherited', () => {
  const load = `require(${JSON.stringify(ADDON)})`;

  it('reach its children without the addon', () => {
    assert.equal(inChild(''), 'open');
  });

  it('don’t reach them with it', () => {
    assert.equal(inChild(load), 'closed');
  });

  it('do if they are passed on by number', () => {
    assert.equal(inChild(load, 'passed on'), 'open');
  });
});
