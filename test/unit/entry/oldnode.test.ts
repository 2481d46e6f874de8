/** A Node that is too old: this one, which says that it is another. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isTooOld, OLDEST_NODE } from '../../../src/cli/oldestnode.ts';

const MAIN = fileURLToPath(new URL('../../../src/main.js', import.meta.url));
const MANIFEST = new URL('../../../../package.json', import.meta.url);
const OLD = `data:text/javascript,${encodeURIComponent(`
  Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '18.20.4' } });
`)}`;

const run = (...args: string[]) => {
  const words = ['--import', OLD, MAIN, ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  return { status, stdout, stderr };
};

describe('an old Node', () => {
  it('is one that package.json does not admit', () => {
    const { engines } = JSON.parse(readFileSync(MANIFEST, 'utf8'));
    assert.equal(engines.node, `>=${OLDEST_NODE}`);
    for (const version of ['4.9.1', '18.20.4', '20.0.0', '20.18.3']) assert.ok(isTooOld(version));
    for (const version of ['20.19.0', '22.0.0', '24.22.3', '100.0.0'])
      assert.ok(!isTooOld(version));
  });

  it('is refused, by its version', () => {
    const { status, stdout, stderr } = run('-r', 'user@jumphost', '10.0.0.0/8');
    assert.deepEqual([status, stdout], [1, '']);
    assert.match(stderr, /^tunnel: error \[node-version\]: Node 18\.20\.4 is too old: .* 20\.19 /);
    assert.match(stderr, /\ntunnel: hint: .* before \/.* in PATH\n$/);
  });

  it('has exec end with its own status, and prints the version', () => {
    assert.equal(run('exec', '-r', 'user@jumphost', '--', 'true').status, 125);
    const { status, stdout } = run('--version');
    assert.equal(status, 0);
    assert.match(stdout, /^\d+\.\d+\.\d+/);
  });
});
