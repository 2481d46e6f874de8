/** What idle flows cost in memory on the client. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Measurement, Run } from './measurement.ts';
import { sshSocks, tunnel } from './peers.ts';
import { residentBytes } from './processcost.ts';
import { type Path, Stage } from './stage.ts';

const FLOWS = 5000;
/** sshd needs one for each flow, and the client side of each peer as well; the lab raises its own limits as far as it may. */
const SSHD_DESCRIPTORS = 8192;
/** After the last open: garbage is collected, buffers are given back. */
const REST_MS = 3_000;
const KIB = 1024;

const none = 'no flows, MB';
const all = `${FLOWS} idle flows, MB`;
const growth = 'growth per flow, KiB';

async function run({ rounds, record }: Run): Promise<void> {
  const stage = await Stage.create({ openFiles: SSHD_DESCRIPTORS });
  const resident = (path: Path) => (path.pid === undefined ? Number.NaN : residentBytes(path.pid));
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of [tunnel, sshSocks]) {
        await stage.through(peer, async (path) => {
          // One at first, so that what is made once isn't counted as growth.
          await stage.beside(path, { verb: 'hold', flows: 1 }, () => sleep(REST_MS));
          const before = resident(path);
          await stage.beside(path, { verb: 'hold', flows: FLOWS }, async () => {
            await sleep(REST_MS);
            const after = resident(path);
            record(none, peer.name, before / 1e6);
            record(all, peer.name, after / 1e6);
            record(growth, peer.name, (after - before) / FLOWS / KIB);
          });
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const memory: Measurement = {
  name: 'memory',
  title: `${FLOWS} idle flows`,
  how: `Resident memory of all processes of each peer on the client, ${REST_MS / 1000} s after the last of the flows has carried a byte there and back.`,
  // Memory hardly varies from run to run, and thousands of opens take their time.
  maxRounds: 2,
  checks: [
    {
      what: `memory with ${FLOWS} idle flows, MB`,
      target: { atMost: 120 },
      value: (read) => read(all, 'tunnel'),
    },
    {
      what: 'memory, growth per idle flow, KiB',
      target: { atMost: 12 },
      value: (read) => read(growth, 'tunnel'),
    },
  ],
  run,
};
