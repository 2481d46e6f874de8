/**
 * `./scripts/bench --profile`: profiles this program's main thread while it carries traffic, and
 * reports for each rate that the measurement takes what one SSH packet has cost. It uses perf if it
 * can, and otherwise V8's own profiler (preload.ts).
 *
 *   nodeOptions -> the program's command line
 *        -> attach(pid) ... window(rate) ... the program ends -> collect() -> report()
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Child, mustRun, run } from '../../test/support/process.ts';
import { breakdown, type CpuProfile, KINDS, type Look, looksOfPerf, looksOfV8 } from './looks.ts';
import { figure } from './statistics.ts';

/** The most channel data that OpenSSH puts into one packet. */
export const PACKET_BYTES = 32 * 1024;
/** What JavaScript may cost for each packet. */
const BUDGET_MICROSECONDS = 5;
const FUNCTIONS_SHOWN = 20;
/** Looks per second. */
const FREQUENCY = 4999;
/**
 * perf counts the processor's clock, which virtual machines have as well, and stamps samples with
 * the clock that the load uses for its times.
 */
const PERF = [
  'perf',
  'record',
  '-q',
  '-k',
  'CLOCK_MONOTONIC',
  '-e',
  'cpu-clock',
  '-F',
  String(FREQUENCY),
];
const PERF_TIMEOUT_MS = 60_000;

/** A rate that was measured while the program was profiled. */
export interface Window {
  readonly what: string;
  /** Seconds of CLOCK_MONOTONIC. */
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
}

export class Profiler {
  readonly #directory: string;
  readonly #withPerf: boolean;
  #watching: { readonly pid: number; readonly perf: Child | undefined } | undefined;
  #windows: Window[] = [];
  readonly #reports: string[] = [];

  private constructor(directory: string, withPerf: boolean) {
    this.#directory = directory;
    this.#withPerf = withPerf;
  }

  static async create(): Promise<Profiler> {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-profile-'));
    const tried = run([...PERF, '-o', join(directory, 'trial'), '--', 'true']);
    const withPerf = await tried.then(
      ({ status }) => status === 0,
      () => false, // there is no perf
    );
    return new Profiler(directory, withPerf);
  }

  /** Node's options for the profiled program. */
  get nodeOptions(): readonly string[] {
    // perf reads the names of compiled functions from a file that the process writes.
    if (this.#withPerf) return ['--perf-basic-prof'];
    const preload = new URL('./preload.js', import.meta.url);
    preload.searchParams.set('file', this.#v8File);
    return ['--import', preload.href];
  }

  /** To be called when the program has started. */
  async attach(pid: number): Promise<void> {
    const perf = this.#withPerf
      ? await Child.start([...PERF, '-t', String(pid), '-o', this.#perfFile])
      : undefined;
    this.#watching = { pid, perf };
  }

  window(window: Window): void {
    this.#windows.push(window);
  }

  /** To be called when the program has ended: reads the profile. */
  async collect(): Promise<void> {
    const looks = await this.#looks();
    this.#reports.push(...this.#windows.map((window) => windowReport(looks, window)));
    this.#windows = [];
  }

  report(): string {
    const source = this.#withPerf ? 'perf' : "V8's profiler (perf can't be used here)";
    return this.#reports.length === 0 ? '' : `Seen by ${source}.\n\n${this.#reports.join('\n')}`;
  }

  close(): void {
    this.#watching?.perf?.kill('SIGKILL');
    rmSync(this.#directory, { recursive: true, force: true });
  }

  get #perfFile(): string {
    return join(this.#directory, 'perf.data');
  }

  get #v8File(): string {
    return join(this.#directory, 'v8.cpuprofile');
  }

  async #looks(): Promise<Look[]> {
    const watching = this.#watching;
    this.#watching = undefined;
    if (watching?.perf === undefined) {
      if (!existsSync(this.#v8File)) throw new Error('the program has written no profile');
      return looksOfV8(JSON.parse(readFileSync(this.#v8File, 'utf8')) as CpuProfile);
    }
    // perf ends with the thread; this is for when it doesn't.
    await watching.perf.stop('SIGINT', PERF_TIMEOUT_MS);
    try {
      const script = ['perf', 'script', '-i', this.#perfFile, '-F', 'time,ip,sym,dso'];
      return looksOfPerf(await mustRun(script, { timeout: PERF_TIMEOUT_MS }), FREQUENCY);
    } finally {
      rmSync(`/tmp/perf-${watching.pid}.map`, { force: true });
    }
  }
}

/** What each packet of a window has cost, as text. */
export function windowReport(looks: readonly Look[], { what, from, to, bytes }: Window): string {
  const packets = bytes / PACKET_BYTES;
  const { seconds, functions } = breakdown(looks, from, to);
  const each = (total: number) => (total / packets) * 1e6;
  const column = (total: number) => figure(each(total)).padStart(8);
  const verdict = each(seconds.JavaScript) <= BUDGET_MICROSECONDS ? 'within' : 'beyond';
  return [
    `${what}: ${figure(bytes / 1e6 / (to - from))} MB/s, ${Math.round(packets)} packets of 32 KiB in ${figure(to - from)} s`,
    `  main thread, microseconds a packet (JavaScript is ${verdict} its budget of ${BUDGET_MICROSECONDS}):`,
    ...KINDS.map((kind) => `  ${column(seconds[kind])}  ${kind}`),
    '  the most expensive functions outside the kernel, themselves, microseconds a packet:',
    ...functions
      .filter(({ kind }) => kind === 'JavaScript' || kind === 'native' || kind === 'garbage')
      .slice(0, FUNCTIONS_SHOWN)
      .map(
        (own) =>
          `  ${column(own.seconds)}  ${own.name}${own.kind === 'JavaScript' ? '' : ` (${own.kind})`}`,
      ),
    '',
  ].join('\n');
}
