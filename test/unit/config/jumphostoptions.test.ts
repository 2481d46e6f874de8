/**
 * Versions on the command line of `tunnel jumphost`: which are too old, and for what. What else is
 * refused stands in test/unit/session/jumphost.test.ts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { MAIN } from '../../support/tunnel.ts';

function jumphost(...args: readonly string[]) {
  return spawnSync(process.execPath, [MAIN, 'jumphost', ...args], {
    encoding: 'utf8',
    timeout: 30_000,
  });
}

describe('tunnel jumphost sshd', () => {
  for (const [what, args, message] of [
    ['a version too old', ['sshd', '--openssh', '8.1', '10.0.0.1:443'], /older than 8\.2/],
    [
      'codes where sshd asks everybody or nobody',
      ['sshd', '--mfa', '--openssh', '8.6', '10.0.0.1:443'],
      /--mfa is not possible with OpenSSH 8\.6/,
    ],
    [
      'the account that fetches keys as a login',
      ['sshd', '--user', 'tunnel-keys', '10.0.0.1:443'],
      /--user: tunnel-keys runs the script of --keys-from/,
    ],
  ] as const) {
    it(`refuses ${what}`, () => {
      const { status, stdout, stderr } = jumphost(...args);
      assert.equal(status, 2, stderr);
      assert.equal(stdout, '');
      const [error = '', hint = '', ...rest] = stderr.split('\n');
      assert.match(error, message);
      assert.match(hint, /^tunnel: hint: /);
      assert.deepEqual(rest, ['']);
    });
  }

  it('renders codes from 8.7 on, and for the default', () => {
    for (const version of [['--openssh', '8.7'], []]) {
      const { stdout, stderr } = jumphost('sshd', '--mfa', ...version, '10.0.0.1:443');
      assert.match(stdout, /^ {4}KbdInteractiveAuthentication yes$/m, stderr);
    }
  });
});
