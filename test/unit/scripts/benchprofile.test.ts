import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { breakdown, type CpuProfile } from '../../../scripts/benchmark/cpuprofile.ts';
import { PACKET_BYTES, windowReport } from '../../../scripts/benchmark/profiler.ts';

const node = (id: number, functionName: string, url = '') => ({
  id,
  callFrame: { functionName, url, lineNumber: 6 },
});
const NODES = [
  node(1, '(root)'),
  node(2, '(idle)'),
  node(3, '(program)'),
  node(4, '(garbage collector)'),
  node(5, 'relay', 'file:///somewhere/relay.js'),
  node(6, 'onStreamRead', 'node:internal/stream_base_commons'),
  node(7, 'writev'),
  // The same function, called from elsewhere.
  node(8, 'relay', 'file:///somewhere/relay.js'),
];

/** A look each 100 microseconds, from the 2nd second of the clock on. */
function profile(...samples: number[]): CpuProfile {
  return { nodes: NODES, startTime: 2_000_000, samples, timeDeltas: samples.map(() => 100) };
}

describe('a profile', () => {
  it('tells JavaScript from native code, the event loop, garbage and idleness', () => {
    const { microseconds } = breakdown(profile(5, 6, 6, 7, 3, 1, 4, 2, 2, 8), 2, 3);
    assert.deepEqual(microseconds, { JavaScript: 400, native: 100, garbage: 100, program: 200, idle: 200 });
  });

  it('counts a function as one wherever it was called from, the most expensive first', () => {
    const { functions } = breakdown(profile(7, 5, 8, 5, 6, 6, 2), 2, 3);
    assert.deepEqual(
      functions.map(({ name, microseconds }) => `${name} ${microseconds}`),
      ['relay relay.js:7 300', 'onStreamRead stream_base_commons:7 200', 'writev 100'],
    );
  });

  it('counts only what lies between two moments', () => {
    const all = profile(5, 5, 5, 5, 5, 5, 5, 5, 5, 5);
    // Looks are at 2.0001, 2.0002, ..., 2.0010 s.
    assert.equal(breakdown(all, 2.00035, 2.00065).microseconds.JavaScript, 300);
    assert.equal(breakdown(all, 0, 2).microseconds.JavaScript, 0);
  });

  it('is reported for each packet, beside the budget', () => {
    const window = { what: 'tunnel, down', from: 2, to: 3 };
    const cheap = windowReport(profile(5, 7, 7, 2), { ...window, bytes: 100 * PACKET_BYTES });
    assert.match(cheap, /^tunnel, down: 3\.28 MB\/s, 100 packets of 32 KiB in 1\.00 s$/m);
    assert.match(cheap, /JavaScript is within its budget of 5\)/);
    assert.match(cheap, /^ +1\.00 {2}JavaScript$/m);
    assert.match(cheap, /^ +2\.00 {2}native$/m);
    assert.match(cheap, /^ +2\.00 {2}writev \(native\)$/m);
    const dear = windowReport(profile(5, 5, 6), { ...window, bytes: 10 * PACKET_BYTES });
    assert.match(dear, /JavaScript is beyond its budget/);
    assert.match(dear, /^ +30\.0 {2}JavaScript$/m);
  });
});
