/**
 * The benchmark: every figure that this program wants to reach, measured beside its peers in the lab.
 *
 *   names on the command line -> measurements, one after the other, each in a lab of its own
 *     -> samples -> judgements -> docs/measurements.json, with what other runs measured -> measurements.md and .svg
 *
 * Within each round of a measurement the peers take turns, so that a machine whose speed drifts or that is shared treats all
 * alike. Client, sshd, load and its server share the processors: ratios count, and not rates. Each measurement is written
 * when it is done, so an interrupted run keeps what it has. BENCH_ROUNDS and BENCH_SECONDS set how long it takes, BENCH_OUTPUT
 * a directory other than docs/.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connects } from './connects.ts';
import { distant, narrow } from './distant.ts';
import { exec } from './exec.ts';
import { latency } from './latency.ts';
import { local } from './local.ts';
import { judge, type Measurement, Recorder } from './measurement.ts';
import { memory } from './memory.ts';
import { names as namesMeasurement } from './names.ts';
import { plot } from './plot.ts';
import { formatResults, merge, parseResults, type Results } from './results.ts';
import { scale } from './scale.ts';
import { stalled } from './stalled.ts';
import { start } from './start.ts';
import { figures, insertFigures, summary } from './table.ts';

const MEASUREMENTS: readonly Measurement[] = [
  local,
  distant,
  narrow,
  latency,
  connects,
  exec,
  start,
  memory,
  stalled,
  scale,
  namesMeasurement,
];
const NAMES = MEASUREMENTS.map((measurement) => measurement.name);
const DEFAULT_ROUNDS = 3;
const DEFAULT_SECONDS = 3;
const DOCS = fileURLToPath(new URL('../../../docs/', import.meta.url));
const OUTPUT = process.env['BENCH_OUTPUT'] ?? DOCS;

class UsageError extends Error {}

function setting(name: string, byDefault: number): number {
  const text = process.env[name];
  const value = text === undefined ? byDefault : Number(text);
  if (!(value > 0)) throw new UsageError(`${name}="${text}" is no positive number`);
  return value;
}

function choose(names: readonly string[]): readonly Measurement[] {
  const unknown = names.filter((name) => !NAMES.includes(name));
  if (unknown.length > 0)
    throw new UsageError(`there is no measurement ${unknown.join(', ')}; there are ${NAMES.join(', ')}`);
  return names.length === 0 ? MEASUREMENTS : MEASUREMENTS.filter(({ name }) => names.includes(name));
}

function machine(): string {
  const version = (file: string, args: readonly string[], pattern: RegExp) => {
    const output = execFileSync('sh', ['-c', '"$0" "$@" 2>&1', file, ...args], { encoding: 'utf8' });
    return pattern.exec(output)?.[1] ?? output.trim();
  };
  const congestion = readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim();
  return [
    `${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`,
    `Linux ${release()} (${congestion})`,
    `Node ${process.version.slice(1)}`,
    `OpenSSH ${version('ssh', ['-V'], /OpenSSH_(\S+?),?\s/)}`,
    `sshuttle ${version('sshuttle', ['--version'], /(\S+)\s*$/)}`,
  ].join(', ');
}

const output = (name: string) => join(OUTPUT, name);

function readResults(): Results {
  const file = output('measurements.json');
  return existsSync(file) ? parseResults(readFileSync(file, 'utf8'), NAMES) : { measurements: {} };
}

function write(results: Results): void {
  const document = output('measurements.md');
  if (!existsSync(document)) copyFileSync(join(DOCS, 'measurements.md'), document);
  writeFileSync(output('measurements.json'), formatResults(results));
  writeFileSync(output('measurements.svg'), plot(results));
  writeFileSync(document, insertFigures(readFileSync(document, 'utf8'), figures(results)));
}

async function main(names: readonly string[]): Promise<void> {
  const chosen = choose(names);
  const askedRounds = Math.ceil(setting('BENCH_ROUNDS', DEFAULT_ROUNDS));
  const seconds = setting('BENCH_SECONDS', DEFAULT_SECONDS);
  const begin = performance.now();
  const elapsed = () => `${((performance.now() - begin) / 1000).toFixed(0).padStart(4)} s`;
  let results: Results = readResults();
  const measured: Record<string, Results['measurements'][string]> = {};
  for (const { name, title, how, maxRounds = askedRounds, checks, run } of chosen) {
    const rounds = Math.min(askedRounds, maxRounds);
    const recorder = new Recorder((text) => process.stderr.write(`${elapsed()}  ${name}: ${text}\n`));
    await run({ rounds, seconds, record: recorder.record });
    const { samples } = recorder;
    const judgements = checks.map((check) => judge(check, samples));
    const date = new Date().toISOString().slice(0, 10);
    const result = { title, how, date, machine: machine(), rounds, seconds, samples, judgements };
    measured[name] = result;
    results = merge(results, name, result, NAMES);
    write(results);
  }
  process.stdout.write(`${summary({ measurements: measured })}\n`);
  process.stderr.write(`${elapsed()}  written to ${OUTPUT}\n`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const usage = error instanceof UsageError;
  process.stderr.write(
    `bench: ${usage ? error.message : error instanceof Error ? error.stack : String(error)}\n`,
  );
  process.exitCode = usage ? 2 : 1;
}
