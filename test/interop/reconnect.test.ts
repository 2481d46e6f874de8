/**
 * `tunnel reconnect` for a tunnel in the background whose jump host wants a key and a code: it has
 * lost its link, and only the caller of `reconnect` can be asked. The jump host is made of the ssh2
 * library, so it needs no PAM and no root.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Connection, Server } from 'ssh2';
import type { LinkStatus, Status } from '../../src/control/status.ts';
import { makeKey } from '../support/loopback-sshd.ts';
import { Child, run } from '../support/process.ts';
import { exchange, throughProxy } from '../support/socksclient.ts';
import ssh2 from '../support/ssh2.ts';
import { programCommand } from '../support/tunnel.ts';

const LIMIT_MS = 60_000;
const CODE = '123456';

describe('tunnel reconnect, with a second factor and no terminal', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-reconnect-'));
  const file = (name: string): string => join(directory, name);
  const clients = new Set<Connection>();
  let server: Server;
  let pid: number | undefined;

  before(async () => {
    await makeKey(file('host'), 'ed25519');
    await makeKey(file('user'), 'ed25519');
    server = new ssh2.Server({ hostKeys: [readFileSync(file('host'))] }, (client) => {
      clients.add(client);
      client.on('error', () => {}); // its close follows
      client.on('close', () => clients.delete(client));
      let keyAccepted = false;
      client.on('authentication', (context) => {
        if (context.method === 'publickey') {
          if (context.signature === undefined) return context.accept();
          keyAccepted = true;
          return context.reject(['keyboard-interactive'], true);
        }
        if (context.method !== 'keyboard-interactive' || !keyAccepted)
          return context.reject(['publickey']);
        context.prompt([{ prompt: 'Verification code: ', echo: false }], ([answer]) =>
          answer === CODE ? context.accept() : context.reject(['keyboard-interactive']),
        );
      });
      client.on('tcpip', (accept) => {
        const channel = accept();
        channel.on('error', () => {}); // the link has gone
        channel.pipe(channel);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  after(async () => {
    if (pid !== undefined && existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL');
    for (const client of clients) client.end();
    server.close();
    rmSync(directory, { recursive: true });
  });

  /** Whoever is asked runs this. */
  function askpass(name: string, script: string): Readonly<Record<string, string>> {
    writeFileSync(file(name), `#!/bin/sh\n${script}\n`, { mode: 0o700 });
    return {
      PATH: process.env['PATH'] ?? '',
      HOME: directory,
      RUNTIME_DIRECTORY: directory,
      SSH_ASKPASS: file(name),
      SSH_ASKPASS_REQUIRE: 'force',
    };
  }

  async function link(env: Readonly<Record<string, string>>): Promise<LinkStatus> {
    const { stdout } = await run([...programCommand(), 'status', String(pid), '--json'], {
      env,
      timeout: LIMIT_MS,
    });
    const { tunnels } = JSON.parse(stdout) as { tunnels: readonly Status[] };
    const [only] = tunnels;
    assert.ok(only !== undefined, 'the tunnel has ended');
    return only.link;
  }

  /** Waits until the tunnel waits because of an error of this code. */
  async function waiting(env: Readonly<Record<string, string>>, code: string): Promise<void> {
    const until = performance.now() + LIMIT_MS;
    for (;;) {
      const { state, error } = await link(env);
      if (state === 'waiting' && error?.code === code) return;
      assert.ok(performance.now() < until, `it is ${state}, ${error?.code}: ${error?.message}`);
      await delay(100);
    }
  }

  for (const transport of ['ssh2', 'openssh'])
    it(`with ${transport} asks its caller, who may leave in the middle: the tunnel goes on, and the next one logs in`, async () => {
      const starts = askpass('starts', `printf %s "$1" >${file('question')}; echo ${CODE}`);
      const { port } = server.address() as AddressInfo;
      const hostKey = readFileSync(file('host.pub'), 'utf8').trim();
      const { status, stderr } = await run(
        [
          ...['setsid', '--wait', ...programCommand(), 'proxy', '-r', `u@127.0.0.1:${port}`],
          ...['-F', 'none', '-i', file('user'), '--host-key', hostKey, '--transport', transport],
          ...['--listen', '127.0.0.1:0', '-D', '--pidfile', file('pid'), '--reconnect-hold', '0'],
        ],
        { env: starts, timeout: LIMIT_MS },
      );
      assert.equal(status, 0, stderr);
      pid = Number(readFileSync(file('pid'), 'latin1'));
      // ssh asks its own way: such programs may know a question by its text.
      if (transport === 'openssh')
        assert.match(
          readFileSync(file('question'), 'utf8'),
          /^(\(u@127[^)]*\) )?Verification code: $/,
        );
      const proxy = Number(/proxy at 127\.0\.0\.1:(\d+)/.exec(stderr)?.[1]);
      // From here on the tunnel itself can ask nobody.
      rmSync(file('starts'));
      rmSync(file('asked'), { force: true });
      for (const client of clients) client.end();
      const leaves = askpass('leaves', `echo asked > ${file('asked')}; exec sleep 600`);
      await waiting(leaves, 'no-terminal');

      const reconnect = [...programCommand(), 'reconnect', String(pid)];
      const leaving = await Child.start(reconnect, { env: leaves });
      const until = performance.now() + LIMIT_MS;
      while (!existsSync(file('asked'))) {
        assert.ok(performance.now() < until, `nothing is asked: ${leaving.stderr}`);
        await delay(50);
      }
      await leaving.stop('SIGINT');
      await waiting(leaves, 'auth-cancelled');

      const answers = askpass('answers', `sleep 6; echo ${CODE}`);
      const again = await run(reconnect, { env: answers, timeout: LIMIT_MS });
      assert.equal(again.status, 0, again.stderr);
      assert.equal((await link(answers)).state, 'up');
      const socket = await throughProxy(proxy, 7);
      await exchange(socket, 10);
      socket.destroy();
      const stop = await run([...programCommand(), 'stop', String(pid)], {
        env: answers,
        timeout: LIMIT_MS,
      });
      assert.equal(stop.status, 0, stop.stderr);
    });
});
