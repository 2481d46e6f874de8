/**
 * The benchmark: measures every figure for which this program has a target, beside its peers in the
 * lab.
 *
 *   names on the command line -> measurements, one after the other, each in its own lab
 *     -> samples -> judgements -> docs/measurements.json, which keeps other runs' results
 *          -> measurements.md and .svg
 *
 * Within each round of a measurement the peers take turns, so a drifting or shared machine affects
 * all of them equally. Client, sshd, load and its server share the processors: ratios count, not
 * rates. Each measurement is written when it is done, so an interrupted run keeps its results so
 * far. BENCH_ROUNDS and BENCH_SECONDS set how long it takes, BENCH_OUTPUT a directory other than
 * docs/.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Job, parseCommandLine, UsageError } from './commandline.ts';
import { connects } from './connects.ts';
import { distant, narrow } from './distant.ts';
import { exec } from './exec.ts';
import { firewall } from './firewall.ts';
import { first } from './first.ts';
import { latency } from './latency.ts';
import { local } from './local.ts';
import { judge, judgeAvailable, type Measurement, Recorder } from './measurement.ts';
import { memory } from './memory.ts';
import { names } from './names.ts';
import { observe } from './observe.ts';
import { pausesMeasurement } from './pauses.ts';
import { plot } from './plot.ts';
import { Profiler } from './profiler.ts';
import { formatResults, keyOf, merge, parseResults, type Results } from './results.ts';
import { scale } from './scale.ts';
import { shortRuns } from './shortruns.ts';
import { stalled } from './stalled.ts';
import { start } from './start.ts';
import { figures, insertFigures, summary } from './table.ts';
import { terraform } from './terraform.ts';
import { upload } from './upload.ts';

const MEASUREMENTS: readonly Measurement[] = [
  local,
  firewall,
  distant,
  narrow,
  upload,
  pausesMeasurement,
  first,
  latency,
  connects,
  exec,
  start,
  shortRuns,
  memory,
  stalled,
  scale,
  names,
  observe,
  terraform,
];
const DEFAULT_SECONDS = 2;
const DOCS = fileURLToPath(new URL('../../../docs/', import.meta.url));
const OUTPUT = process.env['BENCH_OUTPUT'] ?? DOCS;

/** Undefined if it isn't set. */
function setting(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value > 0)) throw new UsageError(`${name}="${text}" is not a positive number`);
  return value;
}

function machine(): string {
  const version = (file: string, args: readonly string[], pattern: RegExp) => {
    const output = execFileSync('sh', ['-c', '"$0" "$@" 2>&1', file, ...args], {
      encoding: 'utf8',
    });
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
  return existsSync(file)
    ? parseResults(readFileSync(file, 'utf8'), MEASUREMENTS)
    : { measurements: {} };
}

function write(results: Results): void {
  const document = output('measurements.md');
  if (!existsSync(document)) copyFileSync(join(DOCS, 'measurements.md'), document);
  writeFileSync(output('measurements.json'), formatResults(results));
  writeFileSync(output('measurements.svg'), plot(results));
  writeFileSync(document, insertFigures(readFileSync(document, 'utf8'), figures(results)));
}

/** Prints progress, with the seconds since the start. */
function narrator(): (text: string) => void {
  const begin = performance.now();
  return (text) => {
    const seconds = ((performance.now() - begin) / 1000).toFixed(0).padStart(4);
    process.stderr.write(`${seconds} s  ${text}\n`);
  };
}

async function measure(jobs: readonly Job[]): Promise<void> {
  const requestedRounds = setting('BENCH_ROUNDS');
  const seconds = setting('BENCH_SECONDS') ?? DEFAULT_SECONDS;
  const say = narrator();
  let measured: Results = { measurements: {} };
  for (const { measurement, noise } of jobs) {
    const { name, title, how, maxRounds, checks, run } = measurement;
    const key = keyOf(name, noise);
    const rounds = Math.min(
      Math.ceil(requestedRounds ?? measurement.rounds),
      maxRounds ?? Number.POSITIVE_INFINITY,
    );
    const narrate = (text: string) => say(`${key}: ${text}`);
    const recorder = new Recorder(narrate);
    await run({
      rounds,
      seconds,
      noise,
      profiler: undefined,
      record: recorder.record,
      say: narrate,
    });
    const { samples } = recorder;
    const judgements = noise
      ? judgeAvailable(checks, samples)
      : checks.map((check) => judge(check, samples));
    const date = new Date().toISOString().slice(0, 10);
    const result = { title, how, date, machine: machine(), rounds, seconds, samples, judgements };
    measured = merge(measured, key, result, MEASUREMENTS);
    // Another run may have written its results in the meantime.
    write(merge(readResults(), key, result, MEASUREMENTS));
  }
  process.stdout.write(`${summary(measured)}\n`);
  say(`written to ${OUTPUT}`);
}

/** Measures one round with this program alone; writes nothing. */
async function profile({ name, run }: Measurement): Promise<void> {
  const say = narrator();
  const narrate = (text: string) => say(`${name}, profiled: ${text}`);
  const profiler = await Profiler.create();
  const seconds = setting('BENCH_SECONDS') ?? DEFAULT_SECONDS;
  try {
    const { record } = new Recorder(narrate);
    await run({ rounds: 1, seconds, noise: false, profiler, record, say: narrate });
    const report = profiler.report();
    if (report === '')
      throw new UsageError(`${name} measures no rates, so there is nothing to profile`);
    process.stdout.write(report);
  } finally {
    profiler.close();
  }
}

async function main(argv: readonly string[]): Promise<void> {
  const request = parseCommandLine(argv, MEASUREMENTS);
  if (request.do === 'profile') await profile(request.measurement);
  else if (request.do === 'write') write(readResults());
  else await measure(request.jobs);
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
