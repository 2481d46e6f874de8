/**
 * What `tunnel jumphost` renders about keys, with a real sshd: lines of authorized_keys without any
 * drop-in, and the AuthorizedKeysCommand. Codes: jumphost-codes.test.ts.
 */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { keyOptions, MAX_KEY_OPTIONS_BYTES } from '../../src/jumphost/authorizedkey.ts';
import { KEYS_COMMAND_PATH, KEYS_COMMAND_USER } from '../../src/jumphost/keyscommand.ts';
import { API1, API1_NAME, API2, JUMPHOST4 } from '../support/addresses.ts';
import { followComment, JumpHostFiles, LISTED, UNLISTED } from '../support/jumphostfiles.ts';
import { planOf } from '../support/jumphostplan.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import type { SshdOptions } from '../support/sshd.ts';

const USER = 'tunnel';
const NOLOGIN = '/usr/sbin/nologin';
const files = new JumpHostFiles();
after(() => files.remove());

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
    const output = await files.render('authorized-key', ...args);
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
    for (const place of UNLISTED) assert.ok(!(await sshOf(lab).reaches(place)), place);
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
    // As in containers: no port is root's alone.
    const ports = 'net.ipv4.ip_unprivileged_port_start';
    assert.equal((await lab.jumphost.exec(['sysctl', '-qw', `${ports}=0`])).status, 0);
    const listeners = ['7777', '127.0.0.1:7777', 'localhost:1', '1', 'NONE:1', 'none:1'];
    for (const listen of [...listeners, '127.0.0.1:0', '*:0']) {
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
  const list = join(files.directory, 'list');
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
    const sources = ['--keys-from', 'http://127.0.0.1:8000/', '--keys-from', command];
    const output = await files.render('sshd', ...sources);
    options = { ...files.sshdOptions(output), users };
    await lab.sshd.restart(options);
    await followComment(lab.sshd, output, 'tunnel-authorized-keys', /^# Apply, as root/m, USER);
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
    for (const place of UNLISTED) assert.ok(!(await reaches(place)), place);
    assert.doesNotMatch(
      lab.sshd.log(),
      /AuthorizedKeysCommand \S+ (failed|returned)|bad ownership/,
    );
  });

  it('the key brings its options along: sshd_config alone would permit more', async () => {
    const text = readFileSync(options.config?.[0]?.replace('Include ', '') ?? '', 'utf8');
    const wide = join(files.directory, 'wide.conf');
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
