/** What a command prints, to readers of all kinds. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { MAIN } from '../../support/tunnel.ts';

/** Its drop-in is larger than a pipe holds. */
const MANY = [
  'jumphost',
  'sshd',
  ...Array.from({ length: 4096 }, (_, i) => `host-${i}.a-long-name.example:443`),
];

describe('standard output', () => {
  it('is whole for a slow reader of a pipe', () => {
    const { status, stdout } = spawnSync(
      'sh',
      ['-c', '"$@" | { sleep 1; cat; }', 'sh', process.execPath, MAIN, ...MANY],
      { encoding: 'utf8', maxBuffer: 2 ** 20 },
    );
    assert.equal(status, 0);
    assert.ok(stdout.length > 100_000, `${stdout.length} bytes`);
    assert.match(stdout, /\nMatch all\n$/);
  });

  it('is no error when nobody reads it', () => {
    const { status, stderr } = spawnSync(
      'sh',
      ['-c', '{ "$@"; echo "status $?" >&2; } | true', 'sh', process.execPath, MAIN, ...MANY],
      { encoding: 'utf8' },
    );
    assert.equal(status, 0);
    assert.equal(stderr, 'status 0\n');
  });

  it('is an error where it is full, in one line with a hint', () => {
    const { status, stderr } = spawnSync(
      'sh',
      ['-c', '"$@" >/dev/full', 'sh', process.execPath, MAIN, ...MANY],
      { encoding: 'utf8' },
    );
    assert.equal(status, 1);
    assert.match(
      stderr,
      /^tunnel: error \[output-failed\]: standard output can't be written: ENOSPC\ntunnel: hint: .+\n$/,
    );
  });

  it('leaves pipes that others share as they were', () => {
    for (const args of [['--version'], ['--nonsense']]) {
      const { stdout, stderr } = spawnSync(
        'sh',
        ['-c', '"$@"; for fd in 1 2; do grep flags /proc/self/fdinfo/$fd >&2; done', 'sh'].concat(
          process.execPath,
          MAIN,
          args,
        ),
        { encoding: 'utf8' },
      );
      const flags = [...stderr.matchAll(/^flags:\s*(\d+)$/gm)].map(([, octal = '']) =>
        Number.parseInt(octal, 8),
      );
      assert.equal(flags.length, 2, stdout + stderr);
      for (const bits of flags) assert.equal(bits & 0o4000, 0, 'O_NONBLOCK');
    }
  });
});
