/** The whole program as an ordinary user, with sudo for the helper. */
import assert from 'node:assert/strict';
import { chownSync, cpSync, mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { EXIT } from '../../src/errors/codes.ts';
import { HELPER_PATH } from '../../src/native/addon.ts';
import {
  API1,
  API1_NAME,
  JUMPHOST4,
  Port,
  PRIVATE4,
  PRIVATE6,
  UPLINK4,
} from '../support/addresses.ts';
import { NOTICED_MS } from '../support/capturelab.ts';
import { SUDOERS, UID, USER, withEtc } from '../support/etc.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { processEntry } from '../support/processtable.ts';
import { closedToOthers } from '../support/requirements.ts';
import { type Attempt, dial, MAIN, REMOTE } from '../support/tunnel.ts';

/** Beside UPLINK4 in the uplink's network; nothing has it. */
const OTHER_GATEWAY = '192.0.2.200';

const AS_USER = ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--'];

describe('as an ordinary user', {
  skip: labUnavailable('sudo', 'unshare', 'openssl') || closedToOthers(MAIN),
}, () => {
  let lab: Lab;
  let home: string;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
    home = mkdtempSync(join(lab.directory, 'user-'));
    cpSync(lab.clientHome, home, { recursive: true });
    for (const path of ['', ...readdirSync(home, { recursive: true, encoding: 'utf8' })])
      chownSync(join(home, path), UID, UID);
  });
  after(async () => {
    await lab?.close();
  });

  it('speaks SSH as the user, captures for the whole machine, and leaves nothing', async () => {
    assert.ok(statSync(HELPER_PATH).mode & 0o001, 'the helper is executable');
    const before = await lab.client.hostState();
    const inside = withEtc(
      lab.directory,
      { sudoers: `${SUDOERS}Defaults use_pty\n${USER} ALL=(root) NOPASSWD: ${HELPER_PATH}\n` },
      home,
    );
    const tunnel = await lab.client.spawn(
      inside([
        ...AS_USER,
        process.execPath,
        MAIN,
        '-r',
        REMOTE,
        PRIVATE4,
        PRIVATE6,
        '198.51.100.0/24',
      ]),
      { env: { HOME: home, XDG_RUNTIME_DIR: '' } },
    );
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      assert.match(
        readFileSync(`/proc/${tunnel.pid}/status`, 'utf8'),
        new RegExp(`^Uid:\\s${UID}\\s${UID}\\s${UID}\\s${UID}$`, 'm'),
      );
      assert.match(readFileSync(`/proc/${tunnel.pid}/status`, 'utf8'), /^CapEff:\s0+$/m);
      const [attempt] = await dial<Attempt[]>(lab.client, 'connect', API1, Port.http);
      assert.equal(attempt?.outcome, 'open');
      const { stdout } = await lab.client.exec(['ip', 'route', 'get', JUMPHOST4]);
      assert.match(stdout, / dev tun/, 'the jump host is captured, and the SSH connection is not');
      assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
    } finally {
      if (processEntry(tunnel.pid) !== undefined) await tunnel.stop('SIGKILL');
    }
    assert.equal(await lab.client.hostState(), before);
  });

  /** Starts a tunnel as the user, with this resolv.conf. */
  function start(resolvConf: string, ...args: readonly string[]): Promise<Child> {
    const inside = withEtc(
      lab.directory,
      {
        sudoers: `${SUDOERS}${USER} ALL=(root) NOPASSWD: ${HELPER_PATH}\n`,
        'resolv.conf': resolvConf,
      },
      home,
      0o444,
    );
    return lab.client.spawn(inside([...AS_USER, process.execPath, MAIN, '-r', REMOTE, ...args]), {
      env: { HOME: home, XDG_RUNTIME_DIR: '' },
    });
  }

  it('has names, where the resolver is the gateway', async () => {
    const before = await lab.client.hostState();
    const tunnel = await start(`nameserver ${UPLINK4}\n`, API1_NAME, PRIVATE4);
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      assert.match((await lab.client.exec(['ip', 'route', 'get', UPLINK4])).stdout, /dev tun0/);
      assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
    } finally {
      if (processEntry(tunnel.pid) !== undefined) await tunnel.stop('SIGKILL');
    }
    assert.equal(await lab.client.hostState(), before);
  });

  for (const way of [`via ${UPLINK4}`, `nexthop via ${UPLINK4} nexthop via ${OTHER_GATEWAY}`]) {
    it(`goes on where the resolver is the gateway of a new default route: ${way}`, async () => {
      const routes = 'route show default';
      const before = await lab.client.exec(['ip', ...routes.split(' ')]);
      const tunnel = await start(`nameserver ${UPLINK4}\n`, API1_NAME, PRIVATE4);
      try {
        await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
        const replace = ['ip', 'route', 'replace', 'default', ...way.split(' ')];
        assert.equal((await lab.client.exec(replace)).status, 0);
        const { stdout } = await lab.client.exec(['ip', ...routes.split(' ')]);
        assert.match(stdout, /dev uplink/);
        assert.doesNotMatch(stdout, /dev tun/);
        // Longer than the check that follows a change.
        await delay(1_500);
        const [attempt] = await dial<Attempt[]>(lab.client, 'connect', API1, Port.http);
        assert.equal(attempt?.outcome, 'open');
        assert.match((await lab.client.exec(['ip', 'route', 'get', UPLINK4])).stdout, /dev tun0/);
        assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
      } finally {
        if (processEntry(tunnel.pid) !== undefined) await tunnel.stop('SIGKILL');
        const undo = ['ip', 'route', 'replace', ...before.stdout.trim().split(/\s+/)];
        assert.equal((await lab.client.exec(undo)).status, 0);
      }
    });
  }

  for (const more of [[], ['--fail-closed']]) {
    it(`leaves out a network that is connected while it runs ${more.join(' ')}`, async () => {
      const before = await lab.client.hostState();
      const ip = async (line: string) => {
        const { status, stdout, stderr } = await lab.client.exec(['ip', ...line.split(' ')]);
        assert.equal(status, 0, `${line}: ${stderr}`);
        return stdout;
      };
      const tunnel = await start(
        'nameserver 127.0.0.1\n',
        ...[...more, PRIVATE4, '-x', '10.77.5.128/25'],
      );
      try {
        await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
        assert.match(await ip('route get 10.77.5.7'), /dev tun0/);
        await ip('link add lan type bridge');
        await lab.client.configure(['link set lan up', 'addr add 10.77.5.1/24 dev lan']);
        await tunnel.waitForLine(/left out: 10\.77\.5\.0\/24 is connected by lan/, NOTICED_MS);
        // Longer than the helper waits for the program (PERMIT_GRACE_MS).
        await delay(6_000);
        assert.match(await ip('route get 10.77.5.7'), /dev lan/);
        const [attempt] = await dial<Attempt[]>(lab.client, 'connect', API1, Port.http);
        assert.equal(attempt?.outcome, 'open');
        await ip('link del lan');
        await delay(2_000);
        assert.match(await ip('route get 10.77.5.7'), /dev tun0/);
        // One that comes and goes before the program looks.
        await lab.client.configure([
          ...['link add lan type bridge', 'link set lan up', 'addr add 10.77.5.1/24 dev lan'],
          'link del lan',
        ]);
        await delay(6_000);
        assert.match(await ip('route get 10.77.5.7'), /dev tun0/);
        assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
      } finally {
        if (processEntry(tunnel.pid) !== undefined) await tunnel.stop('SIGKILL');
        await lab.client.exec(['ip', 'link', 'del', 'lan']);
      }
      assert.equal(await lab.client.hostState(), before);
    });
  }

  it('ends where --capture-local takes what the user may not capture, and says so', async () => {
    await lab.client.configure(['link add lan type bridge', 'link set lan up']);
    await lab.client.configure(['addr add 10.77.5.1/24 dev lan']);
    try {
      const tunnel = await start('nameserver 127.0.0.1\n', '--capture-local', PRIVATE4);
      assert.equal((await tunnel.exited).status, EXIT.capture);
      assert.match(tunnel.stderr, /error \[capture-not-permitted\]: .*10\.77\.5\.0\/24/);
      assert.match(tunnel.stderr, /start it without --capture-local; or .*10\.77\.5\.0\/24 local"/);
    } finally {
      await lab.client.exec(['ip', 'link', 'del', 'lan']);
    }
  });

  it('captures everything without a file, if the user is an administrator', async () => {
    const before = await lab.client.hostState();
    const inside = withEtc(
      lab.directory,
      {
        sudoers: `${SUDOERS}${USER} ALL=(root) NOPASSWD: ${HELPER_PATH}\n`,
        group: `root:x:0:\nsudo:x:27:${USER}\n`,
      },
      home,
      0o444,
    );
    const tunnel = await lab.client.spawn(
      inside([...AS_USER, process.execPath, MAIN, '-r', REMOTE, '0/0', '::/0']),
      { env: { HOME: home, XDG_RUNTIME_DIR: '' } },
    );
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      const { stdout } = await lab.client.exec(['ip', 'route', 'get', '168.63.129.17']);
      assert.match(stdout, / dev tun/);
      assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
    } finally {
      if (processEntry(tunnel.pid) !== undefined) await tunnel.stop('SIGKILL');
    }
    // Some 150 routes: the kernel may take a moment.
    for (let left = 30; left > 0 && (await lab.client.hostState()) !== before; left--)
      await delay(100);
    assert.equal(await lab.client.hostState(), before);
  });

  for (const [what, target, reason] of [
    ['everything', '0/0', /shorter than \/8/],
    ['the gateway', UPLINK4, /in the network 192\.0\.2\.0\/24, to which uplink is connected/],
    ['instance metadata', '169.254.169.254', /169\.254\.0\.0\/16 is a special range/],
  ] as const) {
    it(`may not capture ${what} for everybody, and leaves nothing`, async () => {
      const before = await lab.client.hostState();
      const tunnel = await start('nameserver 127.0.0.1\n', target);
      const { status } = await tunnel.exited;
      assert.equal(status, EXIT.capture);
      assert.match(tunnel.stderr, /error \[capture-not-permitted\]/);
      assert.match(tunnel.stderr, reason);
      assert.match(tunnel.stderr, new RegExp(`"permit ${USER} default `));
      assert.equal(await lab.client.hostState(), before);
    });
  }
});
