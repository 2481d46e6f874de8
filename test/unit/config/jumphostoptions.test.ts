/** The command line of `tunnel jumphost`: what is refused is one line with a hint. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../../src/main.js', import.meta.url));

function jumphost(...args: readonly string[]) {
  return spawnSync(process.execPath, [MAIN, 'jumphost', ...args], {
    encoding: 'utf8',
    timeout: 30_000,
  });
}

describe('tunnel jumphost sshd', () => {
  for (const [what, args, message] of [
    ['an empty list', ['sshd'], /nothing is listed/],
    ['a wildcard', ['sshd', '*.example.com:443'], /sshd knows no patterns/],
    ['a wide prefix', ['sshd', '10.0.0.0/8:443'], /sshd knows no prefixes/],
    ['an unknown format', ['sshdd', '10.0.0.1:443'], /sshdd/],
    ['no version', ['sshd', '--openssh', 'new', '10.0.0.1:443'], /is not a version of OpenSSH/],
    ['a version too old', ['sshd', '--openssh', '8.1', '10.0.0.1:443'], /older than 8\.2/],
    ['one not known yet', ['sshd', '--openssh', '10.9', '10.0.0.1:443'], /the newest is 10\.2/],
    ['a login that is none', ['sshd', '--user', 'a b', '10.0.0.1:443'], /not a login name/],
    ['root', ['sshd', '--user', 'root', '10.0.0.1:443'], /root administrates the jump host/],
    [
      'codes where sshd asks everybody or nobody',
      ['sshd', '--mfa', '--openssh', '8.6', '10.0.0.1:443'],
      /--mfa is not possible with OpenSSH 8\.6/,
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
