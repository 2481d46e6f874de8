/**
 * The report of a run at a terminal, driven through tmux: of a real tunnel at an sshd on the
 * loopback device, with real flows.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { LoopbackSshd, makeKey, sshdMissing } from '../support/loopback-sshd.ts';
import { throughProxy } from '../support/socksclient.ts';
import { Tmux } from '../support/tmux.ts';
import { MAIN } from '../support/tunnel.ts';

const TIMEOUT_MS = 60_000;
/** How long the terminal is stopped while data flow. */
const STOPPED_MS = 10_000;
/** Before the texts of the report. */
const LABEL_CELLS = 10;
const tmuxMissing = spawnSync('tmux', ['-V']).status === 0 ? false : 'tmux is not installed';

describe('the report at a terminal', { skip: sshdMissing || tmuxMissing }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-display-'));
  const clients: Socket[] = [];
  /** Of the gate. */
  const carried = new Set<Socket>();
  let sshd: LoopbackSshd;
  /** Before sshd: it can be closed. */
  let gate: Server;
  let gatePort: number;
  let echo: Server;
  let port: number;
  let unused: number;
  let tmux: Tmux;

  before(async () => {
    sshd = await LoopbackSshd.start({});
    gate = createServer((socket) => {
      const inner = connect(sshd.port, '127.0.0.1');
      for (const [one, other] of [
        [socket, inner],
        [inner, socket],
      ] as const) {
        carried.add(one);
        one
          .on('error', () => {})
          .on('close', () => {
            carried.delete(one);
            other.destroy();
          });
        one.pipe(other);
      }
    });
    gate.listen(0, '127.0.0.1');
    await once(gate, 'listening');
    gatePort = (gate.address() as AddressInfo).port;
    echo = createServer((socket) => socket.on('error', () => {}).pipe(socket));
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    port = (echo.address() as AddressInfo).port;
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    unused = (closed.address() as AddressInfo).port;
    closed.close();
  });
  after(async () => {
    echo?.close();
    gate?.close();
    await sshd?.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  beforeEach(async () => {
    const { PATH = '' } = process.env;
    const hostKey = (await sshd.knownHostsLine()).trim();
    const script = (key: string, host = `--host-key '${hostKey}'`) =>
      `#!/bin/sh\nexec ${process.execPath} ${MAIN} proxy -F none \
-r ${sshd.user}@127.0.0.1:${gatePort} -i ${key} ${host} \
--name lab --socks 127.0.0.1:0 127.0.0.0/8 "$@"\n`;
    writeFileSync(join(directory, 't'), script(sshd.userKey), { mode: 0o755 });
    writeFileSync(join(directory, 'locked'), script(join(directory, 'key')), { mode: 0o755 });
    const asks = `--transport openssh -o UserKnownHostsFile=${directory}/known_hosts`;
    writeFileSync(join(directory, 'asks'), script(sshd.userKey, asks), { mode: 0o755 });
    const env = { XDG_RUNTIME_DIR: directory, RUNTIME_DIRECTORY: directory, HOME: directory, PATH };
    tmux = await Tmux.start(directory, (argv) => argv, env);
    await tmux.type(`cd ${directory}; clear`, 'Enter');
    await tmux.waitFor(/^\$ \n*$/);
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await tmux.close();
    if (!gate.listening) gate.listen(gatePort, '127.0.0.1');
  });

  const run = (line: string) => tmux.type(line, 'Enter');
  const waitFor = (pattern: RegExp) => tmux.waitFor(pattern, TIMEOUT_MS);

  /** Starts a tunnel; the port of its proxy. */
  async function start(line = './t'): Promise<number> {
    await run(line);
    const [, proxy] = await waitFor(/proxy at 127\.0\.0\.1:(\d+)[\s\S]*tunnel: ready$/m);
    return Number(proxy);
  }

  async function open(proxy: number): Promise<Socket> {
    const socket = await throughProxy(proxy, port);
    clients.push(socket);
    socket.on('error', () => {});
    return socket;
  }

  /** What the terminal shows, without what has scrolled away; as many lines as it has. */
  async function screen(): Promise<string[]> {
    return (await tmux.screen()).split('\n').map((line) => line.trimEnd());
  }

  async function ended(status: number): Promise<void> {
    await waitFor(/^(\^C)?\$ \n*$(?![\s\S])/m);
    await run('echo "status=$?"');
    await waitFor(new RegExp(`^status=${status}$`, 'm'));
  }

  const REPORT = /^127\.0\.0\.0\/8 by .*, through \S+ +for \d/m;

  for (const [columns, rows] of [
    [80, 24],
    [200, 50],
    [40, 10],
  ] as const) {
    it(`stands below the messages at ${columns}x${rows}, and goes with a last line`, async () => {
      await tmux.resize(columns, rows);
      const proxy = await start();
      const socket = await open(proxy);
      await assert.rejects(throughProxy(proxy, unused));
      socket.resume();
      const load = setInterval(() => socket.write(Buffer.alloc(50_000)), 50);
      try {
        await waitFor(/^rates +down +\d+(\.\d)? [kM]B\/s/m);
      } finally {
        clearInterval(load);
      }
      const lines = await screen();
      const top = lines.findIndex((line) => line.startsWith('link '));
      const report = lines.slice(top - 1).filter((line) => line !== '');
      assert.ok(report.length <= rows / 2, report.join('\n'));
      for (const line of report) assert.ok(line.length < columns, line);
      assert.match(report[0] ?? '', columns === 40 ? /for \d+ s$/ : REPORT);
      assert.match(report[1] ?? '', /^link +up for /);
      assert.ok(report.some((line) => /^flows +1 live, 1 opened, 1 refused/.test(line)));
      if (columns > 40) {
        assert.ok(report.some((line) => /^protected \S+, \S+, ssh-ed25519/.test(line)));
        assert.ok(report.some((line) => /^rates .*[▁▂▃▄▅▆▇█]/.test(line)));
        assert.ok(report.some((line) => new RegExp(`^ +127.0.0.1:${port} .*1 live`).test(line)));
        assert.ok(report.some((line) => new RegExp(`^refused +127.0.0.1:${unused} `).test(line)));
      }
      await tmux.type('', 'C-c');
      await ended(0);
      const after = (await screen()).join('\n');
      assert.match(
        after.replaceAll('\n', ''),
        /tunnel: ended after \d+ s: 1 connections, 1 refused; /,
      );
      assert.doesNotMatch(after, /^(link|flows|rates) /m);
    });
  }

  it('fits into other sizes', async () => {
    // tmux pushes lines into its history before it uses blank ones at the bottom.
    await start('seq 100; ./t');
    await waitFor(REPORT);
    // What is left of a report that tmux has broken anew is another matter: it resizes the
    // terminal before it says so, and a drawing may come between (test/unit/cli/display).
    for (const [columns, rows] of [
      [60, 24],
      [41, 24],
      [120, 40],
      [80, 24],
      [30, 12],
    ] as const) {
      await tmux.resize(columns, rows);
      const width = columns - LABEL_CELLS - 1;
      await waitFor(
        new RegExp(`^link {6}up for .{0,${width}}\\n(?:.{0,${columns - 1}}\\n)+$`, 'm'),
      );
    }
    await tmux.resize(19, 24);
    await delay(2_500);
    const narrow = await tmux.screen();
    await delay(2_500);
    assert.equal(await tmux.screen(), narrow, 'too narrow for a report');
    await tmux.resize(80, 24);
    await waitFor(REPORT);
    await tmux.type('', 'C-c');
    await ended(0);
  });

  it('gives the terminal to other jobs, and comes back with fg', async () => {
    await start();
    await waitFor(REPORT);
    await tmux.type('', 'C-z');
    await waitFor(/Stopped/);
    assert.doesNotMatch(await tmux.screen(), REPORT);
    // The shell would stop a background job that draws.
    await run('stty tostop; bg; sleep 2.5; jobs; echo "that was all"');
    await waitFor(/^that was all\n\$ $/m);
    assert.match(await tmux.screen(), /\[1\]\+ +Running/);
    assert.doesNotMatch(await tmux.screen(), REPORT);
    await run('fg');
    await waitFor(REPORT);
    assert.match(await tmux.screen(), /^that was all\n\$ fg\n.*\/t\n127/m);
    await tmux.type('', 'C-c');
    await ended(0);
  });

  it('is not there while somebody is asked, and comes back', async () => {
    await makeKey(join(directory, 'key'), 'ed25519', ['-N', 'secret']);
    const own = readFileSync(join(directory, 'key.pub'), 'utf8');
    writeFileSync(join(sshd.directory, 'authorized_keys'), own, { flag: 'a' });
    await run('./locked');
    await waitFor(/assphrase.*$/m);
    // Longer than it takes to draw.
    await delay(2_500);
    const asked = (await screen()).filter((line) => line !== '');
    assert.match(asked.at(-1) ?? '', /assphrase/);
    assert.doesNotMatch(asked.join('\n'), /^link /m);
    await run('secret');
    await waitFor(REPORT);
    const text = await tmux.screen();
    assert.match(text, /assphrase.*\n[\s\S]*tunnel: ready\n127\.0\.0\.0\/8 by /);
    await tmux.type('', 'C-c');
    await ended(0);
  });

  it('is not there while ssh asks, of whose questions this program knows nothing', async () => {
    await run('./asks');
    await waitFor(/continue connecting \(yes\/no.*$/m);
    await delay(2_500);
    const asked = (await screen()).filter((line) => line !== '');
    assert.match(asked.at(-1) ?? '', /continue connecting/);
    assert.doesNotMatch(asked.join('\n'), /^link /m);
    await run('yes');
    await waitFor(REPORT);
    assert.match(await tmux.screen(), /continue connecting.*yes\n[\s\S]*tunnel: ready\n127/);
    await tmux.type('', 'C-c');
    await ended(0);
  });

  it('stops for a stopped terminal, and the data flow on', async (t) => {
    const proxy = await start();
    const socket = await open(proxy);
    let received = 0;
    let running = true;
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    const block = Buffer.alloc(64 * 1024);
    const write = () => {
      while (running && socket.write(block));
      if (running) socket.once('drain', write);
    };
    write();
    const during = async (ms: number) => {
      const [before, began] = [received, performance.now()];
      await delay(ms);
      return (received - before) / (performance.now() - began);
    };
    try {
      await waitFor(/^rates +down +\d+(\.\d)? MB\/s/m);
      const free = await during(3_000);
      await tmux.type('', 'C-s');
      await delay(500);
      const stopped = await tmux.screen();
      const rate = await during(STOPPED_MS);
      assert.equal(await tmux.screen(), stopped, 'the terminal is stopped');
      const said = `${free.toFixed()} and stopped ${rate.toFixed()} kB/s`;
      t.diagnostic(said);
      assert.ok(rate > free * 0.3, said);
      await tmux.type('', 'C-q');
      // The newest report, and not what there was to say meanwhile.
      await waitFor(/for 1\d s|for [2-9]\d s|for \d+ min/);
      const text = await tmux.screen();
      assert.equal(text.match(/^link /gm)?.length, 1, text);
    } finally {
      running = false;
      socket.destroy();
    }
    await tmux.type('', 'C-c');
    await ended(0);
  });

  it('tells of an outage: when it is tried again, and how long connections wait', async () => {
    const proxy = await start('./t --reconnect-hold 60');
    await waitFor(REPORT);
    gate.close();
    for (const socket of carried) socket.destroy();
    await waitFor(/^held +new connections wait for up to 60 s$/m);
    await waitFor(/^why +127\.0\.0\.1:\d+ refused the connection$/m);
    await waitFor(/^link +waiting .*tried again in \d+ s/m);
    const held = open(proxy);
    await waitFor(/^held +1 connection waits for it for [2-6]?\d s more$/m);
    gate.listen(gatePort, '127.0.0.1');
    await waitFor(/^link +up for /m);
    await held;
    assert.equal((await tmux.screen()).match(/^link /gm)?.length, 1);
    await tmux.type('', 'C-c');
    await ended(0);
  });

  it('is not there with --no-progress, with TERM=dumb, and where standard error is a file', async () => {
    for (const line of ['./t --no-progress', 'TERM=dumb ./t', './t 2>log']) {
      await run('clear');
      await run(line);
      if (line.endsWith('log')) {
        await waitFor(/\$ \.\/t 2>log$/m);
        while (!/ready/.test(readFileSync(join(directory, 'log'), 'utf8'))) await delay(50);
      } else await waitFor(/tunnel: ready$/m);
      await delay(1_500);
      assert.doesNotMatch(await tmux.screen(), /^link /m);
      await tmux.type('', 'C-c');
      await ended(0);
      assert.doesNotMatch(await tmux.screen(), /ended after/);
    }
    const log = readFileSync(join(directory, 'log'), 'utf8');
    assert.match(log, /^(tunnel: [\x20-\x7e]*\n)+$/);
  });
});
