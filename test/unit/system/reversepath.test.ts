import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { filtersReversePath } from '../../../src/system/reversepath.ts';

describe('filtersReversePath', () => {
  const root = mkdtempSync(join(tmpdir(), 'tunnel-rpfilter-'));
  after(() => rmSync(root, { recursive: true }));
  const set = (name: string, value: number) => {
    mkdirSync(join(root, name), { recursive: true });
    writeFileSync(join(root, name, 'rp_filter'), `${value}\n`);
  };

  it('takes the higher of both values, as the kernel does', () => {
    for (const [all, device, strict] of [
      [0, 0, false],
      [0, 1, true],
      [1, 0, true],
      [1, 1, true],
      [2, 1, false],
      [1, 2, false],
    ] as const) {
      set('all', all);
      set('eth0.7', device);
      assert.equal(filtersReversePath('eth0.7', root), strict, `${all} ${device}`);
    }
    assert.equal(filtersReversePath('gone0', root), true, 'that for all devices');
  });

  it('reads what this machine has', () => {
    assert.equal(typeof filtersReversePath('lo'), 'boolean');
  });
});
