/**
 * What it costs to be observed: the tunnel whose flows are told to nobody (unwatched.ts), as it is
 * by default, with --metrics that are asked for each second, with --flow-log, and with --pcap.
 */
import { get } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../../test/support/lab.ts';
import { contenders } from './contenders.ts';
import type { Check, Measurement, Run } from './measurement.ts';
import { costOf, DIRECTIONS, measureFlows, rateOf, ratio } from './oneflow.ts';
import { type Peer, tunnel, tunnelWith } from './peers.ts';
import { cpuSeconds } from './processcost.ts';
import { type Path, Stage } from './stage.ts';

const AT_ONCE = 50;
/**
 * Until V8 has compiled what a storm of connects uses. That takes a processor a second or more,
 * once, and longer the more code there is: without this time it would be what is measured.
 */
const WARM_UP_SECONDS = 6;
/** Prometheus usually asks each 15 to 60 s. */
const SCRAPE_MS = 1_000;
/** Of rates and of processor time. */
const LEAST = 0.98;
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

function compared(one: Peer, words: string, other: Peer): Check[] {
  const what = (figure: string): string => `${figure}: tunnel ${words}`;
  return [
    {
      what: what(`connects, ${AT_ONCE} at once`),
      target: { atLeast: LEAST },
      value: ratio(connects, one, other),
    },
    { what: what('CPU per connect'), target: { atMost: MOST }, value: ratio(cost, one, other) },
    ...DIRECTIONS.flatMap((direction): Check[] => [
      {
        what: what(`one flow ${direction}`),
        target: { atLeast: LEAST },
        value: ratio(rateOf(direction), one, other),
      },
      {
        what: what(`CPU per GB ${direction}`),
        target: { atMost: MOST },
        value: ratio(costOf(direction), one, other),
      },
    ]),
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

async function measureConnects(stage: Stage, path: Path, { seconds, record }: Run): Promise<void> {
  await stage.figures(path, 'connect', AT_ONCE, WARM_UP_SECONDS);
  const before = path.pid === undefined ? 0 : cpuSeconds(path.pid);
  const result = await stage.figures(path, 'connect', AT_ONCE, seconds);
  const used = path.pid === undefined ? 0 : cpuSeconds(path.pid) - before;
  const made = result.milliseconds.length;
  record(connects, path.peer, made / result.seconds);
  record(cost, path.peer, (used / made) * 1e6);
}

async function run(run: Run): Promise<void> {
  const stage = await Stage.create(run);
  try {
    for (let round = 0; round < run.rounds; round++) {
      for (const peer of contenders(round, run, ALL)) {
        await stage.through(peer, async (path) => {
          const end = scraped(stage.lab, peer.name);
          try {
            await measureConnects(stage, path, run);
            await measureFlows(stage, path, run);
          } finally {
            end();
          }
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const observe: Measurement = {
  name: 'observe',
  title: 'What it costs to be observed, local link',
  how: `Connections as in "Connections per second", after ${WARM_UP_SECONDS} s of them, and one flow each way: with metrics that are asked for each second, with a flow log, with packets (headers only), without any of these ("tunnel"), and with flows that are told to nobody, not even to \`tunnel status\` ("unobserved").`,
  besideNoise: false,
  rounds: 15,
  checks: [
    ...compared(tunnel, 'by default / unobserved', unwatched),
    ...OBSERVED.flatMap((peer) => compared(peer, `${peer.name} / without`, tunnel)),
  ],
  run,
};
