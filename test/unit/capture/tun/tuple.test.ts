import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FrameView } from '../../../../src/capture/tun/frame.ts';
import { Tuple, TupleTable } from '../../../../src/capture/tun/tuple.ts';
import { tcpFrame } from '../../../support/tcpframes.ts';

function viewOf(source: string, destination: string, sourcePort: number): FrameView {
  const fields = { source, destination, sourcePort, destinationPort: 80 };
  const bytes = tcpFrame({ ...fields, flags: 'S', seq: 1, ack: 0 });
  const view = new FrameView();
  const memory = { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
  view.parse(memory, bytes.length);
  return view;
}

const VIEWS = Array.from({ length: 30 }, (_, n) =>
  n % 2 === 0
    ? viewOf('10.77.0.11', '10.0.0.1', 5000 + n)
    : viewOf('fd77::11', `fd00::${n.toString(16)}`, 5000),
);

for (const [name, random] of [
  ['chance', undefined],
  ['factors with which all collide', (bytes: number) => Buffer.alloc(bytes)],
] as const)
  describe(`TupleTable, with ${name}`, () => {
    it('finds what it has, and only that, whatever is removed first', () => {
      for (const step of [1, 7, 11, 29]) {
        const table = new TupleTable<Tuple>(random);
        const entries = VIEWS.map((view) => new Tuple(view, table.hash(view)));
        for (const entry of entries) table.add(entry);
        assert.equal([...table].length, entries.length);
        assert.deepEqual(new Set(table), new Set(entries));
        const left = new Set(entries);
        for (let n = 0; n < entries.length; n++) {
          const entry = entries[(n * step) % entries.length];
          assert.ok(entry !== undefined);
          table.remove(entry);
          table.remove(entry);
          left.delete(entry);
          VIEWS.forEach((view, i) => {
            const expected = entries[i];
            assert.ok(expected !== undefined);
            assert.equal(
              table.find(view, expected.hash),
              left.has(expected) ? expected : undefined,
            );
          });
          assert.deepEqual(new Set(table), left);
        }
      }
    });

    it('may be emptied while it is walked', () => {
      const table = new TupleTable<Tuple>(random);
      for (const view of VIEWS) table.add(new Tuple(view, table.hash(view)));
      let seen = 0;
      for (const entry of table) {
        table.remove(entry);
        seen++;
      }
      assert.equal(seen, VIEWS.length);
      assert.deepEqual([...table], []);
    });
  });
