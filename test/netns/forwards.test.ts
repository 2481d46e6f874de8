/**
 * Fixed forwards (-L) beside a capture on the same link, in a network with a firewall, a jump host
 * that goes away, and other machines.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import {
  API1,
  API1_6,
  API1_NAME,
  CLIENT4,
  CLIENT6,
  JUMPHOST_PRIVATE4,
  JUMPHOST_PRIVATE6,
  JUMPHOST4,
  Port,
  PRIVATE4,
  UNREACHABLE4,
} from '../support/addresses.ts';
import { INPUT_DROP, switchOff, switchOn } from '../support/firewall.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child, ExecResult } from '../support/process.ts';
import { programCommand, REMOTE, startTunnel } from '../support/tunnel.ts';

const WAIT_MS = 30_000;
const FROM_JUMPHOST = [JUMPHOST_PRIVATE4, JUMPHOST_PRIVATE6];
const AT_ONCE = 200;
/** curl(1): the connection failed, the answer was empty, sending or receiving failed. */
const CONNECT_FAILED = 7;
const TIMED_OUT = 28;
const CUT_OFF = [52, 56];

describe('fixed forwards in a network', {
  skip: labUnavailable('curl', 'ss', 'nft', 'setpriv'),
  timeout: 240_000,
}, () => {
  let lab: Lab;
  const running: Child[] = [];

  before(async () => {
    lab = await Lab.create({ sshd: { variant: 'open' } });
  });
  afterEach(async () => {
    for (const child of running.splice(0))
      await child.stop('SIGTERM').catch(() => child.kill('SIGKILL'));
  });
  after(() => lab?.close());

  async function start(...args: readonly string[]): Promise<Child> {
    const child = await startTunnel(lab.client, args);
    running.push(child);
    return child;
  }

  const curl = (from: 'client' | 'uplink', ...args: string[]): Promise<ExecResult> =>
    lab[from].exec(['curl', '-gsS', '--max-time', '25', ...args], { timeout: 60_000 });

  /** Who has answered, to whom. */
  async function carried(...args: string[]): Promise<void> {
    const { status, stdout, stderr } = await curl('client', ...args);
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    const { host, peer } = JSON.parse(stdout) as { host: string; peer: string };
    assert.equal(host, 'api1');
    assert.ok(FROM_JUMPHOST.includes(peer), `${args.join(' ')} came from ${peer}`);
  }

  async function connections(): Promise<number> {
    const filter = ['state', 'established', 'dst', JUMPHOST4];
    const { stdout } = await lab.client.exec(['ss', '-Htn', ...filter]);
    return stdout.split('\n').filter(Boolean).length;
  }

  it('carries both families, a name and a socket beside the capture, behind a firewall', async () => {
    const socket = join(lab.directory, 'forward.sock');
    await switchOn(lab, INPUT_DROP);
    try {
      await start(
        ...['-L', `127.0.0.1:8101:${API1_NAME}:80`, '-L', `[::1]:8102:[${API1_6}]:80`],
        ...['-L', `${socket}:${API1}:80`, '-L', `8103:${API1}:80`, PRIVATE4],
      );
      await carried(`http://${API1}/`);
      await carried('http://127.0.0.1:8101/');
      await carried('http://[::1]:8102/');
      await carried('--unix-socket', socket, 'http://api1/');
      await carried('http://127.0.0.1:8103/');
      await carried('http://[::1]:8103/');
      assert.equal(await connections(), 1, 'all on one link');
      const many = await curl(
        'client',
        ...['--parallel', '--parallel-immediate', '--parallel-max', String(AT_ONCE)],
        ...['-w', '\n%{http_code}\n'],
        ...Array.from({ length: AT_ONCE }, () => 'http://127.0.0.1:8103/slow?ms=200'),
      );
      assert.equal(many.status, 0, many.stderr);
      assert.equal(many.stdout.match(/^200$/gm)?.length, AT_ONCE);
    } finally {
      await switchOff(lab);
    }
  });

  it('cuts off who connects to what is refused, and goes on', async () => {
    await start(
      ...['-L', `8101:${API1}:${Port.closed}`, '-L', `8102:${UNREACHABLE4}:80`],
      ...['-L', '8103:missing.lab.example:80', '-L', `8104:${API1}:80`],
    );
    for (const port of [8101, 8102, 8103]) {
      const { status, stderr } = await curl('client', `http://127.0.0.1:${port}/`);
      // Where the reset comes before curl has looked, its connect has failed.
      const expected = [...CUT_OFF, CONNECT_FAILED];
      assert.ok(expected.includes(status ?? -1), `${port}: ${status} ${stderr}`);
    }
    await carried('http://127.0.0.1:8104/');
  });

  it('opens a port to other machines only where that is asked for', async () => {
    const child = await start(
      ...['-L', `8101:${API1}:80`, '-L', `*:8102:${API1}:80`, '-L', `${CLIENT4}:8103:${API1}:80`],
    );
    assert.equal(child.stderr.match(/warning: whoever can connect to the port of/g)?.length, 2);
    const status = async (url: string) => (await curl('uplink', url)).status;
    assert.equal(await status(`http://${CLIENT4}:8101/`), CONNECT_FAILED);
    assert.equal(await status(`http://${CLIENT4}:8102/`), 0);
    assert.equal(await status(`http://[${CLIENT6}]:8102/`), 0);
    assert.equal(await status(`http://${CLIENT4}:8103/`), 0);
    assert.equal(await status(`http://[${CLIENT6}]:8103/`), CONNECT_FAILED);
    await switchOn(lab, INPUT_DROP);
    try {
      const filtered = await curl('uplink', '--max-time', '2', `http://${CLIENT4}:8102/`);
      assert.equal(filtered.status, TIMED_OUT);
    } finally {
      await switchOff(lab);
    }
    await carried(`http://${CLIENT4}:8102/`);
  });

  it('lets new connections wait while the link is lost, and serves them after it', async () => {
    const child = await start('-L', `8101:${API1}:80`, '--reconnect-hold', '60');
    const hanging = curl('client', 'http://127.0.0.1:8101/slow?ms=600000');
    while ((await connections()) === 0);
    await carried('http://127.0.0.1:8101/');
    await lab.sshd.kill();
    await child.waitForLine(/link lost/, WAIT_MS);
    assert.ok(CUT_OFF.includes((await hanging).status ?? -1), 'what was open is reset');
    const waiting = carried('http://127.0.0.1:8101/');
    await lab.sshd.restart({ variant: 'open' });
    await waiting;
  });

  it('says what is in the way: a taken port, a port of root', async () => {
    await start('-L', `127.0.0.1:8101:${API1}:80`);
    const fails = async (words: readonly string[], ...args: string[]) => {
      const argv = [...words, ...programCommand(), '-r', REMOTE, ...args];
      const { status, stderr } = await lab.client.exec(argv, { timeout: WAIT_MS });
      assert.equal(status, 6, stderr);
      assert.match(stderr, /\[forward-listen\]/);
      return stderr;
    };
    assert.match(await fails([], '-L', `127.0.0.1:8101:${API1}:80`), /the port is in use/);
    const user = ['setpriv', '--bounding-set', '-net_bind_service', '--'];
    assert.match(
      await fails(user, '-L', `127.0.0.1:80:${API1}:80`),
      /permission denied.*\n.*above 1023/,
    );
  });
});
