/** The units of packaging/ under a real systemd. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { API1, JUMPHOST4, PRIVATE4, UPLINK4 } from '../support/addresses.ts';
import { PASSPHRASE } from '../support/credentials.ts';
import { Lab } from '../support/lab.ts';
import { SystemdMachine, systemdUnavailable } from '../support/systemdmachine.ts';
import { REMOTE } from '../support/tunnel.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const UNITS = ['tunnel@.service', 'tunnel-helper@.service', 'tunnel-helper.socket'];
/** Of systemd-analyze: 10 is a service without any restriction. */
const MOST_EXPOSURE = 3;

const PASSWORD = 'correct horse';
const READY_MS = 20_000;
/** Enough for a busy machine to start the program, and to wait for in a test. */
const START_MS = 8_000;
/** How root logs in, with the lab's files. */
const AS_ROOT = [
  ...['-F', 'none', '-i', '/run/lab/credentials/authorized'],
  ...['-o', 'UserKnownHostsFile=/run/lab/credentials/known_hosts'],
];

const CONFIG = `\
defaults:
  remote: ${REMOTE}
profiles:
  web:
    command: proxy
    socks: 127.0.0.1:1080
    proxy-shared: true
    targets: ${PRIVATE4}
  office:
    targets: ${PRIVATE4}
  openssh:
    command: proxy
    transport: openssh
    socks: 127.0.0.1:1083
    proxy-shared: true
  vault:
    command: proxy
    socks: 127.0.0.1:1081
    proxy-shared: true
    ssh-option: [IdentityFile=none, UserKnownHostsFile=none]
  teller:
    without: remote
    remote: teller@${JUMPHOST4}
    command: proxy
    socks: 127.0.0.1:1082
    proxy-shared: true
    ssh-option: [IdentityFile=none, PreferredAuthentications=password]
  stranger:
    command: proxy
    identity: /var/lib/tunnel-service/stranger
    ssh-option: [IdentitiesOnly=yes, IdentityAgent=none]
  impostor:
    command: proxy
    host-key: SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
`;

const isReady = (what: string) => what === 'READY=1';

describe('units', { skip: systemdUnavailable(), timeout: 900_000 }, () => {
  let lab: Lab;
  let machine: SystemdMachine;
  before(async () => {
    lab = await Lab.create({ sshd: { users: [{ name: 'teller', password: PASSWORD }] } });
    const read = (path: string) => readFileSync(path, 'utf8');
    machine = await SystemdMachine.start(lab, {
      'tunnel/config.yaml': CONFIG,
      'credstore/tunnel.vault.identity': read(lab.credentials.keys.encrypted),
      'credstore/tunnel.vault.passphrase': `${PASSPHRASE}\n`,
      'credstore/tunnel.vault.known_hosts': read(lab.credentials.knownHosts.plain),
      'credstore/tunnel.teller.password': `${PASSWORD}\n`,
    });
    const { keys, knownHosts } = lab.credentials;
    const home = '/var/lib/tunnel-service';
    const give = ['install', '-D', '-o', 'tunnel', '-g', 'tunnel', '-m', '600'];
    const inMachine = (path: string) => path.replace(lab.directory, '/run/lab');
    await machine.must('install', '-d', '-o', 'tunnel', '-m', '700', home, `${home}/.ssh`);
    for (const [from, to] of [
      [keys.authorized, `${home}/.ssh/id_ed25519`],
      [keys.stranger, `${home}/stranger`],
      [knownHosts.plain, `${home}/.ssh/known_hosts`],
    ] as const)
      await machine.must(...give, inMachine(from), to);
    await machine.must('systemctl', 'start', 'tunnel-helper.socket');
  });
  after(async () => {
    await machine?.stop();
    await lab?.close();
  });

  const fetched = async (...options: readonly string[]): Promise<string> =>
    machine.must('curl', '-sS', '--max-time', '20', ...options, `http://${API1}/`);
  const pidOf = async (unit: string) => Number(await machine.property(unit, 'MainPID'));
  /** Of a process inside, by its number there. */
  const statusOf = (pid: number) => machine.must('cat', `/proc/${pid}/status`);

  async function dropIn(unit: string, ...settings: readonly string[]): Promise<string> {
    const folder = `/etc/systemd/system/${unit}.d`;
    const text = ['[Service]', ...settings, ''].join('\n');
    await machine.must('install', '-d', folder);
    await machine.must('sh', '-c', 'printf %s "$1" >"$2/test.conf"', 'sh', text, folder);
    await machine.must('systemctl', 'daemon-reload');
    return folder;
  }

  async function removed(folder: string): Promise<void> {
    await machine.must('rm', '-r', folder);
    await machine.must('systemctl', 'daemon-reload');
  }

  it('are what systemd accepts, with manual pages that there are', async () => {
    await machine.must('systemd-analyze', 'verify', '--man=no', ...UNITS);
    const user = '/etc/systemd/user/tunnel@.service';
    const env = ['env', 'XDG_RUNTIME_DIR=/run'];
    await machine.must(...env, 'systemd-analyze', '--user', 'verify', '--man=no', user);
    const manifest = readFileSync(join(ROOT, 'package.json'), 'utf8');
    for (const unit of ['systemd/tunnel@.service', 'systemd/user/tunnel@.service']) {
      const text = readFileSync(join(ROOT, 'packaging', unit), 'utf8');
      for (const [, page, section] of text.matchAll(/man:(tunnel[\w-]*)\((\d)\)/g))
        assert.ok(manifest.includes(`/${page}.${section}"`), `${unit}: ${page}(${section})`);
    }
    assert.equal(
      readdirSync(join(ROOT, 'packaging/systemd')).filter((name) => name.includes('.')).length,
      UNITS.length,
    );
  });

  it('are exposed to less than a third', async () => {
    for (const unit of UNITS.filter((name) => name.endsWith('.service'))) {
      const { stdout, status } = await machine.run([
        ...['systemd-analyze', 'security', '--offline=true', '--no-pager'],
        ...[`--threshold=${MOST_EXPOSURE * 10}`, unit],
      ]);
      assert.equal(status, 0, stdout);
      console.log(`${unit}: ${/exposure level.*: (\S+)/.exec(stdout)?.[1]}`);
    }
  });

  it('a proxy: ready when traffic flows, with a status, reloaded, stopped in order', async () => {
    const unit = 'tunnel@web.service';
    await machine.must('systemctl', 'start', unit);
    assert.equal(await machine.property(unit, 'ActiveState'), 'active');
    assert.match(
      await machine.property(unit, 'StatusText'),
      new RegExp(`^Connected to ${REMOTE}:22$`),
    );
    assert.match(await fetched('-x', 'socks5h://127.0.0.1:1080'), /./);
    const pid = await pidOf(unit);
    const status = await statusOf(pid);
    assert.match(status, /^CapEff:\s0+$/m);
    assert.match(status, /^CapBnd:\s0+$/m);
    assert.match(status, /^NoNewPrivs:\s1$/m);
    assert.match(status, /^Seccomp:\s2$/m);
    const user = (await machine.must('id', '-u', 'tunnel')).trim();
    assert.match(status, new RegExp(`^Uid:\\s${user}\\s${user}\\s`, 'm'));
    // Root sees it, in the unit's own directory.
    assert.match(await machine.must('tunnel', 'status', 'web'), /web/);

    await machine.must('systemctl', 'reload', unit);
    assert.equal(await machine.property(unit, 'ActiveState'), 'active');
    await machine.must('systemctl', 'stop', unit);
    assert.equal(await machine.property(unit, 'Result'), 'success');
    assert.equal(await machine.property(unit, 'ExecMainStatus'), '0');
  });

  it('tells systemd what sd_notify(3) says', async () => {
    const unit = 'tunnel@web.service';
    const folder = await dropIn(unit, 'WatchdogSec=2s');
    await machine.must('systemctl', 'log-level', 'debug');
    try {
      await machine.must('systemctl', 'start', unit);
      const pid = await pidOf(unit);
      const heard = async () => {
        const journal = await machine.journal(unit, '-o', 'cat');
        // In brackets until systemd 253, after a colon since then.
        const lines = journal.matchAll(
          /Got notification message from PID (\d+)(?: \(|: )(.*?)\)?$/gm,
        );
        return [...lines].filter(([, from]) => from === `${pid}`).map(([, , what = '']) => what);
      };
      await machine.must('systemctl', 'kill', '-s', 'HUP', '--kill-whom=main', unit);
      await machine.untilTrue(async () => (await heard()).filter(isReady).length === 2);
      await machine.untilTrue(async () => (await heard()).includes('WATCHDOG=1'));
      await machine.must('systemctl', 'stop', unit);
      const all = await heard();
      const [first = ''] = all.filter((what) => !what.startsWith('STATUS='));
      assert.equal(first, 'EXTEND_TIMEOUT_USEC=90000000');
      const ready = all.findIndex(isReady);
      const reloading = all.findIndex((what) => /^RELOADING=1, MONOTONIC_USEC=\d+$/.test(what));
      assert.ok(ready !== -1 && reloading > ready, all.join('\n'));
      assert.ok(isReady(all[reloading + 1] ?? ''), all.join('\n'));
      assert.equal(all.at(-1), 'STOPPING=1, STATUS=Stopping');
    } finally {
      await machine.must('systemctl', 'log-level', 'info');
      await removed(folder);
    }
  });

  it('logs to the system log without a terminal', async () => {
    const pidfile = '/run/own.pid';
    const line = ['-v', '-r', REMOTE, ...AS_ROOT, '--listen', '0', '-D', '--pidfile', pidfile];
    await machine.must('setsid', '--wait', 'tunnel', 'proxy', ...line);
    const pid = (await machine.must('cat', pidfile)).trim();
    const asked = ['-q', '--no-pager', '-o', 'json', `SYSLOG_PID=${pid}`];
    await machine.untilTrue(async () => (await machine.must('journalctl', ...asked)) !== '');
    const [text = ''] = (await machine.must('journalctl', ...asked)).split('\n');
    const entry = JSON.parse(text) as Record<string, string>;
    assert.equal(entry['_TRANSPORT'], 'syslog');
    assert.equal(entry['SYSLOG_FACILITY'], '3');
    assert.equal(entry['SYSLOG_IDENTIFIER'], 'tunnel');
    assert.equal(entry['PRIORITY'], '6');
    assert.match(entry['MESSAGE'] ?? '', /^it runs on without its terminal/);
    await machine.must('tunnel', 'stop', pid);
  });

  it('a user’s: a proxy, and a command in the tunnel', async () => {
    const home = '/var/lib/person';
    const runtime = '/run/person';
    const place = `${home}/.config/systemd/user`;
    for (const path of [home, `${home}/.ssh`, runtime, place])
      await machine.must('install', '-d', '-o', 'daemon', '-m', '700', path);
    for (const path of [`${home}/.config`, `${home}/.config/systemd`])
      await machine.must('chown', 'daemon', path);
    for (const [from, to] of [
      ['/run/lab/credentials/authorized', `${home}/.ssh/id_ed25519`],
      ['/run/lab/credentials/known_hosts', `${home}/.ssh/known_hosts`],
    ] as const)
      await machine.must('install', '-o', 'daemon', '-m', '600', from, to);
    const unit = [
      '[Service]',
      'Type=notify',
      `ExecStart=tunnel exec --profile office -- curl -sS -o ${home}/got http://${API1}/`,
      '',
    ].join('\n');
    await machine.must('sh', '-c', 'printf %s "$1" >"$2"', 'sh', unit, `${place}/fetch.service`);
    const env = [`HOME=${home}`, `XDG_RUNTIME_DIR=${runtime}`];
    await machine.must(
      ...[
        'systemd-run',
        '--unit=person',
        '--uid=daemon',
        '-p',
        'Type=notify',
        '-p',
        'Delegate=yes',
      ],
      ...env.map((variable) => `--setenv=${variable}`),
      ...['/lib/systemd/systemd', '--user'],
    );
    const asPerson = ['setpriv', '--reuid=daemon', '--regid=daemon', '--clear-groups', 'env'];
    const user = (...args: readonly string[]) => machine.run([...asPerson, ...env, ...args]);
    const started = await user('systemctl', '--user', 'start', 'tunnel@web.service');
    const journal = () => machine.must('journalctl', '-q', '--no-pager', '_UID=1');
    assert.equal(started.status, 0, await journal());
    assert.match(await fetched('-x', 'socks5h://127.0.0.1:1080'), /./);
    assert.equal((await user('systemctl', '--user', 'reload', 'tunnel@web.service')).status, 0);
    assert.equal((await user('systemctl', '--user', 'stop', 'tunnel@web.service')).status, 0);

    assert.equal((await user('systemctl', '--user', 'start', 'fetch')).status, 0, await journal());
    const state = async () => {
      const show = ['systemctl', '--user', 'show', '-p', 'ActiveState', '-p', 'Result', 'fetch'];
      return (await user(...show)).stdout.trim().split('\n').sort().join(' ');
    };
    await machine.untilTrue(async () => !(await state()).startsWith('ActiveState=a'));
    assert.equal(await state(), 'ActiveState=inactive Result=success', await journal());
    assert.match(await machine.must('cat', `${home}/got`), /./);
    await machine.must('systemctl', 'stop', 'person');
  });

  it('has what the system’s ssh needs', async () => {
    const unit = 'tunnel@openssh.service';
    const { status } = await machine.run(['systemctl', 'start', unit]);
    assert.equal(status, 0, await machine.journal(unit));
    assert.match(await fetched('-x', 'socks5h://127.0.0.1:1083'), /./);
    await machine.must('systemctl', 'stop', unit);
  });

  it('takes keys, passwords and host keys from systemd', async () => {
    for (const [profile, port] of [
      ['vault', 1081],
      ['teller', 1082],
    ] as const) {
      const unit = `tunnel@${profile}.service`;
      const { status } = await machine.run(['systemctl', 'start', unit]);
      assert.equal(status, 0, await machine.journal(unit));
      assert.match(await fetched('-x', `socks5h://127.0.0.1:${port}`), /./);
      // A new link needs nobody either.
      await machine.must('tunnel', 'reconnect', profile);
      await machine.must('systemctl', 'stop', unit);
    }
  });

  it('a capture: by the helper of the socket unit, which systemd ends with it', async () => {
    const unit = 'tunnel@office.service';
    const { status } = await machine.run(['systemctl', 'start', unit]);
    assert.equal(status, 0, await machine.journal(unit));
    assert.match(await fetched(), /./);
    // A tunnel of root's, in the directory of the helper's socket, does not close that to others.
    const proxy = await machine.spawn([
      'tunnel',
      'proxy',
      '-r',
      REMOTE,
      ...AS_ROOT,
      '--listen',
      '0',
    ]);
    await proxy.waitForLine(/tunnel: ready\n/, READY_MS);
    assert.match(await machine.must('stat', '-c', '%a', '/run/tunnel'), /^755$/m);
    await proxy.stop();
    const helpers = () => machine.must('systemctl', 'list-units', '--plain', 'tunnel-helper@*');
    assert.match(await helpers(), /tunnel-helper@\S+\.service +loaded active running/);
    await machine.must('systemctl', 'stop', unit);
    assert.doesNotMatch(await machine.must('ip', 'link'), /tun\d/);
    assert.doesNotMatch(await machine.must('ip', 'route'), /10\.77\./);
  });

  it('waits for the network, for longer than a start usually takes', async () => {
    const unit = 'tunnel@web.service';
    const folder = await dropIn(unit, `TimeoutStartSec=${START_MS / 1000}s`);
    await lab.client.configure(['link set uplink down']);
    try {
      const begin = performance.now();
      await machine.must('systemctl', 'start', '--no-block', unit);
      const told = await machine.until(unit, 'StatusText', /^Waiting for the network: /);
      assert.match(told, /198\.51\.100\.10:22 can't be reached \(ENETUNREACH\)$/);
      await delay(begin + START_MS + 2_000 - performance.now()); // past TimeoutStartSec
      assert.equal(await machine.property(unit, 'ActiveState'), 'activating');
    } finally {
      await lab.client.configure([
        ...['link set uplink up', `route replace default via ${UPLINK4}`],
      ]);
    }
    await machine.until(unit, 'ActiveState', /^active$/);
    assert.match(await machine.property(unit, 'StatusText'), /^Connected to/);
    assert.equal(await machine.property(unit, 'NRestarts'), '0');
    await machine.must('systemctl', 'stop', unit);
    await removed(folder);
  });

  it('starts again what was killed, and what hangs', async () => {
    const unit = 'tunnel@web.service';
    const folder = await dropIn(unit, 'RestartSec=100ms', 'WatchdogSec=2s');
    await machine.must('systemctl', 'start', unit);
    for (const [signal, restarts, result] of [
      ['KILL', '1', 'signal'],
      ['STOP', '2', 'watchdog'],
    ] as const) {
      const before = await pidOf(unit);
      await machine.must('kill', `-${signal}`, `${before}`);
      await machine.until(unit, 'NRestarts', new RegExp(`^${restarts}$`));
      await machine.until(unit, 'ActiveState', /^active$/);
      assert.notEqual(await pidOf(unit), before);
      const journal = await machine.must('journalctl', '-q', '--no-pager', '-u', unit);
      assert.match(journal, new RegExp(`Failed with result '${result}'`));
    }
    assert.match(await fetched('-x', 'socks5h://127.0.0.1:1080'), /./);
    await machine.must('systemctl', 'stop', unit);
    await removed(folder);
  });

  it('does not start again what would fail again', async () => {
    for (const [profile, status] of [
      ['missing', '2'],
      ['stranger', '3'],
      ['impostor', '4'],
    ] as const) {
      const unit = `tunnel@${profile}.service`;
      assert.notEqual((await machine.run(['systemctl', 'start', unit])).status, 0);
      const journal = await machine.journal(unit);
      assert.equal(await machine.property(unit, 'ExecMainStatus'), status, journal);
      assert.equal(await machine.property(unit, 'ActiveState'), 'failed', journal);
      assert.equal(await machine.property(unit, 'NRestarts'), '0');
      assert.match(await machine.journal(unit, '-p', 'err', '-o', 'cat'), /^error \[/m);
    }
  });
});
