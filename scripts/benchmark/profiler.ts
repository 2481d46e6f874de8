/**
 * `./scripts/bench --profile`: this program is started under V8's profiler (preload.ts), and for each rate that the measurement takes the
 * profile tells what one SSH packet has cost its main thread.
 *
 *   nodeOptions -> the peer's command line ... window(rate) ... the program ends -> collect() -> report()
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { breakdown, type CpuProfile, KINDS } from './cpuprofile.ts';
import { figure } from './statistics.ts';

/** Of the channel data in one packet, the most that OpenSSH puts into it. */
export const PACKET_BYTES = 32 * 1024;
/** What JavaScript may cost for each of them. */
const BUDGET_MICROSECONDS = 5;
const FUNCTIONS_SHOWN = 15;

/** A rate that was measured while the program was watched. */
export interface Window {
  readonly what: string;
  /** Seconds of CLOCK_MONOTONIC. */
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
}

export class Profiler {
  readonly #directory = mkdtempSync(join(tmpdir(), 'tunnel-profile-'));
  #windows: Window[] = [];
  readonly #reports: string[] = [];

  /** Node's, for the program that is watched; the profile is written when it ends. */
  get nodeOptions(): readonly string[] {
    const preload = new URL('./preload.js', import.meta.url);
    preload.searchParams.set('directory', this.#directory);
    return ['--import', preload.href];
  }

  window(window: Window): void {
    this.#windows.push(window);
  }

  /** The program has ended: reads its profile. */
  collect(): void {
    const [name] = readdirSync(this.#directory);
    if (name === undefined) throw new Error('the program has written no profile');
    const file = join(this.#directory, name);
    const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile;
    rmSync(file);
    this.#reports.push(...this.#windows.map((window) => windowReport(profile, window)));
    this.#windows = [];
  }

  report(): string {
    return this.#reports.join('\n');
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** What each packet of a window has cost, as text. */
export function windowReport(profile: CpuProfile, { what, from, to, bytes }: Window): string {
  const packets = bytes / PACKET_BYTES;
  const { microseconds, functions } = breakdown(profile, from, to);
  const each = (total: number) => figure(total / packets).padStart(8);
  const javaScript = microseconds.JavaScript / packets;
  const verdict = javaScript <= BUDGET_MICROSECONDS ? 'within' : 'beyond';
  return [
    `${what}: ${figure(bytes / 1e6 / (to - from))} MB/s, ${Math.round(packets)} packets of 32 KiB in ${figure(to - from)} s`,
    `  main thread, microseconds a packet (JavaScript is ${verdict} its budget of ${BUDGET_MICROSECONDS}):`,
    ...KINDS.map((kind) => `  ${each(microseconds[kind])}  ${kind}`),
    '  the most expensive functions, themselves, microseconds a packet:',
    ...functions
      .slice(0, FUNCTIONS_SHOWN)
      .map(
        ({ name, kind, microseconds: own }) =>
          `  ${each(own)}  ${name}${kind === 'native' ? ' (native)' : ''}`,
      ),
    '',
  ].join('\n');
}
