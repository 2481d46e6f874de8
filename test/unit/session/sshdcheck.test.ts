/**
 * The drop-in of `tunnel jumphost sshd`, read by the sshd of this machine before it is printed: by
 * the real one, and by stand-ins that refuse it or read it otherwise.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { installedOpenssh } from '../../support/installedopenssh.ts';
import { sshdMissing } from '../../support/loopback-sshd.ts';
import { MAIN } from '../../support/tunnel.ts';

const root = mkdtempSync(join(tmpdir(), 'tunnel-sshdcheck-'));
after(() => rmSync(root, { recursive: true }));

let count = 0;
/** Renders with `sshd` first in PATH, and gives what is said without what is at other levels. */
function rendered(sshd: string | undefined, ...args: readonly string[]) {
  const at = join(root, String(++count));
  mkdirSync(join(at, 'tmp'), { recursive: true });
  if (sshd !== undefined) {
    writeFileSync(join(at, 'sshd'), `#!/bin/sh\n${sshd}\n`);
    chmodSync(join(at, 'sshd'), 0o755);
  }
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [MAIN, 'jumphost', 'sshd', ...args, 'api.example.com:443', '[2001:db8::5]:22'],
    {
      encoding: 'utf8',
      env: { ...process.env, TMPDIR: join(at, 'tmp'), PATH: `${at}:${process.env['PATH']}` },
    },
  );
  assert.equal(status, 0, stderr);
  assert.match(stdout, /\nMatch all\n/);
  assert.deepEqual(readdirSync(join(at, 'tmp')), [], 'files that are left');
  return { stdout, stderr };
}

/** Answers as sshd does; `t` and `T` are lines of sh for -t and -T with the drop-in. */
const standIn = (version: string, t: string, T = 'exit 0') => `case "$*" in
-V) echo OpenSSH_${version}p1 >&2 ;;
*/empty*) exit 0 ;;
-t*) ${t} ;;
-T*) ${T} ;;
esac`;

describe('the sshd of this machine', () => {
  const sets = [[], ['--mfa'], ['--behind-proxy'], ['--mfa', '--behind-proxy', '--user', 'jump']];
  for (const more of sets) {
    it(`takes what is rendered for it: ${more.join(' ')}`, { skip: sshdMissing }, () => {
      const { stderr } = rendered(undefined, '-v', '--openssh', installedOpenssh(), ...more);
      assert.match(stderr, /^tunnel: the sshd of this machine \(OpenSSH \S+\) takes the drop-in$/m);
    });
  }

  it('refuses it: a warning with its reason, and the drop-in as ever', () => {
    const refusing = standIn(
      '9.2',
      'echo "$3: line 7: Bad SSH2 KexAlgorithms" >&2; echo "$3: terminating" >&2; exit 255',
    );
    const { stdout, stderr } = rendered(refusing);
    assert.equal(
      stderr,
      'tunnel: warning: the sshd of this machine (OpenSSH 9.2) refuses the drop-in: ' +
        'line 7: Bad SSH2 KexAlgorithms; try it on the jump host\n',
    );
    assert.equal(stdout, rendered(undefined).stdout);
  });

  it('reads it otherwise: a warning', () => {
    const other = standIn('9.2', 'exit 0', 'echo allowtcpforwarding local; echo permitopen any');
    assert.equal(
      rendered(other).stderr,
      'tunnel: warning: the sshd of this machine (OpenSSH 9.2) reads the drop-in otherwise: ' +
        'it has no "permitopen api.example.com:443 [2001:db8::5]:22"\n',
    );
  });

  it('is not asked about a newer version', () => {
    const { stderr } = rendered(standIn('9.2', 'exit 255'), '--openssh', '10.0', '-v');
    assert.match(
      stderr,
      /^tunnel: the sshd of .* \(OpenSSH 9\.2\) can't check a drop-in for 10\.0$/m,
    );
  });

  for (const [what, sshd] of [
    ['is another program', 'echo dropbear >&2; exit 1'],
    ['refuses everything', 'case $1 in -V) echo OpenSSH_9.2p1 >&2 ;; *) exit 255 ;; esac'],
  ] as const) {
    it(`says nothing of use: it ${what}`, () => {
      assert.equal(rendered(sshd).stderr, '');
      assert.match(rendered(sshd, '-v').stderr, /there is no sshd here that could check/);
    });
  }
});
