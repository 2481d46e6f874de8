/**
 * docs/measurements.json: the newest run of each measurement, with its samples. A partial run keeps
 * the other measurements. A run beside noise is kept as well as the quiet one.
 */
import { type Judgement, judgeAvailable, type Measurement, type Samples } from './measurement.ts';

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

/** One measurement's two runs, at least one of which exists. */
export interface Both {
  readonly quiet: Result | undefined;
  readonly noisy: Result | undefined;
}

const SIGNIFICANT_DIGITS = 4;
const BESIDE_NOISE = ' beside noise';

/** The name under which the results of a run are kept. */
export function keyOf(name: string, noise: boolean): string {
  return noise ? `${name}${BESIDE_NOISE}` : name;
}

/** The quiet and the noisy run of each measurement, in their order. */
export function byMeasurement({ measurements }: Results): Both[] {
  const names = new Set(Object.keys(measurements).map((key) => key.replace(BESIDE_NOISE, '')));
  return [...names].map((name) => ({
    quiet: measurements[keyOf(name, false)],
    noisy: measurements[keyOf(name, true)],
  }));
}

/**
 * The results of earlier runs, judged by today's checks, in the order of `known`; measurements that
 * no longer exist are left out. A file without `measurements` counts as empty.
 */
export function parseResults(text: string, known: readonly Measurement[]): Results {
  const { measurements = {} } = JSON.parse(text) as Partial<Results>;
  const judged = known.flatMap(({ name, checks }) =>
    [keyOf(name, false), keyOf(name, true)].flatMap((key) => {
      const result = measurements[key];
      if (result === undefined) return [];
      return [[key, { ...result, judgements: judgeAvailable(checks, result.samples) }] as const];
    }),
  );
  return { measurements: Object.fromEntries(judged) };
}

/** Replaces a measurement's previous run with its newest. */
export function merge(
  { measurements }: Results,
  key: string,
  result: Result,
  known: readonly Measurement[],
): Results {
  const all = { ...measurements, [key]: result };
  const keys = known.flatMap(({ name }) => [keyOf(name, false), keyOf(name, true)]);
  const inOrder = keys.flatMap((each) =>
    all[each] === undefined ? [] : [[each, all[each]] as const],
  );
  return { measurements: Object.fromEntries(inOrder) };
}

/** Puts each list of samples on one line, so a diff between two runs is readable. */
export function formatResults(results: Results): string {
  const rounded = (_key: string, value: unknown): unknown =>
    typeof value === 'number' ? Number(value.toPrecision(SIGNIFICANT_DIGITS)) : value;
  const text = JSON.stringify(results, rounded, 2);
  return `${text.replace(/\[\s+([-\d.,\se+]+?)\s+\]/g, (_, list: string) => `[${list.replace(/\s+/g, ' ')}]`)}\n`;
}
