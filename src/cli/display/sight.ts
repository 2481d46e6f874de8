/** What one glance at a run after the other tells: rates, and what is busy. */
import type { DestinationStatus, Glance } from '../../control/status.ts';
import type { Rate } from '../watch/history.ts';
import { type BusyDestination, MAX_DESTINATIONS, type Shown } from './layout.ts';

/** One a second: more than a plot has columns. */
const MAX_RATES = 60;

export class Sight {
  readonly #rates: Rate[] = [];
  #before: Glance | undefined;
  #carried = new Map<string, number>();
  #destinations: readonly BusyDestination[] = [];

  /** The next glance, which begins a column of the plots. */
  tick(glance: Glance): void {
    const before = this.#before;
    this.#before = glance;
    const seconds = before === undefined ? 0 : (glance.at - before.at) / 1_000;
    if (before !== undefined && seconds > 0) {
      const rate = (now: number, then: number) => Math.max(0, now - then) / seconds;
      this.#rates.push({
        sent: rate(glance.flows.sentBytes, before.flows.sentBytes),
        received: rate(glance.flows.receivedBytes, before.flows.receivedBytes),
      });
      if (this.#rates.length > MAX_RATES) this.#rates.shift();
    }
    this.#destinations = this.#busiest(glance.destinations, seconds);
  }

  /** `glance`: as it is now, which may be later than the last tick. */
  shown(glance: Glance, waits: readonly string[]): Shown {
    return { glance, waits, rates: this.#rates, destinations: this.#destinations };
  }

  /** By what they carry now; of those that carry nothing, those with flows, used last. */
  #busiest(all: readonly DestinationStatus[], seconds: number): BusyDestination[] {
    const before = this.#carried;
    this.#carried = new Map();
    const busy = all.map(({ destination, names, live, opened, sentBytes, receivedBytes }) => {
      const carried = sentBytes + receivedBytes;
      this.#carried.set(destination, carried);
      const more = carried - (before.get(destination) ?? 0);
      const rate = seconds > 0 ? Math.max(0, more) / seconds : 0;
      const text = names.length === 0 ? destination : `${destination} (${names[0]})`;
      return { text, live, opened, rate };
    });
    // A stable sort: those that are alike stay in the order of their last use.
    return busy
      .sort((a, b) => b.rate - a.rate || Math.sign(b.live) - Math.sign(a.live))
      .slice(0, MAX_DESTINATIONS);
  }
}
