/**
 * --fail-closed: after every end except an orderly one, nothing that was captured leaves past the
 * tunnel. A server beside the client's uplink answers for the same addresses, so a leak is seen.
 */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { API1, API1_6, PRIVATE4, PRIVATE6, UPLINK4, UPLINK6 } from '../support/addresses.ts';
import { NOTICED_MS } from '../support/capturelab.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { type Child, mustRun } from '../support/process.ts';
import { MAIN, REMOTE, startTunnel } from '../support/tunnel.ts';
import { AT_ONCE_MS } from '../support/until.ts';

const LEAKED = 'leaked';
const SERVER = `require('node:http').createServer((_, r) => r.end('${LEAKED}')).listen(80, '::', () => console.log('listening'))`;
const ENDED_MS = 5_000;
const READY_MS = 20_000;

describe('--fail-closed', { skip: labUnavailable() }, () => {
  let lab: Lab;
  let initial: string;
  before(async () => {
    lab = await Lab.create();
    await lab.uplink.configure([
      `addr add ${API1}/32 dev lo`,
      `addr add ${API1_6}/128 dev lo nodad`,
    ]);
    const server = await lab.uplink.spawn([process.execPath, '-e', SERVER]);
    await server.waitForLine(/listening/);
    initial = await lab.client.hostState();
  });
  after(() => lab?.close());

  let tunnel: Child | undefined;
  afterEach(async () => {
    await tunnel?.stop('SIGKILL');
    tunnel = undefined;
    await helper().then((pid) => pid === undefined || process.kill(pid, 'SIGKILL'));
    await clean();
  });

  async function start(...args: string[]): Promise<Child> {
    tunnel = await startTunnel(lab.client, args);
    return tunnel;
  }

  async function helper(): Promise<number | undefined> {
    const script = `ip netns pids ${lab.client.name} | xargs -r ps -o pid=,comm= -p`;
    const { stdout } = await lab.client.exec(['sh', '-c', script]);
    const pid = /(\d+) tunnel-helper/.exec(stdout)?.[1];
    return pid === undefined ? undefined : Number(pid);
  }

  async function helperOf(): Promise<number> {
    const pid = await helper();
    assert.ok(pid !== undefined);
    return pid;
  }

  function clean() {
    return lab.client.exec([process.execPath, MAIN, 'clean']);
  }

  /** What answers at an address: `api1` behind the tunnel, LEAKED past it, or curl's error. */
  async function fetch(address: string): Promise<string> {
    const host = address.includes(':') ? `[${address}]` : address;
    const argv = ['curl', '-gsS', '--max-time', '5', `http://${host}/`];
    const { stdout, stderr } = await lab.client.exec(argv);
    return stdout === LEAKED ? LEAKED : stdout === '' ? stderr : 'carried';
  }

  async function untilNoDevice(): Promise<void> {
    const until = performance.now() + ENDED_MS;
    while (/\btun\d/.test(await lab.client.hostState())) assert.ok(performance.now() < until);
  }

  async function expectClosed(): Promise<void> {
    await untilNoDevice();
    const begin = performance.now();
    for (const address of [API1, API1_6])
      assert.match(
        await fetch(address),
        /[Nn]o route to host|unreachable|Could(?:n't| not) connect/,
        address,
      );
    assert.ok(performance.now() - begin < AT_ONCE_MS, 'refused at once');
    const { stdout } = await lab.client.exec(['ip', 'route', 'get', API1]);
    assert.equal(stdout, '');
  }

  async function expectNothingLeft(): Promise<void> {
    await untilNoDevice();
    assert.equal(await lab.client.hostState(), initial);
    assert.equal(await fetch(API1), LEAKED);
  }

  it('without it what was captured is as reachable as before', async () => {
    const child = await start(PRIVATE4, PRIVATE6);
    assert.equal(await fetch(API1), 'carried');
    await child.stop('SIGKILL');
    await expectNothingLeft();
  });

  const ends: readonly (readonly [string, (child: Child) => Promise<unknown>])[] = [
    ['kill -9 of the program', (child) => child.stop('SIGKILL')],
    [
      'kill -9 of the helper',
      async (child) => {
        process.kill(await helperOf(), 'SIGKILL');
        return child.exited;
      },
    ],
    [
      'kill -9 of the helper, then of the program',
      async (child) => {
        process.kill(await helperOf(), 'SIGKILL');
        return child.stop('SIGKILL');
      },
    ],
    [
      'kill -9 of both while neither runs',
      async (child) => {
        const pid = await helperOf();
        process.kill(pid, 'SIGSTOP');
        process.kill(child.pid, 'SIGSTOP');
        process.kill(pid, 'SIGKILL');
        return child.stop('SIGKILL');
      },
    ],
    [
      'a device that is taken away',
      async (child) => {
        const { stdout } = await lab.client.exec(['ip', '-o', 'link', 'show', 'type', 'tun']);
        const [, device = ''] = /: (tun\d+):/.exec(stdout) ?? [];
        await lab.client.exec(['ip', 'link', 'del', device]);
        return child.exited;
      },
    ],
    [
      'a helper that is told to end',
      async (child) => {
        process.kill(await helperOf(), 'SIGTERM');
        return child.exited;
      },
    ],
    [
      'an error: a rule diverts it',
      async (child) => {
        await lab.client.exec(['ip', 'rule', 'add', 'pref', '500', 'to', PRIVATE4, 'prohibit']);
        const { status } = await child.exited;
        await lab.client.exec(['ip', 'rule', 'del', 'pref', '500']);
        assert.equal(status, 6, child.stderr);
      },
    ],
    [
      'a host key that has changed, when the link is made again',
      async (child) => {
        const { hostKeys } = lab.credentials;
        const kept = hostKeys.map((path) => readFileSync(path));
        try {
          for (const path of hostKeys) {
            rmSync(path);
            await mustRun(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', path], {
              input: 'y',
            });
          }
          await lab.sshd.restart();
          assert.equal((await child.exited).status, 4, child.stderr);
        } finally {
          for (const [i, path] of hostKeys.entries())
            writeFileSync(path, kept[i] ?? '', { mode: 0o600 });
          await lab.sshd.restart();
        }
        assert.match(child.stderr, /10\.77\.0\.0\/16, 2001:db8:77::\/64 stays unreachable/);
      },
    ],
  ];
  for (const [what, end] of ends) {
    it(`keeps it closed after ${what}; "tunnel clean" opens it`, async () => {
      const child = await start('--fail-closed', PRIVATE4, PRIVATE6);
      for (const address of [API1, API1_6]) assert.equal(await fetch(address), 'carried');
      await end(child);
      await expectClosed();
      const { status, stdout } = await clean();
      assert.equal(status, 0);
      assert.match(stdout, /10\.77\.0\.0\/16 is no longer unreachable\n/);
      assert.match(stdout, /2001:db8:77::\/64 is no longer unreachable\n/);
      await expectNothingLeft();
      assert.equal((await clean()).stdout, 'nothing to repair\n');
    });
  }

  it('keeps addresses closed to which somebody has made routes while it ran', async () => {
    const ip = async (line: string): Promise<unknown> =>
      lab.client.exec(['ip', ...line.split(' ')]);
    const child = await start('--fail-closed', API1, API1_6);
    await ip(`route prepend ${API1}/32 via ${UPLINK4}`);
    await child.waitForLine(/overridden.*10\.77/, NOTICED_MS);
    await ip(`-6 route add ${API1_6}/128 via ${UPLINK6} metric 10`);
    await child.waitForLine(/overridden.*2001:/, NOTICED_MS);
    for (const address of [API1, API1_6]) assert.equal(await fetch(address), 'carried');
    await child.stop('SIGKILL');
    await expectClosed();
    await ip(`route del ${API1}/32 via ${UPLINK4}`);
    await ip(`-6 route del ${API1_6}/128 via ${UPLINK6}`);
    await clean();
    await expectNothingLeft();
  });

  it('says what stays unreachable', async () => {
    const child = await start('--fail-closed', PRIVATE4);
    process.kill(await helperOf(), 'SIGKILL');
    await child.exited;
    assert.match(child.stderr, /10\.77\.0\.0\/16 stays unreachable: tunnel clean\n/);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`leaves nothing after ${signal}`, async () => {
      const child = await start('--fail-closed', PRIVATE4, PRIVATE6);
      assert.deepEqual(await child.stop(signal), { status: 0, signal: null });
      assert.doesNotMatch(child.stderr, /unreachable/);
      await expectNothingLeft();
    });
  }

  it('is undone by the next start, without a gap in between', async () => {
    await (await start('--fail-closed', PRIVATE4, PRIVATE6)).stop('SIGKILL');
    await expectClosed();
    const next = await start(PRIVATE4);
    assert.match(next.stderr, /left by a tunnel with --fail-closed: 10\.77\.0\.0\/16 and 1 more/);
    assert.equal(await fetch(API1), 'carried');
    assert.equal(await fetch(API1_6), LEAKED);
    await next.stop('SIGINT');
    await expectNothingLeft();
  });

  it('stays closed when the next start fails', async () => {
    await (await start('--fail-closed', PRIVATE4)).stop('SIGKILL');
    await untilNoDevice();
    const argv = [process.execPath, MAIN, '-r', REMOTE, '-p', '9', PRIVATE4];
    const { status } = await lab.client.exec(argv);
    assert.equal(status, 5);
    assert.match(await fetch(API1), /[Nn]o route to host|Could(?:n't| not) connect/);
  });

  it('closes the internet, but neither the connected network nor the jump host', async () => {
    const child = await start('--fail-closed', '0/0', '::/0');
    assert.equal(await fetch(API1), 'carried');
    await child.stop('SIGKILL');
    await expectClosed();
    assert.equal(await fetch(UPLINK4), LEAKED, 'the connected network');
    const again = await start('--fail-closed', '0/0', '::/0');
    assert.equal(await fetch(API1), 'carried');
    assert.deepEqual(await again.stop('SIGINT'), { status: 0, signal: null });
    await expectNothingLeft();
  });

  it('makes a lost link again through what it has closed', async () => {
    const child = await start('--fail-closed', '0/0');
    const offset = lab.sshd.log().length;
    await lab.sshd.dropConnections();
    await lab.sshd.waitForLog(/Accepted /, READY_MS, offset);
    assert.equal(await fetch(API1), 'carried');
    assert.deepEqual(await child.stop('SIGINT'), { status: 0, signal: null });
    await expectNothingLeft();
  });

  it('closes what was overridden as well', async () => {
    const foreign = [
      ['10.77.0.0/24', UPLINK4],
      [`${API1}/32`, UPLINK4],
      [`${API1_6}/128`, UPLINK6],
    ] as const;
    const change = async (what: 'add' | 'del') => {
      for (const [prefix, gateway] of foreign)
        await lab.client.exec(['ip', 'route', what, prefix, 'via', gateway]);
    };
    await change('add');
    try {
      const child = await start('--fail-closed', PRIVATE4, PRIVATE6);
      for (const address of [API1, API1_6]) assert.equal(await fetch(address), 'carried', address);
      await child.stop('SIGKILL');
      await expectClosed();
      await clean();
      for (const address of [API1, API1_6]) assert.equal(await fetch(address), LEAKED, address);
    } finally {
      await change('del');
    }
    await expectNothingLeft();
  });

  it("is not undone while another one runs: a clean, or another tunnel's end", async () => {
    const child = await start('--fail-closed', PRIVATE4);
    assert.equal((await clean()).stdout, 'nothing to repair\n');
    const other = await startTunnel(lab.client, ['--fail-closed', PRIVATE6]);
    await other.stop('SIGINT');
    await child.stop('SIGKILL');
    await untilNoDevice();
    assert.match(await fetch(API1), /[Nn]o route to host|Could(?:n't| not) connect/);
    assert.equal(await fetch(API1_6), LEAKED);
  });

  it('puts back what somebody removes', async () => {
    const child = await start('--fail-closed', PRIVATE4);
    const show = ['ip', 'route', 'show', 'type', 'unreachable'];
    await lab.client.exec(['ip', 'route', 'flush', 'type', 'unreachable']);
    const until = performance.now() + ENDED_MS;
    while ((await lab.client.exec(show)).stdout === '') assert.ok(performance.now() < until);
    await child.stop('SIGINT');
    await expectNothingLeft();
  });
});
