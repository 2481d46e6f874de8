/**
 * What the process itself takes, under the names that Prometheus' own clients use for it. Read when
 * somebody asks.
 *
 * The delay of the event loop can't be read at a moment; it must be watched. That wakes the process
 * every RESOLUTION_MS, so it goes on only while somebody asks: from one scrape until UNASKED_MS
 * after the last one.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 50;
/** Longer than the interval of any Prometheus. */
const UNASKED_MS = 10 * 60_000;

export interface ProcessValues {
  readonly cpuUserSeconds: number;
  readonly cpuSystemSeconds: number;
  readonly residentBytes: number;
  readonly heapUsedBytes: number;
  readonly heapTotalBytes: number;
  readonly externalBytes: number;
  readonly startTimeSeconds: number;
  /** undefined: /proc does not say. */
  readonly openDescriptors: number | undefined;
  readonly maxDescriptors: number | undefined;
  /** Since the scrape before; undefined: nobody watched. */
  readonly loopDelay: { readonly mean: number; readonly max: number } | undefined;
}

export class ProcessWatch {
  readonly #startTimeSeconds = Date.now() / 1000 - process.uptime();
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #timer: NodeJS.Timeout | undefined;

  read(): ProcessValues {
    const { user, system } = process.cpuUsage();
    const { rss, heapUsed, heapTotal, external } = process.memoryUsage();
    return {
      cpuUserSeconds: user / 1e6,
      cpuSystemSeconds: system / 1e6,
      residentBytes: rss,
      heapUsedBytes: heapUsed,
      heapTotalBytes: heapTotal,
      externalBytes: external,
      startTimeSeconds: this.#startTimeSeconds,
      openDescriptors: openDescriptors(),
      maxDescriptors: maxDescriptors(),
      loopDelay: this.#loopDelay(),
    };
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#delay.disable();
  }

  #loopDelay(): ProcessValues['loopDelay'] {
    const { count, mean, max } = this.#delay;
    const watched = this.#timer !== undefined && count > 0;
    this.#delay.reset();
    this.#delay.enable();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#delay.disable();
    }, UNASKED_MS);
    this.#timer.unref();
    return watched ? { mean: late(mean), max: late(max) } : undefined;
  }
}

/** The histogram has the whole time from one look to the next, in nanoseconds. */
function late(nanoseconds: number): number {
  return Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1000);
}

function openDescriptors(): number | undefined {
  try {
    // Without the one that reads the directory.
    return readdirSync('/proc/self/fd').length - 1;
  } catch {
    return undefined; // no /proc, or no descriptor is left
  }
}

function maxDescriptors(): number | undefined {
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1');
    const soft = /^Max open files +([0-9]+)/m.exec(limits)?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined; // as above
  }
}
