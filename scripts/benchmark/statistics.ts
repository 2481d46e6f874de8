/** The few statistics that the benchmark needs. */

/** The confidence of an interval for a median, if there are enough samples. */
const CONFIDENCE = 0.95;

export interface Interval {
  readonly low: number;
  readonly high: number;
  /** The probability that such an interval contains the true value. */
  readonly confidence: number;
}

/** NaN when there are no values. */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/**
 * The value below which the given part (0 to 1) of the values lies, interpolated between its
 * neighbours; NaN when there are no values.
 */
export function percentile(values: readonly number[], part: number): number {
  const sorted = ascending(values);
  const at = part * (sorted.length - 1);
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

/**
 * An interval for the median of the distribution that the values come from, whatever it is: from
 * the k-th smallest value to the k-th largest, where k is the largest for which the interval misses
 * the median with a probability of at most 5 %. Each value lies below the median with probability
 * 1/2, so the number of values below it is binomial. Fewer than six values can't give 5 %: the
 * interval is then all of them, and `confidence` says how little that is. NaN when there are no
 * values.
 */
export function medianInterval(values: readonly number[]): Interval {
  const sorted = ascending(values);
  const count = sorted.length;
  if (count === 0) return { low: Number.NaN, high: Number.NaN, confidence: 0 };
  /** The probability of exactly `below` values below the median. */
  let probability = 0.5 ** count;
  /** The probability of at most `below`. */
  let tail = probability;
  let below = 0;
  for (; below + 1 <= (count - 1) / 2; below++) {
    const next = probability * ((count - below) / (below + 1));
    if (2 * (tail + next) > 1 - CONFIDENCE) break;
    probability = next;
    tail += next;
  }
  return {
    low: sorted[below] ?? Number.NaN,
    high: sorted[count - 1 - below] ?? Number.NaN,
    confidence: 1 - 2 * tail,
  };
}

/** Three significant digits, without an exponent. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const magnitude = Math.abs(value);
  return value.toFixed(magnitude >= 99.95 ? 0 : magnitude >= 9.995 ? 1 : 2);
}

function ascending(values: readonly number[]): number[] {
  return [...values].sort((a, b) => a - b);
}
