/**
 * The stage of a measurement: a lab with the load generator's server (load/load.c) in api1 and in
 * the jump host, and the load that the measurement puts on a peer.
 *
 *   stage.through(peer, async (path) => ...)     starts the peer, waits until it carries traffic,
 *                                                measures, stops it
 *     rate(path, load, seconds)                  endless flows: what the receiver gets in a time,
 *                                                and what that costs the peer
 *     measureTransfer(path, load, client)        flows of a given size: until the last byte has
 *                                                arrived
 *     beside(path, load, work)                   endless flows, while something else is measured
 *     figures(path, verb, flows, seconds)        requests and connects: what the client itself
 *                                                measures
 *     fetch(path, bytes, seconds)                one download, timed by the client from its connect
 *
 * With noise, a neighbour (load/burn.c) burns half of one processor as long as the stage exists.
 * With a profiler, this program is started with it, and each rate is passed to it.
 *
 * Rates are counted at the receiver, after the flows have been running for a while.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Lab } from '../../test/support/lab.ts';
import type { Child } from '../../test/support/process.ts';
import type { LineOptions } from '../../test/support/topology.ts';
import type { Conditions } from './measurement.ts';
import { LOAD_PORT, type Peer, PORTS, type Route } from './peers.ts';
import { cpuSeconds, residentBytes } from './processcost.ts';
import type { Window } from './profiler.ts';
import { median } from './statistics.ts';

const LOAD = fileURLToPath(new URL('../../native-test/load', import.meta.url));
const OPEN_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 10_000;
/** Time beyond a client's own, for opening and for late answers. */
const CLIENT_GRACE_MS = 30_000;
const PROBE_SECONDS = 0.2;
const RESIDENT_POLL_MS = 100;
const SETTLE_POLL_MS = 150;
/** How precisely we see the end of a transfer, and when we give it up. */
const TRANSFER_POLL_MS = 20;
const TRANSFER_TIMEOUT_MS = 120_000;
const SETTLE_TIMEOUT_MS = 20_000;
/**
 * How long flows run before they are measured, so that windows and congestion control settle.
 */
const WARM_UP_MS = 800;
/** The same at a round trip of tens of milliseconds. */
export const DISTANT_WARM_UP_MS = 2_500;

/** How the neighbour spends its time: half of one processor, in pieces that a scheduler notices. */
const NOISE_ON_MS = 10;
const NOISE_OFF_MS = 10;
/** Long enough for a profiled program to write its profile. */
const STOP_TIMEOUT_MS = 30_000;

/**
 * Thousands of short connections in a minute would run out of ports, on the client and on the jump
 * host. They must not use the ports that peers listen on: a connection in TIME_WAIT on such a port
 * would keep the next peer from listening.
 */
const MANY_PORTS = [
  'net/ipv4/ip_local_port_range=1024 65535',
  'net/ipv4/tcp_tw_reuse=1',
  `net/ipv4/ip_local_reserved_ports=${PORTS.join('-')}`,
];

export interface StageOptions extends LineOptions {
  /** sshd's soft limit of descriptors. */
  readonly openFiles?: number;
  /** Lines of sshd_config. */
  readonly sshdConfig?: readonly string[];
  /**
   * The maximum of TCP buffers, for every socket in the lab. With the default, a thousand full
   * flows came to a standstill together with everything else on the machine; presumably they use up
   * its limit for all of TCP (tcp_mem).
   */
  readonly bufferBytes?: number;
}

/** A peer that carries traffic. */
export interface Path {
  readonly peer: string;
  readonly route: Route;
  /** The receiver of uploads. */
  readonly server: Child;
  /** The process of the peer's client side, if it has one. */
  readonly pid: number | undefined;
  /** The beginning of the load's command line. */
  readonly enter: readonly string[];
  /** Receives each rate, while the peer is profiled. */
  readonly window: ((window: Window) => void) | undefined;
}

export interface Load {
  readonly verb: 'up' | 'down' | 'polite' | 'stall' | 'hold';
  readonly flows: number;
  /**
   * How many bytes each flow of `up` and `down` carries, beginning with the first `counters` of its
   * client. Endless if absent.
   */
  readonly bytesEach?: number;
}

export interface Rate {
  /** Bytes per second that the receiver got. */
  readonly bytesPerSecond: number;
  /** The cost of the peer's client side; 0 when it has none. */
  readonly cpuSecondsPerByte: number;
}

/** One line of load's counters. */
interface Counters {
  /** Seconds, by a clock that all namespaces share. */
  readonly at: number;
  readonly received: number;
  readonly sent: number;
}

export interface ClientFigures {
  readonly seconds: number;
  readonly failures: number;
  readonly received: number;
  readonly milliseconds: readonly number[];
}

export class Stage {
  readonly lab: Lab;
  readonly #server: Child;
  readonly #atJumphost: Child;
  readonly #conditions: Conditions;

  private constructor(lab: Lab, server: Child, atJumphost: Child, conditions: Conditions) {
    this.lab = lab;
    this.#server = server;
    this.#atJumphost = atJumphost;
    this.#conditions = conditions;
  }

  static async create(conditions: Conditions, options: StageOptions = {}): Promise<Stage> {
    const { openFiles, bufferBytes, sshdConfig = [], ...line } = options;
    const limit = openFiles === undefined ? {} : { openFiles };
    const lab = await Lab.create({
      ...line,
      sshd: { variant: 'open', config: sshdConfig, ...limit },
    });
    const buffers =
      bufferBytes === undefined
        ? []
        : ['rmem', 'wmem'].map((name) => `net/ipv4/tcp_${name}=4096 16384 ${bufferBytes}`);
    try {
      const hosts = [lab.client, lab.jumphost, lab.api1];
      await Promise.all(hosts.map((host) => host.configure([], [...MANY_PORTS, ...buffers])));
      const [server, atJumphost] = await Promise.all(
        [lab.api1, lab.jumphost].map(async (namespace) => {
          const child = await namespace.spawn([LOAD, 'serve', String(LOAD_PORT)], {
            stdin: 'open',
          });
          await child.waitForLine(/listening\n/);
          return child;
        }),
      );
      if (server === undefined || atJumphost === undefined)
        throw new Error('the load has no server');
      if (conditions.noise) await startNoise(lab);
      return new Stage(lab, server, atJumphost, conditions);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.lab.close();
  }

  /** Starts the peer for as long as `work` takes. */
  async through<T>(peer: Peer, work: (path: Path) => Promise<T>): Promise<T> {
    const profiler = peer.own === true ? this.#conditions.profiler : undefined;
    const child = await peer.start(this.lab, profiler?.nodeOptions);
    if (child !== undefined) await profiler?.attach(child.pid);
    const server = peer.route.atJumphost === true ? this.#atJumphost : this.#server;
    try {
      const enter = child === undefined ? [] : (peer.enter?.(child) ?? []);
      const window =
        profiler === undefined
          ? undefined
          : (seen: Window) => profiler.window({ ...seen, what: `${peer.name}, ${seen.what}` });
      const path: Path = {
        peer: peer.name,
        route: peer.route,
        server,
        pid: child?.pid,
        enter,
        window,
      };
      await this.#carries(path);
      return await work(path);
    } finally {
      await child?.stop('SIGTERM', STOP_TIMEOUT_MS);
      await profiler?.collect();
      await settled(server);
    }
  }

  /**
   * Starts several peers, which stay connected side by side. They must not capture the same
   * network.
   */
  async throughAll<T>(
    peers: readonly Peer[],
    work: (paths: readonly Path[]) => Promise<T>,
  ): Promise<T> {
    const [first, ...others] = peers;
    if (first === undefined) return work([]);
    return this.through(first, (path) =>
      this.throughAll(others, (paths) => work([path, ...paths])),
    );
  }

  /**
   * Waits until connections come through: sshuttle says that it is connected before it captures
   * anything.
   */
  async #carries(path: Path): Promise<void> {
    for (const until = performance.now() + OPEN_TIMEOUT_MS; performance.now() < until; ) {
      const { failures, milliseconds } = await this.figures(path, 'connect', 1, PROBE_SECONDS);
      if (failures === 0 && milliseconds.length > 0) return;
    }
    throw new Error(`${path.peer} carries nothing after ${OPEN_TIMEOUT_MS} ms`);
  }

  /**
   * Opens the load's flows, runs `work`, and ends them; resolves when no data of theirs are in
   * flight any more.
   */
  async beside<T>(path: Path, load: Load, work: (client: Child) => Promise<T>): Promise<T> {
    const client = await this.lab.client.spawn(
      [
        ...path.enter,
        LOAD,
        '-n',
        String(load.flows),
        ...(load.bytesEach === undefined ? [] : ['-b', String(load.bytesEach)]),
        ...proxyOption(path),
        load.verb,
        path.route.host,
        String(path.route.port),
      ],
      { stdin: 'open' },
    );
    try {
      await client.waitForLine(/open\n/, OPEN_TIMEOUT_MS);
      return await work(client);
    } finally {
      client.endInput();
      await client.wait(END_TIMEOUT_MS);
      await settled(path.server);
    }
  }

  rate(path: Path, load: Load, seconds: number, warmUpMs = WARM_UP_MS): Promise<Rate> {
    return this.beside(path, load, async (client) => {
      await sleep(warmUpMs);
      return measureRate(path, load.verb === 'up' ? path.server : client, seconds);
    });
  }

  /** The load's own figures: round trips of requests, or of whole connections. */
  async figures(
    path: Path,
    verb: 'request' | 'request-new' | 'connect',
    flows: number,
    seconds: number,
  ): Promise<ClientFigures> {
    return this.#ownFigures(path, verb, ['-n', String(flows)], seconds);
  }

  /**
   * One download: how many of `bytes` were received, and, if all of them, how long it took from the
   * connect.
   */
  async fetch(path: Path, bytes: number, seconds: number): Promise<ClientFigures> {
    return this.#ownFigures(path, 'fetch', ['-b', String(bytes)], seconds);
  }

  async #ownFigures(
    path: Path,
    verb: string,
    options: readonly string[],
    seconds: number,
  ): Promise<ClientFigures> {
    const client = [
      ...path.enter,
      LOAD,
      ...options,
      '-t',
      String(seconds),
      ...proxyOption(path),
      verb,
    ];
    const result = await this.lab.client.exec(
      [...client, path.route.host, String(path.route.port)],
      {
        timeout: seconds * 1000 + CLIENT_GRACE_MS,
      },
    );
    if (result.status !== 0) throw new Error(`${path.peer}: ${verb}: ${result.stderr}`);
    return JSON.parse(result.stdout) as ClientFigures;
  }
}

/** Starts the neighbour, in the client's namespace; it ends with the lab, and with this process. */
async function startNoise(lab: Lab): Promise<void> {
  const burning = [LOAD, 'burn', String(NOISE_ON_MS), String(NOISE_OFF_MS)];
  const child = await lab.client.spawn(burning, { stdin: 'open' });
  await child.waitForLine(/burning\n/);
}

/** Measures running flows. */
export async function measureRate(path: Path, receiver: Child, seconds: number): Promise<Rate> {
  const cpu = () => (path.pid === undefined ? 0 : cpuSeconds(path.pid));
  const before = { counters: await counters(receiver), cpu: cpu() };
  await sleep(seconds * 1000);
  const after = { counters: await counters(receiver), cpu: cpu() };
  const bytes = after.counters.received - before.counters.received;
  const what = receiver === path.server ? 'up' : 'down';
  path.window?.({ what, from: before.counters.at, to: after.counters.at, bytes });
  return {
    bytesPerSecond: bytes / (after.counters.at - before.counters.at),
    cpuSecondsPerByte: (after.cpu - before.cpu) / bytes,
  };
}

/** Lets flows with `bytesEach` go, and measures until the last byte has arrived. */
export async function measureTransfer(path: Path, load: Load, client: Child): Promise<Rate> {
  const total = (load.bytesEach ?? 0) * load.flows;
  const receiver = load.verb === 'up' ? path.server : client;
  const cpu = () => (path.pid === undefined ? 0 : cpuSeconds(path.pid));
  const already = receiver === client ? 0 : (await counters(receiver)).received;
  const cpuBefore = cpu();
  const begin = await counters(client);
  for (const until = performance.now() + TRANSFER_TIMEOUT_MS; performance.now() < until; ) {
    await sleep(TRANSFER_POLL_MS);
    const now = await counters(receiver);
    if (now.received - already >= total) {
      const what = `${load.flows} flows ${load.verb}`;
      path.window?.({ what, from: begin.at, to: now.at, bytes: total });
      return {
        bytesPerSecond: total / (now.at - begin.at),
        cpuSecondsPerByte: (cpu() - cpuBefore) / total,
      };
    }
  }
  throw new Error(
    `${path.peer}: ${load.flows} flows ${load.verb} are not done in ${TRANSFER_TIMEOUT_MS} ms`,
  );
}

/**
 * The resident memory of the peer's client side, as the median over a time, so that short-lived
 * garbage doesn't count.
 */
export async function residentOver(path: Path, seconds: number): Promise<number> {
  const samples: number[] = [];
  for (const until = performance.now() + seconds * 1000; performance.now() < until; ) {
    samples.push(path.pid === undefined ? 0 : residentBytes(path.pid));
    await sleep(RESIDENT_POLL_MS);
  }
  return median(samples);
}

export async function counters(program: Child): Promise<Counters> {
  const lines = program.stdout.split('\n').length;
  program.write('\n');
  await program.waitForLine(new RegExp(`^(?:.*\\n){${lines}}`), ANSWER_TIMEOUT_MS);
  return JSON.parse(program.stdout.split('\n')[lines - 1] ?? '') as Counters;
}

/**
 * Resolves when nothing arrives at the server or leaves it any more.
 */
export async function settled(server: Child): Promise<void> {
  let before = await counters(server);
  for (const until = performance.now() + SETTLE_TIMEOUT_MS; performance.now() < until; ) {
    await sleep(SETTLE_POLL_MS);
    const now = await counters(server);
    if (now.received === before.received && now.sent === before.sent) return;
    before = now;
  }
  throw new Error(`data still arrive ${SETTLE_TIMEOUT_MS} ms after the flows have ended`);
}

function proxyOption(path: Path): string[] {
  return path.route.socksPort === undefined ? [] : ['-s', String(path.route.socksPort)];
}
