/**
 * Whatever ends, and however: devices, addresses, routes, rules, filters and resolver are as
 * before.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { API1, Port, PRIVATE4, PRIVATE6 } from '../support/addresses.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { type Attempt, dial, startDialer, startTunnel } from '../support/tunnel.ts';
import { AT_ONCE_MS } from '../support/until.ts';

describe('nothing is left behind', { skip: labUnavailable() }, () => {
  let lab: Lab;
  let before_: string;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
    before_ = await lab.client.hostState();
  });
  after(async () => {
    await lab?.close();
  });

  async function helperOf(): Promise<number> {
    const { stdout } = await lab.client.exec([
      'sh',
      '-c',
      `ip netns pids ${lab.client.name} | xargs -r ps -o pid=,comm= -p`,
    ]);
    const pid = /(\d+) tunnel-helper/.exec(stdout)?.[1];
    assert.ok(pid !== undefined, `no helper among ${stdout}`);
    return Number(pid);
  }

  async function expectNothingLeft(): Promise<void> {
    const until = performance.now() + AT_ONCE_MS;
    let state = '';
    do {
      state = await lab.client.hostState();
    } while (state !== before_ && performance.now() < until);
    assert.equal(state, before_);
  }

  async function startBusyTunnel(): Promise<Child> {
    const tunnel = await startTunnel(lab.client, [PRIVATE4, PRIVATE6]);
    assert.notEqual(await lab.client.hostState(), before_);
    return tunnel;
  }

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`after ${signal}, which ends it in order with status 0`, async () => {
      const tunnel = await startBusyTunnel();
      const holder = await startDialer(lab.client, 'hold', API1, Port.echo, 3);
      await holder.waitForLine(/held 3\n/);
      assert.deepEqual(await tunnel.stop(signal), { status: 0, signal: null });
      await expectNothingLeft();
      await holder.waitForLine(/(ECONNRESET\n){3}/);
      await holder.stop('SIGKILL');
    });
  }

  it('and connections are reset at the end even behind a strict reverse-path filter', async () => {
    const filter = async (mode: number) => {
      await lab.client.configure([], [`net/ipv4/conf/all/rp_filter=${mode}`]);
    };
    await filter(1);
    try {
      const tunnel = await startBusyTunnel();
      const holder = await startDialer(lab.client, 'hold', API1, Port.echo, 3);
      await holder.waitForLine(/held 3\n/);
      await tunnel.stop('SIGINT');
      await holder.waitForLine(/(ECONNRESET\n){3}/);
      await holder.stop('SIGKILL');
    } finally {
      await filter(0);
    }
    await expectNothingLeft();
  });

  it('after kill -9 of the program', async () => {
    const tunnel = await startBusyTunnel();
    await tunnel.stop('SIGKILL');
    await expectNothingLeft();
  });

  it('after kill -9 of the helper: the program stops and says so', async () => {
    const tunnel = await startBusyTunnel();
    process.kill(await helperOf(), 'SIGKILL');
    const { status } = await tunnel.exited;
    assert.equal(status, 6);
    assert.match(tunnel.stderr, /error \[helper-lost\]/);
    await expectNothingLeft();
  });

  it('after kill -9 of both', async () => {
    const tunnel = await startBusyTunnel();
    process.kill(await helperOf(), 'SIGKILL');
    await tunnel.stop('SIGKILL');
    await expectNothingLeft();
  });

  it('after the device was deleted by somebody else', async () => {
    const tunnel = await startBusyTunnel();
    await lab.client.configure(['link delete tun0']);
    const { status } = await tunnel.exited;
    assert.equal(status, 6);
    await expectNothingLeft();
  });

  for (const [signal, status] of [
    ['SIGINT', 0],
    ['SIGKILL', null],
  ] as const) {
    it(`after ${signal} while the link is down and connections wait for it`, async () => {
      const tunnel = await startBusyTunnel();
      const holder = await startDialer(lab.client, 'hold', API1, Port.echo, 1);
      await holder.waitForLine(/held 1\n/);
      await lab.sshd.kill();
      await tunnel.waitForLine(/link lost: .*; reconnecting\n/);
      await holder.waitForLine(/ECONNRESET\n/);
      const waiting = await startDialer(lab.client, 'connect', API1, Port.echo);
      await new Promise((resolve) => setTimeout(resolve, 500));
      assert.equal(waiting.ended, undefined, waiting.stdout);
      assert.deepEqual(await tunnel.stop(signal), {
        status,
        signal: status === null ? signal : null,
      });
      await expectNothingLeft();
      await Promise.all([holder.stop('SIGKILL'), waiting.stop('SIGKILL')]);
      await lab.sshd.start();
    });
  }

  it('when two tunnels to different networks run side by side and end one after the other', async () => {
    const first = await startTunnel(lab.client, ['10.77.0.0/24']);
    const second = await startTunnel(lab.client, ['10.77.1.0/24', PRIVATE6]);
    const outcomes = async () =>
      Promise.all(
        [API1, '10.77.1.1'].map(
          async (host) =>
            (await dial<Attempt[]>(lab.client, 'connect', host, Port.http))[0]?.outcome,
        ),
      );
    assert.deepEqual(await outcomes(), ['open', 'open']);
    await first.stop('SIGINT');
    assert.deepEqual(await outcomes(), ['ENETUNREACH', 'open']);
    await second.stop('SIGINT');
    await expectNothingLeft();
  });
});
