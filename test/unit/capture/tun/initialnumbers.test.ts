import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FrameView } from '../../../../src/capture/tun/frame.ts';
import { InitialNumberGenerator } from '../../../../src/capture/tun/initialnumbers.ts';
import { Tuple } from '../../../../src/capture/tun/tuple.ts';
import { tcpFrame } from '../../../support/tcpframes.ts';

const BASE = {
  source: '10.77.0.11',
  destination: '10.0.0.1',
  sourcePort: 5000,
  destinationPort: 80,
};
const SIX = { ...BASE, source: 'fd77::11', destination: 'fd00::1' };

function tupleOf(fields: typeof BASE): Tuple {
  const bytes = tcpFrame({ ...fields, flags: 'S', seq: 1, ack: 0 });
  const view = new FrameView();
  view.parse(
    { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) },
    bytes.length,
  );
  return new Tuple(view, 0);
}

describe('initial sequence numbers (RFC 6528)', () => {
  it('grow with the clock, one each 4 microseconds, through all their values', () => {
    const numbers = new InitialNumberGenerator(Buffer.alloc(16, 1));
    const tuple = tupleOf(BASE);
    let last = numbers.of(tuple, 0);
    for (let now = 1; now < 40_000_000; now += 99_991) {
      const next = numbers.of(tuple, now);
      const passed = now === 1 ? 1 : 99_991;
      assert.equal((next.sequence - last.sequence) | 0, (250 * passed) | 0);
      assert.equal(next.timestampOffset, last.timestampOffset, 'timestamps go on');
      last = next;
    }
    // After years of uptime as well.
    const years = 1e11;
    const difference = numbers.of(tuple, years + 1).sequence - numbers.of(tuple, years).sequence;
    assert.equal(difference | 0, 250);
  });

  it('are others for every part of the addresses and ports, and for every secret', () => {
    const numbers = new InitialNumberGenerator(Buffer.alloc(16, 1));
    const variants = [BASE, SIX].flatMap((base) => [
      base,
      { ...base, source: base.source.replace(/11$/, '12') },
      { ...base, source: base.source.replace(/77/, '78') },
      { ...base, destination: base.destination.replace(/1$/, '2') },
      { ...base, destination: base.destination.replace(/^../, base === SIX ? 'fc' : '11') },
      { ...base, sourcePort: 5001 },
      { ...base, destinationPort: 81 },
      { ...base, source: base.destination, destination: base.source },
      { ...base, sourcePort: base.destinationPort, destinationPort: base.sourcePort },
    ]);
    const all = variants.map((fields) => numbers.of(tupleOf(fields), 5));
    assert.equal(new Set(all.map(({ sequence }) => sequence)).size, variants.length);
    assert.equal(new Set(all.map(({ timestampOffset }) => timestampOffset)).size, variants.length);
    const one = new InitialNumberGenerator().of(tupleOf(BASE), 5);
    const other = new InitialNumberGenerator().of(tupleOf(BASE), 5);
    assert.notEqual(one.sequence, other.sequence);
  });
});
