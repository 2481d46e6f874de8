/** Options of `tunnel jumphost terraform`: what is refused is one line with a hint. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { wireString } from '../../../src/ssh/keys/wire.ts';
import { MAIN } from '../../support/tunnel.ts';

/** More than EC2 takes. */
function manyKeys(count: number): string {
  const lines = Array.from({ length: count }, (_, i) => {
    const point = createHash('sha256').update(`${i}`).digest();
    const blob = Buffer.concat([wireString('ssh-ed25519'), wireString(point)]);
    return `ssh-ed25519 ${blob.toString('base64')}\n`;
  });
  return lines.join('');
}

describe('tunnel jumphost terraform', () => {
  let directory: string;
  let key: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-terraformoptions-'));
    key = join(directory, 'key.pub');
    writeFileSync(
      key,
      'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB4TzmN9t8UNX/AWAVGNyse4AnXEpT1jd3pMG/HXEbff\n',
    );
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  const jumphost = (...args: readonly string[]) =>
    spawnSync(process.execPath, [MAIN, 'jumphost', ...args, '10.0.0.1:443'], {
      encoding: 'utf8',
      timeout: 30_000,
    });

  for (const [what, args, message] of [
    [
      'a floating address on a public network',
      ['--network', 'a', '--floating-pool', 'b'],
      /--floating-pool is given with --network/,
    ],
    ['one network twice', ['--network', 'a', '--private-network', 'a'], /name the same network/],
    ['a network without a name', ['--network', ''], /"" is not the name of a network/],
    [
      'a name that Terraform would change',
      ['--network', 'Netz fu\u0308r alle'],
      /Terraform would look for another name/,
    ],
    ['a name of two lines', ['--private-network', 'a\nb'], /"a\\nb" is not the name of a network/],
    [
      'a name that Neutron has no room for',
      ['--floating-pool', 'n'.repeat(256)],
      /not the name of a network/,
    ],
  ] as const) {
    it(`refuses ${what}`, () => {
      const { status, stdout, stderr } = jumphost('terraform', '--key', key, ...args);
      assert.equal(status, 2, stderr);
      assert.equal(stdout, '');
      const [error = '', hint = '', ...rest] = stderr.split('\n');
      assert.match(error, message);
      assert.match(hint, /^tunnel: hint: /);
      assert.deepEqual(rest, ['']);
    });
  }

  it('needs keys, or where they come from', () => {
    const { status, stderr } = jumphost('terraform');
    assert.equal(status, 2);
    assert.match(stderr, /no key is given, and no source of keys/);
  });

  describe('with a host key', () => {
    let host: string;
    before(() => {
      host = join(directory, 'host');
      const keygen = (...args: readonly string[]) => spawnSync('ssh-keygen', ['-q', ...args]);
      const ca = join(directory, 'ca');
      for (const file of [host, ca]) keygen('-t', 'ed25519', '-N', '', '-f', file);
      keygen('-s', ca, '-h', '-I', 'a', '-n', 'jump.example.com', `${host}.pub`);
    });

    it('warns of a private key, and of nothing that other clouds have', () => {
      const keys = join(directory, 'many.pub');
      writeFileSync(keys, manyKeys(200));
      const options = ['--key', keys, '--host-private-key', host];
      const { status, stderr } = jumphost('terraform', ...options);
      assert.equal(status, 0);
      const [metadata = '', printed = '', ...others] = stderr.split('\n');
      assert.match(metadata, /--host-private-key: the key lies in the machine's metadata/);
      assert.match(printed, /--host-private-key: what is printed has the key in it.*--output/);
      assert.deepEqual(others, ['']);
      // A file that only its owner can read.
      const output = join(directory, 'with-key');
      const written = jumphost('terraform', ...options, '--output', output);
      assert.equal(written.status, 0);
      assert.ok(written.stderr.startsWith(`${metadata}\n`), written.stderr);
      assert.doesNotMatch(written.stderr, /what is printed/);
      assert.equal(statSync(join(output, 'main.tf')).mode & 0o777, 0o600);
    });

    it('needs the address that its certificate is for', () => {
      const options = ['--host-private-key', host, '--host-certificate', `${host}-cert.pub`];
      const { status, stderr } = jumphost('terraform', '--key', key, ...options);
      assert.equal(status, 2);
      assert.match(stderr, /"jump\.example\.com", and --address is not given\n.*hint: /);
      const named = jumphost(
        'terraform',
        '--key',
        key,
        ...options,
        '--address',
        'jump.example.com',
      );
      assert.equal(named.status, 0, named.stderr);
    });
  });

  it('keeps its options to itself', () => {
    for (const option of ['--network', '--floating-pool', '--private-network']) {
      const { status, stderr } = jumphost('cloud-init', '--key', key, option, 'a');
      assert.equal(status, 2);
      assert.match(
        stderr,
        new RegExp(`${option} changes nothing in cloud-init\n.*render terraform`),
      );
    }
  });

  it('takes a name of 255 characters', () => {
    const { status, stdout, stderr } = jumphost(
      'terraform',
      '--key',
      key,
      '--network',
      '😀'.repeat(255),
    );
    assert.equal(status, 0, stderr);
    assert.ok(stdout.includes(`"${'😀'.repeat(255)}"`));
  });
});
