/** One flow on a local link: rates beside all peers, and what they cost the client. */
import type { Check, Measurement, Run } from './measurement.ts';
import { rawTcp, sshForward, sshSocks, sshuttle, tunnel } from './peers.ts';
import { Stage } from './stage.ts';

const PEERS = [tunnel, sshForward, sshSocks, sshuttle, rawTcp];
const DIRECTIONS = ['up', 'down'] as const;
const BYTES_A_GIGABYTE = 1e9;

const rateOf = (direction: string) => `${direction}, MB/s`;
const costOf = (direction: string) => `${direction}, CPU s/GB`;

const checks: Check[] = [
  ...DIRECTIONS.flatMap((direction): Check[] => [
    {
      what: `one flow ${direction}, local link: tunnel / ssh -L`,
      target: { atLeast: 0.9 },
      value: (read) => read(rateOf(direction), 'tunnel') / read(rateOf(direction), 'ssh -L'),
    },
    {
      what: `one flow ${direction}, local link: tunnel / sshuttle`,
      target: { atLeast: 20 },
      value: (read) => read(rateOf(direction), 'tunnel') / read(rateOf(direction), 'sshuttle'),
    },
  ]),
  ...DIRECTIONS.map(
    (direction): Check => ({
      what: `CPU per GB ${direction}: tunnel / ssh -L`,
      target: { atMost: 1.5 },
      value: (read) => read(costOf(direction), 'tunnel') / read(costOf(direction), 'ssh -L'),
    }),
  ),
];

async function run({ rounds, seconds, record }: Run): Promise<void> {
  const stage = await Stage.create();
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of PEERS) {
        await stage.through(peer, async (path) => {
          for (const verb of DIRECTIONS) {
            const rate = await stage.rate(path, { verb, flows: 1 }, seconds);
            record(rateOf(verb), peer.name, rate.bytesPerSecond / 1e6);
            if (path.pid !== undefined)
              record(costOf(verb), peer.name, rate.cpuSecondsPerByte * BYTES_A_GIGABYTE);
          }
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const local: Measurement = {
  name: 'local',
  title: 'One flow, local link',
  how: 'One flow through each peer; processor time is that of its processes on the client.',
  checks,
  run,
};
