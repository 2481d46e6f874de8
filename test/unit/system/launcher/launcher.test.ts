import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import { startInPlace } from '../../../../src/system/launcher/launcher.ts';

describe('a command that the kernel does not take', () => {
  it('is told as the shell tells it, and leaves no descriptor behind', async () => {
    const start = () =>
      assert.rejects(
        startInPlace({
          command: ['/bin/true', 'x'.repeat(200_000)],
          setup: { descriptors: undefined },
        }),
        { code: 'command-not-executable', message: /^\/bin\/true: .*E2BIG/, hint: /too long/ },
      );
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    await start();
    await turn();
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 5; i++) await start();
    await turn();
    assert.equal(readdirSync('/proc/self/fd').length, before);
  });
});
