/**
 * One flow from the network that `tunnel exec` makes for its command, compared with one through the
 * device of `tunnel connect`.
 */
import type { Check, Measurement, Run } from './measurement.ts';
import { DIRECTIONS, oneFlow, rateOf, ratio } from './oneflow.ts';
import { tunnel, tunnelExec } from './peers.ts';
import { Stage } from './stage.ts';

async function run(run: Run): Promise<void> {
  const stage = await Stage.create(run);
  try {
    await oneFlow(stage, run, [tunnel, tunnelExec]);
  } finally {
    await stage.close();
  }
}

export const exec: Measurement = {
  name: 'exec',
  title: 'One flow in the network of one command, local link',
  how: 'The same flow through the device of "tunnel connect" and from the namespace of "tunnel exec".',
  besideNoise: false,
  rounds: 6,
  checks: DIRECTIONS.map(
    (direction): Check => ({
      what: `one flow ${direction}, local link: tunnel exec / tunnel`,
      target: { atLeast: 0.9 },
      value: ratio(rateOf(direction), tunnelExec, tunnel),
    }),
  ),
  run,
};
