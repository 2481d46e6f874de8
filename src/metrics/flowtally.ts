/**
 * What became of the flows of a run, by target: one of the watchers of `Flows` (flow/flowwatch.ts).
 *
 *   asked ──► opening ──► opened ──► ended       each moves a number; nothing is kept of a flow
 *                 └─────► refused, left          that is over
 *
 * Bytes are those that the relay has moved: of flows that live, as they are when somebody asks.
 * Targets are as few as TargetLabels has; flows are as many as `Flows` admits (MAX_FLOWS).
 *
 * What can be told in advance is there from the first scrape on, with 0: the targets, and what may
 * become of a flow. Prometheus' rate() does not see the first event of a series that begins with 1.
 */
import type { Flow, FlowWatcher, Refused, Way } from '../flow/flowwatch.ts';
import type { FlowResult } from '../flow/join.ts';
import type { Destination } from '../net/destination.ts';
import { REFUSALS } from '../net/refusal.ts';

/** What happened to a flow that was asked for. */
export interface Outcome {
  readonly outcome: 'opened' | 'refused' | 'given_up';
  /** Of refusals: net/refusal.ts, and who has refused. Otherwise ''. */
  readonly reason: string;
  readonly by: string;
}

const KNOWN_OUTCOMES: readonly Outcome[] = [
  { outcome: 'opened', reason: '', by: '' },
  { outcome: 'given_up', reason: '', by: '' },
  ...REFUSALS.map((reason) => ({ outcome: 'refused', reason, by: 'far_side' }) as const),
  { outcome: 'refused', reason: 'prohibited', by: 'rules' },
  { outcome: 'refused', reason: 'refused', by: 'rules' },
  { outcome: 'refused', reason: 'refused', by: 'limit' },
];

interface OfTarget {
  /** Bytes of flows that are over. */
  sent: number;
  received: number;
  readonly outcomes: Map<string, { readonly what: Outcome; count: number }>;
  inOrder: number;
  broken: number;
}

interface Live {
  readonly target: string;
  /** When it was asked for, in ms of the monotonic clock. */
  readonly since: number;
}

export interface TargetTotals {
  readonly target: string;
  readonly opening: number;
  readonly open: number;
  readonly sent: number;
  readonly received: number;
  readonly endedInOrder: number;
  readonly endedBroken: number;
  readonly outcomes: readonly (Outcome & { readonly count: number })[];
}

export interface FlowTallyOptions {
  readonly target: (destination: Destination) => string;
  /** Targets that may have flows. */
  readonly expected: () => Iterable<string>;
  /** A flow was opened, `seconds` after it was asked for. */
  readonly timed: (way: Way, seconds: number) => void;
}

export class FlowTally implements FlowWatcher {
  readonly #options: FlowTallyOptions;
  readonly #targets = new Map<string, OfTarget>();
  readonly #live = new Map<Flow, Live>();

  constructor(options: FlowTallyOptions) {
    this.#options = options;
  }

  asked(flow: Flow): void {
    const target = this.#options.target(flow.destination);
    this.#live.set(flow, { target, since: performance.now() });
  }

  opened(flow: Flow): void {
    const live = this.#live.get(flow);
    if (live === undefined) return;
    this.#options.timed(flow.way, (performance.now() - live.since) / 1000);
    this.#count(live.target, { outcome: 'opened', reason: '', by: '' });
  }

  ended(flow: Flow, { sent, received, error }: FlowResult): void {
    const of = this.#of(this.#over(flow));
    of.sent += sent;
    of.received += received;
    if (error === undefined) of.inOrder++;
    else of.broken++;
  }

  refused(flow: Flow, { refusal, by }: Refused): void {
    const who = by === 'far side' ? 'far_side' : by;
    this.#count(this.#over(flow), { outcome: 'refused', reason: refusal, by: who });
  }

  left(flow: Flow): void {
    this.#count(this.#over(flow), { outcome: 'given_up', reason: '', by: '' });
  }

  /** Looks at each flow that lives. */
  totals(): readonly TargetTotals[] {
    const totals = new Map<string, Writable<TargetTotals>>();
    const of = (target: string): Writable<TargetTotals> => {
      const counted = this.#targets.get(target) ?? newTarget();
      const { sent, received, inOrder, broken, outcomes } = counted;
      const found = totals.get(target) ?? {
        target,
        opening: 0,
        open: 0,
        sent,
        received,
        endedInOrder: inOrder,
        endedBroken: broken,
        outcomes: [...outcomes.values()].map(({ what, count }) => ({ ...what, count })),
      };
      totals.set(target, found);
      return found;
    };
    for (const target of this.#options.expected()) of(target);
    for (const target of this.#targets.keys()) of(target);
    for (const [flow, { target }] of this.#live) {
      const into = totals.get(target) ?? of(target);
      if (flow.openedAt === undefined) into.opening++;
      else into.open++;
      into.sent += flow.sent;
      into.received += flow.received;
    }
    return [...totals.values()];
  }

  #over(flow: Flow): string {
    const target = this.#live.get(flow)?.target ?? this.#options.target(flow.destination);
    this.#live.delete(flow);
    return target;
  }

  #count(target: string, what: Outcome): void {
    const { outcomes } = this.#of(target);
    const key = keyOf(what);
    const found = outcomes.get(key);
    if (found === undefined) outcomes.set(key, { what, count: 1 });
    else found.count++;
  }

  #of(target: string): OfTarget {
    let found = this.#targets.get(target);
    if (found === undefined) {
      found = newTarget();
      this.#targets.set(target, found);
    }
    return found;
  }
}

function newTarget(): OfTarget {
  const outcomes = new Map(KNOWN_OUTCOMES.map((what) => [keyOf(what), { what, count: 0 }]));
  return { sent: 0, received: 0, outcomes, inOrder: 0, broken: 0 };
}

function keyOf({ outcome, reason, by }: Outcome): string {
  return `${outcome} ${reason} ${by}`;
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
