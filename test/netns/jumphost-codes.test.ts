/**
 * Codes by time, as `tunnel jumphost sshd --mfa` renders them: a real sshd with a real PAM stack,
 * to which the commands of the rendered file's comment have added what they add.
 */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { PAM_FILE, SECRETS } from '../../src/jumphost/pam.ts';
import type { MfaModule } from '../../src/jumphost/plan.ts';
import { API1, JUMPHOST4 } from '../support/addresses.ts';
import { followComment, JumpHostFiles } from '../support/jumphostfiles.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { oneTimeCode } from '../support/onetimecode.ts';
import type { ExecResult } from '../support/process.ts';
import { MAIN } from '../support/tunnel.ts';

const USER = 'tunnel';
const NOLOGIN = '/usr/sbin/nologin';
const files = new JumpHostFiles();
after(() => files.remove());

const MODULE_FILES = {
  'google-authenticator': 'pam_google_authenticator.so',
  oath: 'pam_oath.so',
} as const satisfies Record<MfaModule, string>;
const SECURITY = ['/lib', '/usr/lib', '/usr/lib64'].flatMap((root) => [
  `${root}/security`,
  `${root}/${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu/security`,
]);

function moduleMissing(mfa: MfaModule): string | false {
  const file = MODULE_FILES[mfa];
  const found = SECURITY.some((path) => existsSync(join(path, file)));
  return (
    !found && `${file} is missing (package lib${file.replace('.so', '').replaceAll('_', '-')})`
  );
}

for (const mfa of ['google-authenticator', 'oath'] as const) {
  const tool = mfa === 'oath' ? 'oathtool' : 'google-authenticator';
  describe(`--mfa with ${mfa}`, {
    skip: labUnavailable('nsenter', tool) || moduleMissing(mfa),
    timeout: 120_000,
  }, () => {
    const PASSWORD = 'tr0ub4dor & 3';
    const ADMINISTRATOR = { name: 'ops', password: PASSWORD, authorizedKeys: '' };
    let lab: Lab;
    let output: string;
    /** In base32. */
    let secret: string;
    let printed: readonly string[];
    before(async () => {
      lab = await Lab.create();
      output = await files.render('sshd', '--mfa', '--mfa-module', mfa);
      const { config, binds } = files.sshdOptions(output);
      await lab.sshd.restart({
        // As an administrator has it who logs in with a password.
        config: [...config, 'KbdInteractiveAuthentication yes'],
        binds,
        users: [
          { name: USER, shell: NOLOGIN },
          { name: 'second', shell: NOLOGIN, group: USER, password: PASSWORD },
          ADMINISTRATOR,
        ],
      });
      await follow(/^# Apply, as root/m);
      printed = (await enrol()).match(/(?<=^ +)\d{8}$/gm) ?? [];
    });
    after(() => lab?.close());

    const follow = (below: RegExp) => followComment(lab.sshd, output, PAM_FILE, below, USER);
    async function enrol(): Promise<string> {
      const shown = await follow(/^# Enrol NAME/m);
      [secret = ''] = /(?<=new secret key is: |Base32 secret: )[A-Z2-7]+/.exec(shown) ?? [];
      assert.match(secret, /^[A-Z2-7]{16,}$/, shown);
      return shown;
    }

    /** By a program that answers the question. */
    function login(
      user: string,
      answer: string,
      args: readonly string[] = [],
    ): Promise<ExecResult> {
      const askpass = join(files.directory, 'askpass');
      writeFileSync(askpass, `#!/bin/sh\necho "asked: $1" >&2\nprintf '%s\\n' "$ANSWER"\n`);
      chmodSync(askpass, 0o755);
      return lab.client.exec(
        [
          ...['ssh', '-F', lab.credentials.sshConfig, '-o', 'BatchMode=no', '-l', user],
          ...['-o', 'NumberOfPasswordPrompts=1', ...args],
        ],
        {
          input: 'GET / HTTP/1.0\r\n\r\n',
          env: { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force', ANSWER: answer },
        },
      );
    }
    const reach = (user: string, answer: string, args: readonly string[] = []) =>
      login(user, answer, [...args, '-W', `${API1}:80`, 'jump']);

    /** Of now and next to now: each is good once. */
    const codes = () => [0, -30_000, 30_000].map((by) => oneTimeCode(Date.now() + by, secret));

    it('a key and a code log in, with this program; the code is good once', async () => {
      const [code = ''] = codes();
      const askpass = join(files.directory, 'ask-code');
      writeFileSync(askpass, `#!/bin/sh\necho '${code}'\n`);
      chmodSync(askpass, 0o755);
      const argv = ['exec', '-r', `${USER}@${JUMPHOST4}`, `${API1}:80`, '--'];
      const { stdout, stderr } = await lab.client.exec(
        ['setsid', '--wait', process.execPath, MAIN, ...argv, 'curl', '-sS', `http://${API1}/`],
        { env: { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force' } },
      );
      assert.match(stdout, /"peer"/, `${stderr}${lab.sshd.log()}`);
      assert.match(
        lab.sshd.log(),
        /Partial publickey for tunnel[\s\S]*Accepted keyboard-interactive\/pam for tunnel/,
      );
      const again = await reach(USER, code);
      assert.equal(again.stdout, '');
      assert.match(again.stderr, /asked:[\s\S]*Permission denied \(keyboard-interactive\)/);
    });

    it('a code without the key, a wrong one and none are refused', async () => {
      const [, before = ''] = codes();
      const codeOnly = ['-o', 'PreferredAuthentications=keyboard-interactive'];
      const without = await reach(USER, before, codeOnly);
      assert.doesNotMatch(without.stderr, /asked:/);
      assert.match(without.stderr, /Permission denied \(publickey\)/);
      for (const answer of ['000000', '', 'x'.repeat(300)]) {
        const { stdout, stderr } = await reach(USER, answer);
        assert.equal(stdout, '');
        assert.match(stderr, /Permission denied/);
      }
    });

    it('who is in the group and not enrolled is refused, with a code and with a password', async () => {
      const [, , next = ''] = codes();
      for (const answer of [next, PASSWORD]) {
        const { stdout, stderr } = await reach('second', answer);
        assert.equal(stdout, '');
        assert.match(stderr, /Permission denied \(keyboard-interactive\)/);
      }
      assert.match(lab.sshd.log(), /Partial publickey for second/);
    });

    it('administrators log in as before: with a key, and with a password', async () => {
      const key = await login('jump', '', ['jump', 'echo ran']);
      assert.deepEqual([key.stdout, key.stderr], ['ran\n', '']);
      for (const method of ['keyboard-interactive', 'password']) {
        const { stdout, stderr } = await login(ADMINISTRATOR.name, ADMINISTRATOR.password, [
          ...['-o', `PreferredAuthentications=${method}`, '-o', 'PubkeyAuthentication=no'],
          ...['jump', 'echo ran'],
        ]);
        assert.equal(stdout, 'ran\n', `${method}: ${stderr}`);
        assert.match(stderr, /asked: .*[Pp]assword: \n/);
      }
    });

    it('recovery: a printed code is good once', {
      skip: mfa === 'oath' && 'oath has none',
    }, async () => {
      assert.equal(printed.length, 5);
      const [code = ''] = printed;
      await waitOutRateLimit();
      assert.match((await reach(USER, code)).stdout, /^HTTP\/1/);
      assert.equal((await reach(USER, code)).stdout, '');
    });

    it('recovery: who is locked out stays so until the next enrolment', async () => {
      await follow(/^# .*lock.* NAME out:$/m);
      // One that no login has used.
      const [, , code = ''] = codes();
      assert.equal((await reach(USER, code)).stdout, '');
      const before = secret;
      await enrol();
      assert.notEqual(secret, before);
      assert.match((await reach(USER, codes()[0] ?? '')).stdout, /^HTTP\/1/, lab.sshd.log());
    });

    /** Three tries in 30 s are what the module admits: as if they were long ago. */
    async function waitOutRateLimit(): Promise<void> {
      if (mfa === 'oath') return;
      const file = `${SECRETS}/${USER}`;
      await lab.sshd.exec(['sed', '-i', 's/^" RATE_LIMIT 3 30.*/" RATE_LIMIT 3 30/', file]);
    }
  });
}
