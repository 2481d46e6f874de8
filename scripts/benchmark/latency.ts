/**
 * How long a small request takes while bulk flows run, 50 ms away: on an open connection, and with
 * a new one each time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { contenders } from './contenders.ts';
import type { Check, Measurement, Run } from './measurement.ts';
import { sshForward, sshSocks, tunnel } from './peers.ts';
import { DISTANT_WARM_UP_MS, measureRate, type Path, Stage } from './stage.ts';
import { percentile } from './statistics.ts';

const RTT_MS = 50;
const BULK_FLOWS = 8;
/**
 * Clients that ask at the same time, each one request after the other.
 */
const CLIENTS = 6;
const DIRECTIONS = ['up', 'down'] as const;
const KINDS = [
  { verb: 'request', name: 'open connection' },
  { verb: 'request-new', name: 'new connection' },
] as const;

const idle = (kind: string) => `${kind}, idle: median ms`;
const loaded = (kind: string, direction: string) =>
  `${kind}, beside ${BULK_FLOWS} flows ${direction}: p99 ms`;
const bulk = (direction: string) => `the ${BULK_FLOWS} flows ${direction}, MB/s`;

const checks = DIRECTIONS.flatMap((direction) =>
  KINDS.map(
    ({ name }): Check => ({
      what: `p99 of 1 KB, ${name}, bulk ${direction} / idle`,
      target: { atMost: 2 },
      value: (read) => read(loaded(name, direction), 'tunnel') / read(idle(name), 'tunnel'),
    }),
  ),
);

async function run(run: Run): Promise<void> {
  const { rounds, seconds, record } = run;
  const stage = await Stage.create(run, { rtt: RTT_MS });
  /** Runs both kinds at the same time and records the `part` percentile (0 to 1) of their times. */
  const ask = async (path: Path, figure: (kind: string) => string, part: number) => {
    const asked = await Promise.all(
      KINDS.map(({ verb }) => stage.figures(path, verb, CLIENTS, seconds)),
    );
    KINDS.forEach(({ name }, i) => {
      record(figure(name), path.peer, percentile(asked[i]?.milliseconds ?? [], part));
    });
  };
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of contenders(round, run, [tunnel], [sshForward, sshSocks])) {
        await stage.through(peer, async (path) => {
          await ask(path, idle, 0.5);
          for (const verb of DIRECTIONS) {
            await stage.beside(path, { verb, flows: BULK_FLOWS }, async (client) => {
              await sleep(DISTANT_WARM_UP_MS);
              const receiver = verb === 'up' ? path.server : client;
              const [rate] = await Promise.all([
                measureRate(path, receiver, seconds),
                ask(path, (kind) => loaded(kind, verb), 0.99),
              ]);
              record(bulk(verb), path.peer, rate.bytesPerSecond / 1e6);
            });
          }
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const latency: Measurement = {
  name: 'latency',
  title: `A 1 KB request beside ${BULK_FLOWS} bulk flows, ${RTT_MS} ms round trip`,
  how: `${CLIENTS} clients of each kind ask, wait for the answer, and ask again 10 ms later.`,
  besideNoise: true,
  rounds: 9,
  checks,
  run,
};
