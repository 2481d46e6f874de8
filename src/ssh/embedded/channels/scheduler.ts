/**
 * Decides which flow sends next: deficit round-robin with precedence for new flows, as in
 * FQ-CoDel's scheduler (RFC 8290 §4.1.1 and §4.2; deficit round-robin: Shreedhar and Varghese
 * 1995).
 *
 *   activate(flow) -> fresh -- quantum used, or emptied --> old -- the same --> old (at the end)
 *                                                            `-- nothing sent in its turn --> idle
 *
 * A flow that has been idle goes ahead of flows that send all the time, for one quantum. So
 * interactive flows and small requests don't wait for bulk data. A flow is idle after a turn in
 * which it had nothing to send. (RFC 8290 forgets an old flow as soon as it is empty; a flow that
 * pauses for a moment then gets up to twice its share.) Each old flow gets one quantum a round,
 * however small its packets are. The scheduler keeps flows but no data.
 */

/** Bytes that a flow may send in its turn: one packet of the largest size. */
export const QUANTUM = 32 * 1024;
/**
 * What a packet costs in addition to its data (header, padding, tag, our own time). It makes small
 * packets count.
 */
const PACKET_COST = 64;

export interface Sender {
  /**
   * Sends one packet with at most `limit` bytes of data. Returns how many it had; 0: nothing may be
   * sent.
   */
  transmit(limit: number): number;
}

interface Turn {
  /** Bytes that the flow may still send in this turn. */
  deficit: number;
  /** It has sent something in this turn, or has already used part of it. */
  used: boolean;
}

export class Scheduler<Flow extends Sender> {
  readonly #fresh = new Set<Flow>();
  readonly #old = new Set<Flow>();
  readonly #turns = new Map<Flow, Turn>();

  /** How many flows have something to send, or had in their last turn. */
  get size(): number {
    return this.#turns.size;
  }

  /** There is something to send: the flow is scheduled unless it is already. */
  activate(flow: Flow): void {
    if (this.#turns.has(flow)) return;
    this.#turns.set(flow, { deficit: QUANTUM, used: false });
    this.#fresh.add(flow);
  }

  /** The flow has ended. */
  remove(flow: Flow): void {
    this.#turns.delete(flow);
    this.#fresh.delete(flow);
    this.#old.delete(flow);
  }

  /**
   * Lets flows send in turn, as long as `maySend` returns true. It is called before each packet.
   */
  run(maySend: () => boolean): void {
    while (this.#turns.size > 0 && maySend()) this.#turn();
  }

  #turn(): void {
    const queue = this.#fresh.size > 0 ? this.#fresh : this.#old;
    const [flow] = queue;
    if (flow === undefined) return;
    const turn = this.#turns.get(flow);
    if (turn === undefined) {
      queue.delete(flow);
      return;
    }
    if (turn.deficit <= 0) {
      turn.deficit += QUANTUM;
      this.#toEnd(flow, turn, queue);
      // If its last packet was larger than what it had left, it has already used part of its next
      // turn.
      turn.used = true;
      return;
    }
    const sent = flow.transmit(QUANTUM);
    // Its stream may have ended meanwhile.
    if (!this.#turns.has(flow)) return;
    if (sent > 0) {
      turn.deficit -= sent + PACKET_COST;
      turn.used = true;
    } else if (turn.used) {
      this.#toEnd(flow, turn, queue);
    } else {
      this.remove(flow);
    }
  }

  #toEnd(flow: Flow, turn: Turn, queue: Set<Flow>): void {
    turn.used = false;
    queue.delete(flow);
    this.#old.add(flow);
  }
}
