import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAX_PIECES, RecordQueue } from '../../../src/record/recordqueue.ts';
import { type FlowRecord, writeJson } from '../../../src/record/records.ts';

const time = '2026-11-29T05:01:41.123Z';
const record = (reason: string): FlowRecord => ({ time, event: 'refused', reason });
const line = (reason: string): string => `${JSON.stringify(record(reason))}\n`;

/** All that it gives, and takes away. */
function drained(queue: RecordQueue): string {
  let text = '';
  for (let batch = queue.oldest(); batch !== undefined; batch = queue.oldest()) {
    assert.equal(batch.ends.at(-1), batch.bytes.length);
    text += batch.bytes.toString();
    queue.take(batch.ends.length);
  }
  return text;
}

test('what does not fit into a piece of memory is in the next one, as a whole', () => {
  const queue = new RecordQueue(writeJson);
  // Their lengths are no part of a piece's, in octets and in characters.
  const reasons = Array.from({ length: 700 }, (_, i) => `${i} ${(i % 2 ? 'é' : 'e').repeat(i)}`);
  for (let again = 0; again < 2; again++) {
    for (const reason of reasons) assert.ok(queue.add(record(reason)));
    assert.equal(queue.size, reasons.length);
    assert.equal(drained(queue), reasons.map(line).join(''));
    assert.equal(queue.size, 0);
  }
});

test('it takes no more than its memory holds, and none that is larger than a piece', () => {
  const queue = new RecordQueue(writeJson);
  assert.equal(queue.add(record('x'.repeat(300_000))), false);
  assert.equal(queue.size, 0);
  let taken = 0;
  while (queue.add(record('y'.repeat(10_000)))) taken++;
  assert.equal(taken, MAX_PIECES * 26);
  assert.equal(drained(queue), line('y'.repeat(10_000)).repeat(taken));
  assert.ok(queue.add(record('again')));
});
