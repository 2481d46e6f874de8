/** Reloads of `tunnel exec`, under sudo, and where systemd-resolved is asked. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { API1, API1_NAME, API2, Port } from '../support/addresses.ts';
import { ExecLab } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import { createNamesLab, type NamesLab } from '../support/nameslab.ts';
import type { Child } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { ResolvedDaemon, resolvedMissing, STUB_RESOLV_CONF } from '../support/resolveddaemon.ts';
import { SUDO, SudoLab } from '../support/sudolab.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const LIMIT_MS = 30_000;
const TUNNEL = [process.execPath, MAIN] as const;

/** A file in a directory that everybody may write to. */
function openFile(directory: string, name: string, text: string): string {
  const path = join(mkdtempSync(join(directory, 'open-')), name);
  chmodSync(join(path, '..'), 0o777);
  writeFileSync(path, text, { mode: 0o666 });
  return path;
}

describe('a reload of tunnel exec', {
  skip: labUnavailable('openssl', 'unshare', 'curl') || closedToOthers(MAIN),
}, () => {
  let exec: ExecLab;
  before(async () => {
    exec = await ExecLab.create();
  });
  after(() => exec?.close());

  it('holds the next connection of its command to the new targets', async () => {
    const targets = openFile(exec.home, 'targets', `${API1}\n`);
    const script = `
      get() { curl -sS --max-time 10 "http://$1/" >/dev/null 2>&1 && echo "$2: $1 open" || echo "$2: $1 shut"; }
      get ${API1} before; get ${API2} before; read line
      get ${API1} after; get ${API2} after; read line`;
    const words = ['--name', 'lab', '--isolate', '-s', targets, '--', 'sh', '-c', script];
    const child = await exec.lab.client.spawn(
      exec.userArgv([...TUNNEL, 'exec', '-r', REMOTE, ...words]),
      { env: { HOME: exec.home, XDG_RUNTIME_DIR: exec.home }, stdin: 'open' },
    );
    try {
      await child.waitForLine(
        new RegExp(`before: ${API1} open\n.*before: ${API2} shut\n`),
        LIMIT_MS,
      );
      writeFileSync(targets, `${API2}\n`);
      const { stdout, stderr } = await exec.lab.client.exec(
        exec.userArgv([...TUNNEL, 'reload', 'lab']),
        { env: { HOME: exec.home, XDG_RUNTIME_DIR: exec.home }, timeout: LIMIT_MS },
      );
      assert.match(stdout + stderr, /reloaded: 1 target added, 1 removed/);
      child.write('\n');
      await child.waitForLine(new RegExp(`after: ${API1} shut\n.*after: ${API2} open\n`), LIMIT_MS);
      child.write('\n');
      assert.equal((await child.wait(LIMIT_MS)).status, 0);
    } finally {
      await child.stop('SIGKILL');
    }
  });
});

describe('a reload under sudo', {
  skip: labUnavailable('openssl', 'unshare', 'curl', 'sudo', 'setpriv') || closedToOthers(MAIN),
}, () => {
  let sudo: SudoLab;
  before(async () => {
    sudo = await SudoLab.create();
  });
  after(async () => {
    sudo?.end();
    await sudo?.close();
  });

  it('has the part that is root change the routes, asked by the caller', async () => {
    const { home } = sudo.exec;
    const targets = openFile(home, 'targets', `${API1}\n`);
    const env = { XDG_RUNTIME_DIR: home };
    const routes = async () => {
      const { stdout } = await sudo.exec.lab.client.exec(['ip', '-4', 'route']);
      const ours = stdout.split('\n').filter((line) => / dev tun/.test(line));
      return ours.map((line) => line.split(' ')[0]).filter((to) => to?.startsWith('10.'));
    };
    const child = await sudo.spawn([...SUDO, '-r', REMOTE, '--name', 'lab', '-s', targets], {
      env,
    });
    await child.waitForLine(/tunnel: ready\n/, LIMIT_MS);
    assert.deepEqual(await routes(), [API1]);
    writeFileSync(targets, `${API2}\n`);
    const { stdout, stderr } = await sudo.run([...TUNNEL, 'reload', 'lab'], { env });
    assert.match(stdout + stderr, /reloaded: 1 target added, 1 removed/);
    assert.deepEqual(await routes(), [API2]);
    const { stdout: page } = await sudo.run(['curl', '-sS', '--max-time', '10', `http://${API2}/`]);
    assert.match(page, /"peer"/);
    await child.stop('SIGINT');
    assert.deepEqual(await routes(), []);
  });
});

describe('a reload where systemd-resolved is asked', {
  skip:
    resolvedMissing() ||
    labUnavailable('dbus-daemon', 'dig', 'curl', 'getent', 'dnsmasq', 'tcpdump'),
}, () => {
  let names: NamesLab;
  let resolved: ResolvedDaemon;
  let tunnel: Child | undefined;
  before(async () => {
    names = await createNamesLab(STUB_RESOLV_CONF);
    resolved = await ResolvedDaemon.start(names.exec);
  });
  after(async () => {
    await tunnel?.stop('SIGINT');
    await names?.close();
  });

  it('routes new names to the tunnel, and old ones no longer', async () => {
    const untouched = await resolved.status();
    const { directory } = names.exec.lab;
    const targets = openFile(directory, 'targets', `${API1_NAME}\n${API2}\n`);
    const runtime = ['env', `RUNTIME_DIRECTORY=${mkdtempSync(join(directory, 'run-'))}`];
    const words = ['-r', REMOTE, '--name', 'lab', '--dns-server', API1, '-s', targets];
    tunnel = await names.exec.lab.client.spawn(
      resolved.argv(...runtime, 'setsid', ...TUNNEL, ...words, '--domain', 'corp.example'),
    );
    await tunnel.waitForLine(/tunnel: ready\n/, LIMIT_MS);
    const before = await resolved.status();
    assert.match(before, /~corp\.example/);
    assert.ok(before.includes(`~${API1_NAME}`));
    assert.equal(await resolved.sh('getent hosts four.other.example'), '');
    writeFileSync(targets, `*.other.example\n${API2}:${Port.http}\n`);
    const said = await names.exec.lab.client.exec(
      resolved.argv(...runtime, ...TUNNEL, 'reload', 'lab'),
      { timeout: LIMIT_MS },
    );
    assert.match(said.stdout + said.stderr, /reloaded: 2 targets added, 2 removed/);
    const now = await resolved.status();
    assert.match(now, /~corp\.example/);
    assert.match(now, /~other\.example/);
    assert.ok(!now.includes(`~${API1_NAME}`));
    // The tunnel answers for them now, with an address of its own.
    assert.match(await resolved.sh('getent ahostsv4 any.other.example'), /^198\.1[89]\./);
    await tunnel.stop('SIGINT');
    assert.equal(await resolved.status(), untouched);
  });
});
