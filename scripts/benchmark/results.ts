/** docs/measurements.json: the newest run of each measurement, with its samples, so that a partial run keeps the others. */
import type { Judgement, Samples } from './measurement.ts';

export interface Result {
  readonly title: string;
  readonly how: string;
  /** ISO 8601, the day. */
  readonly date: string;
  /** Processors, kernel, versions. */
  readonly machine: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly samples: Samples;
  readonly judgements: readonly Judgement[];
}

export interface Results {
  readonly measurements: Readonly<Record<string, Result>>;
}

const SIGNIFICANT_DIGITS = 4;

/**
 * What a former run has written, in the order of `names`; what isn't among them any more is left out. A file that isn't ours or
 * of another version counts as empty.
 */
export function parseResults(text: string, names: readonly string[]): Results {
  const { measurements } = JSON.parse(text) as Partial<Results>;
  return inOrder(measurements ?? {}, names);
}

/** Puts a measurement's newest run in the place of its former one. */
export function merge(results: Results, name: string, result: Result, names: readonly string[]): Results {
  return inOrder({ ...results.measurements, [name]: result }, names);
}

function inOrder(measurements: Readonly<Record<string, Result>>, names: readonly string[]): Results {
  const known = names.flatMap((name) => {
    const result = measurements[name];
    return result === undefined ? [] : [[name, result] as const];
  });
  return { measurements: Object.fromEntries(known) };
}

/** Samples on one line each, so that a difference between two runs can be read. */
export function formatResults(results: Results): string {
  const rounded = (_key: string, value: unknown): unknown =>
    typeof value === 'number' ? Number(value.toPrecision(SIGNIFICANT_DIGITS)) : value;
  const text = JSON.stringify(results, rounded, 2);
  return `${text.replace(/\[\s+([-\d.,\se+]+?)\s+\]/g, (_, list: string) => `[${list.replace(/\s+/g, ' ')}]`)}\n`;
}
