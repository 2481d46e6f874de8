/** Which peers take part in a round, and in which order. */
import type { Run } from './measurement.ts';
import type { Peer } from './peers.ts';

/**
 * The number of rounds in which peers for comparison are measured, and only on a quiet machine.
 */
const OTHERS_ROUNDS = 3;

/**
 * The peers of one round: `judged` in every round, in alternating order, so that none always
 * follows the same peer; `others` in the first few. Under a profiler this program alone.
 */
export function contenders(
  round: number,
  { noise, profiler }: Pick<Run, 'noise' | 'profiler'>,
  judged: readonly Peer[],
  others: readonly Peer[] = [],
): Peer[] {
  if (profiler !== undefined) return judged.filter((peer) => peer.own === true);
  const inTurn = round % 2 === 0 ? [...judged] : judged.toReversed();
  return noise || round >= OTHERS_ROUNDS ? inTurn : [...inTurn, ...others];
}
