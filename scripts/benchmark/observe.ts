/**
 * What it costs to be observed: the tunnel whose flows are told to nobody (unwatched.ts), as it is
 * by default, with --metrics that are asked for each second, with --flow-log, and with --pcap.
 *
 * 2 % are less than what a machine's speed changes within seconds. So all of them run at the same
 * time, each in a lab of its own, and are measured in turns for WINDOWS short windows. Each window
 * of one forms a pair with the same window of the other one. Only one of them has work at a time.
 */
import { get } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../../test/support/lab.ts';
import { contenders } from './contenders.ts';
import type { Check, Measurement, Run } from './measurement.ts';
import { costOf, DIRECTIONS, measureFlows, ratio } from './oneflow.ts';
import { type Peer, tunnel, tunnelWith } from './peers.ts';
import { preciseCpuSeconds } from './processcost.ts';
import { type Path, Stage } from './stage.ts';

const AT_ONCE = 50;
/**
 * Until V8 has compiled what a storm of connects uses. That takes a processor a second or more,
 * once, and longer the more code there is. It is begun by how often something runs, so connects are
 * counted, and not seconds: in the first 10,000 it would be most of the difference.
 */
const WARM_UP_CONNECTS = 20_000;
const WARM_UP_SECONDS = 2;
/** Samples of each start: of connects, and of a flow in each direction. */
const WINDOWS = 16;
const FLOW_WINDOWS = 8;
/** Prometheus usually asks each 15 to 60 s. */
const SCRAPE_MS = 1_000;
/** Of processor time. */
const MOST = 1.02;

const connects = `${AT_ONCE} at once, connects/s`;
const cost = 'CPU per connect, µs';

const UNWATCHED = fileURLToPath(new URL('./unwatched.js', import.meta.url));
const METRICS = 'metrics.sock';

const unwatched: Peer = {
  ...tunnel,
  name: 'unobserved',
  start: (lab, nodeOptions = []) => tunnel.start(lab, [...nodeOptions, '--import', UNWATCHED]),
};
const withMetrics = observed('with --metrics', '--metrics', METRICS);
const withFlowLog = observed('with --flow-log', '--flow-log', 'flow-log');
const withPcap = observed('with --pcap', '--pcap', 'pcap');
/** Each beside the tunnel without it. */
const OBSERVED = [withMetrics, withFlowLog, withPcap];
const ALL = [unwatched, tunnel, ...OBSERVED];

/** The tunnel with this option, and a file or socket in the lab. */
function observed(name: string, option: string, file: string): Peer {
  return {
    ...tunnel,
    name,
    start: (lab, nodeOptions) =>
      tunnelWith(option, join(lab.directory, file)).start(lab, nodeOptions),
  };
}

/** Of processor time: rates are those of a machine that the load shares. */
function compared(one: Peer, words: string, other: Peer): Check[] {
  const target = { atMost: MOST };
  return [
    { what: `CPU per connect: tunnel ${words}`, target, value: ratio(cost, one, other) },
    ...DIRECTIONS.map((direction): Check => {
      const value = ratio(costOf(direction), one, other);
      return { what: `CPU per GB ${direction}: tunnel ${words}`, target, value };
    }),
  ];
}

/** Asks for the metrics until it is told to end. */
function scraped(lab: Lab, peer: string): () => void {
  if (peer !== withMetrics.name) return () => {};
  const timer = setInterval(() => {
    get({ socketPath: join(lab.directory, METRICS), path: '/metrics' }, (answer) => {
      if (answer.statusCode !== 200) throw new Error(`--metrics: ${answer.statusCode}`);
      answer.resume();
    });
  }, SCRAPE_MS);
  return () => clearInterval(timer);
}

async function warmUp(stage: Stage, path: Path): Promise<void> {
  for (let made = 0; made < WARM_UP_CONNECTS; ) {
    const { milliseconds } = await stage.figures(path, 'connect', AT_ONCE, WARM_UP_SECONDS);
    if (milliseconds.length === 0) throw new Error(`${path.peer}: nothing connects`);
    made += milliseconds.length;
  }
}

async function measureConnects(stage: Stage, path: Path, { seconds, record }: Run): Promise<void> {
  const before = path.pid === undefined ? 0 : preciseCpuSeconds(path.pid);
  const result = await stage.figures(path, 'connect', AT_ONCE, seconds);
  const used = path.pid === undefined ? 0 : preciseCpuSeconds(path.pid) - before;
  const made = result.milliseconds.length;
  record(connects, path.peer, made / result.seconds);
  record(cost, path.peer, (used / made) * 1e6);
}

interface Contender {
  readonly stage: Stage;
  readonly path: Path;
}

/** Starts them all, and has them carry traffic while `work` goes on. */
async function together(
  peers: readonly Peer[],
  run: Run,
  work: (all: readonly Contender[]) => Promise<void>,
  started: readonly Contender[] = [],
): Promise<void> {
  const [peer, ...others] = peers;
  if (peer === undefined) return work(started);
  const stage = await Stage.create(run);
  try {
    await stage.through(peer, async (path) => {
      const end = scraped(stage.lab, peer.name);
      try {
        await warmUp(stage, path);
        await together(others, run, work, [...started, { stage, path }]);
      } finally {
        end();
      }
    });
  } finally {
    await stage.close();
  }
}

/** In turns, so that none always comes after the same one. */
async function inTurns(
  all: readonly Contender[],
  windows: number,
  measure: (stage: Stage, path: Path) => Promise<void>,
): Promise<void> {
  for (let window = 0; window < windows; window++) {
    const order = window % 2 === 0 ? all : all.toReversed();
    for (const { stage, path } of order) await measure(stage, path);
  }
}

async function run(run: Run): Promise<void> {
  for (let round = 0; round < run.rounds; round++) {
    await together(contenders(round, run, ALL), run, async (all) => {
      await inTurns(all, WINDOWS, (stage, path) => measureConnects(stage, path, run));
      await inTurns(all, FLOW_WINDOWS, (stage, path) => measureFlows(stage, path, run));
    });
  }
}

export const observe: Measurement = {
  name: 'observe',
  title: 'What it costs to be observed, local link',
  how: `Connections as in "Connections per second", after ${WARM_UP_CONNECTS} of them, and one flow each way, in ${WINDOWS} and ${FLOW_WINDOWS} windows of each start, in turns between tunnels that all run: with metrics that are asked for each second, with a flow log, with packets (headers only), without any of these ("tunnel"), and with flows that are told to nobody, not even to \`tunnel status\` ("unobserved").`,
  besideNoise: false,
  rounds: 3,
  checks: [
    ...compared(tunnel, 'by default / unobserved', unwatched),
    ...OBSERVED.flatMap((peer) => compared(peer, `${peer.name} / without`, tunnel)),
  ],
  run,
};
