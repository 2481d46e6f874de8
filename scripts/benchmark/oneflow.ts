/**
 * One flow in each direction, through one peer after the other: its rate, and what it costs the
 * client.
 */
import { contenders } from './contenders.ts';
import type { Check, Run } from './measurement.ts';
import type { Peer } from './peers.ts';
import type { Path, Stage } from './stage.ts';

export const DIRECTIONS = ['up', 'down'] as const;
export type Direction = (typeof DIRECTIONS)[number];
const BYTES_A_GIGABYTE = 1e9;

export const rateOf = (direction: Direction) => `${direction}, MB/s`;
export const costOf = (direction: Direction) => `${direction}, CPU s/GB`;

export async function measureFlows(
  stage: Stage,
  path: Path,
  { seconds, record }: Run,
): Promise<void> {
  for (const verb of DIRECTIONS) {
    const rate = await stage.rate(path, { verb, flows: 1 }, seconds);
    record(rateOf(verb), path.peer, rate.bytesPerSecond / 1e6);
    if (path.pid !== undefined)
      record(costOf(verb), path.peer, rate.cpuSecondsPerByte * BYTES_A_GIGABYTE);
  }
}

export async function oneFlow(
  stage: Stage,
  run: Run,
  judged: readonly Peer[],
  others: readonly Peer[] = [],
): Promise<void> {
  for (let round = 0; round < run.rounds; round++) {
    for (const peer of contenders(round, run, judged, others))
      await stage.through(peer, (path) => measureFlows(stage, path, run));
  }
}

/** One peer's figure divided by another's. */
export function ratio(figure: string, own: Peer, peer: Peer): Check['value'] {
  return (read) => read(figure, own.name) / read(figure, peer.name);
}
