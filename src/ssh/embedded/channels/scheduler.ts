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
import { LinkedList, ListEntry } from '../../../base/linkedlist.ts';

/** Bytes that a flow may send in its turn: one packet of the largest size. */
export const QUANTUM = 32 * 1024;
/**
 * What a packet costs in addition to its data (header, padding, tag, our own time). It makes small
 * packets count.
 */
const PACKET_COST = 64;

export interface Sender {
  /** For the scheduler; undefined: it is idle. */
  turn: Turn | undefined;
  /**
   * Sends one packet with at most `limit` bytes of data. Returns how many it had; 0: nothing may be
   * sent.
   */
  transmit(limit: number): number;
}

/** A flow that has something to send, or had in its last turn. */
export class Turn extends ListEntry<Sender> {
  /** Bytes that the flow may still send in this turn. */
  deficit = QUANTUM;
  /** It has sent something in this turn, or has already used part of it. */
  used = false;
}

export class Scheduler {
  readonly #fresh = new LinkedList<Sender>();
  readonly #old = new LinkedList<Sender>();

  /** How many flows have something to send, or had in their last turn. */
  get size(): number {
    return this.#fresh.size + this.#old.size;
  }

  /** There is something to send: the flow is scheduled unless it is already. */
  activate(flow: Sender): void {
    if (flow.turn !== undefined) return;
    const turn = new Turn(flow);
    flow.turn = turn;
    this.#fresh.add(turn);
  }

  /** The flow has ended. */
  remove(flow: Sender): void {
    const { turn } = flow;
    if (turn === undefined) return;
    flow.turn = undefined;
    turn.list?.delete(turn);
  }

  /**
   * Lets flows send in turn, as long as `maySend` returns true. It is called before each packet.
   */
  run(maySend: () => boolean): void {
    while (this.size > 0 && maySend()) this.#turn();
  }

  #turn(): void {
    const queue = this.#fresh.size > 0 ? this.#fresh : this.#old;
    const flow = queue.first;
    const turn = flow?.turn;
    if (flow === undefined || turn === undefined) return;
    if (turn.deficit <= 0) {
      turn.deficit += QUANTUM;
      this.#toEnd(turn);
      // If its last packet was larger than what it had left, it has already used part of its next
      // turn.
      turn.used = true;
      return;
    }
    const sent = flow.transmit(QUANTUM);
    // Its stream may have ended meanwhile.
    if (flow.turn !== turn) return;
    if (sent > 0) {
      turn.deficit -= sent + PACKET_COST;
      turn.used = true;
    } else if (turn.used) {
      this.#toEnd(turn);
    } else {
      this.remove(flow);
    }
  }

  #toEnd(turn: Turn): void {
    turn.used = false;
    turn.list?.delete(turn);
    this.#old.add(turn);
  }
}
