/** For messages about a word that was mistyped. */

/** Further away, two words have little to do with each other. */
const MAX_DISTANCE = 3;
/** The share of a word that may be mistyped. */
const MAX_SHARE = 0.4;

/** The closest of the known words; undefined: none is close. */
export function mostSimilar(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = MAX_DISTANCE + 1;
  for (const candidate of known) {
    const longest = Math.max(word.length, candidate.length);
    if (Math.abs(word.length - candidate.length) > MAX_DISTANCE) continue;
    const distance = editDistance(word, candidate);
    if (distance < least && distance <= longest * MAX_SHARE) {
      best = candidate;
      least = distance;
    }
  }
  return best;
}

/**
 * How many characters must be inserted, left out, replaced, or exchanged with their neighbour: the
 * optimal string alignment distance.
 */
export function editDistance(from: string, to: string): number {
  let before: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const same = from[row - 1] === to[column - 1];
      const swapped = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      current[column] = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (same ? 0 : 1),
        swapped ? (before[column - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    before = last;
    last = current;
  }
  return last[to.length] ?? 0;
}
