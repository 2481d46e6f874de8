import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { credentialsIn, readSecret } from '../../../src/ssh/credentials.ts';
import { actAs } from '../../../src/system/launcher/caller.ts';

const ROOT_ONLY = process.getuid?.() !== 0 && 'files of other users need root';
const OTHER = 47_110;

let directory = '';
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'tunnel-credentials-'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

function secret(name: string, mode: number, text = 'correct horse\n'): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

describe('credentialsIn', () => {
  it('finds those that there are, and none of another program’s', () => {
    const own = join(directory, 'unit');
    mkdirSync(own);
    for (const name of ['tunnel.identity', 'tunnel.known_hosts', 'password', 'identity'])
      writeFileSync(join(own, name), '');
    assert.deepEqual(credentialsIn({ CREDENTIALS_DIRECTORY: own }), {
      identity: join(own, 'tunnel.identity'),
      knownHosts: join(own, 'tunnel.known_hosts'),
    });
  });

  it('finds nothing without a directory', () => {
    for (const value of [undefined, '', 'relative', join(directory, 'missing')])
      assert.deepEqual(
        credentialsIn(value === undefined ? {} : { CREDENTIALS_DIRECTORY: value }),
        {},
      );
  });
});

describe('readSecret', () => {
  for (const mode of [0o400, 0o600])
    it(`reads an own file of mode ${mode.toString(8)}, without the last newline`, async () => {
      assert.equal(await readSecret(secret(`own-${mode}`, mode)), 'correct horse');
      assert.equal(await readSecret(secret(`lines-${mode}`, mode, ' a\nb \r\n')), ' a\nb ');
    });

  for (const mode of [0o440, 0o404, 0o620, 0o644])
    it(`refuses an own file of mode ${mode.toString(8)}`, () =>
      assert.rejects(readSecret(secret(`open-${mode}`, mode)), {
        code: 'credential-unusable',
        message: new RegExp(`may be read or written by others \\(mode 0${mode.toString(8)}\\)`),
      }));

  it('refuses what is no file, or is too large, or is not there', async () => {
    await assert.rejects(readSecret(directory), /is no file of at most 1024 octets/);
    await assert.rejects(readSecret(secret('large', 0o600, 'x'.repeat(1025))), /at most 1024/);
    await assert.rejects(readSecret(join(directory, 'gone')), /there is no such file/);
  });

  it('refuses that of another user', { skip: ROOT_ONLY }, async () => {
    const path = secret('other', 0o400);
    chownSync(path, OTHER, OTHER);
    await assert.rejects(readSecret(path), /belongs to another user \(47110\)/);
  });

  it('reads root’s, with an entry for the user, and refuses what everybody reads', {
    skip: ROOT_ONLY,
  }, async () => {
    const acl = secret('acl', 0o440);
    chownSync(acl, 0, OTHER);
    const open = secret('everybody', 0o444);
    chmodSync(directory, 0o711);
    const back = actAs({ uid: OTHER, gid: OTHER });
    try {
      assert.equal(await readSecret(acl), 'correct horse');
      await assert.rejects(readSecret(open), /may be read or written by others \(mode 0444\)/);
    } finally {
      back();
    }
  });
});
