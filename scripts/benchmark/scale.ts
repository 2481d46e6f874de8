/**
 * Whether many flows cost more than one: how much the client side carries in a second of processor
 * time.
 */
import { contenders } from './contenders.ts';
import type { Check, Measurement, Run } from './measurement.ts';
import { sshSocks, tunnel } from './peers.ts';
import { measureTransfer, Stage } from './stage.ts';

const MANY = 1000;
const COUNTS = [1, 10, 100, MANY] as const;
/**
 * All flows together carry this many bytes for each second of BENCH_SECONDS: enough that opening
 * and closing a thousand flows doesn't count. A thousand downloads take ten times as long as one
 * with the same bytes, because of sshd; so does everything that ssh carries.
 */
const BYTES_A_SECOND = { up: 300e6, down: 100e6 };
const PEER_BYTES_A_SECOND = 100e6;
/** The peer's numbers of flows, for comparison. */
const PEER_COUNTS: readonly number[] = [1, MANY];
/** A thousand flows have four sockets each between client and server, all full. */
const BUFFER_BYTES = 128 * 1024;
const SSHD_DESCRIPTORS = 8192;
const DIRECTIONS = ['up', 'down'] as const;

const rateOf = (flows: number, direction: string) => `${flows} flows ${direction}, MB/s`;
const perCpuSecond = (flows: number, direction: string) =>
  `${flows} flows ${direction}, MB per CPU s`;

async function run(run: Run): Promise<void> {
  const { rounds, seconds, record } = run;
  const stage = await Stage.create(run, { openFiles: SSHD_DESCRIPTORS, bufferBytes: BUFFER_BYTES });
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of contenders(round, run, [tunnel, sshSocks])) {
        await stage.through(peer, async (path) => {
          for (const verb of DIRECTIONS) {
            for (const flows of peer === tunnel ? COUNTS : PEER_COUNTS) {
              const rate = peer === tunnel ? BYTES_A_SECOND[verb] : PEER_BYTES_A_SECOND;
              const bytesEach = Math.ceil((seconds * rate) / flows);
              const load = { verb, flows, bytesEach };
              const carried = await stage.beside(path, load, (client) =>
                measureTransfer(path, load, client),
              );
              record(rateOf(flows, verb), peer.name, carried.bytesPerSecond / 1e6);
              record(perCpuSecond(flows, verb), peer.name, 1 / (carried.cpuSecondsPerByte * 1e6));
            }
          }
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const scale: Measurement = {
  name: 'scale',
  title: 'Many flows, local link',
  how: `The same number of bytes over 1 to 1000 flows, all at once, until the last byte has arrived; TCP buffers are at most ${BUFFER_BYTES / 1024} KiB, because with the default a thousand flows came to a standstill.`,
  // A thousand flows take long.
  besideNoise: false,
  rounds: 3,
  maxRounds: 3,
  checks: [
    ...DIRECTIONS.map(
      (direction): Check => ({
        what: `MB per CPU s ${direction}: worst of 10 to ${MANY} flows / 1 flow`,
        target: { atLeast: 0.9 },
        value: (read) =>
          Math.min(
            ...COUNTS.slice(1).map((flows) => read(perCpuSecond(flows, direction), 'tunnel')),
          ) / read(perCpuSecond(1, direction), 'tunnel'),
      }),
    ),
    {
      what: `MB per CPU s: ${MANY} uploads / 1 upload`,
      target: { atLeast: 0.9 },
      value: (read) =>
        read(perCpuSecond(MANY, 'up'), 'tunnel') / read(perCpuSecond(1, 'up'), 'tunnel'),
    },
  ],
  run,
};
