/**
 * 50 ms away, with a server that admits no session: one upload, and 1 KB requests beside it.
 * Without a session sshd leaves Nagle's algorithm on, which holds back its window adjustments and
 * the answers to small requests.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { contenders } from './contenders.ts';
import type { Measurement, Run } from './measurement.ts';
import { sshForward, tunnel } from './peers.ts';
import { singBox } from './singbox.ts';
import { DISTANT_WARM_UP_MS, measureRate, Stage } from './stage.ts';
import { median, percentile } from './statistics.ts';

const RTT_MS = 50;
const CLIENTS = 1;

const rate = 'one upload, MB/s';
const idle = '1 KB request, idle: median ms';
const beside = '1 KB request, beside the upload: median ms';
const besideP99 = '1 KB request, beside the upload: p99 ms';

async function run(run: Run): Promise<void> {
  const { rounds, seconds, record } = run;
  const stage = await Stage.create(run, { rtt: RTT_MS, sshdConfig: ['MaxSessions 0'] });
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of contenders(round, run, [tunnel, sshForward], singBox())) {
        await stage.through(peer, async (path) => {
          const ask = async () =>
            (await stage.figures(path, 'request', CLIENTS, seconds)).milliseconds;
          record(idle, peer.name, median(await ask()));
          await stage.beside(path, { verb: 'up', flows: 1 }, async () => {
            await sleep(DISTANT_WARM_UP_MS);
            const [uploaded, asked] = await Promise.all([
              measureRate(path, path.server, seconds),
              ask(),
            ]);
            record(rate, peer.name, uploaded.bytesPerSecond / 1e6);
            record(beside, peer.name, median(asked));
            record(besideP99, peer.name, percentile(asked, 0.99));
          });
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const upload: Measurement = {
  name: 'upload',
  title: `One upload and a 1 KB request beside it, ${RTT_MS} ms round trip, MaxSessions 0`,
  how: 'sshd admits no session. Requests use an open connection, each 10 ms after the answer to the one before.',
  besideNoise: true,
  rounds: 9,
  checks: [
    {
      what: `one upload, ${RTT_MS} ms, MaxSessions 0: tunnel / ssh -N -L`,
      target: { atLeast: 1.7 },
      value: (read) => read(rate, tunnel.name) / read(rate, sshForward.name),
    },
    {
      what: `1 KB request beside that upload: median / idle`,
      target: { atMost: 1.25 },
      value: (read) => read(beside, tunnel.name) / read(idle, tunnel.name),
    },
  ],
  run,
};
