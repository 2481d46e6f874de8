/**
 * Authentication of people, with and without a terminal: the whole program, a real sshd with a real
 * PAM stack, and a pseudo-terminal from script(1).
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { JUMPHOST4, PRIVATE4 } from '../support/addresses.ts';
import { PASSPHRASE } from '../support/credentials.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { oneTimeCode, SECRET_FILE } from '../support/onetimecode.ts';
import type { Child } from '../support/process.ts';
import type { SshdOptions } from '../support/sshd.ts';
import { MAIN } from '../support/tunnel.ts';

const PASSWORD = 'tr0ub4dor & 3';
const USER = 'ops@session@corp';
const WITHOUT_KEYS = { name: USER, password: PASSWORD, authorizedKeys: '' };
const READY = /tunnel: ready\r?\n/;
const MODULE = ['/lib', '/usr/lib', '/usr/lib64']
  .flatMap((root) =>
    ['', `${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu/`].map(
      (sub) => `${root}/${sub}security`,
    ),
  )
  .map((directory) => join(directory, 'pam_google_authenticator.so'))
  .find((path) => existsSync(path));

describe('authentication by people', { skip: labUnavailable('script') }, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.create({ sshd: { users: [WITHOUT_KEYS] } });
  });
  after(async () => {
    await lab?.close();
  });

  const command = (user: string, args: readonly string[]): string[] => [
    process.execPath,
    MAIN,
    ...['-r', `${user}@${JUMPHOST4}`, ...args, PRIVATE4],
  ];

  /** Runs it on a new terminal, and prints the terminal's settings when it has ended. */
  function atTerminal(
    user: string,
    args: readonly string[] = [],
    home = lab.clientHome,
    wrap = '',
  ): Promise<Child> {
    const words = command(user, args).map((word) => `'${word}'`);
    // The shell survives Ctrl-C, to print the state afterwards.
    const line = `trap : INT; ${wrap}${words.join(' ')}; echo "[status $?]"; stty -a`;
    return lab.client.spawn(['script', '-qec', line, '/dev/null'], {
      stdin: 'open',
      env: { HOME: home, SHELL: '/bin/sh', TERM: 'dumb' },
    });
  }

  /** Waits for each question on the screen, then types its answer. */
  async function answer(
    child: Child,
    ...dialogue: readonly (readonly [question: RegExp, answer: string])[]
  ): Promise<void> {
    for (const [question, typed] of dialogue) {
      await child.waitForLine(question);
      child.write(`${typed}\r`);
    }
  }

  /** Types Ctrl-C; the terminal must be as before. Returns everything on the screen. */
  async function interrupt(child: Child, status = 0): Promise<string> {
    child.write('\x03');
    await child.waitForLine(/\[status \d+\][\s\S]* echo /);
    child.endInput();
    await child.wait(10_000);
    const [, end = ''] = child.stdout.split('[status ');
    assert.ok(end.startsWith(`${status}]`), child.stdout);
    for (const mode of ['echo', 'icanon', 'isig'])
      assert.match(end, new RegExp(`[ \\n]${mode}[ ;\\r\\n]`), end);
    return child.stdout;
  }

  async function ready(child: Child): Promise<string> {
    await child.waitForLine(READY);
    return interrupt(child);
  }

  it('a password, at the second try, by a user with two @ in the name; nothing secret at -vv', async () => {
    const tunnel = await atTerminal(USER, ['-vv']);
    await answer(
      tunnel,
      [/Password of ops@session@corp@198\.51\.100\.10: /, 'wrong one'],
      [/try again[\s\S]*Password of [^\n]*: $/, PASSWORD],
    );
    const seen = await ready(tunnel);
    assert.match(lab.sshd.log(), /Accepted password for ops@session@corp from/);
    for (const secret of ['wrong one', PASSWORD]) assert.ok(!seen.includes(secret), seen);
  });

  it('three wrong passwords end it, and it says what was tried', async () => {
    const tunnel = await atTerminal(USER);
    for (let i = 1; i <= 3; i++)
      await answer(tunnel, [new RegExp(`(Password of [^#]*){${i}}: $`), `wrong ${i}`]);
    await tunnel.waitForLine(/\[status 3\]/);
    tunnel.endInput();
    await tunnel.wait(10_000);
    assert.match(tunnel.stdout, /error \[auth-failed\]: .*tried .*password \(3 times\)/);
  });

  it('Ctrl-C at the question stops it in order, with 130', async () => {
    const tunnel = await atTerminal(USER);
    await tunnel.waitForLine(/Password of .*: $/);
    tunnel.write('half');
    const seen = await interrupt(tunnel, 130);
    assert.doesNotMatch(seen, /tunnel: error/);
  });

  it('an encrypted key', async () => {
    const tunnel = await atTerminal('jump', ['-vv', '-i', lab.credentials.keys.encrypted]);
    await answer(tunnel, [/Passphrase for .*encrypted: $/, PASSPHRASE]);
    assert.ok(!(await ready(tunnel)).includes(PASSPHRASE));
  });

  it('no terminal: the program in SSH_ASKPASS is asked, without a shell', async () => {
    const directory = join(lab.directory, 'askpass');
    mkdirSync(directory, { recursive: true });
    const askpass = join(directory, 'ask $(touch here)');
    writeFileSync(
      askpass,
      `#!/bin/sh\nprintf '%s\\n' "$1" "$SSH_ASKPASS_PROMPT" >>'${directory}/asked'\necho '${PASSWORD}'\n`,
    );
    chmodSync(askpass, 0o755);
    const tunnel = await lab.client.spawn(['setsid', '--wait', ...command(USER, [])], {
      env: { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force', SSH_ASKPASS_PROMPT: 'confirm' },
      cwd: directory,
    });
    await tunnel.waitForLine(READY);
    await tunnel.stop('SIGTERM').catch(() => undefined);
    assert.equal(
      readFileSync(join(directory, 'asked'), 'utf8'),
      `Password of ${USER}@${JUMPHOST4}:\n\n`,
    );
    assert.ok(!existsSync(join(directory, 'here')));
  });

  it('an unknown host key: the fingerprint is shown, "yes" adds it, and it is known from then on', async () => {
    const home = join(lab.directory, 'newcomer');
    mkdirSync(home, { recursive: true });
    // Debian's ssh_config hashes names.
    const tunnel = await atTerminal(
      'jump',
      ['-F', 'none', '-i', lab.credentials.keys.authorized],
      home,
    );
    await answer(
      tunnel,
      [/SHA256:[\s\S]*from now on\? \(yes, no or the fingerprint\) $/, 'maybe'],
      [/Please answer .*: $/, 'yes'],
    );
    assert.match(await ready(tunnel), /is remembered in .*known_hosts/);
    assert.match(
      readFileSync(join(home, '.ssh/known_hosts'), 'utf8'),
      /^198\.51\.100\.10 ssh-ed25519 [^ ]+\n$/,
    );
    const again = await atTerminal(
      'jump',
      ['-F', 'none', '-i', lab.credentials.keys.authorized],
      home,
    );
    assert.doesNotMatch(await ready(again), /not known/);
  });

  it('known_hosts with hashed names: no question', async () => {
    const home = join(lab.directory, 'hashed');
    mkdirSync(join(home, '.ssh'), { recursive: true });
    copyFileSync(lab.credentials.knownHosts.hashed, join(home, '.ssh', 'known_hosts'));
    const tunnel = await atTerminal('jump', ['-i', lab.credentials.keys.authorized], home);
    assert.doesNotMatch(await ready(tunnel), /not known/);
  });

  it('a key with mode 0400 and known_hosts on a read-only mount: it warns and runs', async () => {
    const home = join(lab.directory, 'readonly');
    mkdirSync(join(home, '.ssh'), { recursive: true });
    const mount =
      `cp '${lab.credentials.keys.authorized}' '${home}/.ssh/id_ed25519'; chmod 0400 '${home}/.ssh/id_ed25519'; : >'${home}/.ssh/known_hosts'; ` +
      `mount --bind '${home}' '${home}' && mount -o remount,bind,ro '${home}' || exit 9; `;
    const tunnel = await atTerminal('jump', [], home, mount);
    await answer(tunnel, [/from now on\? .*\) $/, 'yes']);
    const seen = await ready(tunnel);
    assert.match(
      seen,
      /warning: .*trusted for this run only: .*known_hosts can't be written \(EROFS\)/,
    );
    assert.equal(readFileSync(join(home, '.ssh/known_hosts'), 'utf8'), '');
  });

  describe('with a one-time code', {
    skip:
      MODULE === undefined &&
      'pam_google_authenticator is missing (package libpam-google-authenticator)',
  }, () => {
    /** A password, then a code that is shown while it is typed. */
    function sshd(more: Partial<SshdOptions> = {}): SshdOptions {
      const secrets = join(lab.directory, 'secrets');
      mkdirSync(secrets, { recursive: true, mode: 0o700 });
      chownSync(secrets, 0, 0);
      writeFileSync(join(secrets, USER), SECRET_FILE, { mode: 0o600 });
      writeFileSync(join(secrets, 'jump'), SECRET_FILE, { mode: 0o600 });
      const pam = [
        'auth required pam_unix.so',
        `auth required ${MODULE} user=root secret=${secrets}/\${USER} echo_verification_code`,
        'account required pam_permit.so',
        'session required pam_permit.so',
        '',
      ].join('\n');
      return { pam, users: [WITHOUT_KEYS], ...more };
    }

    it('two questions in turn: the password is hidden, the code is shown', async () => {
      await lab.sshd.restart(sshd({ config: ['AuthenticationMethods keyboard-interactive'] }));
      const tunnel = await atTerminal(USER, ['-vv']);
      const code = oneTimeCode();
      await answer(
        tunnel,
        [/\(ops@session@corp@198\.51\.100\.10\) Password: $/, PASSWORD],
        [/\) Verification code: $/, code],
      );
      const seen = await ready(tunnel);
      assert.match(lab.sshd.log(), /Accepted keyboard-interactive\/pam for ops@session@corp/);
      assert.match(seen, new RegExp(`Verification code: ${code}\\r?\\n`));
      assert.ok(!seen.includes(PASSWORD), seen);
    });

    it('a wrong code, then both again', async () => {
      const tunnel = await atTerminal(USER);
      const wrong = oneTimeCode(0);
      await answer(
        tunnel,
        [/Password: $/, PASSWORD],
        [/code: $/, wrong],
        [/try again[\s\S]*Password: $/, PASSWORD],
        [/try again[\s\S]*code: $/, oneTimeCode()],
      );
      await ready(tunnel);
    });

    it('a key and then a code', async () => {
      const user = { name: USER, password: PASSWORD };
      const methods = ['AuthenticationMethods publickey,keyboard-interactive'];
      await lab.sshd.restart(sshd({ config: methods, users: [user] }));
      const tunnel = await atTerminal(USER);
      await answer(tunnel, [/Password: $/, PASSWORD], [/code: $/, oneTimeCode()]);
      await ready(tunnel);
      assert.match(
        lab.sshd.log(),
        /Partial publickey for ops@session@corp[\s\S]*Accepted keyboard-interactive/,
      );
    });

    it('a key and then a code, with nobody to ask: says so, and what is needed', async () => {
      const result = await lab.client.exec(['setsid', '--wait', ...command(USER, [])]);
      assert.equal(result.status, 3);
      assert.match(
        result.stderr,
        /error \[no-terminal\]: .*accepted .*id_ed25519 .*but also wants keyboard-interactive; 1 key was offered; nothing else was tried; nobody could be asked for keyboard-interactive/,
      );
      assert.match(result.stderr, /hint: run this at a terminal or set SSH_ASKPASS/);
    });
  });
});
