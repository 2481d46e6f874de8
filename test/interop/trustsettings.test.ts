/**
 * Each setting of ssh_config that can forbid something, against a real sshd: what ssh itself does
 * with it, and what the program does with the embedded client, with the system's ssh, and where no
 * ssh is installed. Whatever ssh refuses is refused in all three.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { LoopbackSshd, makeKey } from '../support/loopback-sshd.ts';
import { ED, TRUST_CASES, type TrustCase, type Verdict } from '../support/trustcases.ts';
import { LACKING, sshConnects, verdict } from '../support/trustverdicts.ts';

describe('settings that forbid', { skip: LACKING, timeout: 580_000 }, () => {
  let sshd: LoopbackSshd;
  const D = mkdtempSync(join(tmpdir(), 'tunnel-trust-'));
  const at = (name: string): string => join(D, name);
  const pins: Record<string, string> = {};

  before(async () => {
    await makeKey(at('user_rsa'), 'rsa');
    sshd = await LoopbackSshd.start({
      hostKeys: ['ed25519', 'ecdsa', 'rsa'],
      authorizedKeys: { lines: [readFileSync(at('user_rsa.pub'), 'utf8').trim()] },
    });
    await writeFiles();
  });
  after(async () => {
    await sshd?.stop();
    rmSync(D, { recursive: true, force: true });
  });

  async function writeFiles(): Promise<void> {
    const put = (name: string, text: string | Buffer): void => writeFileSync(at(name), text);
    const own = join(sshd.directory, 'host_ed25519.pub');
    const key = readFileSync(own, 'utf8');
    await makeKey(at('another'), 'ed25519');
    const another = readFileSync(at('another.pub'), 'utf8');
    const line = await sshd.knownHostsLine();
    put('known', line);
    // Before 9.9, ssh looked for the name without its port when it asked for types.
    put('knownecdsa', await sshd.knownHostsLine('ecdsa', `127.0.0.1,[127.0.0.1]:${sshd.port}`));
    put('all', line + (await sshd.knownHostsLine('ecdsa')) + (await sshd.knownHostsLine('rsa')));
    put('changed', `[127.0.0.1]:${sshd.port} ${another}`);
    put('revoked', `@revoked * ${key}`);
    put('revokedhashed', line);
    execFileSync('ssh-keygen', ['-q', '-H', '-f', at('revokedhashed')], { stdio: 'ignore' });
    put('revokedhashed', `@revoked ${readFileSync(at('revokedhashed'), 'utf8')}`);
    put('authority', `@cert-authority * ${another}`);
    put('has', key);
    put('other', another);
    put('mixed', `# revoked\n\n  ${another}\t${key}`);
    put('garbage', `${another}this is no key\n`);
    put('empty', '');
    mkdirSync(at('dir'));
    writeFileSync(at('own.pub'), key);
    execFileSync('ssh-keygen', ['-q', '-s', at('another'), '-I', 'x', '-h', at('own.pub')]);
    put('cert', readFileSync(at('own-cert.pub')));
    const krl = (name: string, spec: string, ...args: string[]): void => {
      put('spec', spec);
      execFileSync('ssh-keygen', ['-q', '-k', '-f', at(name), ...args, at('spec')]);
    };
    krl('has.krl', `key: ${key}`);
    krl('sha256.krl', `sha256: ${key}`);
    krl('sha1.krl', `sha1: ${key}`);
    krl('other.krl', `key: ${another}serial: 1-9\nserial: 77\nid: x\n`, '-s', at('another.pub'));
    const whole = readFileSync(at('other.krl'));
    put('cut.krl', whole.subarray(0, whole.length - 3));
    put('unknown.krl', Buffer.concat([whole, Buffer.of(9, 0, 0, 0, 0)]));
    put('includesrevoked', `${ED}\nRevokedHostKeys ${at('has')}\n`);
    const script = (name: string, body: string): void => {
      put(name, `#!/bin/sh\n${body}\n`);
      chmodSync(at(name), 0o755);
    };
    script('prints', 'exec /bin/cat "$1"');
    script('fails', 'test -z "$1" || /bin/cat "$1"; echo why >&2; exit 3');
    const rest = `${sshd.user} %`.replace(/(\S+) %/, '$1 %');
    script(
      'tokens',
      `case "$4 $2 $5" in "ORDER NONE NONE" | "HOSTNAME ssh-ed25519 SHA256:"*) ;; *) exit 4;; esac
test "$6 $7 $8 $9" = "127.0.0.1 jh ${sshd.port} ${sshd.user}" || exit 5
shift 9; test "$1" = % || exit 6
test "${rest}" || exit 7
/bin/cat ${at('known')}`,
    );
    script('md5', `case "$4" in NONE) ;; MD5:??:*) echo "$1 $2 $3";; *) exit 4;; esac`);
    script('md5revokes', `case "$4" in MD5:??:*) echo "@revoked $1 $2 $3";; esac`);
    for (const type of ['ed25519', 'rsa']) {
      const file = join(sshd.directory, `host_${type}.pub`);
      const printed = execFileSync('ssh-keygen', ['-lf', file], { encoding: 'utf8' });
      pins[type] = printed.split(' ')[1] ?? '';
    }
  }

  let files = 0;
  /** The file for -F. The settings of the case come first, and so win. */
  function configFile({ config }: TrustCase): string {
    const file = at(`config${files++}`);
    const lines = [
      config.replaceAll('$D', D),
      `HostName 127.0.0.1\nPort ${sshd.port}\nUser ${sshd.user}`,
      `UserKnownHostsFile ${at('all')}\nGlobalKnownHostsFile none`,
      ...(/^IdentityFile/m.test(config) ? [] : [`IdentityFile ${sshd.userKey}`]),
      'IdentitiesOnly yes\nBatchMode yes\nConnectTimeout 20\n',
    ];
    writeFileSync(file, lines.join('\n'), { mode: 0o600 });
    return file;
  }

  async function verdictOf(test: TrustCase, transport: string): Promise<Verdict> {
    const { hostKey } = test.options ?? {};
    return verdict({
      remote: ['jh'],
      sshConfig: configFile(test),
      transport,
      ...(hostKey === undefined ? {} : { hostKey: [pins[String(hostKey)] ?? ''] }),
    });
  }

  describe('with ssh installed', { concurrency: 3 }, () => {
    for (const test of TRUST_CASES) {
      it(test.title, async () => {
        if (test.options === undefined)
          assert.equal(await sshConnects(configFile(test), 'jh'), test.ssh, 'ssh itself');
        assert.equal(await verdictOf(test, 'ssh2'), test.ssh2, 'ssh2');
        assert.equal(await verdictOf(test, 'openssh'), test.openssh ?? test.ssh2, 'openssh');
        const chosen = await verdictOf(test, 'auto');
        assert.equal(chosen === 'up', test.ssh2 === 'up' || test.openssh === 'up', chosen);
      });
    }
  });

  describe('without ssh', () => {
    const path = process.env['PATH'];
    before(() => {
      process.env['PATH'] = at('dir');
    });
    after(() => {
      process.env['PATH'] = path;
    });
    for (const test of TRUST_CASES) {
      it(test.title, async () => {
        const expected = test.without ?? test.ssh2;
        assert.equal(await verdictOf(test, 'auto'), expected, 'auto');
        if (expected !== 'openssh-not-found')
          assert.equal(await verdictOf(test, 'ssh2'), expected, 'ssh2');
      });
    }
  });
});
