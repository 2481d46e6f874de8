/**
 * Settings that forbid, where one host isn't all: hosts with certificates, hosts on the way, and
 * settings of the command line. Beside real ssh, against real sshds.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { LoopbackSshd, makeKey } from '../support/loopback-sshd.ts';
import { authority, sign } from '../support/sshcertificates.ts';
import { failureOf, LACKING, sshConnects, verdict } from '../support/trustverdicts.ts';

const D = mkdtempSync(join(tmpdir(), 'tunnel-trusted-'));
const at = (name: string): string => join(D, name);
const put = (name: string, text: string): void => writeFileSync(at(name), text, { mode: 0o600 });
const PATH = process.env['PATH'];

/** Runs `work` on a machine without ssh. */
async function withoutSsh<T>(work: () => Promise<T>): Promise<T> {
  process.env['PATH'] = at('nothing');
  try {
    return await work();
  } finally {
    process.env['PATH'] = PATH;
  }
}

let files = 0;
function configFile(...lines: readonly string[]): string {
  const name = `config${files++}`;
  const common = 'IdentitiesOnly yes\nBatchMode yes\nConnectTimeout 20\nGlobalKnownHostsFile none';
  put(name, `${[...lines, common].join('\n')}\n`.replaceAll('$D', D));
  return at(name);
}

describe('trusted hosts', { skip: LACKING, timeout: 300_000 }, () => {
  let plain: LoopbackSshd;
  let certified: LoopbackSshd;

  before(async () => {
    mkdirSync(at('nothing'));
    const ca = await authority(D, 'ca');
    await makeKey(at('another'), 'ed25519');
    await makeKey(at('certified'), 'ed25519');
    await sign(ca, at('certified'), ['-h', '-z', '7', '-n', '127.0.0.1']);
    [plain, certified] = await Promise.all([
      LoopbackSshd.start(),
      LoopbackSshd.start({
        hostKeys: [],
        config: [`HostKey ${at('certified')}`, `HostCertificate ${at('certified-cert.pub')}`],
      }),
    ]);
    const key = readFileSync(at('certified.pub'), 'utf8');
    const name = `[127.0.0.1]:${certified.port}`;
    put('known', `${name} ${key}${await plain.knownHostsLine()}`);
    put('revokedca', `@revoked * ${readFileSync(`${ca}.pub`, 'utf8')}`);
    put('ca.txt', readFileSync(`${ca}.pub`, 'utf8'));
    put('another.txt', readFileSync(at('another.pub'), 'utf8'));
    put('plain.txt', readFileSync(join(plain.directory, 'host_ed25519.pub'), 'utf8'));
    put('spec', 'serial: 7\n');
    execFileSync('ssh-keygen', ['-q', '-k', '-f', at('serial.krl'), '-s', `${ca}.pub`, at('spec')]);
  });
  after(async () => {
    await Promise.all([plain?.stop(), certified?.stop()]);
    rmSync(D, { recursive: true, force: true });
  });

  const section = (name: string, { port, user, userKey }: LoopbackSshd, ...lines: string[]) =>
    [
      `Host ${name}\nHostName 127.0.0.1\nPort ${port}\nUser ${user}\nIdentityFile ${userKey}`,
      ...lines,
      'UserKnownHostsFile $D/known',
    ].join('\n');

  for (const [title, line, ssh, ssh2, openssh] of [
    ['nothing revoked', '', true, 'up', 'up'],
    [
      'a KRL with its serial number',
      'RevokedHostKeys $D/serial.krl',
      false,
      'host-key-certified',
      'host-key-revoked',
    ],
    [
      'a text with its authority',
      'RevokedHostKeys $D/ca.txt',
      false,
      'host-key-certified',
      'host-key-revoked',
    ],
    [
      'an authority marked as revoked',
      'UserKnownHostsFile $D/known $D/revokedca',
      false,
      'host-key-certified',
      'host-key-revoked',
    ],
    ['something else', 'RevokedHostKeys $D/another.txt', true, 'host-key-certified', 'up'],
    [
      'a KRL with its serial number, without certificates',
      'HostKeyAlgorithms -*-cert-*\nRevokedHostKeys $D/serial.krl',
      true,
      'up',
      'up',
    ],
  ] as const)
    it(`a host with a certificate: ${title}`, async () => {
      const file = configFile(section('jh', certified, line));
      const with_ = (transport: string) => verdict({ remote: ['jh'], sshConfig: file, transport });
      assert.equal(await sshConnects(file, 'jh'), ssh, 'ssh itself');
      assert.equal(await with_('ssh2'), ssh2);
      assert.equal(await with_('openssh'), openssh);
      assert.equal(await with_('auto'), openssh, 'auto: with ssh, which is installed');
      assert.equal(await withoutSsh(() => with_('auto')), ssh2, 'without ssh');
    });

  for (const [title, line, ssh, ssh2, openssh, without = ssh2] of [
    ['nothing', '', true, 'up', 'up'],
    [
      'RevokedHostKeys',
      'RevokedHostKeys $D/plain.txt',
      false,
      'host-key-revoked',
      'host-key-revoked',
    ],
    [
      'RevokedHostKeys that is missing',
      'RevokedHostKeys $D/absent',
      false,
      'host-key-unchecked',
      'host-key-unchecked',
    ],
    [
      'KnownHostsCommand',
      'KnownHostsCommand /bin/false',
      false,
      'host-key-unchecked',
      'host-key-unchecked',
    ],
    [
      'HostKeyAlgorithms',
      'HostKeyAlgorithms rsa-sha2-512',
      false,
      'jumphost-no-common-algorithm',
      'jumphost-no-common-algorithm',
    ],
    [
      'PubkeyAcceptedAlgorithms',
      'PubkeyAcceptedAlgorithms rsa-sha2-512',
      false,
      'auth-failed',
      'auth-failed',
    ],
    [
      'VerifyHostKeyDNS',
      'VerifyHostKeyDNS yes',
      true,
      'transport-unfit',
      'up',
      'openssh-not-found',
    ],
  ] as const) {
    it(`a host on the way: ${title}`, async () => {
      const file = configFile(
        section('hop', plain, line),
        section('jh', certified, 'ProxyJump hop'),
      );
      const with_ = (transport: string) => verdict({ remote: ['jh'], sshConfig: file, transport });
      assert.equal(await sshConnects(file, 'jh'), ssh, 'ssh itself');
      assert.equal(await with_('ssh2'), ssh2);
      assert.equal(await with_('openssh'), openssh);
      assert.equal(await withoutSsh(() => with_('auto')), without, 'without ssh');
    });

    it(`the jump host behind a host on the way: ${title}`, async () => {
      // The hop has another key, which the setting doesn't concern unless it is about all keys.
      const file = configFile(section('hop', certified), section('jh', plain, line));
      const with_ = (transport: string) =>
        verdict({ remote: ['jh'], jump: 'hop', sshConfig: file, transport });
      assert.equal(await with_('ssh2'), ssh2);
      assert.equal(await with_('openssh'), openssh);
      assert.equal(await withoutSsh(() => with_('auto')), without, 'without ssh');
    });

    if (line !== '')
      it(`the command line: ${title}`, async () => {
        const file = configFile(section('jh', plain));
        const with_ = (transport: string) => {
          const sshOption = [line.replaceAll('$D', D).replace(' ', '=')];
          return verdict({ remote: ['jh'], sshConfig: file, sshOption, transport });
        };
        assert.equal(await with_('ssh2'), ssh2);
        assert.equal(await with_('openssh'), openssh);
        assert.equal(await withoutSsh(() => with_('auto')), without, 'without ssh');
      });
  }

  it('the time of a KnownHostsCommand is not the time of the server', async () => {
    const slow = 'KnownHostsCommand /bin/sh -c "/bin/sleep 1.5; exec /bin/cat $D/known"';
    const file = configFile(
      'ConnectTimeout 2',
      section('jh', plain, slow, 'UserKnownHostsFile none'),
    );
    assert.equal(await sshConnects(file, 'jh'), true, 'ssh itself');
    assert.equal(await verdict({ remote: ['jh'], sshConfig: file, transport: 'ssh2' }), 'up');
  });

  it('a revocation counts from the next connection on', async () => {
    put('later', '');
    const file = configFile(section('jh', plain, 'RevokedHostKeys $D/later'));
    const options = { remote: ['jh'], sshConfig: file, transport: 'ssh2' };
    assert.equal(await verdict(options), 'up');
    put('later', readFileSync(at('plain.txt'), 'utf8'));
    assert.equal(await verdict(options), 'host-key-revoked');
  });

  it('says which setting, where it is, and what to do', async () => {
    const file = configFile(section('jh', plain, 'VerifyHostKeyDNS ask'));
    const options = { remote: ['jh'], sshConfig: file, transport: 'ssh2' };
    const named = await failureOf(options);
    assert.equal(
      named?.message,
      `VerifyHostKeyDNS ask (${file}:6): the embedded SSH client can't look up SSHFP records, which may speak against a key`,
    );
    assert.equal(named?.hint, 'leave --transport ssh2 out, or set VerifyHostKeyDNS no');
    const given = await failureOf({ ...options, sshOption: ['VerifyHostKeyDNS=yes'] });
    assert.match(given?.message ?? '', /^VerifyHostKeyDNS yes \(-o VerifyHostKeyDNS=yes\): /);
    const missing = await withoutSsh(() => failureOf({ ...options, transport: 'auto' }));
    assert.equal(
      missing?.message,
      `the system's ssh is needed (only it obeys VerifyHostKeyDNS ask (${file}:6)), but it is not installed`,
    );
    assert.match(missing?.hint ?? '', /^install OpenSSH .*, or set VerifyHostKeyDNS no$/);
  });
});
