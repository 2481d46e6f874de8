/**
 * What `tunnel jumphost` renders about keys and codes, with a real sshd: lines of authorized_keys
 * without any drop-in, the AuthorizedKeysCommand, and logins with codes by time.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { keyOptions, MAX_KEY_OPTIONS_BYTES } from '../../src/jumphost/authorizedkey.ts';
import {
  KEYS_CACHE,
  KEYS_COMMAND_PATH,
  KEYS_COMMAND_USER,
} from '../../src/jumphost/keyscommand.ts';
import { PAM_FILE, SECRETS } from '../../src/jumphost/pam.ts';
import type { MfaModule } from '../../src/jumphost/plan.ts';
import { DROP_IN } from '../../src/jumphost/sshd.ts';
import { API1, API1_6, API1_NAME, API2, API2_NAME, JUMPHOST4, Port } from '../support/addresses.ts';
import { planOf } from '../support/jumphostplan.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { oneTimeCode } from '../support/onetimecode.ts';
import { type Child, type ExecResult, mustRun } from '../support/process.ts';
import type { SshdOptions } from '../support/sshd.ts';
import { MAIN } from '../support/tunnel.ts';

const USER = 'tunnel';
const NOLOGIN = '/usr/sbin/nologin';
const LISTED = [`${API1_NAME}:80`, `${API1}:80`, `[${API1_6}]:80`];
const OTHERS = [
  `${API1}:${Port.echo}`,
  `${API2}:80`,
  `${API2_NAME}:80`,
  '127.0.0.1:22',
  '[::1]:22',
];
const directory = mkdtempSync(join(tmpdir(), 'tunnel-jumphost-keys-'));
after(() => rmSync(directory, { recursive: true }));

let renderings = 0;
/** Runs `tunnel jumphost`. Returns the directory with the files. */
async function rendered(...args: readonly string[]): Promise<string> {
  const output = join(directory, `rendered-${++renderings}`);
  await mustRun([process.execPath, MAIN, 'jumphost', ...args, '--output', output, ...LISTED]);
  return output;
}

function sshOf(lab: Lab, user = USER) {
  const base = ['ssh', '-F', lab.credentials.sshConfig, '-l', user];
  const exec = (args: readonly string[], input = '') =>
    lab.client.exec([...base, ...args], { input, timeout: 20_000 });
  return {
    base,
    exec,
    /** Whether a server there has answered. Most speak HTTP; echo gives back what it gets. */
    reaches: async (place: string) => {
      const { stdout } = await exec(['-W', place, 'jump'], 'GET / HTTP/1.0\r\n\r\n');
      return /^(HTTP\/1|GET|SSH-2)/.test(stdout);
    },
    /** What ssh says while it asks for something that it would then keep. */
    asks: async (...args: readonly string[]) => {
      const argv = [...base, '-v', '-N', '-o', 'ExitOnForwardFailure=yes', ...args, 'jump'];
      const child = await lab.client.spawn(argv);
      const [said] = await child.waitForLine(
        /remote forward success|remote port forwarding failed|open failed|Local forwarding listening|open confirm/,
      );
      return { child, said };
    },
  };
}

describe('authorized-key, with an sshd that permits everything', {
  skip: labUnavailable('ncat', 'nsenter'),
  timeout: 120_000,
}, () => {
  let lab: Lab;
  const open = (authorizedKeys: string, config: readonly string[] = []): SshdOptions => ({
    config: ['PermitTunnel yes', 'X11Forwarding yes', 'XAuthLocation /bin/true', ...config],
    users: [{ name: USER, authorizedKeys }],
  });
  const keys = async (...args: readonly string[]) => {
    const output = await rendered('authorized-key', ...args);
    return readFileSync(join(output, 'authorized_keys'), 'utf8');
  };
  const own = () => `${lab.credentials.keys.authorized}.pub`;
  before(async () => {
    lab = await Lab.create();
    await lab.sshd.restart(open(await keys('--key', own())));
  });
  after(() => lab?.close());

  it('what is listed is reached, by name, IPv4 and IPv6', async () => {
    for (const place of LISTED) assert.ok(await sshOf(lab).reaches(place), place);
  });

  it('nothing else is', async () => {
    for (const place of OTHERS) assert.ok(!(await sshOf(lab).reaches(place)), place);
    const upper = API1_NAME.toUpperCase();
    assert.ok(!(await sshOf(lab).reaches(`${upper}:80`)), upper);
  });

  it('no shell, command, terminal or subsystem', async () => {
    for (const [args, input] of [
      [['-T', 'jump'], 'echo ran $((6 * 7))\n'],
      [['jump', 'echo ran $((6 * 7))'], ''],
      [['-tt', 'jump', 'echo ran $((6 * 7))'], ''],
      [['-s', 'jump', 'sftp'], '\0\0\0\x05\x01\0\0\0\x03'],
    ] as const) {
      const { stdout, status } = await sshOf(lab).exec(args, input);
      assert.equal(stdout, '', args.join(' '));
      assert.notEqual(status, 0);
    }
  });

  it('no agent, X11 or tunnel device', async () => {
    const { exec, asks } = sshOf(lab);
    const x11 = await lab.client.exec([...sshOf(lab).base, '-v', '-Y', 'jump', 'true'], {
      env: { DISPLAY: 'localhost:9' },
    });
    assert.match(x11.stderr, /X11 forwarding request failed/);
    const { child, said } = await asks('-w', 'any:7');
    assert.match(said, /open failed/);
    await child.stop();
    await exec(['-A', 'jump', 'true']);
    assert.doesNotMatch(lab.sshd.log(), /auth_input_request_forwarding: temporarily/);
  });

  it('no listener, not even at the port that is named', async () => {
    for (const listen of ['7777', '127.0.0.1:7777', 'localhost:1', '1', '127.0.0.1:0', '*:0']) {
      const { child, said } = await sshOf(lab).asks('-R', `${listen}:${API1}:80`);
      assert.match(said, /remote port forwarding failed/, listen);
      await child.stop();
    }
  });

  it('no Unix socket; a listener on one is what sshd_config must forbid, as the comment says', async () => {
    const socket = join(lab.directory, 'jumphost/here.sock');
    const server = await lab.jumphost.spawn(['ncat', '-lkU', socket, '-c', 'echo a socket']);
    for (let i = 0; i < 200 && !existsSync(socket); i++) await sleep(10);
    chmodSync(socket, 0o777);
    const local = join(lab.directory, 'local.sock');
    const reaches = async () => {
      rmSync(local, { force: true });
      const { child } = await sshOf(lab).asks('-L', `${local}:${socket}`);
      const { stdout } = await lab.client.exec(['ncat', '-U', local, '--recv-only']);
      await child.stop();
      return stdout.includes('a socket');
    };
    const listens = async () => {
      const { child, said } = await sshOf(lab).asks('-R', `/tmp/${lab.id}.sock:${API1}:80`);
      await child.stop();
      rmSync(`/tmp/${lab.id}.sock`, { force: true });
      return /success/.test(said);
    };
    const text = await keys('--key', own());
    assert.match(text, /sshd_config must say "AllowStreamLocalForwarding no"/);
    assert.deepEqual([await reaches(), await listens()], [false, true]);
    await lab.sshd.restart(open(text, ['AllowStreamLocalForwarding no']));
    assert.deepEqual([await reaches(), await listens()], [false, false]);
    // Without the list, both would be seen.
    await lab.sshd.restart(open(`restrict,port-forwarding ${readFileSync(own(), 'utf8')}`));
    assert.deepEqual([await reaches(), await listens()], [true, true]);
    await server.stop('SIGKILL');
  });

  it('--from: from these addresses and no others', async () => {
    for (const [patterns, works] of [
      [['192.0.2.0/24'], true],
      [['192.0.2.*'], true],
      [['203.0.113.0/24', '2001:db8::/32'], false],
      [['*', '!192.0.2.2'], false],
      [['*', '!192.0.2.3'], true],
    ] as const) {
      const from = patterns.flatMap((pattern) => ['--from', pattern]);
      await lab.sshd.restart(open(await keys('--key', own(), ...from)));
      assert.equal(await sshOf(lab).reaches(`${API1}:80`), works, patterns.join(' '));
    }
  });

  it('as many destinations as a line may have', async () => {
    const [key = ''] = lab.credentials.authorizedKeys.split('\n');
    const places = Array.from(
      { length: 4096 },
      (_, i) => `${String(i).padStart(28, 'x')}.example.com:443`,
    );
    const options = keyOptions(planOf([...places.slice(1), `${API1}:80`]));
    assert.ok(options.length > 0.95 * MAX_KEY_OPTIONS_BYTES, `${options.length}`);
    await lab.sshd.restart(open(`${options} ${key}\n`));
    assert.ok(await sshOf(lab).reaches(`${API1}:80`));
    assert.ok(!(await sshOf(lab).reaches(`${API2}:80`)));
  });
});

/** What an administrator does with the rendered files, except that sshd alone sees the result. */
async function install(...args: readonly string[]): Promise<SshdOptions> {
  const output = await rendered('sshd', ...args);
  const root = join(directory, `root-${renderings}`);
  const libexec = join(root, 'libexec');
  const cache = join(root, 'cache');
  const lib = join(root, 'lib');
  const pam = join(root, 'pam.d');
  mkdirSync(join(cache, KEYS_CACHE.split('/').at(-1) ?? ''), { recursive: true });
  for (const path of [libexec, join(lib, SECRETS.split('/').at(-1) ?? '')])
    mkdirSync(path, { recursive: true });
  chmodSync(join(lib, 'tunnel-mfa'), 0o700);
  cpSync('/etc/pam.d', pam, { recursive: true });
  for (const name of readdirSync(output)) {
    if (KEYS_COMMAND_PATH.endsWith(`/${name}`)) cpSync(join(output, name), join(libexec, name));
    if (name === PAM_FILE) cpSync(join(output, name), join(pam, name));
  }
  if (existsSync(join(pam, PAM_FILE))) {
    const stack = readFileSync(join(pam, 'sshd'), 'utf8');
    writeFileSync(join(pam, 'sshd'), `auth include ${PAM_FILE}\n${stack}`);
  }
  return {
    config: [`Include ${join(output, DROP_IN)}`],
    binds: [
      [libexec, '/usr/libexec'],
      [cache, '/var/cache'],
      [lib, '/var/lib'],
      [pam, '/etc/pam.d'],
    ],
  };
}

const SERVE = `const { readFileSync } = require('node:fs');
  require('node:http')
    .createServer((_, response) => response.end(readFileSync(process.argv[1])))
    .listen(8000, '127.0.0.1', () => console.log('ready'));`;

describe('keys-command, run by sshd', {
  skip: labUnavailable('nsenter', 'flock', 'curl'),
  timeout: 60_000,
}, () => {
  let lab: Lab;
  let options: SshdOptions;
  let source: Child;
  const list = join(directory, 'list');
  const users = [
    { name: USER, shell: NOLOGIN, authorizedKeys: '' },
    { name: KEYS_COMMAND_USER, shell: NOLOGIN, authorizedKeys: '' },
    { name: 'other', authorizedKeys: '' },
  ];
  const keyOf = (name: 'authorized' | 'stranger') =>
    readFileSync(`${lab.credentials.keys[name]}.pub`, 'utf8');
  before(async () => {
    lab = await Lab.create();
    writeFileSync(list, `# the team\ncert-authority ${keyOf('authorized')}${keyOf('authorized')}`);
    source = await lab.jumphost.spawn([process.execPath, '-e', SERVE, list]);
    await source.waitForLine(/ready\n/);
    const command = `/bin/echo '${keyOf('stranger').trim()}'`;
    options = await install('--keys-from', 'http://127.0.0.1:8000/', '--keys-from', command);
    options = { ...options, users };
    await lab.sshd.restart(options);
    const made = await lab.sshd.exec([
      'install',
      '-d',
      '-m',
      '700',
      '-o',
      KEYS_COMMAND_USER,
      KEYS_CACHE,
    ]);
    assert.deepEqual([made.status, made.stderr], [0, '']);
  });
  after(() => lab?.close());

  /** With one key only. */
  const login = (user: string, name: 'authorized' | 'stranger') =>
    lab.client.exec(
      [
        ...['ssh', '-F', 'none', '-i', lab.credentials.keys[name], '-o', 'IdentitiesOnly=yes'],
        ...['-o', 'BatchMode=yes', '-o', `UserKnownHostsFile=${lab.credentials.knownHosts.plain}`],
        ...['-W', `${API1}:80`, `${user}@${JUMPHOST4}`],
      ],
      { input: 'GET / HTTP/1.0\r\n\r\n' },
    );

  it('keys of an address and of a command log in, and reach what is listed', async () => {
    for (const name of ['authorized', 'stranger'] as const) {
      const { stdout, stderr } = await login(USER, name);
      assert.match(stdout, /^HTTP\/1/, `${stderr}${lab.sshd.log()}`);
    }
    const { reaches } = sshOf(lab);
    for (const place of LISTED) assert.ok(await reaches(place), place);
    for (const place of OTHERS) assert.ok(!(await reaches(place)), place);
    assert.doesNotMatch(
      lab.sshd.log(),
      /AuthorizedKeysCommand \S+ (failed|returned)|bad ownership/,
    );
  });

  it('the key brings its options along: sshd_config alone would permit more', async () => {
    const text = readFileSync(options.config?.[0]?.replace('Include ', '') ?? '', 'utf8');
    const wide = join(directory, 'wide.conf');
    writeFileSync(
      wide,
      text.replace(/PermitOpen .*/, 'PermitOpen any').replace(/MaxSessions 0|ForceCommand .*/g, ''),
    );
    await lab.sshd.restart({ ...options, config: [`Include ${wide}`] });
    const { reaches, exec } = sshOf(lab);
    assert.ok(await reaches(`${API1}:80`));
    assert.ok(!(await reaches(`${API2}:80`)));
    assert.doesNotMatch((await exec(['jump', 'echo ran $((6 * 7))'])).stdout, /ran 42/);
  });

  it('is for the group alone', async () => {
    assert.match((await login('other', 'authorized')).stderr, /Permission denied \(publickey\)/);
  });

  it('a key that is gone from its source is refused once the cache is refreshed', async () => {
    writeFileSync(list, '# nobody\n');
    assert.match((await login(USER, 'authorized')).stdout, /^HTTP\/1/);
    const { status } = await lab.sshd.exec([KEYS_COMMAND_PATH, '--refresh']);
    assert.equal(status, 0);
    assert.match((await login(USER, 'authorized')).stderr, /Permission denied \(publickey\)/);
    assert.match((await login(USER, 'stranger')).stdout, /^HTTP\/1/);
  });

  it('while a source is down its keys are good', async () => {
    writeFileSync(list, keyOf('authorized'));
    await lab.sshd.exec([KEYS_COMMAND_PATH, '--refresh']);
    await source.stop('SIGKILL');
    const { status, stderr } = await lab.sshd.exec([KEYS_COMMAND_PATH, '--refresh']);
    assert.equal(status, 1);
    assert.match(stderr, /it does not answer: curl: .*; its keys are used as they were \d+ s ago/);
    assert.match((await login(USER, 'authorized')).stdout, /^HTTP\/1/);
  });

  it('sshd refuses the script where others may write to it', async () => {
    await lab.sshd.exec(['chmod', '777', KEYS_COMMAND_PATH]);
    assert.match((await login(USER, 'authorized')).stderr, /Permission denied/);
    await lab.sshd.exec(['chmod', '755', KEYS_COMMAND_PATH]);
    assert.match((await login(USER, 'authorized')).stdout, /^HTTP\/1/);
  });
});

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
    let comment: string;
    /** In base32. */
    let secret: string;
    let printed: readonly string[];
    before(async () => {
      lab = await Lab.create();
      const options = await install('--mfa', '--mfa-module', mfa);
      const pam = options.binds?.find(([, target]) => target === '/etc/pam.d')?.[0] ?? '';
      comment = readFileSync(join(pam, PAM_FILE), 'utf8');
      await lab.sshd.restart({
        ...options,
        config: [...(options.config ?? []), 'KbdInteractiveAuthentication yes'],
        users: [
          { name: USER, shell: NOLOGIN },
          { name: 'second', shell: NOLOGIN, group: USER, password: PASSWORD },
          ADMINISTRATOR,
        ],
      });
      const enrolled = await commands(/^# Enrol NAME/m);
      [secret = ''] = /(?<=new secret key is: |Base32 secret: )[A-Z2-7]+/.exec(enrolled) ?? [];
      printed = enrolled.match(/(?<=^ +)\d{8}$/gm) ?? [];
      assert.match(secret, /^[A-Z2-7]{16,}$/, enrolled);
    });
    after(() => lab?.close());

    /** Runs, on the jump host, the commands of the comment below a line. */
    async function commands(below: RegExp): Promise<string> {
      const rest = comment.slice((below.exec(comment)?.index ?? 0) + 1);
      const lines = rest.slice(rest.indexOf('\n')).match(/^\n((# {2,3}.*\n)+)/)?.[1] ?? '';
      const script = lines.replace(/^# {2,}/gm, '').replaceAll('NAME', USER);
      assert.notEqual(script, '', below.source);
      const { status, stdout, stderr } = await lab.sshd.exec(['sh', '-ec', script]);
      assert.equal(status, 0, stderr);
      return stdout;
    }

    /** By a program that answers the question. */
    function login(
      user: string,
      answer: string,
      args: readonly string[] = [],
    ): Promise<ExecResult> {
      const askpass = join(directory, 'askpass');
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
      const askpass = join(directory, 'ask-code');
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
      await commands(/^# .*lock.* NAME out:$/m);
      const [code = ''] = codes();
      assert.equal((await reach(USER, code)).stdout, '');
      const enrolled = await commands(/^# Enrol NAME/m);
      const before = secret;
      [secret = ''] = /(?<=new secret key is: |Base32 secret: )[A-Z2-7]+/.exec(enrolled) ?? [];
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
