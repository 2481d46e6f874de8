/**
 * Deficit round-robin: shares, precedence of new flows, and that no order of events starves one.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  QUANTUM,
  Scheduler,
  type Sender,
  type Turn,
} from '../../../../../src/ssh/embedded/channels/scheduler.ts';

/** Counted beside the data of each packet. */
const PACKET_COST = 64;

class Flow implements Sender {
  turn: Turn | undefined;
  sent = 0;
  packets = 0;
  backlog: number;
  readonly #packet: number;
  readonly #onSent: ((flow: Flow) => void) | undefined;

  constructor(backlog: number, packet = QUANTUM, onSent?: (flow: Flow) => void) {
    this.backlog = backlog;
    this.#packet = packet;
    this.#onSent = onSent;
  }

  get cost(): number {
    return this.sent + PACKET_COST * this.packets;
  }

  transmit(limit: number): number {
    const bytes = Math.min(limit, this.#packet, this.backlog);
    if (bytes === 0) return 0;
    this.sent += bytes;
    this.packets++;
    this.backlog -= bytes;
    this.#onSent?.(this);
    return bytes;
  }
}

/** Room for so many packets. */
function packets(count: number): () => boolean {
  let left = count;
  return () => left-- > 0;
}

const ENDLESS = Number.MAX_SAFE_INTEGER;

describe('Scheduler', () => {
  it('flows with a backlog get equal parts, whatever the size of their packets', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: QUANTUM }), { minLength: 2, maxLength: 12 }),
        fc.integer({ min: 100, max: 5_000 }),
        (sizes, turns) => {
          const scheduler = new Scheduler();
          const flows = sizes.map((size) => new Flow(ENDLESS, size));
          for (const flow of flows) scheduler.activate(flow);
          scheduler.run(packets(turns));
          const costs = flows.map(({ cost }) => cost);
          assert.ok(
            Math.max(...costs) - Math.min(...costs) <= 2 * (QUANTUM + PACKET_COST),
            costs.join(' '),
          );
        },
      ),
    );
  });

  it('a new flow is served before those that send all the time, with one quantum', () => {
    const scheduler = new Scheduler();
    const order: Flow[] = [];
    const note = (flow: Flow): void => void order.push(flow);
    const old = Array.from({ length: 20 }, () => new Flow(ENDLESS, QUANTUM, note));
    for (const flow of old) scheduler.activate(flow);
    scheduler.run(packets(100));
    const small = new Flow(100, QUANTUM, note);
    const bulk = new Flow(ENDLESS, QUANTUM, note);
    scheduler.activate(small);
    scheduler.activate(bulk);
    order.length = 0;
    scheduler.run(packets(60));
    assert.deepEqual(order.slice(0, 2), [small, bulk]);
    const again = order.indexOf(bulk, 2);
    assert.ok(again >= 20, `after the others have had their turn: ${again}`);
  });

  it('a flow that pauses whenever it likes gains nothing on those that do not', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.integer({ min: 1, max: 3 * QUANTUM }), { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 0, max: 6 }),
        (others, chunks, pause) => {
          const scheduler = new Scheduler();
          const honest = Array.from({ length: others }, () => new Flow(ENDLESS));
          const clever = new Flow(0);
          for (const flow of honest) scheduler.activate(flow);
          let next = 0;
          for (let tick = 0; tick < 2_000; tick++) {
            // Comes back as soon as it is idle, or a little later.
            if (clever.backlog === 0 && tick % (pause + 1) === 0) {
              clever.backlog = chunks[next++ % chunks.length] ?? 0;
              scheduler.activate(clever);
            }
            scheduler.run(packets(1));
          }
          const part = Math.min(...honest.map(({ cost }) => cost));
          assert.ok(
            clever.cost <= part + 4 * (QUANTUM + PACKET_COST),
            `${clever.cost} beside ${part}`,
          );
        },
      ),
      { numRuns: 400 },
    );
  });

  it('no flow with data waits for ever, and no ended flow is asked', () => {
    const action = fc.record({
      kind: fc.constantFrom('add', 'add', 'more', 'remove', 'run'),
      index: fc.nat(9),
      amount: fc.integer({ min: 1, max: 2 * QUANTUM }),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const scheduler = new Scheduler();
        const live = new Map<number, Flow>();
        const ended = new Set<Flow>();
        const check = (flow: Flow): void => {
          assert.ok(!ended.has(flow), 'asked after its end');
          // Some end while they send, and take a neighbour with them.
          if (flow.packets % 5 !== 4) return;
          for (const [index, other] of live) {
            if (other !== flow && index % 3 !== 0) continue;
            live.delete(index);
            ended.add(other);
            scheduler.remove(other);
          }
        };
        for (const { kind, index, amount } of actions) {
          const flow = live.get(index);
          if (kind === 'add' && flow === undefined) {
            const added = new Flow(amount, 1 + (amount % 5_000), check);
            live.set(index, added);
            scheduler.activate(added);
          } else if (kind === 'more' && flow !== undefined) {
            flow.backlog += amount;
            scheduler.activate(flow);
          } else if (kind === 'remove' && flow !== undefined) {
            live.delete(index);
            ended.add(flow);
            scheduler.remove(flow);
          } else if (kind === 'run') {
            scheduler.run(packets(amount % 50));
          }
        }
        scheduler.run(packets(100_000));
        for (const flow of live.values()) assert.equal(flow.backlog, 0);
        assert.equal(scheduler.size, 0, 'nothing is kept of flows that have nothing to send');
      }),
      { numRuns: 300 },
    );
  });

  it('asks before each packet whether it may be sent', () => {
    const scheduler = new Scheduler();
    const flow = new Flow(ENDLESS, 100);
    scheduler.activate(flow);
    scheduler.run(packets(3));
    assert.ok(flow.packets <= 3);
    scheduler.run(() => false);
    assert.ok(flow.packets <= 3);
  });
});
