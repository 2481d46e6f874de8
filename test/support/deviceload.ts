/**
 * The whole program under loads that make it hard to keep flows apart: short connections whose
 * tuples are reused, forged SYNs, many transfers. Each function is one situation, of any size, and
 * reports its results with their bounds. The tests run small ones, scripts/soak the full size
 * (scripts/soakdevice.ts).
 *
 * Everything runs in its own lab, with few ports in the client, so that tuples are soon reused.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { API1, API1_6, Port, PRIVATE4, PRIVATE6 } from './addresses.ts';
import { pseudoRandomDigest } from './bytes.ts';
import { Lab } from './lab.ts';
import { LabError } from './laberror.ts';
import type { Finding } from './load.ts';
import type { Child } from './process.ts';
import type { StormReport } from './storm.ts';
import { startStorm } from './tuning.ts';
import { startTunnel } from './tunnel.ts';

const MB = 1e6;
const CHURN_PORT = 7200;
/**
 * Connections at a time. The kernel reuses a tuple in TIME_WAIT after one second at the earliest.
 */
const CHURN_AT_ONCE = 50;
const CHURN_PORTS = '20000 23999';
/** The server's kernel drops a connection that nobody completes after a minute. */
const SETTLE_MS = 90_000;
const POLL_MS = 250;
/**
 * A SYN that a limit drops is sent again 1, 3, 7 and 15 s later; only a refusal is final.
 */
const FLOODED_CONNECT_MS = 16_000;
const FLOOD_DOWNLOAD_BYTES_A_SECOND = 500_000;
/** How long the rate of a flow is measured before forged SYNs come, and what it asks for. */
const RATE_SECONDS = 3;
const RATE_BYTES_A_SECOND = 5_000_000;
/** The part of its rate that a flow keeps beside forged SYNs. */
const KEPT_RATE = 0.5;
/** What forged SYNs may take, in bytes. */
const FLOOD_GROWTH = 64 * 2 ** 20;
const CONNECT_AFTER_MS = 3_000;

function built(name: string): string {
  const path = fileURLToPath(new URL(`../../native-test/${name}`, import.meta.url));
  if (existsSync(path)) return path;
  throw new LabError('lab-program', `there is no ${path}`, {
    hint: 'build it with "make -C native lab"',
  });
}

/** What churn.c prints. */
interface ChurnReport {
  readonly connections: number;
  readonly right: number;
  readonly crossed: number;
  readonly late: number;
  readonly withoutPort: number;
  readonly ms: number;
  readonly errors: Readonly<Record<string, number>>;
}

export class DeviceLoad {
  readonly lab: Lab;
  readonly tunnel: Child;
  readonly #echo: Child;

  private constructor(lab: Lab, tunnel: Child, echo: Child) {
    this.lab = lab;
    this.tunnel = tunnel;
    this.#echo = echo;
  }

  static async start(): Promise<DeviceLoad> {
    const lab = await Lab.create({ sshd: 'open' });
    try {
      await lab.client.configure(
        [],
        [`net/ipv4/ip_local_port_range=${CHURN_PORTS}`, 'net/ipv4/tcp_tw_reuse=1'],
      );
      // sshd makes as many connections, to one address.
      await lab.jumphost.configure(
        [],
        ['net/ipv4/ip_local_port_range=1024 65535', 'net/ipv4/tcp_tw_reuse=1'],
      );
      const echo = await lab.api1.spawn([built('churn'), 'serve', String(CHURN_PORT)]);
      await echo.waitForLine(/listening\n/);
      return new DeviceLoad(lab, await startTunnel(lab.client, [PRIVATE4, PRIVATE6]), echo);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.tunnel.stop('SIGINT');
    await this.#echo.stop('SIGKILL');
    await this.lab.close();
  }

  resident(): number {
    const status = readFileSync(`/proc/${this.tunnel.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  descriptors(): number {
    return readdirSync(`/proc/${this.tunnel.pid}/fd`).length;
  }

  /** Connections that sshd has to these ports of the private network. */
  async farConnections(ports: readonly number[]): Promise<number> {
    const { stdout } = await this.lab.jumphost.exec([
      ...['ss', '-Htn', 'exclude', 'time-wait'],
      ports.map((port) => `dport = :${port}`).join(' or '),
    ]);
    return stdout.split('\n').filter((line) => line !== '').length;
  }

  /**
   * Waits until sshd has no connection to these ports and the program no more descriptors than
   * before.
   */
  async settled(ports: readonly number[], descriptors: number): Promise<Finding> {
    const begin = performance.now();
    for (;;) {
      const [far, own] = [await this.farConnections(ports), this.descriptors() - descriptors];
      const seconds = (performance.now() - begin) / 1000;
      const nothing = far === 0 && own <= 0;
      if (nothing || seconds * 1000 > SETTLE_MS)
        return {
          what: 'left afterwards',
          value: `${far} connections, ${Math.max(0, own)} descriptors after ${seconds.toFixed(1)} s`,
          bound: 'nothing',
          kept: nothing,
        };
      await delay(POLL_MS);
    }
  }
}

function memory(what: string, growth: number, bound: number): Finding {
  return {
    what,
    value: `${(growth / MB).toFixed(1)} MB`,
    bound: `<= ${(bound / MB).toFixed(0)} MB`,
    kept: growth <= bound,
  };
}

/**
 * Makes short connections as fast as possible, which end in each of the four ways: no byte of one
 * may appear on another, and memory must not grow.
 */
export async function shortConnections(
  load: DeviceLoad,
  size: { readonly connections: number; readonly ipv6?: boolean; readonly growth: number },
): Promise<Finding[]> {
  const descriptors = load.descriptors();
  const host = size.ipv6 === true ? API1_6 : API1;
  const churn = await load.lab.client.spawn([
    ...[
      built('churn'),
      'run',
      host,
      String(CHURN_PORT),
      String(size.connections),
      String(CHURN_AT_ONCE),
    ],
  ]);
  // 100,000 take minutes on a slow machine.
  const timeout = 60_000 + size.connections;
  // After a third of the connections, all reusable memory has been allocated.
  await churn.waitForLine(new RegExp(`done ${Math.floor(size.connections / 10) * 3}\\n`), timeout);
  const before = load.resident();
  await churn.wait(timeout);
  const growth = load.resident() - before;
  const report = JSON.parse(churn.stdout.trim().split('\n').at(-1) ?? '') as ChurnReport;
  const rate = (report.connections / report.ms) * 1000;
  const failed = Object.entries(report.errors).map(([error, count]) => `, ${count} x ${error}`);
  return [
    {
      what: `${size.connections} short connections${size.ipv6 === true ? ' (IPv6)' : ''}`,
      value: `${report.right} right, ${report.crossed} crossed, ${report.late} late${failed.join('')}; ${rate.toFixed(0)}/s`,
      bound: 'all right',
      kept:
        report.right === size.connections &&
        failed.length === 0 &&
        report.crossed + report.late === 0,
    },
    memory('growth from a third of the way on', growth, size.growth),
    await load.settled([CHURN_PORT], descriptors),
  ];
}

/** What one download of RATE_BYTES_A_SECOND gets in so many seconds, in bytes a second. */
async function flowRate(load: DeviceLoad, seconds: number): Promise<number> {
  const { stdout } = await load.lab.client.exec(
    [
      ...['curl', '-sS', '-o', '/dev/null', '-m', String(seconds), '-w', '%{size_download}'],
      ...['--limit-rate', String(RATE_BYTES_A_SECOND), `http://${API1}/bytes/1000000000`],
    ],
    { timeout: seconds * 1000 + 10_000 },
  );
  return Number(stdout) / seconds;
}

/** Connects, and gets an octet. Returns the milliseconds; Infinity: it has failed. */
async function connectAfter(load: DeviceLoad): Promise<number> {
  const { status, stdout } = await load.lab.client.exec([
    ...['curl', '-sS', '-o', '/dev/null', '-m', String(FLOODED_CONNECT_MS / 1000)],
    ...['-w', '%{time_total}', `http://${API1}/bytes/1`],
  ]);
  return status === 0 ? Number(stdout) * 1000 : Number.POSITIVE_INFINITY;
}

/**
 * Sends SYNs from forged addresses, half to an open port and half to a closed one: meanwhile flows
 * go on and keep their rate, and connects succeed, also a new one after them. In the end nothing is
 * left. `growth`: what they may take, in bytes.
 */
export async function forgedSyns(
  load: DeviceLoad,
  {
    growth = FLOOD_GROWTH,
    ...size
  }: { readonly syns: number; readonly seconds: number; readonly growth?: number },
): Promise<Finding[]> {
  const rateBefore = await flowRate(load, RATE_SECONDS);
  const [descriptors, before] = [load.descriptors(), load.resident()];
  const { client } = load.lab;
  const bytes = size.seconds * FLOOD_DOWNLOAD_BYTES_A_SECOND;
  const url = `http://${API1}/bytes/${bytes}?seed=flood`;
  const storm = await startStorm(client, API1, size.seconds, 2);
  const download = client.exec(
    ['sh', '-c', `curl -sS --limit-rate ${FLOOD_DOWNLOAD_BYTES_A_SECOND} '${url}' | sha256sum`],
    { timeout: size.seconds * 1000 + 60_000 },
  );
  const fast = flowRate(load, size.seconds + 1);
  await delay(1_000); // it is established, and at its rate
  const flood = await client.exec(
    [
      ...[built('synflood'), String(size.syns), String(size.seconds), '1'],
      ...[`${API1}:${CHURN_PORT}`, `${API1}:${Port.closed}`],
    ],
    { timeout: size.seconds * 1000 + 60_000 },
  );
  if (flood.status !== 0) throw new LabError('lab-command', flood.stderr);
  const peak = load.resident() - before;
  const connected = await connectAfter(load);
  const rate = await fast;
  // Connects that have begun wait until the link has finished its other work.
  await storm.wait(60_000);
  const { stdout, stderr } = await download;
  const same = stdout.split(' ')[0] === pseudoRandomDigest(bytes, 'flood');
  const { connects, resets } = JSON.parse(storm.stdout) as StormReport;
  const { open = [], ...others } = connects;
  const slowest = Math.max(0, ...open);
  const failed = Object.entries(others).map(([outcome, times]) => `, ${times.length} x ${outcome}`);
  return [
    {
      what: `connects beside ${size.syns} forged SYNs in ${size.seconds} s`,
      value: `${open.length} open, slowest ${slowest} ms${failed.join('')}`,
      bound: `all open, <= ${FLOODED_CONNECT_MS} ms`,
      kept: open.length > 1 && failed.length === 0 && slowest <= FLOODED_CONNECT_MS,
    },
    {
      what: 'flows beside them',
      value: `${resets} reset, download ${same ? 'right' : `wrong ${stderr.trim()}`}`,
      bound: '0 reset, right',
      kept: resets === 0 && same,
    },
    {
      what: 'rate of a flow beside them, of its rate before',
      value: `${((rate / rateBefore) * 100).toFixed(0)} % of ${(rateBefore / MB).toFixed(1)} MB/s`,
      bound: `>= ${KEPT_RATE * 100} %`,
      kept: rate >= KEPT_RATE * rateBefore,
    },
    {
      what: 'a new connect after them',
      value: `${connected.toFixed(0)} ms`,
      bound: `<= ${CONNECT_AFTER_MS} ms`,
      kept: connected <= CONNECT_AFTER_MS,
    },
    memory('memory that they take', peak, growth),
    await load.settled([CHURN_PORT, Port.closed], descriptors),
    memory('memory that they leave', load.resident() - before, growth),
  ];
}

/**
 * Each flow uploads its own download at once: the server must get what it sent.
 */
export async function roundTrips(
  load: DeviceLoad,
  size: { readonly bytes: number; readonly flows: number },
): Promise<Finding[]> {
  const descriptors = load.descriptors();
  const each = Math.floor(size.bytes / size.flows / 2);
  const timeout = 60_000 + size.bytes / 10_000;
  const digests = Array.from({ length: size.flows }, (_, index) =>
    pseudoRandomDigest(each, `trip${index}`),
  );
  const begin = performance.now();
  const results = await Promise.all(
    digests.map(async (digest, index) => {
      const get = `curl -sS 'http://${API1}/bytes/${each}?seed=trip${index}'`;
      const put = `curl -sS -X POST -H Expect: -H 'Content-Type: application/octet-stream' -T - -w ' %{http_code} after %{time_total} s, %{size_upload} up' http://${API1}/sha256`;
      const trip = await load.lab.client.exec(['sh', '-c', `${get} | ${put}`], { timeout });
      return trip.stdout.includes(digest) ? undefined : JSON.stringify(trip);
    }),
  );
  const seconds = (performance.now() - begin) / 1000;
  const wrong = results.filter((answer) => answer !== undefined);
  return [
    {
      what: `${(size.bytes / 1e9).toFixed(2)} GB over ${size.flows} flows each way`,
      value: [
        `${wrong.length} wrong, ${(size.bytes / seconds / MB).toFixed(0)} MB/s`,
        ...wrong.slice(0, 3),
      ].join('; '),
      bound: '0 wrong',
      kept: wrong.length === 0,
    },
    await load.settled([Port.http], descriptors),
  ];
}
