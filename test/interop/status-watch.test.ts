/**
 * `tunnel status --watch` at a terminal, driven through tmux: of a real tunnel at an sshd on the
 * loopback device, with real flows and a real refusal.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { startProxyProgram } from '../support/loopbackprogram.ts';
import type { Child } from '../support/process.ts';
import { Tmux } from '../support/tmux.ts';
import { MAIN } from '../support/tunnel.ts';

const TIMEOUT_MS = 30_000;
const tmuxMissing = spawnSync('tmux', ['-V']).status === 0 ? false : 'tmux is not installed';

describe('tunnel status --watch', { skip: sshdMissing || tmuxMissing }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-watch-'));
  const clients: Socket[] = [];
  let sshd: LoopbackSshd;
  let target: Server;
  let closed: number;
  let port: number;
  let tmux: Tmux;

  before(async () => {
    process.env['XDG_RUNTIME_DIR'] = directory;
    sshd = await LoopbackSshd.start({});
    target = createServer((socket) => socket.on('error', () => {}).pipe(socket));
    target.listen(0, '127.0.0.1');
    await once(target, 'listening');
    port = (target.address() as AddressInfo).port;
    const unused = createServer().listen(0, '127.0.0.1');
    await once(unused, 'listening');
    closed = (unused.address() as AddressInfo).port;
    unused.close();
    const env = { XDG_RUNTIME_DIR: directory, PATH: process.env['PATH'] ?? '' };
    tmux = await Tmux.start(directory, (argv) => argv, env);
  });
  after(async () => {
    for (const client of clients) client.destroy();
    await tmux?.close();
    target?.close();
    await sshd?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  async function startTunnel(name: string): Promise<{ child: Child; proxy: number }> {
    const hostKey = (await sshd.knownHostsLine()).trim();
    const child = await startProxyProgram([
      ...['-r', `${sshd.user}@127.0.0.1:${sshd.port}`, '-i', sshd.userKey],
      ...['--host-key', hostKey, '--name', name, '--socks', '127.0.0.1:0', '127.0.0.0/8'],
    ]);
    const [, listen] = await child.waitForLine(/proxy at 127\.0\.0\.1:(\d+)/, TIMEOUT_MS);
    await child.waitForLine(/tunnel: ready/, TIMEOUT_MS);
    return { child, proxy: Number(listen) };
  }

  /** Resolves with SOCKS' answer: 0 where the far side accepted. */
  async function open(proxy: number, to: number): Promise<{ socket: Socket; reply: number }> {
    const socket = connect(proxy, '127.0.0.1');
    clients.push(socket);
    socket.on('error', () => {});
    socket.write(Uint8Array.of(5, 1, 0));
    await once(socket, 'data');
    socket.write(Uint8Array.of(5, 1, 0, 1, 127, 0, 0, 1, to >> 8, to & 255));
    const [answer] = await once(socket, 'data');
    return { socket, reply: answer[1] };
  }

  /** The screen alone, without what has scrolled away. */
  async function screen(): Promise<string[]> {
    return (await tmux.screen()).split('\n').map((line) => line.trimEnd());
  }

  it('shows link, rates, flows, a flow, refusals and help; resizes; gives the screen back', async () => {
    const { child, proxy } = await startTunnel('lab');
    try {
      const { socket, reply } = await open(proxy, port);
      assert.equal(reply, 0);
      assert.notEqual((await open(proxy, closed)).reply, 0);
      await tmux.type('clear; echo before', 'Enter');
      await tmux.waitFor(/^before$/m);
      await tmux.type(`stty -a >${directory}/stty`, 'Enter');
      await tmux.type(`${process.execPath} ${MAIN} status --watch lab`, 'Enter');
      await tmux.waitFor(/^lab \(proxy, pid \d+, for /m, TIMEOUT_MS);
      socket.resume();
      const load = setInterval(() => socket.write(Buffer.alloc(50_000)), 50);
      try {
        await tmux.waitFor(/received \d+(\.\d)? [kM]B\/s/, TIMEOUT_MS);
      } finally {
        clearInterval(load);
      }
      const small = await screen();
      assert.match(small[0] ?? '', /^lab .*\d\d:\d\d:\d\d$/);
      assert.match(small[1] ?? '', /^link +up for .*127\.0\.0\.1:\d+/);
      assert.match(small[2] ?? '', /^protected by +OpenSSH/);
      assert.match(small[3] ?? '', /^captured +127\.0\.0\.0\/8 by proxy at 127/);
      assert.match(small[4] ?? '', /^flows +1 live, 1 opened, 1 refused$/);
      assert.match(small[5] ?? '', new RegExp(`^last refusal +127\\.0\\.0\\.1:${closed} `));
      assert.match(small.slice(7, 10).join(''), /[▁▂▃▄▅▆▇█]/);
      assert.match(small[10] ?? '', /^DESTINATION +AGE +SENT RECEIVED +RATE$/);
      assert.match(small[11] ?? '', new RegExp(`^127\\.0\\.0\\.1:${port} +\\d+ s `));
      assert.match(small[23] ?? '', /^\? help {2}q quit/);

      await tmux.resize(200, 50);
      await tmux.waitFor(/SOURCE +WAY/, TIMEOUT_MS);
      await tmux.waitFor(/\n\? help {2}q quit.*\n*$/, TIMEOUT_MS);
      const large = await screen();
      assert.match(large[49] ?? '', /^\? help/);
      await tmux.type('', 'Enter');
      await tmux.waitFor(/^Flow \d+ *\ndestination +127/m, TIMEOUT_MS);
      await tmux.type('r');
      await tmux.waitFor(
        new RegExp(`^ +\\d+ s 127\\.0\\.0\\.1:${closed} .*refused`, 'm'),
        TIMEOUT_MS,
      );
      await tmux.type('r/nothing');
      await tmux.waitFor(/^no flow contains "nothing"/m, TIMEOUT_MS);
      // The next key comes with it, as over a slow line, and is no other key than alone.
      await tmux.type('', 'Escape', '?');
      await tmux.waitFor(/^Escape +go back/m, TIMEOUT_MS);
      await tmux.resize(30, 8);
      await tmux.waitFor(/^too small/m, TIMEOUT_MS);
      await tmux.resize(80, 24);
      await tmux.waitFor(/^Escape +go back/m, TIMEOUT_MS);
      await tmux.type('x');
      await tmux.waitFor(new RegExp(`^127\\.0\\.0\\.1:${port} `, 'm'), TIMEOUT_MS);
      await tmux.type('q');
      await given('0');

      await watch();
      await tmux.type('', 'C-c');
      await given('130');
      await watch();
      await tmux.type('', 'C-z');
      await tmux.waitFor(/Stopped/, TIMEOUT_MS);
      await tmux.type('fg', 'Enter');
      await tmux.waitFor(/^lab \(proxy/m, TIMEOUT_MS);
      process.kill(Number(readFileSync(join(directory, 'pid'), 'utf8')), 'SIGTERM');
      await given('143');
      await watch();
    } finally {
      await child.stop('SIGINT', TIMEOUT_MS);
    }
    await tmux.waitFor(/^lab \(pid \d+\) has ended$/m, TIMEOUT_MS);
    await given('0');
  });

  async function watch(): Promise<void> {
    const command = `exec ${process.execPath} ${MAIN} status --watch lab`;
    await tmux.type(`sh -c 'echo $$ >${directory}/pid; ${command}'`, 'Enter');
    await tmux.waitFor(/^lab \(proxy.*[\s\S]*\? help/m, TIMEOUT_MS);
  }

  /** The shell has the terminal again, as it was. */
  async function given(status: string): Promise<void> {
    await tmux.waitFor(/^\$ \n*$(?![\s\S])/m, TIMEOUT_MS);
    await tmux.type(`echo "status=$?"`, 'Enter');
    await tmux.waitFor(new RegExp(`^status=${status}$`, 'm'), TIMEOUT_MS);
    assert.match(await tmux.screen(), /^before$/m);
    await tmux.type(`stty -a | cmp - ${directory}/stty && echo sane; clear; echo before`, 'Enter');
    await tmux.waitFor(/^before\n\$ $/m, TIMEOUT_MS);
  }

  async function goTo(name: string): Promise<void> {
    for (let tries = 0; !new RegExp(`^${name} \\(`).test(await tmux.screen()); tries++) {
      assert.ok(tries < 100, `no tunnel ${name}`);
      const [before = ''] = await screen();
      await tmux.type('', 'Tab');
      const other = before.slice(0, before.indexOf(', for')).replace(/[()]/g, '\\$&');
      await tmux.waitFor(new RegExp(`^(?!${other})`), TIMEOUT_MS);
    }
  }

  it('lists several tunnels, and opens one', async () => {
    const one = await startTunnel('one');
    const two = await startTunnel('two');
    try {
      await tmux.type(`${process.execPath} ${MAIN} status --watch`, 'Enter');
      // Root sees the tunnels of all users: others may run on this machine.
      await tmux.waitFor(/^TUNNEL [\s\S]*^one +\d+ up /m, TIMEOUT_MS);
      await tmux.waitFor(/^two +\d+ up /m, TIMEOUT_MS);
      await tmux.type('', 'Enter');
      await tmux.waitFor(/^link /m, TIMEOUT_MS);
      await goTo('one');
      await goTo('two');
      await two.child.stop('SIGINT', TIMEOUT_MS);
      await tmux.waitFor(/^TUNNEL [\s\S]*^one +\d+ up /m, TIMEOUT_MS);
      await tmux.type('q');
      await given('0');
    } finally {
      await one.child.stop('SIGINT', TIMEOUT_MS);
      await two.child.stop('SIGINT', TIMEOUT_MS);
    }
  });

  it('prints statuses where there is no terminal, until nobody reads or the tunnel ends', async () => {
    const { child } = await startTunnel('printed');
    const env = { ...process.env, XDG_RUNTIME_DIR: directory };
    const program = `${process.execPath} ${MAIN} status --watch`;
    const read = (line: string) =>
      spawnSync('bash', ['-c', `set -o pipefail; ${line}`], { env, encoding: 'utf8' });
    try {
      const { stdout, stderr, status } = read(`${program} printed --json | head -n 3`);
      assert.deepEqual([status, stderr], [0, '']);
      const names = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).tunnels[0].name);
      assert.deepEqual(names, ['printed', 'printed', 'printed']);
      const text = read(`${program} | grep -m 2 '^printed '`);
      assert.equal(text.status, 0, text.stderr);
      assert.match(text.stdout, /^(printed \(proxy, pid \d+, for \d+ s\)\n){2}$/);
    } finally {
      const whole = spawn('bash', ['-c', `${program} printed | cat`], { env, stdio: 'pipe' });
      let said = '';
      whole.stdout.setEncoding('utf8').on('data', (more: string) => {
        if (said === '') void child.stop('SIGINT', TIMEOUT_MS);
        said += more;
      });
      const [status] = await once(whole, 'close');
      assert.equal(status, 0);
      assert.match(said, /^printed [\s\S]*\nno tunnel runs\n$/);
    }
    assert.equal(read(`${program} printed | cat`).status, 2);
  });
});
