import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GiveUp, type GiveUpSignal } from '../../../src/base/giveup.ts';

/** What each says and calls, whichever it is. */
function observed(signal: GiveUpSignal, abort: (reason: unknown) => void): unknown[] {
  const seen: unknown[] = [signal.aborted, signal.reason];
  const stays = (): void => void seen.push('stays');
  const leaves = (): void => void seen.push('leaves');
  signal.throwIfAborted();
  signal.addEventListener('abort', leaves, { once: true });
  signal.addEventListener('abort', stays, { once: true });
  signal.addEventListener('abort', () => seen.push('and another'), { once: true });
  signal.removeEventListener('abort', leaves);
  signal.removeEventListener('abort', leaves);
  abort('first');
  abort('second');
  seen.push(signal.aborted, signal.reason);
  signal.addEventListener('abort', () => seen.push('too late'), { once: true });
  assert.throws(
    () => signal.throwIfAborted(),
    (reason) => reason === 'first',
  );
  return seen;
}

describe('GiveUp', () => {
  it('says and calls what an AbortSignal does', () => {
    const controller = new AbortController();
    const giveUp = new GiveUp();
    assert.deepEqual(
      observed(giveUp, (reason) => giveUp.abort(reason)),
      observed(controller.signal, (reason) => controller.abort(reason)),
    );
  });

  it('lets a listener that is called leave', () => {
    const giveUp = new GiveUp();
    const called: string[] = [];
    const first = (): void => {
      called.push('first');
      giveUp.removeEventListener('abort', first);
    };
    giveUp.addEventListener('abort', first);
    giveUp.addEventListener('abort', () => called.push('second'));
    giveUp.abort(new Error('gone'));
    assert.deepEqual(called, ['first', 'second']);
  });

  it('calls those after one that throws, and has that thrown where nobody catches it', ({
    mock,
  }) => {
    const giveUp = new GiveUp();
    const failure = new Error('a bug');
    let called = 0;
    giveUp.addEventListener('abort', () => {
      throw failure;
    });
    giveUp.addEventListener('abort', () => {
      called++;
    });
    const { mock: later } = mock.method(process, 'nextTick', () => {});
    giveUp.abort(new Error('gone'));
    mock.restoreAll();
    assert.equal(called, 1);
    const [thrower] = later.calls[0]?.arguments ?? [];
    assert.throws(thrower as () => void, failure);
  });
});
