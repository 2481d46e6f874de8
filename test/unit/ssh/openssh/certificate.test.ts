import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { HOSTPIN_PATH } from '../../../../src/native/addon.ts';
import { expiredCertificates, namedFiles } from '../../../../src/ssh/openssh/certificate.ts';
import { makeKey } from '../../../support/loopback-sshd.ts';
import { authority, sign } from '../../../support/sshcertificates.ts';

const keygenMissing = existsSync('/usr/bin/ssh-keygen') ? false : 'ssh-keygen is not installed';

describe('an expired certificate', { skip: keygenMissing }, () => {
  it('is told of only when the settings name its file, whatever else the log names', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tunnel-certificate-'));
    try {
      const ca = await authority(directory, 'ca');
      const [named, foreign] = [join(directory, 'named'), join(directory, 'foreign')];
      for (const key of [named, foreign]) {
        await makeKey(key, 'ed25519');
        await sign(ca, key, ['-n', 'a', '-V', '0x10:0x20']);
      }
      await promisify(execFile)('mkfifo', [join(directory, 'fifo-cert.pub')]);
      const fifo = join(directory, 'fifo');
      const found = (keys: string[], certificates: string[], ...offered: string[]) =>
        expiredCertificates(
          offered,
          namedFiles(
            {
              identityFiles: keys.map((path) => ({ path, explicit: true })),
              certificateFiles: certificates,
            },
            [],
          ),
          new Date(),
        );
      const sentence = (file: string) =>
        `the certificate ${file} expired on 1970-01-01T00:00:32.000Z`;
      assert.deepEqual(await found([named], [], foreign, named, `${foreign}-cert.pub`), [
        sentence(`${named}-cert.pub`),
      ]);
      assert.deepEqual(await found([], [`${named}-cert.pub`], `${named}-cert.pub`, named), [
        sentence(`${named}-cert.pub`),
      ]);
      assert.deepEqual(await found([fifo], ['/dev/zero'], fifo, '/dev/zero'), []);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});

describe('the command that compares a fingerprint', () => {
  const run = async (...words: string[]): Promise<string> =>
    (await promisify(execFile)(HOSTPIN_PATH, words)).stdout;

  it('prints the key for an equal fingerprint and nothing for another', async () => {
    const [host, key] = ['[h]:1', ['ssh-ed25519', 'AAAA']];
    assert.equal(
      await run('only', 'SHA256:a', host, ...key, 'SHA256:b', 'SHA256:a'),
      '[h]:1 ssh-ed25519 AAAA\n',
    );
    assert.equal(await run('only', 'SHA256:a', host, ...key, 'SHA256:ab', 'SHA256:'), '');
    assert.equal(await run('only', 'NONE', 'h', 'NONE', 'NONE', 'SHA256:a'), '');
    await assert.rejects(run('only', 'SHA256:a', 'h', ...key));
    await assert.rejects(run('any', 'SHA256:a', 'h', ...key, 'SHA256:a'));
  });

  it('revokes the key of another fingerprint, but no certificate', async () => {
    const revoke = (shown: string, type: string) =>
      run('revoke-others', shown, 'h', type, 'AAAA', 'SHA256:a');
    assert.equal(await revoke('SHA256:b', 'ssh-ed25519'), '@revoked h ssh-ed25519 AAAA\n');
    assert.equal(await revoke('SHA256:a', 'ssh-ed25519'), '');
    assert.equal(await revoke('SHA256:b', 'ssh-ed25519-cert-v01@openssh.com'), '');
    assert.equal(await revoke('NONE', 'NONE'), '');
  });
});
