/** What the kernel may hold unsent: follows the rate, and never leaves its bounds. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  LEAST_UNSENT,
  MOST_UNSENT,
  UnsentLimit,
} from '../../../../../src/ssh/embedded/channels/unsentlimit.ts';

/** Sends at `rate` bytes a millisecond in pieces of a millisecond. */
function sender() {
  let now = 0;
  const limits: number[] = [];
  const limit = new UnsentLimit(
    (bytes) => limits.push(bytes),
    () => now,
  );
  const send = (rate: number, milliseconds: number) => {
    for (let i = 0; i < milliseconds; i++) {
      now++;
      limit.sent(rate, false);
    }
  };
  /** The kernel takes so much at once, and no more for so long. */
  const block = (bytes: number, milliseconds: number) => {
    limit.sent(bytes, true);
    now += milliseconds;
  };
  return { limits, send, block, wait: (milliseconds: number) => (now += milliseconds) };
}

describe('UnsentLimit', () => {
  it('begins with the lowest limit', () => {
    assert.deepEqual(sender().limits, [LEAST_UNSENT]);
  });

  it('admits 30 ms of a fast path, and little of a slow one', () => {
    const fast = sender();
    fast.send(70_000, 300);
    assert.deepEqual(fast.limits, [LEAST_UNSENT, 2_100_000]);
    const slow = sender();
    slow.send(2_500, 300);
    assert.deepEqual(slow.limits, [LEAST_UNSENT]);
  });

  it('keeps what it has learnt while the application has little to send, for a second of sending', () => {
    const { limits, send, wait } = sender();
    send(70_000, 300);
    send(10, 700);
    wait(60_000);
    send(10, 1);
    assert.equal(limits.length, 2);
    send(2_500, 1_000);
    assert.equal(limits.at(-1), LEAST_UNSENT);
  });

  it('follows a path that has become slow, however rarely the kernel takes more', () => {
    const { limits, send, block } = sender();
    send(130_000, 300);
    assert.equal(limits.at(-1), 3_900_000);
    block(2_000_000, 2_000);
    block(2_000_000, 2_000);
    send(1_000, 1);
    assert.equal(limits.at(-1), LEAST_UNSENT);
  });

  it('does not change when the rate changes a little', () => {
    const { limits, send } = sender();
    for (const rate of [40_000, 45_000, 38_000, 47_000]) send(rate, 1_500);
    assert.equal(limits.length, 2);
  });

  it('stays within its bounds whatever is sent', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(1e9), fc.nat(2_000), fc.boolean()), { maxLength: 50 }),
        (pieces) => {
          const { limits, send, block, wait } = sender();
          for (const [bytes, pause, held] of pieces) {
            wait(pause);
            if (held) block(bytes, pause);
            else send(bytes, 1);
          }
          assert.ok(limits.every((bytes) => bytes >= LEAST_UNSENT && bytes <= MOST_UNSENT));
        },
      ),
    );
  });
});
