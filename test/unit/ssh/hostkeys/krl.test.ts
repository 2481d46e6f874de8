import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { checkKrl, isKrl } from '../../../../src/ssh/hostkeys/krl.ts';
import { parsePublicKey } from '../../../../src/ssh/keys/publickey.ts';
import { makeKey } from '../../../support/loopback-sshd.ts';

const LACKING =
  spawnSync('ssh-keygen', ['-?']).error === undefined ? false : 'ssh-keygen is not installed';

describe('KRLs', { skip: LACKING }, () => {
  const D = mkdtempSync(join(tmpdir(), 'tunnel-krl-'));
  const at = (name: string): string => join(D, name);
  const text = (name: string): string => readFileSync(at(`${name}.pub`), 'utf8');
  const blobOf = (name: string): Buffer => parsePublicKey(text(name))?.blob ?? Buffer.alloc(0);

  before(async () => {
    for (const type of ['ed25519', 'ecdsa', 'rsa']) await makeKey(at(type), type);
  });
  after(() => rmSync(D, { recursive: true, force: true }));

  function krl(spec: string, ...args: string[]): Buffer {
    writeFileSync(at('spec'), spec);
    execFileSync('ssh-keygen', ['-q', '-k', '-f', at('krl'), ...args, at('spec')]);
    return readFileSync(at('krl'));
  }

  /** What OpenSSH says. */
  function byKeygen(data: Buffer, name: string): string {
    writeFileSync(at('asked'), data);
    const { status, stdout } = spawnSync(
      'ssh-keygen',
      ['-Q', '-f', at('asked'), at(`${name}.pub`)],
      {
        encoding: 'utf8',
      },
    );
    if (status === 0) return 'not revoked';
    return stdout.includes('REVOKED') ? 'revoked' : 'malformed';
  }

  for (const kind of ['key', 'sha1', 'sha256'])
    it(`has keys as "${kind}", among others`, () => {
      const data = krl(
        `serial: 1-5\n${kind}: ${text('ecdsa')}${kind}: ${text('ed25519')}`,
        '-s',
        at('rsa.pub'),
      );
      assert.ok(isKrl(data));
      for (const name of ['ed25519', 'ecdsa', 'rsa']) {
        const expected = name === 'rsa' ? 'not revoked' : 'revoked';
        assert.equal(checkKrl(data, blobOf(name)), expected, name);
        assert.equal(byKeygen(data, name), expected, name);
      }
    });

  it('has certificates in every form, which say nothing about a plain key', () => {
    const spec = 'serial: 1\nserial: 3\nserial: 5-900000\nid: a\nid: b\n';
    const bitmap = Array.from({ length: 40 }, (_, n) => `serial: ${2_000_000 + 2 * n}\n`).join('');
    const data = krl(spec + bitmap, '-s', at('rsa.pub'), '-z', '9');
    assert.equal(checkKrl(data, blobOf('ed25519')), 'not revoked');
  });

  it('what is cut off anywhere is judged as by OpenSSH', () => {
    const data = krl(
      `key: ${text('ed25519')}serial: 7\nid: x\nsha256: ${text('ecdsa')}`,
      '-s',
      at('rsa.pub'),
    );
    // Those between have the same fields; all of them would take a minute.
    for (let length = 8; length < data.length; length += 11) {
      const cut = data.subarray(0, length);
      assert.equal(checkKrl(cut, blobOf('ed25519')), byKeygen(cut, 'ed25519'), `${length} bytes`);
    }
  });

  it('changed bits are judged as by OpenSSH', () => {
    const spec = `key: ${text('ecdsa')}sha256: ${text('ecdsa')}sha1: ${text('ecdsa')}serial: 1\n`;
    const bitmap = Array.from({ length: 20 }, (_, n) => `serial: ${2_000_000 + 2 * n}\n`).join('');
    const data = krl(`${spec}serial: 5-900\nid: abc\n${bitmap}`, '-s', at('rsa.pub'));
    for (let position = 44; position < data.length; position += 9) {
      const changed = Buffer.from(data);
      changed.writeUInt8(data.readUInt8(position) ^ (1 << (position % 8)), position);
      const expected = byKeygen(changed, 'ed25519');
      assert.equal(checkKrl(changed, blobOf('ed25519')), expected, `byte ${position}`);
    }
  });

  it('what it does not know is malformed, except for extensions that say that they may be left out', () => {
    const whole = krl(`key: ${text('ecdsa')}`);
    const section = (type: number, content: Buffer): Buffer => {
      const head = Buffer.alloc(5);
      head.writeUInt8(type);
      head.writeUInt32BE(content.length, 1);
      return Buffer.concat([whole, head, content]);
    };
    const extension = (critical: number): Buffer =>
      Buffer.from([0, 0, 0, 1, 120, critical, 0, 0, 0, 0]);
    const verdict = (data: Buffer) => checkKrl(data, blobOf('ed25519'));
    assert.equal(verdict(section(6, Buffer.alloc(0))), 'malformed');
    assert.equal(verdict(section(255, extension(0))), 'not revoked');
    assert.equal(verdict(section(255, extension(1))), 'malformed');
    assert.equal(verdict(section(255, Buffer.alloc(0))), 'malformed');
    const version = Buffer.from(whole);
    version.writeUInt32BE(2, 8);
    assert.equal(verdict(version), 'malformed');
  });

  it('no bytes make it fail in another way', () => {
    const head = Buffer.from('SSHKRL\n\0\0\0\0\x01', 'latin1');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        checkKrl(Buffer.concat([head, bytes]), Buffer.from('x'));
      }),
      { numRuns: 2000 },
    );
  });
});
