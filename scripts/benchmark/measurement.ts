/**
 * What a measurement is, and how its samples are judged. Pure: nothing here measures.
 *
 *   Measurement.run -> samples[figure][series], one a round or more -> judge(check)
 *        -> value, interval, met
 *
 * A figure is a quantity ("up, MB/s"), a series is what it is measured on (a peer). The first
 * samples of all series were taken in the same round and form a pair, and so on. A check is
 * computed for each pair; its value is the median of the results, and its interval is that of this
 * median (statistics.ts). A machine whose speed drifts changes both sides of a pair, but hardly
 * their ratio.
 */
import type { Profiler } from './profiler.ts';
import { median, medianInterval } from './statistics.ts';

export type Samples = Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
/** The number that one round gave for a figure and a series. */
export type Reading = (figure: string, series: string) => number;

export type Target = { readonly atLeast: number } | { readonly atMost: number };

export interface Check {
  readonly what: string;
  readonly target: Target;
  readonly value: (read: Reading) => number;
}

export interface Judgement {
  readonly what: string;
  readonly target: Target;
  /** The median over the pairs. */
  readonly value: number;
  readonly low: number;
  readonly high: number;
  /** The probability that such an interval contains the median. */
  readonly confidence: number;
  readonly pairs: number;
  readonly met: boolean;
  /** The whole interval lies on the same side of the target. */
  readonly clearly: boolean;
}

/** What a stage needs to know about its run. */
export interface Conditions {
  /** Beside a process that burns half of one processor. */
  readonly noise: boolean;
  /** If it is set, only this program is measured, and it is profiled. */
  readonly profiler: Profiler | undefined;
}

export interface Run extends Conditions {
  readonly rounds: number;
  /** How long each rate is measured, once it has settled. */
  readonly seconds: number;
  /**
   * Adds a sample. A series that isn't measured in every round is measured in the first ones, so
   * that samples still pair up.
   */
  readonly record: (figure: string, series: string, value: number) => void;
  /** Prints progress. */
  readonly say: (text: string) => void;
}

export interface Measurement {
  /** Its name on the command line. */
  readonly name: string;
  readonly title: string;
  /** One sentence for the report: what was done. */
  readonly how: string;
  /** Whether there is a peer to compare with: then it is measured beside noise as well. */
  readonly besideNoise: boolean;
  /** The default; BENCH_ROUNDS overrides it. */
  readonly rounds: number;
  /** The limit for BENCH_ROUNDS. */
  readonly maxRounds?: number;
  readonly checks: readonly Check[];
  readonly run: (run: Run) => Promise<void>;
}

/** A check needs a sample that was not taken. */
export class NotMeasured extends Error {}

/** Collects samples and prints each one. */
export class Recorder {
  readonly samples: Record<string, Record<string, number[]>> = {};
  readonly #say: (text: string) => void;

  constructor(say: (text: string) => void) {
    this.#say = say;
  }

  readonly record = (figure: string, series: string, value: number): void => {
    this.samples[figure] ??= {};
    const bySeries = this.samples[figure];
    bySeries[series] ??= [];
    bySeries[series].push(value);
    this.#say(`${figure}: ${series} ${value.toPrecision(4)}`);
  };
}

export function isMet(value: number, target: Target): boolean {
  return 'atLeast' in target ? value >= target.atLeast : value <= target.atMost;
}

/**
 * How much of the target is reached: 1 is exactly the target, more is better, for both kinds of
 * target.
 */
export function attained(value: number, target: Target): number {
  return 'atLeast' in target ? value / target.atLeast : target.atMost / value;
}

/** Judges the rounds that all series have. Throws `NotMeasured` when a series has no sample. */
export function judge(check: Check, samples: Samples): Judgement {
  let pairs = Number.POSITIVE_INFINITY;
  const of = (figure: string, series: string): readonly number[] => {
    const values = samples[figure]?.[series];
    if (values === undefined || values.length === 0)
      throw new NotMeasured(`"${check.what}" needs "${figure}" of ${series}`);
    pairs = Math.min(pairs, values.length);
    return values;
  };
  check.value((figure, series) => of(figure, series)[0] ?? Number.NaN);
  const each = Array.from({ length: pairs }, (_, round) =>
    check.value((figure, series) => of(figure, series)[round] ?? Number.NaN),
  );
  const value = median(each);
  const met = isMet(value, check.target);
  const interval = medianInterval(each);
  const ends = [interval.low, interval.high].map((end) => isMet(end, check.target));
  return {
    what: check.what,
    target: check.target,
    value,
    ...interval,
    pairs,
    met,
    clearly: ends.every((end) => end === met),
  };
}

/**
 * Makes all checks that the samples allow: samples from another version of the benchmark, or from a
 * run beside noise, may lack some.
 */
export function judgeAvailable(checks: readonly Check[], samples: Samples): Judgement[] {
  return checks.flatMap((check) => {
    try {
      return [judge(check, samples)];
    } catch (error) {
      if (error instanceof NotMeasured) return [];
      throw error;
    }
  });
}
