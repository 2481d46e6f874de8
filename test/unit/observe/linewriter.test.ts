import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LineWriter, MAX_WAITING_BYTES } from '../../../src/observe/linewriter.ts';

/** Takes `room` bytes, and then none. */
class Reader {
  text = '';
  room = Number.POSITIVE_INFINITY;
  calls = 0;

  readonly write = (bytes: Uint8Array): number => {
    this.calls += 1;
    const taken = Math.min(bytes.length, this.room);
    this.room -= taken;
    this.text += Buffer.from(bytes.subarray(0, taken)).toString();
    return taken;
  };
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, 'not in time');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const LINE = `${'x'.repeat(1023)}\n`;
const FITTING = MAX_WAITING_BYTES / LINE.length;

describe('LineWriter', () => {
  it('writes at once what is taken at once', () => {
    const reader = new Reader();
    const writer = new LineWriter(reader.write);
    writer.write('a\n');
    writer.write('b\n');
    assert.equal(reader.text, 'a\nb\n');
    assert.equal(writer.waiting, 0);
  });

  it('keeps the rest of a line that was taken in part, and what comes behind it', async () => {
    const reader = new Reader();
    const writer = new LineWriter(reader.write);
    reader.room = 3;
    writer.write('first\n');
    writer.write('second\n');
    assert.equal(reader.text, 'fir');
    assert.equal(writer.waiting, 10);
    reader.room = 1;
    await until(() => reader.text.length === 4);
    reader.room = 100;
    await until(() => writer.waiting === 0);
    assert.equal(reader.text, 'first\nsecond\n');
    assert.equal(writer.dropped, 0);
  });

  it('asks seldom while nothing is taken', async () => {
    const reader = new Reader();
    const writer = new LineWriter(reader.write);
    reader.room = 0;
    writer.write('a\n');
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.ok(reader.calls < 10, `${reader.calls} times in half a second`);
  });

  it('counts what does not fit, leaves it out in one piece, and says so where it is missing', async () => {
    const reader = new Reader();
    const writer = new LineWriter(reader.write);
    reader.room = 0;
    for (let i = 0; i < FITTING + 12; i++) writer.write(LINE);
    assert.equal(writer.dropped, 12);
    assert.equal(writer.waiting, MAX_WAITING_BYTES);
    // There is room again, but the gap stays one.
    reader.room = 10 * LINE.length;
    await until(() => reader.room === 0);
    writer.write('in the gap\n');
    assert.equal(writer.dropped, 13);
    reader.room = Number.POSITIVE_INFINITY;
    await until(() => writer.waiting === 0);
    writer.write('after it\n');
    assert.equal(
      reader.text,
      `${LINE.repeat(FITTING)}tunnel: warning: 13 messages were left out: standard error was blocked for a while\nafter it\n`,
    );
    assert.equal(writer.dropped, 13);
  });

  it('says of each gap how large it was', async () => {
    const reader = new Reader();
    const writer = new LineWriter(reader.write);
    for (let gap = 0; gap < 2; gap++) {
      reader.room = 0;
      for (let i = 0; i < FITTING + 1; i++) writer.write(LINE);
      reader.room = Number.POSITIVE_INFINITY;
      await until(() => writer.waiting === 0);
    }
    assert.equal(reader.text.match(/warning: 1 message was left out/g)?.length, 2);
  });

  it('never leaves the last words out', () => {
    const reader = new Reader();
    const writer = new LineWriter(reader.write);
    reader.room = 0;
    for (let i = 0; i < FITTING + 1; i++) writer.write(LINE);
    writer.writeSurely('tunnel: error [usage]: x\n');
    reader.room = Number.POSITIVE_INFINITY;
    writer.flush(1000);
    // The gap is said where it is: before them.
    assert.match(
      reader.text,
      /x\ntunnel: warning: 1 message was left out: .*\ntunnel: error \[usage\]: x\n$/,
    );
  });

  it('waits at the end, but not longer than it may', () => {
    const reader = new Reader();
    const writer = new LineWriter(reader.write);
    reader.room = 0;
    writer.write('a\n');
    const since = performance.now();
    writer.flush(100);
    const waited = performance.now() - since;
    assert.ok(waited >= 100 && waited < 1000, `${waited} ms`);
    reader.room = 2;
    writer.flush(1000);
    assert.equal(reader.text, 'a\n');
  });

  it('goes on when a full disk has space again', async () => {
    const written: string[] = [];
    let full = true;
    const writer = new LineWriter((bytes) => {
      if (full) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
      written.push(bytes.toString());
      return bytes.length;
    });
    writer.write('first\n');
    full = false;
    writer.flush(1000);
    writer.write('second\n');
    assert.deepEqual(written, ['first\n', 'second\n']);
  });

  it('stops at an error', () => {
    let calls = 0;
    const writer = new LineWriter(() => {
      calls += 1;
      throw Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
    });
    writer.write('a\n');
    writer.write('b\n');
    writer.writeSurely('c\n');
    writer.flush(1000);
    assert.equal(writer.broken, true);
    assert.deepEqual([calls, writer.waiting, writer.dropped], [1, 0, 0]);
  });
});
