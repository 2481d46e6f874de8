/**
 * What a measurement is, and how its samples are judged. Pure: nothing here measures.
 *
 *   Measurement.run -> samples[figure][series], one a round or more -> judge(check) -> value, spread, met
 *
 * A figure is what is measured ("up, MB/s"), a series what it is measured on (a peer). The value of a check is computed from the
 * medians over all samples; its spread is that of the same computation on the first sample of each series, the second, and so
 * on, which were taken one after the other.
 */
import { median } from './statistics.ts';

export type Samples = Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
/** One number for a figure and a series: its median, or its sample of one run. */
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
  readonly value: number;
  readonly least: number;
  readonly most: number;
  readonly runs: number;
  readonly met: boolean;
}

export interface Run {
  readonly rounds: number;
  /** How long each rate is measured, after it has settled. */
  readonly seconds: number;
  /** Adds a sample. */
  readonly record: (figure: string, series: string, value: number) => void;
}

export interface Measurement {
  /** As the command line names it. */
  readonly name: string;
  readonly title: string;
  /** One sentence for the report: what was done. */
  readonly how: string;
  /** However many are asked for. */
  readonly maxRounds?: number;
  readonly checks: readonly Check[];
  readonly run: (run: Run) => Promise<void>;
}

/** Collects samples and says each as it comes. */
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

/** How much of the target is reached: 1 is exactly it, more is better, whichever way the target goes. */
export function attained(value: number, target: Target): number {
  return 'atLeast' in target ? value / target.atLeast : target.atMost / value;
}

/** Throws when the check reads something that was not measured. */
export function judge(check: Check, samples: Samples): Judgement {
  let runs = Number.POSITIVE_INFINITY;
  const of = (figure: string, series: string): readonly number[] => {
    const values = samples[figure]?.[series];
    if (values === undefined || values.length === 0)
      throw new Error(`"${check.what}" needs "${figure}" of ${series}`);
    runs = Math.min(runs, values.length);
    return values;
  };
  const value = check.value((figure, series) => median(of(figure, series)));
  const each = Array.from({ length: runs }, (_, round) =>
    check.value((figure, series) => of(figure, series)[round] ?? Number.NaN),
  );
  return {
    what: check.what,
    target: check.target,
    value,
    least: Math.min(...each),
    most: Math.max(...each),
    runs,
    met: isMet(value, check.target),
  };
}
