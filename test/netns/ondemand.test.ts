/**
 * --on-demand with a real sshd: it is started only when flows wait for it, as by an apply that
 * makes its own jump host.
 */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { API1, API1_NAME, API2, JUMPHOST4, Port, PRIVATE4, UPLINK4 } from '../support/addresses.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { dnsmasqAt } from '../support/dnsmasq.ts';
import { ExecLab } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import type { Child, ExecResult } from '../support/process.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const WAITING = /^tunnel: waiting \(on demand\)/m;
const TRYING = /trying again in/;
const IDLE = /disconnected: not used for/;
const TIMEOUT_MS = 30_000;
const JUMP_NAME = 'jump.cloud.example';
const PROXY = '127.0.0.1:1080';
/** What an API host says whose connection came from the jump host, by either family. */
const ENTERED = /"peer":"(10\.77\.0\.1|2001:db8:77::1)"/;

describe('a jump host that is not there yet', {
  skip: labUnavailable('curl', 'ss', 'dnsmasq', 'mkfifo', 'unshare'),
}, () => {
  let exec: ExecLab;
  const running: Child[] = [];
  before(async () => {
    exec = await ExecLab.create(`nameserver ${UPLINK4}\noptions timeout:2 attempts:1\n`);
    await exec.lab.sshd.kill();
  });
  afterEach(async () => {
    for (const child of running.splice(0)) await child.stop('SIGTERM');
    await exec.lab.sshd.restart({ variant: 'open' });
    await exec.lab.sshd.kill();
  });
  after(() => exec?.close());

  const argv = (...words: readonly string[]) => exec.userArgv(words, { root: true });

  async function spawn(...words: readonly string[]): Promise<Child> {
    const child = await exec.lab.client.spawn(argv(...words), { env: { HOME: exec.home } });
    running.push(child);
    return child;
  }

  /** `-v`, because exec says at that level that it waits. */
  async function start(command: string, ...options: readonly string[]): Promise<Child> {
    const words = [command, '-v', '--on-demand', '-r', REMOTE, ...options];
    const child = await spawn(process.execPath, MAIN, ...words);
    await child.waitForLine(WAITING, TIMEOUT_MS);
    return child;
  }

  const get = (host: string, ...options: string[]): string =>
    ['curl', '-sS', '-m', '25', ...options, `http://${host}/`].join(' ');

  const run = (script: string): Promise<ExecResult> =>
    exec.lab.client.exec(argv('sh', '-c', script), { timeout: 60_000 });

  async function carried(script: string): Promise<void> {
    const { status, stdout, stderr } = await run(script);
    assert.equal(status, 0, stderr);
    assert.match(stdout, ENTERED);
  }

  /** Of the client to the jump host. */
  async function connections(): Promise<number> {
    const filter = ['state', 'established', 'dst', JUMPHOST4];
    const { stdout } = await exec.lab.client.exec(['ss', '-Htn', ...filter]);
    return stdout.split('\n').filter(Boolean).length;
  }

  async function disconnected(): Promise<void> {
    const deadline = performance.now() + TIMEOUT_MS;
    while ((await connections()) > 0) {
      assert.ok(performance.now() < deadline, 'the connection stays');
      await sleep(50);
    }
  }

  const logins = () => exec.lab.sshd.log().match(/Accepted publickey/g)?.length ?? 0;

  for (const transport of ['ssh2', 'openssh']) {
    const client = ['--transport', transport];

    it(`connect holds a flow until sshd is there, and says first that it waits, ${transport}`, async () => {
      const ready = join(exec.lab.directory, `ready-${transport}`);
      const script = `exec "$@" --ready-fd 3 3>${ready}`;
      const words = ['-r', REMOTE, '--on-demand', ...client, PRIVATE4];
      const tunnel = await spawn('sh', '-c', script, 'sh', process.execPath, MAIN, ...words);
      await tunnel.waitForLine(WAITING, TIMEOUT_MS);
      assert.equal(readFileSync(ready, 'utf8'), 'READY=1\n');
      assert.doesNotMatch(tunnel.stderr, /refused|trying/, 'nobody was dialled');
      const flow = carried(get(API1));
      await tunnel.waitForLine(TRYING, TIMEOUT_MS);
      await exec.lab.sshd.start();
      await flow;
      await tunnel.waitForLine(/^tunnel: connected after \d+\.\d s$/m);
      assert.doesNotMatch(tunnel.stderr, /^tunnel: ready/m);
    });

    it(`connect disconnects when it is idle, and connects again, ${transport}`, async () => {
      await exec.lab.sshd.start();
      const before = logins();
      const tunnel = await start('connect', ...client, '--idle-disconnect', '1', PRIVATE4);
      assert.equal(await connections(), 0);
      await carried(get(API1));
      await tunnel.waitForLine(IDLE, TIMEOUT_MS);
      await disconnected();
      assert.equal(logins() - before, 1);
      await carried(get(API1));
      assert.equal(logins() - before, 2);
      assert.doesNotMatch(tunnel.stderr, /link lost/);
    });

    it(`no flow is lost to a disconnect that it meets, ${transport}`, async () => {
      await exec.lab.sshd.start();
      const tunnel = await start('connect', ...client, '--idle-disconnect', '0.2', PRIVATE4);
      // The pauses pass over the idle time, so that flows come before, during and after the end.
      const pauses = [15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 30].map((n) => n / 100);
      await carried(pauses.map((pause) => `${get(API1)} && sleep ${pause}`).join(' && '));
      assert.ok((tunnel.stderr.match(new RegExp(IDLE, 'g'))?.length ?? 0) > 1, tunnel.stderr);
    });

    it(`a flow is refused when the hold is over, and the next one is carried, ${transport}`, async () => {
      const tunnel = await start('connect', ...client, '--reconnect-hold', '1', PRIVATE4);
      const { status, stderr } = await run(get(API1));
      assert.equal(status, 7, stderr);
      await tunnel.waitForLine(/no link to the jump host within 1 s: .*refused/);
      await exec.lab.sshd.start();
      await carried(get(API1));
    });

    it(`a refused login is said, refuses flows with the reason, and ends nothing, ${transport}`, async () => {
      await exec.lab.sshd.restart({ variant: 'open', config: [`DenyUsers ${JUMP_USER}`] });
      const listen = ['--http', PROXY, '-o', 'BatchMode=yes'];
      const tunnel = await start('connect', ...client, ...listen, PRIVATE4);
      const begin = performance.now();
      const { status, stderr } = await run(get(API1));
      assert.equal(status, 7, stderr);
      assert.ok(performance.now() - begin < 20_000, 'it did not wait for the next login');
      await tunnel.waitForLine(/the login is tried again only in \d min/);
      const { stdout } = await run(`${get(API1, '-x', `http://${PROXY}`)}; true`);
      assert.match(stdout, /no link to the jump host: .*(refused|accept|denied|let)/i);
      assert.equal(tunnel.ended, undefined);
    });

    it(`another host key ends the tunnel, ${transport}`, async () => {
      await exec.lab.sshd.start();
      const pin = `SHA256:${'A'.repeat(43)}`;
      const tunnel = await start('connect', ...client, '--host-key', pin, PRIVATE4);
      assert.notEqual((await run(get(API1))).status, 0);
      assert.equal((await tunnel.wait(TIMEOUT_MS)).status, 4, tunnel.stderr);
    });

    it(`questions are asked when the first flow comes, ${transport}`, async () => {
      const user = { name: 'asked', password: 'as it is', authorizedKeys: '' };
      await exec.lab.sshd.restart({ variant: 'open', users: [user] });
      const askpass = join(exec.lab.directory, `askpass-${transport}`);
      const said = `${askpass}.said`;
      writeFileSync(askpass, `#!/bin/sh\necho "$1" >>${said}\necho '${user.password}'\n`);
      chmodSync(askpass, 0o755);
      const words = ['-v', '--on-demand', ...client, '-r', `${user.name}@${JUMPHOST4}`, PRIVATE4];
      const env = ['env', 'SSH_ASKPASS_REQUIRE=force', `SSH_ASKPASS=${askpass}`];
      const tunnel = await spawn(...env, process.execPath, MAIN, ...words);
      await tunnel.waitForLine(WAITING, TIMEOUT_MS);
      assert.ok(!existsSync(said), 'asked already');
      await carried(get(API1));
      assert.match(readFileSync(said, 'utf8'), /password/i);
    });

    it(`its name may resolve only later, also where the tunnel answers names, ${transport}`, async () => {
      const zone = dnsmasqAt(UPLINK4, '--local=/cloud.example/');
      const before = await exec.lab.uplink.spawn([...zone, '--log-queries', '--log-facility=-']);
      running.push(before);
      await before.waitForLine(/started/);
      const alias = ['-o', `HostKeyAlias=${JUMPHOST4}`, '-r', `${JUMP_USER}@${JUMP_NAME}`];
      // Everything is asked of behind the jump host, except the jump host's own name.
      const names = ['--dns', '--dns-server', API1, API1_NAME];
      const words = ['connect', '-v', '--on-demand', ...client, ...alias, ...names];
      const tunnel = await spawn(process.execPath, MAIN, ...words);
      await tunnel.waitForLine(WAITING, TIMEOUT_MS);
      assert.doesNotMatch(before.stderr + before.stdout, /jump\.cloud/, 'it was looked up');
      const flow = carried(get(API1_NAME));
      await tunnel.waitForLine(/jump\.cloud\.example.*trying again in/, TIMEOUT_MS);
      await exec.lab.sshd.start();
      await before.stop('SIGKILL');
      const record = `--host-record=${JUMP_NAME},${JUMPHOST4}`;
      running.push(await exec.lab.uplink.spawn([...zone, record]));
      await flow;
    });
  }

  describe('and is made by the first resource of an apply, whose others need it', () => {
    /** The first resource returns when the cloud has been asked, long before sshd runs. */
    function apply(made: string, ...options: string[]): string {
      const needs = [API1, API2, `${API1}:${Port.http}`].map((host) => get(host, ...options));
      return `echo create > ${made}; pids=; for get in ${needs.map((line) => `'${line}'`).join(' ')}; do
        sh -c "$get" & pids="$pids $!"; done
        for pid in $pids; do wait $pid || exit 1; done; sleep 1; ${get(API2, ...options)}`;
    }

    async function makes(fifo: string, tunnel: () => Promise<Child>): Promise<void> {
      assert.equal(await readFile(fifo, 'utf8'), 'create\n');
      await (await tunnel()).waitForLine(TRYING, TIMEOUT_MS);
      await exec.lab.sshd.start();
    }

    async function cloud(name: string): Promise<string> {
      const fifo = join(exec.lab.directory, name);
      await exec.lab.client.exec(['mkfifo', fifo]);
      chmodSync(fifo, 0o666);
      return fifo;
    }

    for (const [command, options, client] of [
      ['connect', [PRIVATE4], []],
      ['proxy', ['--http', PROXY, PRIVATE4], ['-x', `http://${PROXY}`]],
    ] as const) {
      it(`beside ${command}`, async () => {
        const fifo = await cloud(`made-${command}`);
        const before = logins();
        const tunnel = await start(command, '--idle-disconnect', '60', ...options);
        const applied = carried(apply(fifo, ...client));
        await makes(fifo, () => Promise.resolve(tunnel));
        await applied;
        assert.equal(logins() - before, 1, 'one connection carries all');
      });
    }

    it('inside exec, as an ordinary user', async () => {
      const fifo = await cloud('made-exec');
      const words = ['-v', '--on-demand', '--idle-disconnect', '60', PRIVATE4, '--'];
      const tunnel = exec.spawn([...words, 'sh', '-c', apply(fifo)]);
      await makes(fifo, () => tunnel);
      const child = await tunnel;
      assert.equal((await child.wait(TIMEOUT_MS)).status, 0, child.stderr);
      assert.match(child.stderr, WAITING);
      assert.equal(child.stdout.match(new RegExp(ENTERED, 'g'))?.length, 4, child.stdout);
    });
  });
});
