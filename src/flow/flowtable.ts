/**
 * The flows of a run as its users see them: those that live, the last ones that were refused, and
 * what was carried in all. One of the watchers of `Flows` (flowwatch.ts).
 *
 * Limits: as many flows live as `Flows` admits (MAX_FLOWS); MAX_REFUSALS are kept.
 */
import { LinkedList } from '../base/linkedlist.ts';
import type { Observer } from '../observe/observer.ts';
import type { Flow, FlowWatcher, Refused } from './flowwatch.ts';
import type { FlowResult } from './join.ts';

/** The oldest one goes when there are more. */
export const MAX_REFUSALS = 100;

export interface RefusedFlow extends Refused {
  readonly flow: Flow;
  /** When, in milliseconds since 1970. */
  readonly at: number;
}

export interface FlowTotals {
  /** Flows that were opened. */
  readonly opened: number;
  readonly refused: number;
  /** Bytes of all flows that were opened, from applications, until now. */
  readonly sent: number;
  /** Bytes of them from far sides. */
  readonly received: number;
}

export class FlowTable implements FlowWatcher {
  readonly #observer: Observer;
  readonly #live = new LinkedList<Flow>();
  readonly #refusals: RefusedFlow[] = [];
  #opened = 0;
  #refused = 0;
  /** Of flows that are over. */
  #sent = 0;
  #received = 0;

  constructor(observer: Observer) {
    this.#observer = observer;
  }

  /** In the order in which they were asked for. */
  get live(): Iterable<Flow> {
    return this.#live.values;
  }

  get size(): number {
    return this.#live.size;
  }

  /** The last ones, the newest first. */
  get refusals(): readonly RefusedFlow[] {
    return this.#refusals.toReversed();
  }

  /** Looks at each flow that lives. */
  totals(): FlowTotals {
    let sent = this.#sent;
    let received = this.#received;
    for (const flow of this.#live.values) {
      sent += flow.sent;
      received += flow.received;
    }
    return { opened: this.#opened, refused: this.#refused, sent, received };
  }

  asked(flow: Flow): void {
    this.#live.add(flow.entry);
  }

  opened(_flow: Flow): void {
    this.#opened++;
  }

  ended(flow: Flow, { sent, received }: FlowResult): void {
    this.#live.delete(flow.entry);
    this.#sent += sent;
    this.#received += received;
  }

  refused(flow: Flow, how: Refused): void {
    this.#live.delete(flow.entry);
    this.#refused++;
    this.#refusals.push({ ...how, flow, at: Date.now() });
    if (this.#refusals.length <= MAX_REFUSALS) return;
    this.#refusals.shift();
    this.#observer.count('tunnel_refusals_forgotten_total');
  }

  left(flow: Flow): void {
    this.#live.delete(flow.entry);
  }
}
