/** A program that asks a tunnel for more names than it has leases for. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { API1_NAME } from '../support/addresses.ts';
import { labUnavailable } from '../support/lab.ts';
import { createNamesLab, type NamesLab } from '../support/nameslab.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';
import { AT_ONCE_MS } from '../support/until.ts';

/** Queries and connects from this machine, with a pause in milliseconds, or none. */
const FLOOD = `
  const dgram = require('node:dgram'), net = require('node:net');
  const name = (i) => Buffer.concat([Buffer.from([6]), Buffer.from(String(100000 + i % 800000)),
    Buffer.from('\\x04corp\\x07example\\0\\0\\x01\\0\\x01', 'latin1')]);
  const head = Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  const pause = Number(process.argv[2]);
  let i = 0;
  const socket = dgram.createSocket('udp4');
  socket.on('error', () => {});
  const turn = () => {
    for (let n = 0; n < 200; n++) socket.send(Buffer.concat([head, name(i++)]), 53, process.argv[1]);
    for (let n = 0; n < 20; n++) net.connect(80, '198.18.64.' + (1 + (i + n) % 250)).on('error', () => {}).setTimeout(50, function () { this.destroy(); });
    if (pause > 0) setTimeout(turn, pause);
    else setImmediate(turn);
  };
  console.log('floods');
  turn();`;

describe('a tunnel with names that is flooded', {
  skip: labUnavailable('openssl', 'unshare', 'getent', 'dnsmasq'),
}, () => {
  let names: NamesLab;
  before(async () => {
    names = await createNamesLab();
  });
  after(async () => {
    await names?.close();
  });

  it('keeps what is written out reachable, and stops in time', async () => {
    const { client } = names.exec.lab;
    const argv = (...command: readonly string[]) => names.exec.userArgv(command, { root: true });
    const tunnel = await client.spawn(
      argv(process.execPath, MAIN, '-r', REMOTE, API1_NAME, '*.corp.example'),
    );
    await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
    const flood = async (pause: number) => {
      const child = await client.spawn(
        argv(process.execPath, '-e', FLOOD, '198.18.0.53', String(pause)),
      );
      await child.waitForLine(/floods\n/, 10_000);
      return child;
    };
    const steady = await flood(40);
    // More names than there are leases, at 5,000 a second.
    await sleep(6000);
    const { stdout } = await client.exec(argv('getent', 'ahostsv4', API1_NAME), {
      timeout: 20_000,
    });
    assert.match(stdout, /^198\.18\./);
    await steady.stop('SIGKILL');
    const fast = await flood(0);
    await sleep(2000);
    const began = performance.now();
    await tunnel.stop('SIGTERM');
    const took = performance.now() - began;
    await fast.stop('SIGKILL');
    assert.ok(took < AT_ONCE_MS, `${took} ms`);
    assert.doesNotMatch(tunnel.stderr, /could not be closed/);
  });
});
