/**
 * Names through a real device: routes to resolv.conf's resolvers lead into it, and the tunnel
 * answers in their place.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { labUnavailable } from '../support/lab.ts';
import { run } from '../support/process.ts';

const CHECK = fileURLToPath(new URL('../support/namescheck.js', import.meta.url));
const skip = labUnavailable('dig', 'getent', 'ncat', 'unshare');

test('programs resolve and reach name targets through the device, over either family', {
  skip,
  timeout: 60_000,
}, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-names-'));
  try {
    const file = join(directory, 'resolv.conf');
    writeFileSync(file, 'nameserver 203.0.113.53\nnameserver 2001:db8:53::53\n');
    const setUp = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
    const { status, stderr } = await run(
      [
        'unshare',
        '--mount',
        '--net',
        '--propagation',
        'private',
        'sh',
        '-c',
        setUp,
        file,
        process.execPath,
        CHECK,
      ],
      { timeout: 50_000 },
    );
    assert.equal(status, 0, stderr);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
