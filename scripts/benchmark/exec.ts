/** One flow out of the network that `tunnel exec` makes for its command, beside one through the device of `tunnel connect`. */
import type { Check, Measurement, Run } from './measurement.ts';
import { tunnel, tunnelExec } from './peers.ts';
import { Stage } from './stage.ts';

const DIRECTIONS = ['up', 'down'] as const;
const BYTES_A_GIGABYTE = 1e9;

const rateOf = (direction: string) => `${direction}, MB/s`;
const costOf = (direction: string) => `${direction}, CPU s/GB`;

async function run({ rounds, seconds, record }: Run): Promise<void> {
  const stage = await Stage.create();
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of [tunnel, tunnelExec]) {
        await stage.through(peer, async (path) => {
          for (const verb of DIRECTIONS) {
            const rate = await stage.rate(path, { verb, flows: 1 }, seconds);
            record(rateOf(verb), peer.name, rate.bytesPerSecond / 1e6);
            record(costOf(verb), peer.name, rate.cpuSecondsPerByte * BYTES_A_GIGABYTE);
          }
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const exec: Measurement = {
  name: 'exec',
  title: 'One flow in the network of one command, local link',
  how: 'The same flow through the device of "tunnel connect" and out of the namespace of "tunnel exec".',
  checks: DIRECTIONS.map(
    (direction): Check => ({
      what: `one flow ${direction}, local link: tunnel exec / tunnel`,
      target: { atLeast: 0.9 },
      value: (read) => read(rateOf(direction), tunnelExec.name) / read(rateOf(direction), tunnel.name),
    }),
  ),
  run,
};
