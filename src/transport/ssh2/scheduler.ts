/**
 * Whose turn it is to send: deficit round-robin with precedence for new flows, as FQ-CoDel's scheduler has it
 * (RFC 8290 §4.1.1 and §4.2; deficit round-robin: Shreedhar and Varghese 1995).
 *
 *   activate(flow) -> fresh ---- quantum used, or emptied while others wait ----> old --- quantum used ---> old (at the end)
 *                                                                                  `---- nothing to send ---> idle
 *
 * A flow that has been idle goes ahead of those that send all the time, with one quantum: so an interactive flow and a
 * small request don't wait for bulk, and a bulk flow gains nothing by pausing. Among old flows each gets a quantum a
 * round, however small its packets are. The scheduler holds flows and no data.
 */

/** Bytes that a flow may send in its turn: one packet of the largest size. */
export const QUANTUM = 32 * 1024;
/** What a packet costs beside its data (header, padding, tag, our own time), so that small packets aren't free. */
const PACKET_COST = 64;

export interface Sender {
  /** Sends one packet of at most `limit` bytes; returns how many bytes of data it had, 0 when there is nothing that may be sent. */
  transmit(limit: number): number;
}

export class Scheduler<Flow extends Sender> {
  readonly #fresh = new Set<Flow>();
  readonly #old = new Set<Flow>();
  readonly #deficits = new Map<Flow, number>();

  /** Flows that have, or had in their last turn, something to send. */
  get size(): number {
    return this.#deficits.size;
  }

  /** There is something to send: the flow is scheduled unless it is already. */
  activate(flow: Flow): void {
    if (this.#deficits.has(flow)) return;
    this.#deficits.set(flow, QUANTUM);
    this.#fresh.add(flow);
  }

  /** The flow has ended. */
  remove(flow: Flow): void {
    this.#deficits.delete(flow);
    this.#fresh.delete(flow);
    this.#old.delete(flow);
  }

  /** Lets flows send, in turn, for as long as there is room. `room` is asked before each packet. */
  run(room: () => boolean): void {
    while (this.#deficits.size > 0 && room()) this.#turn();
  }

  #turn(): void {
    const queue = this.#fresh.size > 0 ? this.#fresh : this.#old;
    const [flow] = queue;
    if (flow === undefined) return;
    const deficit = this.#deficits.get(flow) ?? 0;
    if (deficit <= 0) {
      this.#deficits.set(flow, deficit + QUANTUM);
      this.#toEnd(flow, queue);
      return;
    }
    const sent = flow.transmit(QUANTUM);
    // Its stream may have ended meanwhile.
    if (!this.#deficits.has(flow)) return;
    if (sent > 0) {
      this.#deficits.set(flow, deficit - sent - PACKET_COST);
    } else if (queue === this.#fresh && this.#old.size > 0) {
      // Not forgotten at once: else a flow could have a fresh quantum whenever it likes.
      this.#toEnd(flow, queue);
    } else {
      this.remove(flow);
    }
  }

  #toEnd(flow: Flow, queue: Set<Flow>): void {
    queue.delete(flow);
    this.#old.add(flow);
  }
}
