/**
 * Many connections to destinations that do not answer, given up or not, while others connect to
 * good ones: through a real sshd, whose own connects to black holes hang for two minutes, and which
 * has the usual 1024 descriptors.
 */
import assert from 'node:assert/strict';
import { availableParallelism, loadavg } from 'node:os';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { API1, BLACKHOLE4, PRIVATE4 } from '../support/addresses.ts';
import { ExecLab } from '../support/execlab.ts';
import type { Flood } from '../support/floodclient.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { type Child, mustRun } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { type Attempt, MAIN, REMOTE, startTunnel } from '../support/tunnel.ts';

const FLOOD = fileURLToPath(new URL('../support/floodclient.js', import.meta.url));
const DIALER = fileURLToPath(new URL('../support/dialer.js', import.meta.url));
/** A prefix whose packets api1 gets and drops. */
const SILENT_PREFIX = '10.77.128.0/17';
const SILENT = '10.77.128.1';
const DESCRIPTORS = 1024;
const ROUND_TRIP_MS = 20;
/** A good connect's time, while others do their worst, on a machine with nothing else to do. */
const PATIENCE_MS = 1000;
/** How long a SYN is sent again that is dropped each time, where others use the processors. */
const CONNECT_LIMIT_MS = 130_000;
/** Places that are taken would delay all, by minutes. */
const LEAST_IN_TIME = 2 / 3;

/** How many times longer everything takes because others use the processors, too. */
function slowness(): number {
  const [load = 0] = loadavg();
  return Math.min(Math.max(1, load / availableParallelism()), 10);
}
const ATTACKER = { uid: 4401, gid: 4401 };
const OTHER = { uid: 4402, gid: 4402 };

const GIVEN_UP = { count: 2400, seconds: 4, port: 443, patience: 1500 };
const ATTACKS: readonly Flood[] = [
  { ...GIVEN_UP, host: BLACKHOLE4, port: 1000, ports: 2400 },
  {
    ...GIVEN_UP,
    host: SILENT,
    spread: 2400,
    from: ['192.0.2.2', '192.0.2.3', '192.0.2.4'],
    again: true,
  },
];

async function makeSilent(lab: Lab): Promise<void> {
  await lab.jumphost.configure([`route add ${SILENT_PREFIX} via ${API1}`]);
  await lab.client.configure([3, 4].map((i) => `addr add 192.0.2.${i}/24 dev uplink`));
  const pids = await mustRun(['ip', 'netns', 'pids', lab.jumphost.name]);
  for (const pid of pids.split('\n').filter((line) => line !== ''))
    await mustRun(['prlimit', `--pid=${pid}`, `--nofile=${DESCRIPTORS}:${DESCRIPTORS}`]);
}

/** Addresses that nobody has connected to. */
function* goodAddresses(): Generator<string> {
  for (const host of [1, 2]) for (let i = 1; i <= 20; i++) yield `10.77.${host}.${i}`;
}

function verify(attempts: readonly Attempt[]): void {
  const times = attempts.map(({ ms }) => Math.round(ms)).join(', ');
  for (const { outcome } of attempts) assert.equal(outcome, 'open');
  const limit = ROUND_TRIP_MS + PATIENCE_MS * slowness();
  const inTime = attempts.filter(({ ms }) => ms < limit);
  assert.ok(inTime.length >= LEAST_IN_TIME * attempts.length, `${times} ms, of ${limit}`);
}

const floodArgv = (flood: Flood): string[] => [process.execPath, FLOOD, JSON.stringify(flood)];

describe('connects while others ask for what is silent', {
  skip: labUnavailable('prlimit'),
  timeout: 600_000,
}, () => {
  for (const transport of ['ssh2', 'openssh'])
    it(`over the device, of another user and of another process, with ${transport}`, async () => {
      const lab = await Lab.create({ rtt: ROUND_TRIP_MS, sshd: 'open' });
      const floods: Child[] = [];
      try {
        await makeSilent(lab);
        const tunnel = await startTunnel(lab.client, ['--transport', transport, PRIVATE4]);
        const start = (flood: Flood, user: typeof ATTACKER) =>
          lab.client.spawn(floodArgv(flood), { user, stdin: 'open' });
        for (const flood of ATTACKS) floods.push(await start(flood, ATTACKER));
        // As a page in the browser of the one whose tunnel it is.
        for (const flood of ATTACKS.slice(1)) floods.push(await start(flood, { uid: 0, gid: 0 }));
        const good = goodAddresses();
        const attempts: Attempt[] = [];
        for (let i = 0; i < 6; i++) {
          for (const user of [OTHER, { uid: 0, gid: 0 }]) {
            const argv = [process.execPath, DIALER, 'connect', good.next().value ?? API1, '80'];
            const { stdout } = await lab.client.exec(argv, { user, timeout: CONNECT_LIMIT_MS });
            attempts.push(...(JSON.parse(stdout) as Attempt[]));
          }
          await delay(1000);
        }
        verify(attempts);
        assert.deepEqual(
          tunnel.stderr.match(/\d+ connections wait to be opened/g)?.length,
          1,
          `the stall is told once: ${tunnel.stderr}`,
        );
        await tunnel.stop('SIGINT');
      } finally {
        for (const flood of floods) await flood.stop('SIGKILL');
        await lab.close();
      }
    });

  for (const kind of ['socks', 'http'] as const)
    it(`through a proxy, of another process: ${kind}`, async () => {
      const lab = await Lab.create({ rtt: ROUND_TRIP_MS, sshd: 'open' });
      let flood: Child | undefined;
      try {
        await makeSilent(lab);
        const option = kind === 'socks' ? '--socks' : '--http';
        const argv = ['proxy', '-r', REMOTE, option, '127.0.0.1:1080', PRIVATE4];
        const proxy = await lab.client.spawn([process.execPath, MAIN, ...argv]);
        await proxy.waitForLine(/tunnel: ready\n/, 20_000);
        const through = { [kind]: 1080, spread: 2400, host: SILENT, again: true };
        flood = await lab.client.spawn(floodArgv({ ...GIVEN_UP, ...through }), { stdin: 'open' });
        await flood.waitForLine(/done\n/, 30_000);
        const good = goodAddresses();
        const scheme = kind === 'socks' ? 'socks5' : 'http';
        const attempts: Attempt[] = [];
        for (let i = 0; i < 6; i++) {
          const { status, stdout } = await lab.client.exec([
            ...['curl', '-sS', '-o', '/dev/null', '--proxytunnel', '-m', '20'],
            ...['-w', '%{time_total}', '-x', `${scheme}://127.0.0.1:1080`],
            `http://${good.next().value ?? API1}/`,
          ]);
          const outcome = status === 0 ? 'open' : `curl: ${status}`;
          attempts.push({ port: 80, outcome, ms: Number(stdout) * 1000 });
        }
        verify(attempts);
        await proxy.stop('SIGINT');
      } finally {
        await flood?.stop('SIGKILL');
        await lab.close();
      }
    });
});

describe('exec, while one of its processes asks for what is silent', {
  skip: labUnavailable('openssl', 'unshare', 'prlimit') || closedToOthers(MAIN),
  timeout: 600_000,
}, () => {
  it('another one connects', async () => {
    const exec = await ExecLab.create(undefined, { rtt: ROUND_TRIP_MS });
    try {
      await makeSilent(exec.lab);
      // Again and again: its sockets share ports with those of the others (ip_local_port_range).
      const flood = { ...GIVEN_UP, host: SILENT, spread: 2400, again: true };
      const good = [...goodAddresses()].slice(0, 12);
      const dials = good.map((host) => `${process.execPath} ${DIALER} connect ${host} 80; echo;`);
      const script = `${process.execPath} ${FLOOD} '${JSON.stringify(flood)}' </dev/null >/dev/null &
        sleep 5; ${dials.join(' ')} kill $!`;
      const { stdout, stderr } = await exec.exec([PRIVATE4, '--', 'sh', '-c', script], {
        timeout: CONNECT_LIMIT_MS,
      });
      const attempts = stdout
        .split('\n')
        .filter((line) => line !== '')
        .flatMap((line) => JSON.parse(line) as Attempt[]);
      assert.equal(attempts.length, good.length, stderr);
      verify(attempts);
    } finally {
      await exec.close();
    }
  });
});
