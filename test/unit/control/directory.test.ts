import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { lives } from '../../../src/control/directory.ts';

describe('lives', () => {
  for (const platform of ['linux', 'darwin'] as const)
    it(`tells whether a process runs (${platform})`, () => {
      const own = Object.getOwnPropertyDescriptor(process, 'platform') ?? {};
      Object.defineProperty(process, 'platform', { ...own, value: platform });
      try {
        assert.ok(lives(process.pid));
        assert.ok(!lives(spawnSync('true').pid));
      } finally {
        Object.defineProperty(process, 'platform', own);
      }
    });
});
