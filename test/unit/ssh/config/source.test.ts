/** What ssh is asked with, and what is read from its answer: our defaults, and names of files. */
import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { both, LACKING, lab, NO_SSH, resolve } from '../../../support/sshconfiglab.ts';

describe('what ssh is asked', { skip: LACKING }, () => {
  it('has its own defaults behind what the second pass sets', async () => {
    const final = lab(
      `Match final host *.lab.test
        ServerAliveInterval 60
        UserKnownHostsFile /x/known
        GSSAPIAuthentication yes
      Host a
        HostName a.lab.test`,
      {},
      'GSSAPIAuthentication yes',
    );
    const a = await resolve(final, 'a');
    assert.equal(a.keepalive.interval, 60);
    assert.deepEqual(a.hostKeys.userFiles, ['/x/known']);
    assert.deepEqual(a.onlyOpenssh, ['GSSAPIAuthentication']);
    const b = await resolve(final, 'b');
    assert.equal(b.keepalive.interval, 15);
    assert.deepEqual(b.hostKeys.userFiles[0], join(final.home, '.ssh/known_hosts'));
    assert.deepEqual(b.onlyOpenssh, []);
    const off = lab('Match final all\nServerAliveInterval 0');
    assert.equal((await resolve(off, 'a')).keepalive.interval, 0);
    const below = lab('Include x', {
      '.ssh/x': 'Match !final\nPort 3\nMatch FINAL all\nPort 4\nServerAliveInterval 61',
    });
    const { port, keepalive } = await resolve(below, 'a');
    assert.deepEqual([port, keepalive.interval], [3, 61]);
  });

  it('has them there as well if the host name becomes canonical', async () => {
    const config = 'Host 127.*\nCanonicalizeHostname yes\nMatch canonical\nServerAliveInterval 60';
    assert.equal((await resolve(lab(config), '127.0.0.1')).keepalive.interval, 60);
    assert.equal((await resolve(lab(config), 'a')).keepalive.interval, 15);
    assert.equal((await both(lab(config), 'a')).keepalive.interval, 15);
  });

  it('reads each file of a list, also with relative names', async () => {
    const where = lab('UserKnownHostsFile "/tmp/k h1" kh2 %h.kh\nGlobalKnownHostsFile g1 "g 2"');
    const here = process.cwd();
    const { hostKeys } = await both(where, 'a');
    assert.deepEqual(hostKeys.userFiles, ['/tmp/k h1', `${here}/kh2`, `${here}/a.kh`]);
    assert.deepEqual(hostKeys.globalFiles, [`${here}/g1`, `${here}/g 2`]);
    const sshOption = ['UserKnownHostsFile=/tmp/kh1 kh2'];
    assert.deepEqual((await both(lab(''), 'a', { sshOption })).hostKeys.userFiles, [
      '/tmp/kh1',
      `${here}/kh2`,
    ]);
  });

  it('knows the home directories of other users', async () => {
    const where = lab(
      'IdentityFile ~root/k\nCertificateFile ~root/c\nUserKnownHostsFile ~root/kh ~/kh\nIdentityAgent ~root/a',
    );
    const { authentication, hostKeys } = await both(where, 'a');
    assert.deepEqual(authentication.identityFiles, [{ path: '/root/k', explicit: false }]);
    assert.deepEqual(authentication.certificateFiles, ['/root/c']);
    assert.equal(authentication.agentSocket, '/root/a');
    assert.deepEqual(hostKeys.userFiles, ['/root/kh', `${where.home}/kh`]);
    for (const sshProgram of ['ssh', NO_SSH])
      await assert.rejects(
        resolve(lab('IdentityFile ~nobody-knows/k'), 'a', {}, { sshProgram }),
        /"~nobody-knows\/k", the user's home directory isn't known/,
      );
  });

  it('uses the keys of files that only ssh can find', async () => {
    // As a newer ssh, which expands a variable in Include, and prints the name as it is written.
    const include = 'Include $' + '{DIR}/more';
    const where = lab(include, {
      ssh: `#!/bin/sh
        case "$*" in *"-F none"*) exec ssh "$@";; esac
        exec ssh -o 'IdentityFile=~/.ssh/other' -o 'IdentityFile=~/.ssh/id_rsa' "$@"\n`,
    });
    const sshProgram = join(where.home, 'ssh');
    chmodSync(sshProgram, 0o700);
    const { identityFiles } = (await resolve(where, 'a', {}, { sshProgram })).authentication;
    assert.deepEqual(
      identityFiles.map(({ path }) => path),
      ['other', 'id_rsa'].map((name) => join(where.home, '.ssh', name)),
    );
    assert.deepEqual((await resolve(where, 'a')).authentication.identityFiles, []);
  });
});
