/**
 * kill -9 of each part, and of all: nothing is left on the machine, and the next start works.
 * TUNNEL_LONG=1: each fifty times.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PRIVATE4, PRIVATE6 } from '../support/addresses.ts';
import { connectOnce, holdOne, SLACK_MS, sshClients } from '../support/faultlab.ts';
import { measured } from '../support/faults.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { type Child, mustRun } from '../support/process.ts';
import { allProcesses, withDescendants } from '../support/processtable.ts';
import { SeededRandom } from '../support/tcprandom.ts';
import { LONG } from '../support/tuning.ts';
import { MAIN, REMOTE, startTunnel } from '../support/tunnel.ts';
import { PATIENCE_MS } from '../support/until.ts';

const TIMES = LONG ? 50 : 3;
/** How soon nothing may be left. */
/** When in the life of a tunnel: before it is ready, or while it carries something. */
const MOMENTS_MS = 1_500;

describe(`kill -9, ${TIMES} times each`, { skip: labUnavailable() }, () => {
  let lab: Lab;
  let clean: string;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
    clean = await lab.client.hostState();
  });
  after(() => lab?.close());

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

  async function expectNothingLeft(what: string): Promise<void> {
    const until = performance.now() + PATIENCE_MS;
    let state = '';
    let processes = '';
    do {
      state = await lab.client.hostState();
      processes = (await mustRun(['ip', 'netns', 'pids', lab.client.name])).trim();
    } while ((state !== clean || processes !== '') && performance.now() < until);
    assert.equal(state, clean, what);
    const left = processes.split('\n').filter((pid) => pid !== '');
    const names = allProcesses().filter(({ pid }) => left.includes(String(pid)));
    assert.deepEqual(names, [], what);
  }

  const parts: Readonly<Record<string, (tunnel: Child) => Promise<readonly number[]>>> = {
    'the program': async ({ pid }) => [pid],
    'the helper': async () => [await helperOf()],
    both: async ({ pid }) => [await helperOf(), pid],
    'all of its processes': async ({ pid }) => [
      ...withDescendants([pid], allProcesses()),
      await helperOf(),
    ],
  };
  for (const [part, pidsOf] of Object.entries(parts)) {
    it(`of ${part}`, async (t) => {
      for (let i = 0; i < TIMES; i++) {
        const tunnel = await startTunnel(lab.client, [PRIVATE4, PRIVATE6]);
        const holder = await holdOne(lab);
        assert.notEqual(await lab.client.hostState(), clean);
        for (const pid of await pidsOf(tunnel)) process.kill(pid, 'SIGKILL');
        await tunnel.wait(PATIENCE_MS);
        await holder.stop('SIGKILL');
        await expectNothingLeft(`${part}, ${i}: ${tunnel.stderr}`);
      }
      measured(t, 'kill-program', `${part}: ${TIMES} times, nothing left`);
    });
  }

  it('of the program at any moment of its start', async () => {
    for (let i = 0; i < TIMES; i++) {
      const random = new SeededRandom(i);
      const tunnel = await lab.client.spawn([process.execPath, MAIN, '-r', REMOTE, PRIVATE4]);
      await sleep(random.below(MOMENTS_MS));
      tunnel.kill('SIGKILL');
      await tunnel.wait(PATIENCE_MS);
      await expectNothingLeft(`seed ${i}: ${tunnel.stderr}`);
    }
  });

  it('of ssh, which carries the link: it is started again, and the capture stays', async (t) => {
    const tunnel = await startTunnel(lab.client, ['--transport', 'openssh', PRIVATE4]);
    try {
      for (let i = 0; i < TIMES; i++) {
        const holder = await holdOne(lab);
        const [ssh] = sshClients(tunnel);
        assert.ok(ssh !== undefined);
        const lost = tunnel.waitForLine(/link lost/, SLACK_MS);
        process.kill(ssh, 'SIGKILL');
        await lost;
        await holder.waitForLine(/ECONNRESET\n/, SLACK_MS);
        await holder.stop('SIGKILL');
        assert.equal((await connectOnce(lab)).outcome, 'open', tunnel.stderr);
      }
    } finally {
      await tunnel.stop('SIGINT');
    }
    await expectNothingLeft('ssh');
    measured(t, 'kill-program', `ssh: ${TIMES} times, back each time`);
  });

  it('of exec’s program, and of its command', async (t) => {
    for (let i = 0; i < TIMES; i++) {
      for (const victim of ['program', 'command'] as const) {
        const command = ['sh', '-c', 'echo started $$; exec sleep 60'];
        const argv = [process.execPath, MAIN, 'exec', '-r', REMOTE, PRIVATE4, '--', ...command];
        const tunnel = await lab.client.spawn(argv);
        await tunnel.waitForLine(/started \d+\n/, 20_000);
        const [, sleeper] = /started (\d+)/.exec(tunnel.stdout) ?? [];
        if (victim === 'program') tunnel.kill('SIGKILL');
        else process.kill(Number(sleeper), 'SIGKILL');
        const { status } = await tunnel.wait(PATIENCE_MS);
        if (victim === 'command') assert.equal(status, 128 + 9);
        else process.kill(Number(sleeper), 'SIGKILL'); // the command outlives its network
        await expectNothingLeft(`exec: ${victim}`);
      }
    }
    measured(t, 'kill-program', `exec: ${TIMES} times, nothing left`);
  });
});
