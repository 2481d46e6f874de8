/** One flow on a local link: rates of this program and all peers, and what they cost the client. */
import type { Check, Measurement, Run } from './measurement.ts';
import { costOf, DIRECTIONS, oneFlow, rateOf, ratio } from './oneflow.ts';
import { rawTcp, sshForward, sshSocks, sshuttle, tunnel } from './peers.ts';
import { singBox } from './singbox.ts';
import { Stage } from './stage.ts';

const RATE_TARGETS = { up: 1, down: 0.9 };
const COST_TARGETS = { up: 1.05, down: 1.2 };

const checks: Check[] = [
  ...DIRECTIONS.flatMap((direction): Check[] => [
    {
      what: `one flow ${direction}, local link: tunnel / ssh -L`,
      target: { atLeast: RATE_TARGETS[direction] },
      value: ratio(rateOf(direction), tunnel, sshForward),
    },
    {
      what: `one flow ${direction}, local link: tunnel / sshuttle`,
      target: { atLeast: 20 },
      value: ratio(rateOf(direction), tunnel, sshuttle),
    },
  ]),
  ...DIRECTIONS.map(
    (direction): Check => ({
      what: `CPU per GB ${direction}: tunnel / ssh -L`,
      target: { atMost: COST_TARGETS[direction] },
      value: ratio(costOf(direction), tunnel, sshForward),
    }),
  ),
];

async function run(run: Run): Promise<void> {
  const stage = await Stage.create(run);
  try {
    await oneFlow(stage, run, [tunnel, sshForward], [sshSocks, sshuttle, rawTcp, ...singBox()]);
  } finally {
    await stage.close();
  }
}

export const local: Measurement = {
  name: 'local',
  title: 'One flow, local link',
  how: "One flow through each peer; processor time is that of the peer's processes on the client.",
  besideNoise: true,
  rounds: 9,
  checks,
  run,
};
