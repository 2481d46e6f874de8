/** Parses the command line of ./scripts/bench. Pure. */
import type { Measurement } from './measurement.ts';

export class UsageError extends Error {}

export interface Job {
  readonly measurement: Measurement;
  readonly noise: boolean;
}

export type Request =
  | { readonly do: 'measure'; readonly jobs: readonly Job[] }
  | { readonly do: 'profile'; readonly measurement: Measurement }
  | { readonly do: 'write' };

export const USAGE = `usage: ./scripts/bench                    all measurements, each on a quiet machine and beside noise
       ./scripts/bench NAME...            these, on a quiet machine
       ./scripts/bench --noise [NAME...]  these or all, beside a process that burns half of one processor
       ./scripts/bench --profile NAME     one round of it, and where this program's main thread spends its time
       ./scripts/bench --write            only the documents, from earlier results`;

/** Throws `UsageError`. */
export function parseCommandLine(argv: readonly string[], known: readonly Measurement[]): Request {
  const options = argv.filter((argument) => argument.startsWith('-'));
  const chosen = find(
    argv.filter((argument) => !argument.startsWith('-')),
    known,
  );
  const [option] = options;
  if (options.length > 1) throw new UsageError(`one option at a time\n${USAGE}`);
  if (option === undefined && chosen.length === 0)
    return { do: 'measure', jobs: known.flatMap(everyWay) };
  if (option === undefined)
    return { do: 'measure', jobs: chosen.map((measurement) => ({ measurement, noise: false })) };
  if (option === '--noise') return { do: 'measure', jobs: noisy(chosen, known) };
  if (option === '--profile') {
    const [measurement] = chosen;
    if (measurement === undefined || chosen.length > 1)
      throw new UsageError('--profile needs the name of one measurement');
    return { do: 'profile', measurement };
  }
  if (option === '--write' && chosen.length === 0) return { do: 'write' };
  throw new UsageError(USAGE);
}

function find(names: readonly string[], known: readonly Measurement[]): Measurement[] {
  const unknown = names.filter((name) => known.every((measurement) => measurement.name !== name));
  if (unknown.length > 0) {
    const all = known.map(({ name }) => name).join(', ');
    throw new UsageError(`there is no measurement ${unknown.join(', ')}; there are ${all}`);
  }
  return known.filter(({ name }) => names.includes(name));
}

function everyWay(measurement: Measurement): Job[] {
  const quiet = { measurement, noise: false };
  return measurement.besideNoise ? [quiet, { measurement, noise: true }] : [quiet];
}

function noisy(chosen: readonly Measurement[], known: readonly Measurement[]): Job[] {
  const alone = chosen.filter(({ besideNoise }) => !besideNoise).map(({ name }) => name);
  if (alone.length > 0)
    throw new UsageError(
      `${alone.join(', ')} has no peer to compare with, so it isn't measured beside noise`,
    );
  return (chosen.length === 0 ? known.filter(({ besideNoise }) => besideNoise) : chosen).map(
    (measurement) => ({
      measurement,
      noise: true,
    }),
  );
}
