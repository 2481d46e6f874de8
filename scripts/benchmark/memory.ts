/** What idle flows cost in memory and descriptors on the client. */
import { setTimeout as sleep } from 'node:timers/promises';
import { contenders } from './contenders.ts';
import type { Measurement, Run } from './measurement.ts';
import { sshSocks, tunnel } from './peers.ts';
import { openDescriptors, residentBytes } from './processcost.ts';
import { type Path, Stage } from './stage.ts';

const FLOWS = 5000;
/**
 * sshd needs one for each flow, and so does the client side of each peer; the lab raises its own
 * limits as far as it may.
 */
const SSHD_DESCRIPTORS = 8192;
/** Time after the last open for V8 to collect garbage and give buffers back. */
const REST_MS = 3_000;
const KIB = 1024;
/** Flows add no descriptors; this allows for a timer or a pipe that happens to be open. */
const FEW = 8;

const none = 'no flows, MB';
const all = `${FLOWS} idle flows, MB`;
const growth = 'growth per flow, KiB';
const descriptors = `descriptors that ${FLOWS} flows add`;

async function run(run: Run): Promise<void> {
  const { rounds, record } = run;
  const stage = await Stage.create(run, { openFiles: SSHD_DESCRIPTORS });
  const resident = (path: Path) => (path.pid === undefined ? Number.NaN : residentBytes(path.pid));
  const open = (path: Path) => (path.pid === undefined ? Number.NaN : openDescriptors(path.pid));
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of contenders(round, run, [tunnel, sshSocks])) {
        await stage.through(peer, async (path) => {
          // First a single flow, so that one-time allocations don't count as growth.
          await stage.beside(path, { verb: 'hold', flows: 1 }, () => sleep(REST_MS));
          const before = resident(path);
          const openBefore = open(path);
          await stage.beside(path, { verb: 'hold', flows: FLOWS }, async () => {
            await sleep(REST_MS);
            const after = resident(path);
            record(none, peer.name, before / 1e6);
            record(all, peer.name, after / 1e6);
            record(growth, peer.name, (after - before) / FLOWS / KIB);
            record(descriptors, peer.name, open(path) - openBefore);
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
  how: `Resident memory of all of a peer's processes on the client, ${REST_MS / 1000} s after the last flow has carried a byte there and back.`,
  // Memory hardly varies from run to run, and thousands of opens take their time.
  besideNoise: false,
  rounds: 2,
  maxRounds: 2,
  checks: [
    {
      what: `memory with ${FLOWS} idle flows, MB`,
      target: { atMost: 105 },
      value: (read) => read(all, 'tunnel'),
    },
    {
      what: 'memory, growth per idle flow, KiB',
      target: { atMost: 4 },
      value: (read) => read(growth, 'tunnel'),
    },
    {
      what: `descriptors that ${FLOWS} idle flows add`,
      target: { atMost: FEW },
      value: (read) => read(descriptors, 'tunnel'),
    },
  ],
  run,
};
