/**
 * Connections into this machine under wide targets: the login's peer is left out by itself, others
 * are warned about.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { PRIVATE4 } from '../support/addresses.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import {
  allProcesses,
  commandLineOf,
  signalAll,
  withDescendants,
} from '../support/processtable.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

/** A host on the internet, by way of the default route. */
const OUTSIDE4 = '203.0.113.7';
const OUTSIDE6 = '2001:db8:7::7';
const CLIENT4 = '192.0.2.2';
const CLIENT6 = '2001:db8:1::2';
const PORT = 4422;
const READY_MS = 20_000;
/** Answers each line. */
const SERVER = `require('node:net').createServer((s) => s.on('error', () => {}).on('data', () => s.write('answer'))).listen(${PORT}, '::', () => console.log('listening'))`;
/** Asks each time it gets a line. */
const PEER = (host: string, from: string) =>
  `const s = require('node:net').connect({ port: ${PORT}, host: '${host}', localAddress: '${from}' }, () => { console.log('connected'); process.stdin.on('data', () => s.write('?')); }); s.on('data', () => console.log('answered'));`;

describe('connections into this machine', { skip: labUnavailable() }, () => {
  let lab: Lab;
  let initial: string;
  before(async () => {
    lab = await Lab.create();
    await lab.uplink.configure([
      `addr add ${OUTSIDE4}/32 dev lo`,
      `addr add ${OUTSIDE6}/128 dev lo nodad`,
    ]);
    const server = await lab.client.spawn([process.execPath, '-e', SERVER]);
    await server.waitForLine(/listening/);
    initial = await lab.client.hostState();
  });
  after(() => lab?.close());

  const running: Child[] = [];
  afterEach(async () => {
    for (const child of running.splice(0).toReversed()) await child.stop('SIGINT');
    assert.equal(await lab.client.hostState(), initial);
  });

  /** `login`: what sshd tells in SSH_CONNECTION. */
  async function start(login: string | undefined, ...args: string[]): Promise<Child> {
    const env = login === undefined ? {} : { SSH_CONNECTION: login };
    const argv = [process.execPath, MAIN, '-r', REMOTE, ...args];
    const child = await lab.client.spawn(argv, { env });
    running.push(child);
    await child.waitForLine(/tunnel: ready\n/, READY_MS);
    return child;
  }

  /** A client outside that is connected; `ask` resolves when it is answered. */
  async function peer(to: string, from: string) {
    const child = await lab.uplink.spawn([process.execPath, '-e', PEER(to, from)], {
      stdin: 'open',
    });
    running.push(child);
    await child.waitForLine(/connected/);
    return {
      ask: async (milliseconds = 5_000) => {
        child.write('?\n');
        await child.waitForLine(/answered/, milliseconds);
      },
    };
  }

  for (const [family, to, from, target] of [
    ['IPv4', CLIENT4, OUTSIDE4, '0/0'],
    ['IPv6', CLIENT6, OUTSIDE6, '::/0'],
  ] as const) {
    it(`leaves the peer of the SSH login out (${family})`, async () => {
      const outside = await peer(to, from);
      const child = await start(`${from} 50022 ${to} 22`, '0/0', '::/0');
      assert.match(child.stderr, new RegExp(`left out: ${from}, the peer of this SSH login\n`));
      assert.doesNotMatch(child.stderr, /connections into this machine break/);
      await outside.ask();
    });

    it(`warns of other peers, whose answers are lost (${family})`, async () => {
      const outside = await peer(to, from);
      const child = await start(undefined, target);
      assert.match(
        child.stderr,
        new RegExp(`connections into this machine break.*: from ${from} \\(port ${PORT}\\)`),
      );
      assert.match(child.stderr, new RegExp(`-x ${from}`));
      await assert.rejects(outside.ask(1_500));
    });
  }

  it('finds the login of a shell further up, where sudo drops the variable', async () => {
    const tunnel = `env -u SSH_CONNECTION ${process.execPath} ${MAIN} -r ${REMOTE} 0/0`;
    // The second shell stands for sudo: the kernel shows a process's environment at its start.
    const script = `env -u SSH_CONNECTION sh -c '${tunnel}; :'; :`;
    const child = await lab.client.spawn(['sh', '-c', script], {
      env: { SSH_CONNECTION: `${OUTSIDE4} 50022 ${CLIENT4} 22` },
    });
    running.push(child);
    await child.waitForLine(/tunnel: ready\n/, READY_MS);
    assert.match(child.stderr, new RegExp(`left out: ${OUTSIDE4}, the peer of this SSH login`));
    const isTunnel = (pid: number) => commandLineOf(pid).split('\0')[1] === MAIN;
    const below = [...withDescendants([child.pid], allProcesses())];
    signalAll(below.filter(isTunnel), 'SIGINT');
    await child.wait(READY_MS);
  });

  it('says nothing where the targets do not hold the peers', async () => {
    const outside = await peer(CLIENT4, OUTSIDE4);
    const child = await start(`${OUTSIDE4} 50022 ${CLIENT4} 22`, PRIVATE4);
    assert.doesNotMatch(child.stderr, /left out|connections into/);
    await outside.ask();
  });

  it('lets a peer in a connected network stay there, with its neighbours', async () => {
    const outside = await peer(CLIENT4, '192.0.2.1');
    const child = await start(`192.0.2.1 50022 ${CLIENT4} 22`, '0/0');
    assert.doesNotMatch(child.stderr, /SSH login|connections into/);
    await outside.ask();
    const { stdout } = await lab.client.exec(['ip', 'route', 'get', '192.0.2.77']);
    assert.match(stdout, /dev uplink/);
  });

  it('keeps that peer and the gateway with --capture-local, not the neighbours', async () => {
    const outside = await peer(CLIENT4, '192.0.2.1');
    const child = await start(`192.0.2.1 50022 ${CLIENT4} 22`, '0/0', '--capture-local');
    assert.match(child.stderr, /left out: 192\.0\.2\.1, the peer of this SSH login/);
    await outside.ask();
    const { stdout } = await lab.client.exec(['ip', 'route', 'get', '192.0.2.77']);
    assert.match(stdout, /dev tun/);
  });

  it('names ports that are passed on to containers', async () => {
    const rules = [
      'add table ip lab',
      'add chain ip lab prerouting { type nat hook prerouting priority dstnat; }',
      'add rule ip lab prerouting tcp dport { 8080, 9000-9010 } dnat to 172.17.0.2',
    ].join('; ');
    assert.equal((await lab.client.exec(['nft', rules])).status, 0);
    try {
      const child = await start(undefined, '0/0');
      assert.match(
        child.stderr,
        /connections from outside to port 8080,9000-9010, which this machine passes/,
      );
      await child.stop('SIGINT');
      const narrow = await start(undefined, '10.78.0.0/16');
      assert.doesNotMatch(narrow.stderr, /passes on/);
      await narrow.stop('SIGINT');
    } finally {
      await lab.client.exec(['nft', 'delete table ip lab']);
    }
  });

  it('warns where only one family of the internet is captured', async () => {
    const four = await start(undefined, '0/0');
    assert.match(four.stderr, /0\/0 is captured and ::\/0 is not: IPv6 goes past the tunnel/);
    await four.stop('SIGINT');
    const six = await start(undefined, '::/0');
    assert.match(six.stderr, /::\/0 is captured and 0\/0 is not: IPv4 goes past the tunnel/);
    await six.stop('SIGINT');
    for (const args of [['0/0', '::/0'], ['0/0', '-x', '::/0'], [PRIVATE4]]) {
      const child = await start(undefined, ...args);
      assert.doesNotMatch(child.stderr, /goes past the tunnel/);
      await child.stop('SIGINT');
    }
  });
});
