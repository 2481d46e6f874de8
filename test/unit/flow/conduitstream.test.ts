/** A conduit as a stream: back-pressure by what is taken, half-close, and every way to end. */
import assert from 'node:assert/strict';
import type { Duplex } from 'node:stream';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { streamOf } from '../../../src/flow/conduitstream.ts';
import { Slab } from '../../../src/flow/memory.ts';
import { StreamConduit } from '../../../src/flow/streamconduit.ts';
import { TestConduit } from '../../support/testconduit.ts';

function setUp(options: { readonly automatic?: boolean } = {}): {
  conduit: TestConduit;
  stream: Duplex;
  events: string[];
} {
  const conduit = new TestConduit(options);
  const stream = streamOf(conduit);
  const events: string[] = [];
  for (const name of ['end', 'finish', 'close']) stream.on(name, () => events.push(name));
  stream.on('error', (error: NodeJS.ErrnoException) => events.push(error.code ?? error.message));
  return { conduit, stream, events };
}

describe('streamOf', () => {
  it('is the stream itself where there is one', () => {
    const stream = new PassThrough();
    assert.equal(streamOf(new StreamConduit(stream)), stream);
  });

  it('gives what comes, and takes it as it is read', async () => {
    const { conduit, stream } = setUp();
    for (const text of ['one ', 'two ', 'three ', 'four']) conduit.give(text);
    await turn();
    assert.equal(conduit.outstanding, 18, 'nobody reads');
    const got: string[] = [];
    stream.on('data', (chunk) => got.push(String(chunk)));
    await turn();
    assert.deepEqual([got.join(''), conduit.outstanding], ['one two three four', 0]);
    stream.pause();
    for (let chunk = 0; chunk < 100; chunk++) conduit.give(Buffer.alloc(10));
    await turn();
    assert.ok(
      conduit.outstanding >= 990,
      `${1_000 - conduit.outstanding} bytes were taken by nobody`,
    );
    assert.ok(stream.readableLength <= 10, 'what waits is not in the stream, either');
    stream.resume();
    await turn();
    assert.equal(conduit.outstanding, 0);
    assert.deepEqual(conduit.wrong, []);
  });

  it('what was read last is taken, too', async () => {
    const { conduit, stream, events } = setUp();
    stream.end();
    stream.resume();
    conduit.give('one');
    conduit.give('two');
    conduit.other.finish();
    await turn();
    await turn();
    assert.deepEqual(events, ['finish', 'end', 'close']);
    assert.equal(conduit.outstanding, 0);
  });

  it('copies what is memory that is used again', async () => {
    const { conduit, stream } = setUp();
    const slab = new Slab(100);
    slab.bytes.write('mine');
    conduit.give(slab.bytes.subarray(0, 4), slab);
    slab.bytes.fill('x');
    assert.equal(slab.shared, false);
    await turn();
    assert.equal(String(stream.read()), 'mine');
  });

  it('sends what is written, and calls back when all of it has been taken', async () => {
    const { conduit, stream, events } = setUp({ automatic: false });
    let called = 0;
    stream.write('one ', () => called++);
    stream.write('two', () => called++);
    stream.end();
    await turn();
    assert.deepEqual([conduit.text, called], ['one ', 0], 'one write is on the way at a time');
    conduit.take(3);
    await turn();
    assert.equal(called, 0);
    conduit.take(1);
    await turn();
    assert.deepEqual([conduit.text, called], ['one two', 1]);
    assert.deepEqual(conduit.said, []);
    conduit.take();
    await turn();
    assert.deepEqual([called, conduit.said, events], [2, ['finish'], ['finish']]);
  });

  it('takes no more while the far side takes nothing', async () => {
    const { conduit, stream } = setUp({ automatic: false });
    let written = 0;
    while (stream.write(Buffer.alloc(1_000)) && written < 1_000) written++;
    assert.ok(written < 20, `${written} kB are held`);
    let drained = false;
    stream.once('drain', () => {
      drained = true;
    });
    for (let turns = 0; !drained && turns < 100; turns++) {
      conduit.take();
      await turn();
    }
    assert.ok(drained);
    assert.deepEqual(conduit.wrong, []);
  });

  it('half-close: after the far side has ended, it can still be written to', async () => {
    const { conduit, stream, events } = setUp();
    stream.resume();
    conduit.give('that is all');
    conduit.other.finish();
    await turn();
    assert.deepEqual(events, ['end']);
    stream.end('and here it goes on');
    await turn();
    await turn();
    assert.deepEqual([conduit.text, conduit.said], ['and here it goes on', ['finish']]);
    assert.deepEqual(events, ['end', 'finish', 'close'], 'and both ends are the end');
  });

  it('half-close: after its own end, it can still be read', async () => {
    const { conduit, stream, events } = setUp();
    stream.end('question');
    await turn();
    conduit.give('answer');
    conduit.other.finish();
    let text = '';
    stream.on('data', (chunk) => {
      text += chunk;
    });
    await turn();
    await turn();
    assert.equal(text, 'answer');
    assert.deepEqual([conduit.said, events], [['finish'], ['finish', 'end', 'close']]);
  });

  it('the end waits behind what has not been read', async () => {
    const { conduit, stream, events } = setUp();
    conduit.give('one');
    conduit.give('two');
    conduit.other.finish();
    await turn();
    assert.deepEqual(events, []);
    let text = '';
    stream.on('data', (chunk) => {
      text += chunk;
    });
    await turn();
    assert.deepEqual([text, events], ['onetwo', ['end']]);
  });

  it('shut: what came is delivered, writes are swallowed, then it is reset', async () => {
    const { conduit, stream, events } = setUp({ automatic: false });
    let called = 0;
    conduit.give('last words');
    stream.write('on the way', () => called++);
    conduit.other.finish();
    conduit.other.shut();
    stream.write('futile', () => called++);
    await turn();
    assert.deepEqual([called, conduit.text, events], [2, 'on the way', []]);
    assert.ok(!stream.destroyed, 'not before it has been read');
    stream.resume();
    await turn();
    await turn();
    assert.deepEqual(events, ['end', 'ECONNRESET', 'close']);
  });

  it('shut after it has been read to its end: it is reset at once', async () => {
    const { conduit, stream, events } = setUp();
    stream.resume();
    conduit.other.finish();
    await turn();
    conduit.other.shut();
    await turn();
    assert.deepEqual(events, ['end', 'ECONNRESET', 'close']);
  });

  it('shut when it has ended itself: it is closed in order', async () => {
    const { conduit, stream, events } = setUp();
    stream.end();
    await turn();
    conduit.other.shut();
    conduit.other.finish();
    stream.resume();
    await turn();
    await turn();
    assert.deepEqual(events, ['finish', 'end', 'close']);
    assert.deepEqual(conduit.said, ['finish']);
  });

  for (const [title, error, code] of [
    ['with an error', Object.assign(new Error('why'), { code: 'link-lost' }), 'link-lost'],
    ['without one', undefined, 'ECONNRESET'],
  ] as const) {
    it(`abort ${title}: it is destroyed, and every write is called back`, async () => {
      const { conduit, stream, events } = setUp({ automatic: false });
      const results: unknown[] = [];
      conduit.give('never read');
      for (let write = 0; write < 3; write++) stream.write('x', (cause) => results.push(cause));
      conduit.other.abort(error);
      conduit.end(error);
      await turn();
      assert.deepEqual(events, [code, 'close']);
      assert.equal(results.length, 3);
      assert.ok(results.every((cause) => cause instanceof Error));
      assert.deepEqual(conduit.wrong, []);
    });
  }

  it('destroy: the conduit is aborted with the error, and a write that waits is called back', async () => {
    for (const error of [undefined, new Error('why')]) {
      const { conduit, stream } = setUp({ automatic: false });
      const results: unknown[] = [];
      stream.write('x', (cause) => results.push(cause));
      stream.destroy(error);
      await turn();
      assert.deepEqual(conduit.said, [`abort ${error === undefined ? 'without an error' : 'why'}`]);
      assert.ok(results.length === 1 && results[0] instanceof Error);
    }
  });

  it('destroy before all was read: the conduit is aborted also when it is over, since it may count what waits', async () => {
    const { conduit, stream } = setUp();
    stream.end();
    conduit.give('one');
    conduit.give('two');
    conduit.other.finish();
    await turn();
    conduit.end(undefined);
    stream.destroy();
    await turn();
    assert.deepEqual(conduit.said, ['finish', 'abort without an error']);
  });

  it('lost before it is a stream, or before anybody listens: it keeps the error and ends nothing else', async () => {
    const error = Object.assign(new Error('lost'), { code: 'link-lost' });
    const late = new TestConduit();
    late.whenOver = (listener) => listener(error);
    const early = new TestConduit();
    const streams = [streamOf(late), streamOf(early)];
    early.end(error);
    await turn();
    await turn();
    for (const stream of streams) {
      assert.equal(stream.errored, error);
      assert.ok(stream.closed);
    }
  });

  it('ignores what it is told after its end', async () => {
    const { conduit, stream, events } = setUp();
    stream.destroy();
    await turn();
    conduit.give('late');
    conduit.other.taken(1);
    conduit.other.finish();
    conduit.other.shut();
    conduit.other.abort(new Error('late'));
    await turn();
    assert.deepEqual(events, ['close']);
  });
});
