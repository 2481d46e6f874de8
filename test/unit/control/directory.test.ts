import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { lives, livesOn } from '../../../src/control/directory.ts';

describe('lives', () => {
  for (const platform of ['linux', 'darwin'] as const)
    it(`tells whether a process runs (${platform})`, () => {
      const own = Object.getOwnPropertyDescriptor(process, 'platform') ?? {};
      Object.defineProperty(process, 'platform', { ...own, value: platform });
      try {
        assert.ok(lives(process.pid));
        assert.ok(livesOn(process.pid));
        const ended = spawnSync('true').pid;
        assert.ok(!lives(ended) && !livesOn(ended));
      } finally {
        Object.defineProperty(process, 'platform', own);
      }
    });
});
