/** Options of `tunnel jumphost terraform`: what is refused is one line with a hint. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { MAIN } from '../../support/tunnel.ts';

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
