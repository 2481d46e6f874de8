import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  breakdown,
  type CpuProfile,
  looksOfPerf,
  looksOfV8,
} from '../../../scripts/benchmark/looks.ts';
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

/** In microseconds, rounded: what is compared. */
const microseconds = (seconds: number) => Math.round(seconds * 1e6);

describe("what V8's profiler saw", () => {
  it('tells JavaScript from native code, garbage and waiting', () => {
    const { seconds } = breakdown(looksOfV8(profile(5, 6, 6, 7, 3, 1, 4, 2, 2, 8)), 2, 3);
    assert.deepEqual(
      Object.entries(seconds).map(([kind, time]) => `${kind} ${microseconds(time)}`),
      ['JavaScript 400', 'garbage 100', 'native 100', 'kernel 0', 'waiting 400'],
    );
  });

  it('counts a function as one wherever it was called from, the most expensive first', () => {
    const { functions } = breakdown(looksOfV8(profile(7, 5, 8, 5, 6, 6)), 2, 3);
    assert.deepEqual(
      functions.map(({ name, seconds }) => `${name} ${microseconds(seconds)}`),
      ['relay relay.js:7 300', 'onStreamRead stream_base_commons:7 200', 'writev 100'],
    );
  });

  it('counts only what lies between two moments', () => {
    const all = looksOfV8(profile(5, 5, 5, 5, 5, 5, 5, 5, 5, 5));
    // Looks are at 2.0001, 2.0002, ..., 2.0010 s.
    assert.equal(microseconds(breakdown(all, 2.00035, 2.00065).seconds.JavaScript), 300);
    assert.equal(breakdown(all, 0, 2).seconds.JavaScript, 0);
  });
});

describe('what perf saw', () => {
  const SCRIPT = `
 2577.232238:  ffffffff821ecc26 do_syscall_64 ([kernel.kallsyms])
 2577.232338:      7f203c1731b7 JS:*relay file:///somewhere/dist/relay.js:7:3 (/tmp/perf-2119.map)
 2577.232438:      7f203c1731b7 [unknown] ([JIT] tid 2119)
 2577.232538:           194f90c Builtins_LoadIC (/usr/bin/node)
 2577.232638:           194f90c v8::internal::Factory::NewJSObject (/usr/bin/node)
 2577.232738:           194f90c v8::internal::Scavenger::Process (/usr/bin/node)
 2577.232838:           194f90c _aesni_ctr32_ghash_6x (/usr/bin/node)
 2577.232938:           194f90c uv__io_poll (/usr/bin/node)
 2577.233038:           194f90c operator delete(void*, unsigned long) (/usr/lib/libstdc++.so.6)
`;

  it("tells V8's work for JavaScript from native code, garbage and the kernel", () => {
    const looks = looksOfPerf(SCRIPT, 1000);
    assert.deepEqual(
      looks.map(({ kind }) => kind),
      [
        ...['kernel', 'JavaScript', 'JavaScript', 'JavaScript', 'JavaScript'],
        ...['garbage', 'native', 'native', 'native'],
      ],
    );
    assert.equal(looks[0]?.at, 2577.232238);
    assert.equal(looks[0]?.seconds, 0.001);
    assert.equal(looks[1]?.name, 'JS:*relay relay.js:7:3');
    assert.equal(looks[8]?.name, 'operator delete(void*, unsigned long)');
  });
});

describe('the report of a profile', () => {
  const window = { what: 'tunnel, down', from: 2, to: 3 };

  it('is for each packet, beside the budget', () => {
    const cheap = windowReport(looksOfV8(profile(5, 7, 7, 2)), {
      ...window,
      bytes: 100 * PACKET_BYTES,
    });
    assert.match(cheap, /^tunnel, down: 3\.28 MB\/s, 100 packets of 32 KiB in 1\.00 s$/m);
    assert.match(cheap, /JavaScript is within its budget of 5\)/);
    assert.match(cheap, /^ +1\.00 {2}JavaScript$/m);
    assert.match(cheap, /^ +2\.00 {2}native$/m);
    assert.match(cheap, /^ +2\.00 {2}writev \(native\)$/m);
    const dear = windowReport(looksOfV8(profile(5, 5, 6)), { ...window, bytes: 10 * PACKET_BYTES });
    assert.match(dear, /JavaScript is beyond its budget/);
    assert.match(dear, /^ +30\.0 {2}JavaScript$/m);
  });
});
