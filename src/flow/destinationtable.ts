/**
 * The flows of a run by their destinations, for the report at its terminal. One of the watchers of
 * `Flows` (flowwatch.ts). It counts flows that were opened; those that are refused are in the
 * FlowTable.
 *
 * Limit: MAX_DESTINATIONS. For a new one the one is forgotten that was used longest ago and has no
 * open flow; if all have, the new one isn't counted.
 */
import type { Destination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import type { Flow, FlowWatcher } from './flowwatch.ts';
import type { FlowResult } from './join.ts';

export const MAX_DESTINATIONS = 256;

export interface DestinationTotals {
  readonly destination: Destination;
  readonly live: number;
  readonly opened: number;
  readonly sent: number;
  readonly received: number;
}

class Entry {
  readonly destination: Destination;
  readonly live = new Set<Flow>();
  opened = 0;
  /** Of flows that are over. */
  sent = 0;
  received = 0;

  constructor(destination: Destination) {
    this.destination = destination;
  }
}

export class DestinationTable implements FlowWatcher {
  readonly #observer: Observer;
  /** The one used last comes last. */
  readonly #entries = new Map<string, Entry>();

  constructor(observer: Observer) {
    this.#observer = observer;
  }

  opened(flow: Flow): void {
    const key = keyOf(flow);
    const entry = this.#entries.get(key) ?? this.#newEntry(flow.destination);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    entry.opened++;
    entry.live.add(flow);
  }

  ended(flow: Flow, { sent, received }: FlowResult): void {
    const entry = this.#entries.get(keyOf(flow));
    if (entry === undefined || !entry.live.delete(flow)) return;
    entry.sent += sent;
    entry.received += received;
  }

  /** The one used last comes first. Looks at each flow that is open. */
  totals(): DestinationTotals[] {
    return [...this.#entries.values()].reverse().map((entry) => {
      let { sent, received } = entry;
      for (const flow of entry.live) {
        sent += flow.sent;
        received += flow.received;
      }
      const { destination, live, opened } = entry;
      return { destination, live: live.size, opened, sent, received };
    });
  }

  #newEntry(destination: Destination): Entry | undefined {
    if (this.#entries.size >= MAX_DESTINATIONS) {
      this.#observer.count('tunnel_report_destinations_forgotten_total');
      const unused = [...this.#entries].find(([, { live }]) => live.size === 0);
      if (unused === undefined) return undefined;
      this.#entries.delete(unused[0]);
    }
    return new Entry(destination);
  }
}

function keyOf({ destination: { host, port } }: Flow): string {
  return `${host} ${port}`;
}
