/**
 * The metrics of a run in Prometheus' text format. Nothing is kept that another part knows: values
 * are read when somebody asks. Only what can't be read afterwards is noted as it happens, a few
 * numbers a flow: how long opens take, and what became of the flows of each target.
 *
 *   Flows ──asked, opened, ...──► FlowTally, a histogram ─┐
 *   link, counters, process ──────────────────────────────┴─ text() ──► server.ts
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { FlowWatcher } from '../flow/flowwatch.ts';
import type { LinkView } from '../link/linkstate.ts';
import { COUNTERS, type CounterValue } from '../observe/counters.ts';
import type { Observer } from '../observe/observer.ts';
import {
  type Audience,
  FAMILIES,
  type Family,
  OPEN_DURATION,
  type Reading,
  type Sample,
} from './families.ts';
import { FlowTally } from './flowtally.ts';
import { ProcessWatch } from './processvalues.ts';
import { TargetLabels, type Targets } from './targetlabels.ts';

export interface MetricsParts {
  readonly run: () => Reading['run'];
  readonly link: () => LinkView;
  readonly counters: () => readonly CounterValue[];
  readonly targets: () => Targets;
  readonly observer: Observer;
}

export class Metrics {
  /** Is told of each flow. */
  readonly watch: FlowWatcher;
  readonly #parts: MetricsParts;
  readonly #tally: FlowTally;
  readonly #process = new ProcessWatch();
  readonly #registry = new Registry();
  readonly #audience: Audience;
  /** Of the scrape that is under way. */
  #reading: Reading | undefined;
  #counters: ReadonlyMap<string, number> = new Map();

  constructor(parts: MetricsParts, audience: Audience) {
    this.#parts = parts;
    this.#audience = audience;
    const registers = [this.#registry];
    const { name, help, labels, buckets } = OPEN_DURATION;
    const durations = new Histogram({
      name,
      help,
      labelNames: [...labels],
      buckets: [...buckets],
      registers,
    });
    for (const way of ['tunnel', 'direct']) durations.zero({ way });
    const shown = new TargetLabels(parts.targets, parts.observer);
    this.#tally = new FlowTally({
      target: (destination) => (audience === 'operator' ? shown.of(destination) : ''),
      expected: () => (audience === 'operator' ? shown.expected() : ['']),
      timed: (way, seconds) => durations.observe({ way }, seconds),
    });
    this.watch = this.#tally;
    for (const family of FAMILIES) this.#register(family);
    for (const [counter, what] of Object.entries(COUNTERS)) this.#registerCounter(counter, what);
  }

  async text(): Promise<string> {
    this.#reading = this.#read();
    this.#counters = new Map(this.#parts.counters().map(({ name, value }) => [name, value]));
    return this.#registry.metrics();
  }

  close(): void {
    this.#process.close();
    this.#registry.clear();
  }

  #read(): Reading {
    const { run, link } = this.#parts;
    return {
      run: run(),
      link: link(),
      targets: this.#tally.totals(),
      process: this.#process.read(),
    };
  }

  #register({ name, help, type, labels, private: ofOperator, read }: Family): void {
    const labelNames = this.#audience === 'operator' ? [...labels, ...ofOperator] : [...labels];
    const options = { name, help, labelNames, registers: [this.#registry] };
    const samples = (): readonly Sample[] =>
      this.#reading === undefined ? [] : read(this.#reading);
    if (type === 'counter') {
      new Counter({
        ...options,
        collect() {
          fill(this, samples(), labelNames);
        },
      });
      return;
    }
    new Gauge({
      ...options,
      collect() {
        fill(this, samples(), labelNames);
      },
    });
  }

  /** What has no `_total` is a gauge (observe/counters.ts). */
  #registerCounter(name: string, help: string): void {
    const options = { name, help, registers: [this.#registry] };
    const samples = (): readonly Sample[] => [{ labels: {}, value: this.#counters.get(name) ?? 0 }];
    if (name.endsWith('_total')) {
      new Counter({
        ...options,
        collect() {
          fill(this, samples(), []);
        },
      });
      return;
    }
    new Gauge({
      ...options,
      collect() {
        fill(this, samples(), []);
      },
    });
  }
}

/**
 * Values with the same labels are added up. A metric without labels is 0 where there is no sample,
 * and absent where its value is not known.
 */
function fill(
  metric: Counter<string> | Gauge<string>,
  samples: readonly Sample[],
  labelNames: readonly string[],
): void {
  metric.reset();
  const unknown = samples.length > 0 && samples.every(({ value }) => value === undefined);
  if (unknown && labelNames.length === 0) metric.remove();
  for (const { labels, value } of samples) {
    if (value === undefined) continue;
    const shown = labelNames.map((name) => [name, labels[name] ?? ''] as const);
    metric.inc(Object.fromEntries(shown), value);
  }
}
