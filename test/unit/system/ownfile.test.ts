import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { closeToOthersHint } from '../../../src/system/ownfile.ts';

const MAIN = fileURLToPath(new URL('../../../src/main.js', import.meta.url));
const notRoot = process.getuid?.() === 0 ? false : 'a read-only mount needs root';

describe('closeToOthersHint', () => {
  const system = {
    home: '/home/me',
    temporary: '/tmp',
    exists: () => false,
    writeError: (path: string) => (path.startsWith('/secret/') ? 'EROFS' : undefined),
  };

  it('proposes chmod where that is possible, also for a file that its owner may not write to', () => {
    assert.equal(closeToOthersHint("/a b/it's", '-i', system), "run: chmod 600 '/a b/it'\\''s'");
    assert.match(closeToOthersHint('/x', '-i', { writeError: () => 'EACCES' }), /^run: chmod/);
  });

  it('proposes a copy where the file system is read-only', () => {
    const hint = closeToOthersHint('/secret/ssh key', '-i', system);
    assert.match(
      hint,
      /run: install -m 600 -D '\/secret\/ssh key' '\/home\/me\/.ssh\/ssh key' and/,
    );
    assert.match(hint, /then: -i '\/home\/me\/.ssh\/ssh key'$/);
  });

  it('does not replace another key', () => {
    const taken = new Set(['/home/me/.ssh/id', '/home/me/.ssh/id-2']);
    const hint = closeToOthersHint('/secret/id', '-i', {
      ...system,
      exists: (path) => taken.has(path),
    });
    assert.match(hint, /\/home\/me\/.ssh\/id-3$/);
  });

  it('goes to the temporary directory where the home directory is read-only, too', () => {
    const writeError = (path: string) => (path === '/tmp' ? undefined : 'EROFS');
    const hint = closeToOthersHint('/secret/id', '-i', { ...system, writeError });
    assert.match(hint, /-D \/secret\/id \/tmp\/id and/);
  });

  it('works as it is written, for a mounted Secret', { skip: notRoot }, () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-secret-'));
    try {
      const key = join(directory, 'key');
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
      chmodSync(key, 0o644);
      const script = `
        mkdir secret && mount -t tmpfs none secret && cp -p key secret/ &&
        mount -o remount,ro secret && export HOME="$PWD/home" && mkdir home &&
        "$0" "$1" proxy -F none -r u@127.0.0.1:1 -i "$PWD/secret/key" 2>message
        command=$(sed -n 's/.* run: \\(install .*\\) and then: .*/\\1/p' message) &&
        eval "$command"`;
      const ran = spawnSync('unshare', ['-m', 'sh', '-c', script, process.execPath, MAIN], {
        cwd: directory,
        encoding: 'utf8',
      });
      const message = readFileSync(join(directory, 'message'), 'utf8');
      assert.match(message, /auth-identity-permissions/);
      assert.equal(ran.status, 0, `${message}${ran.stderr}`);
      const copy = join(directory, 'home/.ssh/key');
      assert.equal(statSync(copy).mode & 0o777, 0o600);
      assert.equal(readFileSync(copy, 'utf8'), readFileSync(key, 'utf8'));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
