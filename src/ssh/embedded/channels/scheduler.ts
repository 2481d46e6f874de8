/**
 * Whose turn it is to send: deficit round-robin with precedence for new flows, as FQ-CoDel's
 * scheduler has it (RFC 8290 §4.1.1 and §4.2; deficit round-robin: Shreedhar and Varghese 1995).
 *
 *   activate(flow) -> fresh -- quantum used, or emptied --> old -- the same --> old (at the end)
 *                                                            `-- nothing sent in its turn --> idle
 *
 * A flow that has been idle goes ahead of those that send all the time, with one quantum: so an
 * interactive flow and a small request don't wait for bulk. It is idle when it had a turn and
 * nothing to send (RFC 8290 forgets an old flow as soon as it is emptied, and one that pauses for a
 * moment then has up to twice its part). Among old flows each gets a quantum a round, however small
 * its packets are. The scheduler holds flows and no data.
 */

/** Bytes that a flow may send in its turn: one packet of the largest size. */
export const QUANTUM = 32 * 1024;
/**
 * What a packet costs beside its data (header, padding, tag, our own time), so that small packets
 * aren't free.
 */
const PACKET_COST = 64;

export interface Sender {
  /**
   * Sends one packet of at most `limit` bytes; returns how many bytes of data it had, 0 when there
   * is nothing that may be sent.
   */
  transmit(limit: number): number;
}

interface Turn {
  /** Bytes that the flow may still send in this turn. */
  deficit: number;
  /** It has sent something in this turn, or ahead of it. */
  used: boolean;
}

export class Scheduler<Flow extends Sender> {
  readonly #fresh = new Set<Flow>();
  readonly #old = new Set<Flow>();
  readonly #turns = new Map<Flow, Turn>();

  /** Flows that have, or had in their last turn, something to send. */
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

  /** Lets flows send, in turn, for as long as there is room. `room` is asked before each packet. */
  run(room: () => boolean): void {
    while (this.#turns.size > 0 && room()) this.#turn();
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
      // Of its next turn it may have spent a part already, if its last packet was larger than what
      // it had left.
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
