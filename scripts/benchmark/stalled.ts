/** Readers that don't read: how much they slow others down, and how much memory they take. */
import { setTimeout as sleep } from 'node:timers/promises';
import { contenders } from './contenders.ts';
import type { Measurement, Run } from './measurement.ts';
import { sshSocks, tunnelWith } from './peers.ts';
import { measureRate, residentOver, Stage, settled } from './stage.ts';

const STALLED = 50;
const FAST = 10;
/** The largest window of every flow, so we know how much a stalled one can occupy. */
const WINDOW_BYTES = 256 * 1024;
const WARM_UP_MS = 1_000;
const OWN = tunnelWith('--max-window', String(WINDOW_BYTES));
const WINDOWS_MB = (STALLED * WINDOW_BYTES) / 1e6;

const alone = `${FAST} fast flows alone, MB/s`;
const beside = `${FAST} fast flows beside ${STALLED} stalled, MB/s`;
const memoryAlone = `memory beside ${FAST} fast, MB`;
const memoryBeside = `memory beside ${FAST} fast and ${STALLED} stalled, MB`;

async function run(run: Run): Promise<void> {
  const { rounds, seconds, record } = run;
  const stage = await Stage.create(run);
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of contenders(round, run, [OWN], [sshSocks])) {
        await stage.through(peer, async (path) => {
          const fast = (rate: string, memory: string) =>
            stage.beside(path, { verb: 'down', flows: FAST }, async (client) => {
              await sleep(WARM_UP_MS);
              const [measured, resident] = await Promise.all([
                measureRate(path, client, seconds),
                residentOver(path, seconds),
              ]);
              record(rate, peer.name, measured.bytesPerSecond / 1e6);
              record(memory, peer.name, resident / 1e6);
            });
          await fast(alone, memoryAlone);
          await stage.beside(path, { verb: 'stall', flows: STALLED }, async () => {
            // Stalled flows have received all that their windows admit.
            await settled(path.server);
            await fast(beside, memoryBeside);
          });
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const stalled: Measurement = {
  name: 'stalled',
  title: `${STALLED} stalled readers beside ${FAST} fast ones, local link`,
  how: `Downloads; the stalled readers' windows are full before the fast ones start. The tunnel has --max-window ${WINDOW_BYTES / 1024}K, so ${STALLED} windows are ${WINDOWS_MB.toFixed(1)} MB.`,
  besideNoise: false,
  rounds: 6,
  checks: [
    {
      what: `${FAST} fast flows, beside ${STALLED} stalled / alone`,
      target: { atLeast: 0.9 },
      value: (read) => read(beside, 'tunnel') / read(alone, 'tunnel'),
    },
    {
      what: `memory of ${STALLED} stalled readers / their windows`,
      target: { atMost: 1 },
      value: (read) => (read(memoryBeside, 'tunnel') - read(memoryAlone, 'tunnel')) / WINDOWS_MB,
    },
  ],
  run,
};
