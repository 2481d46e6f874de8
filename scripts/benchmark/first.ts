/**
 * 50 ms away: how much the first download gets in its first second, on a link that has carried
 * nothing yet.
 */
import { contenders } from './contenders.ts';
import type { Measurement, Run } from './measurement.ts';
import { sshForward, tunnel } from './peers.ts';
import { singBox } from './singbox.ts';
import { Stage } from './stage.ts';

const RTT_MS = 50;
const SECONDS = 1;
/** More than any link carries in that time. */
const BYTES = 1e12;

const firstSecond = 'first second, MB';

async function run(run: Run): Promise<void> {
  const stage = await Stage.create(run, { rtt: RTT_MS });
  try {
    for (let round = 0; round < run.rounds; round++) {
      for (const peer of contenders(round, run, [tunnel, sshForward], singBox())) {
        await stage.through(peer, async (path) => {
          const { received } = await stage.fetch(path, BYTES, SECONDS);
          run.record(firstSecond, peer.name, received / 1e6);
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const first: Measurement = {
  name: 'first',
  title: `The first download after connecting, ${RTT_MS} ms round trip`,
  how: 'The data that arrive within a second of the connect; before it the link has carried only a few connections with one byte each.',
  besideNoise: true,
  rounds: 9,
  checks: [
    {
      what: `first second of the first download, ${RTT_MS} ms: tunnel / ssh -L`,
      target: { atLeast: 1 },
      value: (read) => read(firstSecond, tunnel.name) / read(firstSecond, sshForward.name),
    },
  ],
  run,
};
