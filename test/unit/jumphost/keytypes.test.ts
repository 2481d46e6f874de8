import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, it } from 'node:test';
import { keyTypeOf } from '../../../src/jumphost/keytypes.ts';
import { publicKeyFromKeyObject } from '../../../src/ssh/keys/publickey.ts';
import { wireString } from '../../../src/ssh/keys/wire.ts';

const base64 = (...fields: readonly (string | Buffer)[]) =>
  Buffer.concat(fields.map(wireString)).toString('base64');
const made = (pair: {
  readonly publicKey: Parameters<typeof publicKeyFromKeyObject>[0];
}): readonly [name: string, base64: string] => {
  const key = publicKeyFromKeyObject(pair.publicKey);
  assert.ok(key !== undefined);
  return [key.type, key.blob.toString('base64')];
};
const SK = 'sk-ssh-ed25519@openssh.com';

describe('the types of keys', () => {
  for (const [name, text] of [
    made(generateKeyPairSync('ed25519')),
    ...['P-256', 'P-384', 'P-521'].map((namedCurve) =>
      made(generateKeyPairSync('ec', { namedCurve })),
    ),
    ...[2048, 3072].map((modulusLength) => made(generateKeyPairSync('rsa', { modulusLength }))),
    made(generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 })),
    [SK, base64(SK, Buffer.alloc(32), 'ssh:')] as const,
    [SK, base64(SK, Buffer.alloc(32), 'ssh:a-name-of-ones-own')] as const,
    [
      'sk-ecdsa-sha2-nistp256@openssh.com',
      base64('sk-ecdsa-sha2-nistp256@openssh.com', 'nistp256', Buffer.alloc(65), 'ssh:'),
    ] as const,
  ]) {
    it(`takes ${name} of ${text.length} characters`, () => {
      assert.equal(keyTypeOf(name, text)?.name, name);
      assert.equal(keyTypeOf('ssh-dss', text), undefined);
      assert.equal(keyTypeOf(name, `B${text.slice(1)}`), undefined);
    });
  }

  for (const [what, name, text] of [
    ['DSA', 'ssh-dss', base64('ssh-dss', Buffer.alloc(400))],
    ['a short RSA key', ...made(generateKeyPairSync('rsa', { modulusLength: 1024 }))],
    ['Ed25519 with less', 'ssh-ed25519', base64('ssh-ed25519', Buffer.alloc(28))],
    ['Ed25519 with more', 'ssh-ed25519', base64('ssh-ed25519', Buffer.alloc(36))],
    [
      'a certificate',
      'ssh-ed25519-cert-v01@openssh.com',
      base64('ssh-ed25519-cert-v01@openssh.com', Buffer.alloc(300)),
    ],
  ] as const) {
    it(`takes no ${what}`, () => {
      assert.equal(keyTypeOf(name, text), undefined);
    });
  }
});
