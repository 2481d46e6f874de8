/** Reloads of a running `tunnel connect` with the real kernel, helper and sshd. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { API1, API2, Port, PRIVATE4 } from '../support/addresses.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { programCommand, REMOTE } from '../support/tunnel.ts';

const FLOWS = 200;
const LIMIT_MS = 30_000;
/** Opens that many connections to an echo server; each line on standard input goes over all. */
const HOLDER = `
const { connect } = require('node:net');
const [, host, port, count] = process.argv;
const sockets = Array.from({ length: Number(count) }, () => connect(Number(port), host));
let lost = 0;
for (const socket of sockets) socket.on('error', () => lost++).on('end', () => lost++);
const all = (name) => Promise.all(sockets.map((it) => new Promise((go) => it.once(name, go))));
all('connect').then(() => console.log('open'));
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  all('data').then(() => console.log(line + ' over ' + (sockets.length - lost)));
  for (const socket of sockets) socket.write('x');
});
`;

/**
 * Runs a command as the leader of a session with a new terminal, and hangs that up when the command
 * says that it is ready.
 */
const HANG_UP = `
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
said = b""
while b"tunnel: ready" not in said: said += os.read(terminal, 1000)
print("ready", flush=True)
sys.stdin.readline()
os.close(terminal)
print("left with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
`;

describe('a reload', { skip: labUnavailable('curl', 'python3') }, () => {
  let lab: Lab;
  let directory: string;
  let targets: string;
  let allow: string;
  let tunnel: Child | undefined;
  const held: Child[] = [];

  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
  });
  after(() => lab?.close());
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-reload-'));
    chmodSync(directory, 0o700);
    targets = join(directory, 'targets');
    allow = join(directory, 'allow');
  });
  afterEach(async () => {
    for (const child of held.splice(0)) await child.stop('SIGKILL');
    await tunnel?.stop('SIGINT');
    tunnel = undefined;
    rmSync(directory, { recursive: true });
  });

  const env = () => ['env', `RUNTIME_DIRECTORY=${directory}`];

  async function start(...args: readonly string[]): Promise<void> {
    const words = ['-r', REMOTE, '--name', 'lab', '-s', targets, ...args];
    tunnel = await lab.client.spawn([...env(), 'setsid', ...programCommand(), ...words]);
    await tunnel.waitForLine(/tunnel: ready\n/, LIMIT_MS);
  }

  const command = (...words: readonly string[]) =>
    lab.client.exec([...env(), ...programCommand(), ...words], { timeout: LIMIT_MS });

  async function reload(expected: RegExp): Promise<void> {
    const { stdout, stderr } = await command('reload', 'lab');
    assert.match(stdout + stderr, expected);
  }

  async function get(host: string): Promise<boolean> {
    const argv = ['curl', '-sS', '--max-time', '5', `http://${host}/`];
    return (await lab.client.exec(argv)).stdout.includes('"peer":"10.77.0.1"');
  }

  async function routes(): Promise<string[]> {
    const { stdout } = await lab.client.exec(['ip', '-4', 'route']);
    const ours = stdout.split('\n').filter((line) => / dev tun/.test(line));
    return ours.map((line) => line.split(' ')[0] ?? '').filter((to) => to.startsWith('10.'));
  }

  async function hold(): Promise<Child> {
    const words = [process.execPath, '-e', HOLDER, API1, String(Port.echo), String(FLOWS)];
    const child = await lab.client.spawn(words, { stdin: 'open' });
    held.push(child);
    await child.waitForLine(/open\n/, LIMIT_MS);
    return child;
  }

  async function allLive(child: Child, word: string): Promise<void> {
    child.write(`${word}\n`);
    await child.waitForLine(new RegExp(`${word} over ${FLOWS}\n`), LIMIT_MS);
  }

  it('loses none of 200 flows, and holds the next one to the new rules', async () => {
    writeFileSync(targets, `${PRIVATE4}\n`);
    writeFileSync(allow, `${PRIVATE4}\n`);
    await start('--allow', allow);
    const flows = await hold();
    writeFileSync(allow, `${API2}\n`);
    await reload(/reloaded: the allow-list has 1 rule, others than before/);
    assert.equal(await get(API1), false);
    assert.equal(await get(API2), true);
    await allLive(flows, 'list');
    writeFileSync(targets, `${API2}\n`);
    await reload(/1 target added, 1 removed/);
    // Not the rest of the network, but what connections live to.
    assert.deepEqual((await routes()).sort(), [API1, API2].sort());
    await allLive(flows, 'removed');
    assert.equal(await get(API2), true);
    writeFileSync(targets, `x y\n`);
    await reload(/targets:1: "x y" is more than one target/);
    await allLive(flows, 'wrong');
    await flows.stop('SIGKILL');
    const until = performance.now() + LIMIT_MS;
    while ((await routes()).length > 1) assert.ok(performance.now() < until, 'the route stays');
    assert.deepEqual(await routes(), [API2]);
  });

  it('comes with a HUP where there is no terminal, and leaves no routes behind', async () => {
    writeFileSync(targets, `${API2}\n`);
    await start();
    const { stdout } = await command('status', 'lab', '--json');
    const [{ pid }] = JSON.parse(stdout).tunnels;
    for (let i = 0; i < 50; i++) {
      writeFileSync(targets, i % 2 === 0 ? `10.77.${i}.0/24\n10.99.0.0/16\n` : `${API2}\n`);
      await reload(/reloaded: \d target/);
    }
    assert.deepEqual(await routes(), [API2]);
    writeFileSync(targets, `${PRIVATE4}\n`);
    process.kill(pid, 'SIGHUP');
    await tunnel?.waitForLine(/reloaded: 1 target added, 1 removed\n/, LIMIT_MS);
    assert.equal(await get(API1), true);
  });

  for (const [who, ...leader] of [['the tunnel'], ['a shell', 'sh', '-c', '"$@"; exit $?', 'sh']]) {
    it(`is not meant by the HUP of a terminal that has gone: ${who} leads its session`, async () => {
      const words = ['-r', REMOTE, '--name', 'lab', API1];
      const argv = [...env(), 'python3', '-c', HANG_UP, ...leader, ...programCommand(), ...words];
      const child = await lab.client.spawn(argv, { stdin: 'open' });
      held.push(child);
      await child.waitForLine(/ready\n/, LIMIT_MS);
      assert.deepEqual(await routes(), [API1]);
      const { stdout } = await command('status', 'lab', '--json');
      const [{ pid }] = JSON.parse(stdout).tunnels;
      child.write('\n');
      // A shell is ended by the signal itself.
      await child.waitForLine(who === 'a shell' ? /left with -1\n/ : /left with 0\n/, LIMIT_MS);
      const until = performance.now() + LIMIT_MS;
      while (existsSync(`/proc/${pid}`)) {
        assert.ok(performance.now() < until, 'it goes on');
        await delay(20);
      }
      assert.deepEqual(await routes(), []);
      // In order: it has taken its socket away itself.
      assert.ok(!existsSync(join(directory, `${pid}.sock`)));
    });
  }
});
