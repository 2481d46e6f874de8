/** Certificates as ssh-keygen makes them. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseCertificate } from '../../../../src/ssh/keys/certificate.ts';
import { parsePublicKey } from '../../../../src/ssh/keys/publickey.ts';
import { makeKey } from '../../../support/loopback-sshd.ts';
import { authority, sign } from '../../../support/sshcertificates.ts';

const keygenMissing = existsSync('/usr/bin/ssh-keygen') ? false : 'ssh-keygen is not installed';

describe('a certificate', { skip: keygenMissing }, () => {
  let directory: string;
  let ca: string;
  const read = async (path: string) => await readFile(join(directory, path), 'utf8');
  const publicKey = async (path: string) => {
    const { type, blob } = parsePublicKey(await read(path)) ?? assert.fail(path);
    return { type, blob };
  };
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tunnel-certificate-'));
    ca = await authority(directory, 'ca');
  });
  after(() => rm(directory, { recursive: true, force: true }));

  for (const type of ['ed25519', 'ecdsa', 'rsa']) {
    it(`of type ${type} tells whose it is, for what, until when, and who has signed it`, async () => {
      const key = join(directory, type);
      await makeKey(key, type);
      await sign(ca, key, ['-n', 'a,b', '-V', '0x10:0x7fffffff']);
      assert.deepEqual(parseCertificate(await read(`${type}-cert.pub`)), {
        ofHost: false,
        key: await publicKey(`${type}.pub`),
        principals: ['a', 'b'],
        authority: await publicKey('ca.pub'),
        from: new Date(16_000),
        until: new Date(0x7fffffff * 1000),
      });
      await sign(ca, key, ['-h', '-V', 'always:forever']);
      const endless = await read(`${type}-cert.pub`);
      const { ofHost, principals, from, until } = parseCertificate(endless) ?? assert.fail();
      assert.deepEqual(
        { ofHost, principals, from, until },
        { ofHost: true, principals: [], from: undefined, until: undefined },
      );
    });

    it(`of type ${type} is none when anything is cut off`, async () => {
      const [name, blob = ''] = (await read(`${type}-cert.pub`)).split(' ');
      for (let length = 4; length < blob.length; length += 4)
        assert.equal(parseCertificate(`${name} ${blob.slice(0, length)}`), undefined);
      assert.equal(parseCertificate(await read(`${type}.pub`)), undefined);
    });
  }
});
