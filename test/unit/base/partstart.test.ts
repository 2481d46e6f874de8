import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PartStart } from '../../../src/base/partstart.ts';

const REASON = new Error('it was closed');
const NEVER = new AbortController().signal;

describe('PartStart', () => {
  it('gives what the work gives', async () => {
    assert.equal(await new PartStart().run(NEVER, async () => 7), 7);
  });

  it('aborts the work at its end, and waits until it is over', async () => {
    const start = new PartStart();
    const order: string[] = [];
    const run = start.run(NEVER, async (signal) => {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      await new Promise(setImmediate);
      order.push('over');
      signal.throwIfAborted();
    });
    const end = start.end(REASON).then(() => order.push('ended'));
    assert.ok(start.ended);
    await assert.rejects(run, REASON);
    await end;
    assert.deepEqual(order, ['over', 'ended']);
  });

  it('waits for all steps, also when one of them fails', async () => {
    const start = new PartStart();
    let finish = () => {};
    const slow = start.run(NEVER, () => new Promise<void>((resolve) => (finish = resolve)));
    await assert.rejects(
      start.run(NEVER, () => Promise.reject(new Error('no'))),
      /no/,
    );
    let ended = false;
    const end = start.end(REASON).then(() => {
      ended = true;
    });
    await new Promise(setImmediate);
    assert.equal(ended, false);
    finish();
    await Promise.all([slow, end]);
  });

  it('begins nothing once it has ended, or when it was aborted from outside', async () => {
    const start = new PartStart();
    const outer = new AbortController();
    outer.abort(REASON);
    const work = () => assert.fail('it must not begin');
    await assert.rejects(start.run(outer.signal, work), REASON);
    await start.end(REASON);
    await assert.rejects(start.run(NEVER, work), REASON);
  });

  it('passes on the abort from outside', async () => {
    const outer = new AbortController();
    const run = new PartStart().run(
      outer.signal,
      (signal) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason)),
        ),
    );
    outer.abort(REASON);
    await assert.rejects(run, REASON);
  });
});
