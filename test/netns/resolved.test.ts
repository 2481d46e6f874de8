/**
 * Per-link settings in a real systemd-resolved, which runs in separate namespaces with its own
 * D-Bus.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { labUnavailable } from '../support/lab.ts';
import { run } from '../support/process.ts';
import { findResolved, resolvedMissing } from '../support/resolveddaemon.ts';

const CHECK = fileURLToPath(new URL('../support/resolvedcheck.js', import.meta.url));
const found = findResolved();
const skip = resolvedMissing() || labUnavailable('dbus-daemon', 'dig', 'unshare');

/**
 * Runs a command with an empty /run and with a user systemd-resolve. The mounts go with the last
 * process in them.
 */
const SETUP = `set -e
mount -t tmpfs tmpfs /run
for file in passwd group resolv.conf; do mount --bind "$0/$file" /etc/$file; done
exec "$@"`;

test('systemd-resolved takes and keeps the settings, and forgets them with the device', {
  skip,
  timeout: 60_000,
}, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-resolved-'));
  try {
    const user = 'systemd-resolve:x:47111:47111::/:/usr/sbin/nologin\n';
    const without = (file: string) =>
      readFileSync(file, 'utf8').replace(/^systemd-resolve:.*\n/m, '');
    writeFileSync(join(directory, 'passwd'), without('/etc/passwd') + user);
    writeFileSync(join(directory, 'group'), `${without('/etc/group')}systemd-resolve:x:47111:\n`);
    writeFileSync(join(directory, 'resolv.conf'), '');
    const { status, stderr } = await run(
      [
        ...[
          'unshare',
          '--mount',
          '--net',
          '--pid',
          '--fork',
          '--kill-child',
          '--mount-proc',
          '--propagation',
          'private',
        ],
        ...[
          'sh',
          '-c',
          SETUP,
          directory,
          process.execPath,
          CHECK,
          found?.resolved ?? '',
          found?.resolvectl ?? '',
          directory,
        ],
      ],
      { timeout: 50_000 },
    );
    assert.equal(status, 0, stderr);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
