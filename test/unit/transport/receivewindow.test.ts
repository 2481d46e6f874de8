/** Receive windows: their bounds under any sequence, and what they come to on simulated paths. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  INITIAL_WINDOW,
  MIN_WINDOW,
  type ReceiveWindow,
  ReceiveWindows,
} from '../../../src/transport/ssh2/receivewindow.ts';
import { PathSimulation } from '../../support/pathsimulation.ts';

const BUDGET = 2 * 1024 * 1024;
const MAX_WINDOW = 700_000;

interface Channel {
  readonly window: ReceiveWindow;
  /** As the server and the reader count. */
  granted: number;
  held: number;
}

const step = fc.record({
  kind: fc.constantFrom(
    'open',
    'receive',
    'receive',
    'receive',
    'consume',
    'consume',
    'time',
    'end',
    'close',
  ),
  channel: fc.nat(7),
  part: fc.double({ min: 0, max: 1, noNaN: true }),
});

describe('ReceiveWindows', () => {
  it('grants no more than the budget, holds what it says, and has all of it back at the end', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        let now = 0;
        const windows = new ReceiveWindows({ budget: BUDGET, maxWindow: MAX_WINDOW, clock: () => now });
        windows.roundTrip(20);
        const channels: (Channel | undefined)[] = [];
        let opened = 0;
        for (const { kind, channel: index, part } of steps) {
          const channel = channels[index];
          if (kind === 'open' && channel === undefined) {
            const window = windows.open();
            channels[index] = { window, granted: window.limit, held: 0 };
            opened++;
          } else if (kind === 'time') {
            now += Math.floor(part * 60);
          } else if (channel === undefined) {
            continue;
          } else if (kind === 'receive') {
            const bytes = Math.floor(part * channel.granted);
            assert.ok(channel.window.receive(bytes));
            channel.granted -= bytes;
            channel.held += bytes;
            assert.equal(channel.window.receive(channel.granted + 1), false);
          } else if (kind === 'consume') {
            const bytes = Math.ceil(part * channel.held);
            channel.granted += channel.window.consume(bytes);
            channel.held -= bytes;
          } else if (kind === 'end') {
            channel.window.end();
            channel.granted = 0;
            assert.equal(channel.window.limit, channel.held);
          } else if (kind === 'close') {
            channel.window.close();
            assert.equal(channel.window.consume(channel.held), 0, 'a reader that goes on after the end');
            channels[index] = undefined;
          }
          const open = channels.filter((other) => other !== undefined);
          for (const { window, granted, held } of open) {
            assert.ok(granted + held <= window.limit, `${granted} + ${held} <= ${window.limit}`);
            assert.ok(window.limit <= MAX_WINDOW);
          }
          assert.equal(
            windows.used,
            open.reduce((sum, { window }) => sum + window.limit, 0),
          );
          assert.ok(windows.used <= BUDGET + opened * MIN_WINDOW);
        }
        for (const channel of channels) channel?.window.close();
        assert.equal(windows.used, 0);
      }),
      { numRuns: 300 },
    );
  });

  it('new channels get little when much is used, and it is still bounded with thousands', () => {
    const windows = new ReceiveWindows({ budget: 64 * INITIAL_WINDOW, clock: () => 0 });
    const limits = Array.from({ length: 2000 }, () => windows.open().limit);
    assert.equal(limits[0], INITIAL_WINDOW);
    assert.equal(limits.at(-1), MIN_WINDOW);
    assert.ok(windows.used <= 64 * INITIAL_WINDOW + 2000 * MIN_WINDOW);
  });
});

/** Milliseconds that a queue may take beside the path's own: 0.6 round trips, of at least the 5 ms that the model assumes, and two packets. */
const allowed = (rate: number, rtt: number): number => 0.6 * Math.max(rtt, 5) + Math.max(4, 16_384 / rate);

function assertSettled(simulation: PathSimulation, what: string, milliseconds = 10_000): void {
  const { rate, rtt } = simulation.path;
  const result = simulation.run(milliseconds);
  assert.ok(result.rate >= 0.95 * rate, `${what}: ${(result.rate / rate).toFixed(3)} of the rate`);
  assert.ok(result.delay <= allowed(rate, rtt), `${what}: the queue is ${result.delay.toFixed(1)} ms long`);
}

describe('the windows of one download', () => {
  /** Bytes a millisecond, milliseconds. */
  const paths: readonly (readonly [rate: number, rtt: number])[] = [
    [1_250, 10],
    [1_250, 50],
    [10_000, 20],
    [10_000, 50],
    [10_000, 200],
    [50_000, 100],
    [100_000, 5],
    [100_000, 50],
    [300_000, 0.3],
  ];
  for (const [rate, rtt] of paths) {
    const product = rate * rtt;
    it(`${rate / 1000} MB/s, ${rtt} ms: doubles each round trip, then fills the path with a short queue`, () => {
      const simulation = new PathSimulation({ rate, rtt });
      simulation.run(100);
      const flow = simulation.open();
      // Round trips until the first data, until the window is one product, and until the rate is seen to be full.
      const rounds = 3 + Math.max(0, Math.log2(product / INITIAL_WINDOW)) + 3;
      simulation.run(rounds * Math.max(rtt, 10));
      const begun = simulation.run(10 * Math.max(rtt, 10));
      assert.ok(begun.rate >= 0.9 * rate, `${(begun.rate / rate).toFixed(2)} of the rate`);
      simulation.run(5_000);
      // Over several probes of the least round trip, which cost little.
      assertSettled(simulation, 'settled', 25_000);
      assert.ok(simulation.windows.used === flow.window.limit);
      simulation.close(flow);
      assert.equal(simulation.windows.used, 0);
    });

    it(`${rate / 1000} MB/s, ${rtt} ms: follows a path that changes`, () => {
      const simulation = new PathSimulation({ rate, rtt });
      simulation.open();
      simulation.run(6_000);
      const longest = 4 * Math.max(rtt, 5);
      const changes: readonly [string, number, number][] = [
        ['half the rate', rate / 2, rtt],
        ['the old rate', rate, rtt],
        ['four times as long', rate, 4 * rtt],
        ['as before', rate, rtt],
      ];
      for (const [what, newRate, newRtt] of changes) {
        simulation.path.rate = newRate;
        simulation.path.rtt = newRtt;
        // One lifetime of the least round trip, and a probe of the longest.
        simulation.run(12_000 + 60 * longest);
        assertSettled(simulation, what);
      }
    });
  }
});

describe('the windows of several channels', () => {
  const equal = (parts: readonly number[], within: number, what: string): void => {
    const [least, most] = [Math.min(...parts), Math.max(...parts)];
    assert.ok(least >= (1 - within) * most, `${what}: ${least} to ${most}`);
  };

  it('flows that join and leave have equal parts of a full path', () => {
    const simulation = new PathSimulation({ rate: 10_000, rtt: 50 });
    const first = Array.from({ length: 4 }, () => simulation.open());
    simulation.run(4_000);
    const all = [...first, ...Array.from({ length: 4 }, () => simulation.open())];
    simulation.run(4_000);
    const parts = (of: readonly { received: number }[], milliseconds: number): number[] => {
      const before = of.map(({ received }) => received);
      assertSettled(simulation, `${of.length} flows`, milliseconds);
      return of.map(({ received }, index) => received - (before[index] ?? 0));
    };
    equal(parts(all, 12_000), 0.1, 'eight flows');
    for (const flow of first) simulation.close(flow);
    simulation.run(2_000);
    equal(parts(all.slice(4), 10_000), 0.1, 'the four that stay');
    for (const flow of all) if (!flow.closed) simulation.close(flow);
    assert.equal(simulation.windows.used, 0);
  });

  it('fifty at once are soon a queue of their packets only', () => {
    const simulation = new PathSimulation({ rate: 10_000, rtt: 50 });
    for (let count = 0; count < 50; count++) simulation.open();
    simulation.run(5_000);
    const { rate, delay } = simulation.run(10_000);
    assert.ok(rate >= 9_500, `${rate}`);
    assert.ok(delay <= 60, `${delay}`);
  });

  it('many small flows beside it take nothing from a download, nor make it forget the path', () => {
    const simulation = new PathSimulation({ rate: 10_000, rtt: 50 });
    for (let count = 0; count < 50; count++) simulation.open(4);
    // Much longer than rates are remembered, and with nothing that fills the path.
    simulation.run(10_000);
    const bulk = simulation.open();
    simulation.run(1_000);
    const before = bulk.received;
    simulation.run(4_000);
    assert.ok(bulk.received - before >= 0.92 * (10_000 - 200) * 4_000, `${bulk.received - before}`);
    const { delay } = simulation.run(5_000);
    assert.ok(delay <= allowed(10_000, 50), `${delay}`);
  });

  it('a stalled reader holds no more than its window and takes nothing from the others', () => {
    const simulation = new PathSimulation({ rate: 10_000, rtt: 50 });
    const [stalled, other] = [simulation.open(), simulation.open()];
    simulation.run(3_000);
    stalled.stalled = true;
    const before = stalled.received;
    const { limit } = stalled.window;
    simulation.run(3_000);
    const held = stalled.received - before;
    assert.ok(held <= limit, `${held} <= ${limit}`);
    assertSettled(simulation, 'the other');
    simulation.resume(stalled, held);
    simulation.run(3_000);
    const received = [stalled.received, other.received];
    simulation.run(10_000);
    equal([stalled.received - (received[0] ?? 0), other.received - (received[1] ?? 0)], 0.1, 'both again');
  });

  it('a server that answers no questions: the path is taken for an ordinary one', () => {
    const simulation = new PathSimulation({ rate: 10_000, rtt: 30 }, { answers: false });
    simulation.open();
    simulation.run(3_000);
    const { rate, delay } = simulation.run(5_000);
    assert.ok(rate >= 9_500, `${rate}`);
    assert.ok(delay <= 60, `${delay}`);
  });
});
