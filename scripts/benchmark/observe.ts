/** What records cost: --flow-log and --pcap against the same tunnel without them. */
import { join } from 'node:path';
import { contenders } from './contenders.ts';
import type { Check, Measurement, Run } from './measurement.ts';
import { costOf, DIRECTIONS, oneFlow, rateOf, ratio } from './oneflow.ts';
import { type Peer, tunnel, tunnelWith } from './peers.ts';
import { cpuSeconds } from './processcost.ts';
import { Stage } from './stage.ts';

const AT_ONCE = 50;
const WARM_UP_SECONDS = 0.3;
/** Of rates and of processor time. */
const LEAST = 0.98;
const MOST = 1.02;

const connects = `${AT_ONCE} at once, connects/s`;
const cost = 'CPU per connect, µs';

const withFlowLog = recording('with --flow-log', '--flow-log');
const withPcap = recording('with --pcap', '--pcap');

/** The tunnel with this option, and a file in the lab. */
function recording(name: string, option: string): Peer {
  return {
    ...tunnel,
    name,
    start: (lab, nodeOptions) =>
      tunnelWith(option, join(lab.directory, option.slice(2))).start(lab, nodeOptions),
  };
}

const checks: readonly Check[] = [
  ...[withFlowLog, withPcap].flatMap((peer): Check[] => [
    {
      what: `connects, ${AT_ONCE} at once: tunnel ${peer.name} / without`,
      target: { atLeast: LEAST },
      value: (read) => read(connects, peer.name) / read(connects, tunnel.name),
    },
    {
      what: `CPU per connect: tunnel ${peer.name} / without`,
      target: { atMost: MOST },
      value: (read) => read(cost, peer.name) / read(cost, tunnel.name),
    },
  ]),
  ...DIRECTIONS.flatMap((direction): Check[] => [
    {
      what: `one flow ${direction}: tunnel with --pcap / without`,
      target: { atLeast: LEAST },
      value: ratio(rateOf(direction), withPcap, tunnel),
    },
    {
      what: `CPU per GB ${direction}: tunnel with --pcap / without`,
      target: { atMost: MOST },
      value: ratio(costOf(direction), withPcap, tunnel),
    },
  ]),
];

async function run(run: Run): Promise<void> {
  const { rounds, seconds, record } = run;
  const stage = await Stage.create(run);
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of contenders(round, run, [tunnel, withFlowLog, withPcap])) {
        await stage.through(peer, async (path) => {
          await stage.figures(path, 'connect', AT_ONCE, WARM_UP_SECONDS);
          const before = path.pid === undefined ? 0 : cpuSeconds(path.pid);
          const result = await stage.figures(path, 'connect', AT_ONCE, seconds);
          const used = path.pid === undefined ? 0 : cpuSeconds(path.pid) - before;
          const made = result.milliseconds.length;
          record(connects, peer.name, made / result.seconds);
          record(cost, peer.name, (used / made) * 1e6);
        });
      }
    }
    await oneFlow(stage, run, [tunnel, withPcap], []);
  } finally {
    await stage.close();
  }
}

export const observe: Measurement = {
  name: 'observe',
  title: 'What records cost, local link',
  how: 'Connections as in "Connections per second", and one flow, with a flow log, with packets (headers only), and without.',
  besideNoise: false,
  rounds: 15,
  checks,
  run,
};
