/**
 * `sudo tunnel connect`, `proxy` and the others: what speaks SSH is the caller's and has no
 * privilege, whatever ends leaves nothing behind, and no file is opened as root.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { API1, JUMPHOST_PRIVATE4, PRIVATE4 } from '../support/addresses.ts';
import { UID, USER } from '../support/etc.ts';
import { labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { descriptorsOf, SUDO, SudoLab, statusOf, sudoUnavailable } from '../support/sudolab.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';
import { until } from '../support/until.ts';

const LAUNCHER = fileURLToPath(new URL('../../../tunnel', import.meta.url));
const SETS = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'];
const EMPTY = '0000000000000000';
const NAMES_LOCAL = 'nameserver 127.0.0.1\n';
/** The standard descriptors, and what Node makes for itself. */
const NODES_OWN = /^(\d .*|anon_inode:.*|pipe:|\/dev\/null)$/;
const CONNECT = [...SUDO, '-r', REMOTE, PRIVATE4];
const INTERRUPT = '\x03';

describe('sudo tunnel', { skip: sudoUnavailable('curl', 'script') }, () => {
  let sudo: SudoLab;
  before(async () => {
    sudo = await SudoLab.create(NAMES_LOCAL);
  });
  afterEach(() => sudo.end());
  after(async () => {
    await sudo?.close();
  });

  const resolvConf = async () => (await sudo.run(['cat', '/etc/resolv.conf'])).stdout;

  async function nothingIsLeft(): Promise<void> {
    await sudo.untouched();
    assert.equal(await resolvConf(), NAMES_LOCAL);
    assert.deepEqual(sudo.leftInRun(), []);
    const journal = join(sudo.exec.lab.directory, 'state/tunnel/journal');
    assert.deepEqual(existsSync(journal) ? readdirSync(journal) : [], []);
  }

  /** Checks every thread of the program, and what it and the part that is root have open. */
  async function isTheCallers(child: Child): Promise<void> {
    const { part, program } = sudo.parts(child);
    const threads = statusOf(program, 'Uid').length;
    assert.ok(threads > 4, `${threads} threads`);
    for (const [field, value] of [
      ['Uid', Array(4).fill(UID).join('\t')],
      ['Gid', Array(4).fill(UID).join('\t')],
      ['Groups', String(UID)],
      ['NoNewPrivs', '1'],
      ...SETS.map((set) => [set, EMPTY] as const),
    ] as const) {
      const values = statusOf(program, field);
      assert.deepEqual([...new Set(values)], [value], `${field} of the program's threads`);
    }
    // Node's own, the standard ones, and one socket: the link to the part that is root.
    // It may just be reading a file, as of the time zone.
    const own = /^(\d .*|anon_inode:.*|pipe:|socket:|\/dev\/(null|net\/tun|pts\/\d+)|closed)$/;
    await until(
      () => descriptorsOf(program).every((held) => own.test(held)),
      `the program has more open: ${descriptorsOf(program).join(', ')}`,
    );
    // Of the program's files none is open here; "nft" may just be running.
    await until(
      () => {
        const odd = descriptorsOf(part).filter((held) => !NODES_OWN.test(held));
        return odd.join() === 'socket:';
      },
      `the part that is root has more open: ${descriptorsOf(part).join(', ')}`,
    );
    const environment = readFileSync(`/proc/${program}/environ`, 'latin1').split('\0');
    assert.ok(!environment.some((it) => it.startsWith('HOME=/root')), 'root’s HOME');
  }

  it('connect: the program is the caller’s, and what it captures works', async () => {
    const tunnel = await sudo.ready(CONNECT);
    await isTheCallers(tunnel);
    assert.match(
      tunnel.stderr,
      new RegExp(`^tunnel: the SSH connection runs as ${USER}, who called sudo$`, 'm'),
    );
    const { stdout } = await sudo.run(['curl', '-sS', '-m', '10', `http://${API1}/`]);
    assert.equal(JSON.parse(stdout).peer, JUMPHOST_PRIVATE4);
    assert.deepEqual(await tunnel.stop('SIGTERM'), { status: 0, signal: null });
    await nothingIsLeft();
  });

  it('connect through doas', { skip: labUnavailable('doas') }, async () => {
    const tunnel = await sudo.ready(['doas', '-n', ...CONNECT.slice(2)]);
    await isTheCallers(tunnel);
    assert.match(tunnel.stderr, /, who called doas$/m);
    await tunnel.stop('SIGTERM');
    await nothingIsLeft();
  });

  it('proxy: the program is the caller’s, and serves the caller alone', async () => {
    const tunnel = await sudo.ready([
      ...[...SUDO, 'proxy', '-r', REMOTE, '--socks', '127.0.0.1:10808'],
      PRIVATE4,
    ]);
    await isTheCallers(tunnel);
    const client = ['curl', '-sS', '-m', '10', '-x', 'socks5://127.0.0.1:10808', `http://${API1}/`];
    const { stdout } = await sudo.run(client);
    assert.equal(JSON.parse(stdout).peer, JUMPHOST_PRIVATE4);
    assert.notEqual((await sudo.run(client, { root: true })).status, 0);
    assert.match(tunnel.stderr, /was turned away: it is uid 0/);
    assert.deepEqual(await tunnel.stop('SIGTERM'), { status: 0, signal: null });
  });

  it('proxy: a port below 1024 is an error that says what to do', async () => {
    const { status, stderr } = await sudo.run([
      ...[...SUDO, 'proxy', '-r', REMOTE, '--http', '127.0.0.1:80', PRIVATE4],
    ]);
    assert.match(stderr, /error \[capture-listen\].*permission denied/);
    assert.match(stderr, /hint: choose a port above 1023, or .*ip_unprivileged_port_start/);
    assert.equal(status, 6);
  });

  for (const [what, wrap] of [
    ['the caller’s terminal', SUDO],
    ['a terminal of sudo’s own', ['sudo', '-n', 'env', ...SUDO.slice(2)]],
  ] as const) {
    it(`asks at ${what}, writes known_hosts as the caller, and ends with Ctrl-C`, async () => {
      const known = join(sudo.exec.home, `known-${wrap.length}`);
      // The shell that script starts would end by Ctrl-C as well.
      const command = [
        'exec',
        ...wrap,
        '-r',
        REMOTE,
        '-o',
        `UserKnownHostsFile=${known}`,
        PRIVATE4,
      ];
      const child = await sudo.spawn(['script', '-qec', command.join(' '), '/dev/null'], {
        stdin: 'open',
      });
      await child.waitForLine(/yes/, 20_000);
      child.write('yes\r');
      await child.waitForLine(/tunnel: ready\r?\n/, 20_000);
      await isTheCallers(child);
      assert.equal(statSync(known).uid, UID);
      child.write(INTERRUPT);
      assert.equal((await child.wait(10_000)).status, 0, child.stdout);
      await nothingIsLeft();
    });
  }

  it('names: resolv.conf is rewritten by the part that is root, and restored', async () => {
    const tunnel = await sudo.ready([...SUDO, '-r', REMOTE, 'api1.lab.example']);
    await isTheCallers(tunnel);
    assert.match(await resolvConf(), /^nameserver 198\.18\.63\.53$/m);
    assert.deepEqual(await tunnel.stop('SIGTERM'), { status: 0, signal: null });
    await nothingIsLeft();
  });

  it('kill -9 of the program: the part that is root restores resolv.conf and ends', async () => {
    const tunnel = await sudo.ready([...SUDO, '-r', REMOTE, 'api1.lab.example']);
    process.kill(sudo.parts(tunnel).program, 'SIGKILL');
    assert.equal((await tunnel.wait(10_000)).status, 128 + 9);
    await nothingIsLeft();
  });

  it('kill -9 of the part that is root: the program ends, and clean restores', async () => {
    const tunnel = await sudo.ready([...SUDO, '-r', REMOTE, 'api1.lab.example']);
    const { part, program } = sudo.parts(tunnel);
    process.kill(part, 'SIGKILL');
    await tunnel.waitForLine(/error \[privileged-lost\]: .*\n/);
    await until(() => !existsSync(`/proc/${program}`), 'the program goes on');
    assert.match(await resolvConf(), /^nameserver 198\.18\.63\.53$/m);
    const { stdout } = await sudo.run([...SUDO, 'clean']);
    assert.equal(stdout, '/etc/resolv.conf is as before\n');
    await nothingIsLeft();
  });

  it('kill -9 of both: the next start restores', async () => {
    const tunnel = await sudo.ready([...SUDO, '-r', REMOTE, 'api1.lab.example']);
    const { part, program } = sudo.parts(tunnel);
    process.kill(part, 'SIGKILL');
    process.kill(program, 'SIGKILL');
    await until(() => !existsSync(`/proc/${program}`), 'the program goes on');
    const next = await sudo.ready(CONNECT);
    assert.match(next.stderr, /left by a tunnel that was killed: .*resolv\.conf is as before/);
    await next.stop('SIGTERM');
    await nothingIsLeft();
  });

  it('passes signals and exit statuses on', async () => {
    const tunnel = await sudo.ready(CONNECT);
    tunnel.kill('SIGUSR2');
    tunnel.kill('SIGUSR1');
    await tunnel.waitForLine(/tunnel: zero: /);
    // There is no terminal that could have gone.
    tunnel.kill('SIGHUP');
    await tunnel.waitForLine(/tunnel: reloaded: nothing has changed\n/);
    assert.deepEqual(await tunnel.stop('SIGTERM'), { status: 0, signal: null });
    const refused = await sudo.run([...SUDO, '-r', 'nobody@198.51.100.10', PRIVATE4]);
    assert.equal(refused.status, 3, refused.stderr);
    assert.match(refused.stderr, /sudo --preserve-env=SSH_AUTH_SOCK tunnel/);
    assert.equal((await sudo.run([...SUDO, 'connect', '--no-such-option'])).status, 2);
  });

  it('takes a signal to the whole group as one', async () => {
    const tunnel = await sudo.ready([...SUDO, '-r', REMOTE, 'api1.lab.example']);
    const { part, program } = sudo.parts(tunnel);
    for (const pid of [part, program]) process.kill(pid, 'SIGINT');
    assert.equal((await tunnel.wait(10_000)).status, 0);
    await nothingIsLeft();
  });

  it('passes on the descriptor of --ready-fd, and none of root’s own', async () => {
    const file = join(sudo.exec.home, 'ready');
    const under = (fd: number) => [
      ...['bash', '-c', 'exec 7>"$0"; exec "$@"', file, 'sudo', '-n', '-C', '8', ...SUDO.slice(2)],
      ...['-r', REMOTE, '--ready-fd', String(fd), PRIVATE4],
    ];
    const tunnel = await sudo.ready(under(7));
    assert.equal(readFileSync(file, 'utf8'), 'READY=1\n');
    await tunnel.stop('SIGTERM');
    for (const fd of [3, 4, 5, 8, 12]) {
      const { status, stderr } = await sudo.run(under(fd));
      assert.match(stderr, new RegExp(`--ready-fd: descriptor ${fd} isn't open for writing`));
      assert.equal(status, 2);
    }
  });

  it('opens no file as root, whatever the command', async () => {
    const secret = join(sudo.exec.lab.directory, 'secret');
    writeFileSync(secret, 'sesame.example\n', { mode: 0o600 });
    for (const args of [
      ['-r', REMOTE, '-s', secret],
      ['-r', REMOTE, '-F', secret, PRIVATE4],
      ['-r', REMOTE, `@${secret}`],
      ['proxy', '-r', REMOTE, '--allow', `@${secret}`, '--http', '0'],
      ['exec', '-r', REMOTE, '-s', secret, '--', 'true'],
      ['exec', '-r', REMOTE, `@${secret}`, '--', 'true'],
      ['doctor', '-r', REMOTE, '--offline', '-s', secret],
      ['openstack', `@${secret}`],
      ['jumphost', 'authorized-key', '--key', secret, '10.0.0.1:80'],
      ['clean', `@${secret}`],
    ]) {
      const { status, stdout, stderr } = await sudo.run([...SUDO, ...args]);
      assert.ok(!`${stdout}${stderr}`.includes('sesame'), `${args.join(' ')}: ${stdout}${stderr}`);
      assert.match(stderr, /permission denied|EACCES/i, args.join(' '));
      assert.notEqual(status, 0, args.join(' '));
    }
  });

  it('Node reads no file as root that a variable names, and does as the caller', async () => {
    const tunnel = await sudo.spawn(
      [
        ...['sudo', '-n', '--preserve-env=NODE_EXTRA_CA_CERTS,OPENSSL_CONF', LAUNCHER],
        ...['-r', REMOTE, PRIVATE4],
      ],
      { env: { NODE_EXTRA_CA_CERTS: '/etc/passwd', OPENSSL_CONF: '/dev/null' } },
    );
    await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
    const { part, program } = sudo.parts(tunnel);
    const startOf = (pid: number) =>
      readFileSync(`/proc/${pid}/environ`, 'latin1')
        .split('\0')
        .filter((it) => /CERTS|OPENSSL/.test(it))
        .sort();
    assert.deepEqual(startOf(program), [
      'NODE_EXTRA_CA_CERTS=/etc/passwd',
      'OPENSSL_CONF=/dev/null',
    ]);
    assert.deepEqual(
      startOf(part),
      startOf(program).map((it) => `TUNNEL_ASIDE_${it}`),
    );
    await tunnel.stop('SIGTERM');
    const direct = await sudo.run(['sudo', '-n', '--preserve-env=OPENSSL_CONF', ...SUDO.slice(2)], {
      env: { OPENSSL_CONF: '/dev/null' },
    });
    assert.match(direct.stderr, /OPENSSL_CONF are not for a program that runs as root for you/);
    assert.equal(direct.status, 2);
  });

  it('doctor sees the firewall’s rules, and that connect would work', {
    skip: labUnavailable('nft'),
  }, async () => {
    const { stdout, stderr } = await sudo.run([...SUDO, 'doctor', PRIVATE4]);
    assert.match(stdout, /firewall +ok +no rule of nft is known to drop/, stdout + stderr);
    assert.match(stdout, /the part of this program that stays root can start it/);
  });
});

describe('tunnel as root', { skip: labUnavailable('openssl', 'unshare', 'setpriv') }, () => {
  let sudo: SudoLab;
  before(async () => {
    sudo = await SudoLab.create();
  });
  afterEach(() => sudo.end());
  after(async () => {
    await sudo?.close();
  });

  const TUNNEL = [process.execPath, MAIN, '-r', REMOTE, PRIVATE4];

  for (const [who, env] of [
    ['without SUDO_UID', {}],
    ['with SUDO_UID=0', { SUDO_UID: '0', SUDO_GID: '0', SUDO_USER: 'root' }],
    ['with DOAS_USER=root', { DOAS_USER: 'root' }],
  ] as const) {
    it(`${who} goes on as root, and says so once with -v`, async () => {
      const tunnel = await sudo.spawn([...TUNNEL, '-v'], { root: true, env });
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      assert.equal(tunnel.stderr.match(/the SSH connection runs as root/g)?.length, 1);
      await tunnel.stop('SIGTERM');
    });
  }

  it('ends when SUDO_UID and DOAS_USER don’t agree', async () => {
    const env = { SUDO_UID: '0', DOAS_USER: USER };
    const { status, stderr } = await sudo.run(TUNNEL, { root: true, env });
    assert.match(stderr, /error \[launcher-privileges\].*SUDO_UID and DOAS_USER name different/);
    assert.equal(status, 1);
  });

  it('is nobody else who only says so', { skip: closedToOthers(MAIN) }, async () => {
    const env = { SUDO_UID: '0', DOAS_USER: 'root', TUNNEL_PRIVILEGED_FD: '1' };
    const { status, stderr } = await sudo.run(TUNNEL, { env });
    assert.match(stderr, /error \[privileged-lost\]/);
    assert.equal(status, 1);
  });
});
