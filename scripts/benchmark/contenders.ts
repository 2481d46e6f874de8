/** Who takes part in a round, and in which order. */
import type { Run } from './measurement.ts';
import type { Peer } from './peers.ts';

/**
 * Peers that are there for comparison only are measured in so many rounds, and on a quiet machine
 * only.
 */
const OTHERS_ROUNDS = 3;

/**
 * The peers of one round: `judged` in every one, forth and back in turns, so that none always
 * follows the same; `others` in the first few. Under a profiler this program alone.
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
