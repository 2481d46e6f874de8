/** Receive windows: their bounds under any sequence, and what they come to on simulated paths. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  INITIAL_WINDOW,
  MIN_WINDOW,
  type ReceiveWindow,
  ReceiveWindows,
} from '../../../../../src/ssh/embedded/channels/receivewindow.ts';
import { DEFAULT_WINDOW_BUDGET } from '../../../../../src/ssh/limits.ts';
import { PathSimulation } from '../../../../support/pathsimulation.ts';

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
  it('grants no more than the budget, keeps to its limits, and has the whole budget back at the end', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        let now = 0;
        const windows = new ReceiveWindows({
          budget: BUDGET,
          maxWindow: MAX_WINDOW,
          clock: () => now,
        });
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
            assert.equal(
              channel.window.consume(channel.held),
              0,
              'a reader that goes on after the end',
            );
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

  it('channels begin with what ssh grants, with less when many are open, and are limited with thousands', () => {
    let now = 0;
    const budget = 128 * INITIAL_WINDOW;
    const windows = new ReceiveWindows({ budget, clock: () => now });
    const limits = Array.from({ length: 3000 }, () => {
      now += 2_000;
      return windows.open().limit;
    });
    assert.ok(limits.slice(0, 30).every((limit) => limit === INITIAL_WINDOW));
    assert.ok(limits.every((limit, index) => index === 0 || limit <= (limits[index - 1] ?? 0)));
    assert.equal(limits.at(-1), MIN_WINDOW);
    // Half of it is left to grow into.
    assert.ok(windows.used <= budget / 2 + 3000 * MIN_WINDOW, `${windows.used}`);
  });

  it('channels that are opened in the same moment share, which costs none more than a few round trips', () => {
    const simulation = new PathSimulation({ rate: 100_000, rtt: 50 });
    const flows = Array.from({ length: 50 }, () => simulation.open());
    assert.ok(simulation.windows.used <= 20 * 1024 * 1024, `${simulation.windows.used}`);
    for (const flow of flows.slice(0, -1)) simulation.close(flow);
    simulation.run(500);
    assert.ok((flows.at(-1)?.window.limit ?? 0) >= INITIAL_WINDOW);
  });

  it('a busy channel among thousands of idle ones has more than they do', () => {
    const simulation = new PathSimulation({ rate: 100_000, rtt: 50 }, { budget: 64 * 1024 * 1024 });
    for (let count = 0; count < 5_000; count++) simulation.windows.open();
    const flow = simulation.open();
    assert.equal(flow.window.limit, MIN_WINDOW);
    simulation.run(3_000);
    assert.ok(simulation.run(1_000).rate >= 95_000);
  });

  it('busy channels share a budget that is too small for them', () => {
    const budget = 4 * 1024 * 1024;
    const simulation = new PathSimulation({ rate: 1_000_000, rtt: 50 }, { budget });
    const flows = Array.from({ length: 8 }, () => simulation.open());
    simulation.run(3_000);
    const before = flows.map(({ received }) => received);
    simulation.run(5_000);
    equal(
      flows.map(({ received }, index) => received - (before[index] ?? 0)),
      0.1,
      'eight flows',
    );
    assert.ok(simulation.windows.used <= budget + 8 * MIN_WINDOW);
  });
});

const equal = (parts: readonly number[], within: number, what: string): void => {
  const [least, most] = [Math.min(...parts), Math.max(...parts)];
  assert.ok(least >= (1 - within) * most, `${what}: ${least} to ${most}`);
};

/**
 * Milliseconds that a queue may take beside the path's own: as long again, or 40, and what is sent
 * at once.
 */
const allowed = (rate: number, rtt: number): number => Math.max(rtt, 40) + 32_768 / rate;

function assertSettled(simulation: PathSimulation, what: string, milliseconds = 10_000): void {
  const { rate, rtt } = simulation.path;
  const result = simulation.run(milliseconds);
  assert.ok(result.rate >= 0.95 * rate, `${what}: ${(result.rate / rate).toFixed(3)} of the rate`);
  assert.ok(
    result.delay <= allowed(rate, rtt),
    `${what}: the queue is ${result.delay.toFixed(1)} ms long`,
  );
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
    it(`${rate / 1000} MB/s, ${rtt} ms: from the first byte on no slower than with ssh's window, then the whole path`, () => {
      const simulation = new PathSimulation({ rate, rtt });
      simulation.run(100);
      const flow = simulation.open();
      simulation.run(2 * rtt);
      for (let round = 0; round < 20; round++) {
        const least = Math.min(rate, INITIAL_WINDOW / Math.max(rtt, 1));
        assert.ok(simulation.run(Math.max(rtt, 100)).rate >= 0.85 * least, `round ${round}`);
      }
      // What was granted at first has come, and a queue has been measured.
      simulation.run(2_000 + (2 * INITIAL_WINDOW) / rate);
      assertSettled(simulation, 'settled', 25_000);
      const most = Math.max(INITIAL_WINDOW, 1.5 * rate * Math.max(rtt, 5));
      assert.ok(flow.window.limit <= most, `${flow.window.limit} <= ${most}`);
      simulation.close(flow);
      assert.equal(simulation.windows.used, 0);
    });

    it(`${rate / 1000} MB/s, ${rtt} ms: a path that changes leaves it no less than ssh's window`, () => {
      const simulation = new PathSimulation({ rate, rtt });
      simulation.open();
      simulation.run(6_000 + (2 * INITIAL_WINDOW) / rate);
      const changes: readonly [string, number, number][] = [
        ['half the rate', rate / 2, rtt],
        ['the old rate', rate, rtt],
        ['four times as long', rate, 4 * rtt],
        ['as before', rate, rtt],
      ];
      for (const [what, newRate, newRtt] of changes) {
        simulation.path.rate = newRate;
        simulation.path.rtt = newRtt;
        simulation.run(10_000);
        const result = simulation.run(5_000);
        // A wrong limit on a path that is only somewhat longer can't be told from a right one.
        const least = 0.8 * Math.min(newRate, INITIAL_WINDOW / newRtt);
        assert.ok(
          result.rate >= least,
          `${what}: ${result.rate.toFixed(0)} >= ${least.toFixed(0)}`,
        );
      }
    });
  }
});

describe('the window of a download from nearby', () => {
  it('does not grow: sshd would only pile up what it may send but can not', () => {
    const simulation = new PathSimulation({ rate: 1_000_000, rtt: 0.3 });
    simulation.run(100);
    const flow = simulation.open();
    simulation.run(3_000);
    assert.ok(flow.window.limit <= INITIAL_WINDOW, `${flow.window.limit} <= ${INITIAL_WINDOW}`);
  });
});

describe('the windows of several channels', () => {
  it('flows that join and leave get equal parts of a full path', () => {
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

  it('fifty at once end up filling the path with a short queue', () => {
    const simulation = new PathSimulation({ rate: 10_000, rtt: 50 });
    for (let count = 0; count < 50; count++) simulation.open();
    // What they began with has come.
    simulation.run(10_000);
    const { rate, delay } = simulation.run(10_000);
    assert.ok(rate >= 9_500, `${rate}`);
    assert.ok(delay <= 75, `${delay}`);
  });

  it('many small flows take nothing from a download, nor make it forget the path', () => {
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

  it('requests take no share from a download when there is a queue', () => {
    const simulation = new PathSimulation({ rate: 2_500, rtt: 40 });
    for (let count = 0; count < 12; count++) simulation.open(20);
    simulation.run(2_000);
    const bulk = simulation.open();
    simulation.run(5_000);
    const before = bulk.received;
    const { delay } = simulation.run(10_000);
    assert.ok(bulk.received - before >= 0.95 * (2_500 - 240) * 10_000, `${bulk.received - before}`);
    assert.ok(delay <= allowed(2_500, 40), `${delay}`);
  });

  it('a stalled reader keeps no more than its window and takes nothing from the others', () => {
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
    equal(
      [stalled.received - (received[0] ?? 0), other.received - (received[1] ?? 0)],
      0.1,
      'both again',
    );
  });

  it('a server that answers no questions: no queue is measured, and the path is used', () => {
    const simulation = new PathSimulation({ rate: 100_000, rtt: 50 }, { answers: false });
    simulation.open();
    simulation.run(3_000);
    assert.ok(simulation.run(5_000).rate >= 95_000);
  });

  it('a server that answers no questions: channels that were busy once do not count for ever', () => {
    const windows = new ReceiveWindows({ clock: () => 0 });
    for (let past = 0; past < 1_000; past++) {
      const window = windows.open();
      assert.ok(window.receive(window.limit), 'it is busy');
      window.consume(window.limit);
      window.close();
      windows.roundPassed();
    }
    windows.roundPassed();
    assert.equal(windows.share(), DEFAULT_WINDOW_BUDGET);
  });
});
