import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { GiveUp } from '../../../src/base/giveup.ts';
import { MAX_TIMER_MS, within } from '../../../src/base/within.ts';

const HOUR_MS = 3_600_000;
const late = () => new Error('late');
const never = () => new Promise<never>(() => {});

function timers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
}

/** Runs `work` with a limit that doesn't matter, and checks that nothing of it stays behind. */
async function tidily<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const before = timers();
  try {
    return await work(controller.signal);
  } finally {
    assert.deepEqual(getEventListeners(controller.signal, 'abort'), []);
    assert.equal(timers(), before);
  }
}

describe('within', () => {
  it('settles as the work does, and leaves no timer and no listener', async () => {
    const time = { milliseconds: HOUR_MS, late };
    assert.equal(await tidily((signal) => within({ signal, time }, async () => 7)), 7);
    await assert.rejects(
      tidily((signal) =>
        within({ signal, time }, () => Promise.reject(new Error('the work failed'))),
      ),
      /the work failed/,
    );
    await assert.rejects(
      tidily((signal) =>
        within({ signal, time }, () => {
          throw new Error('before it began');
        }),
      ),
      /before it began/,
    );
    await assert.rejects(
      tidily((signal) => within({ signal, time: { milliseconds: 1, late } }, never)),
      /late/,
    );
  });

  it('rejects with what is late, and tells the work the same', async () => {
    let told: unknown;
    const work = within({ time: { milliseconds: 5, late } }, (giveUp) => {
      giveUp.addEventListener('abort', () => (told = giveUp.reason), { once: true });
      return never();
    });
    const error = await work.catch((reason: unknown) => reason);
    assert.match(String(error), /late/);
    assert.equal(told, error);
  });

  it("rejects with the signal's reason at once, whatever the work does", async () => {
    for (const controller of [new AbortController(), new GiveUp()]) {
      const signal = controller instanceof GiveUp ? controller : controller.signal;
      const before = timers();
      const reason = new Error('not wanted any more');
      let told: unknown;
      const work = within({ signal, time: { milliseconds: HOUR_MS, late } }, (giveUp) => {
        giveUp.addEventListener('abort', () => (told = giveUp.reason), { once: true });
        return never();
      });
      controller.abort(reason);
      await assert.rejects(work, reason);
      assert.equal(told, reason);
      assert.equal(timers(), before);
    }
  });

  it('does not begin when the signal is aborted already', async () => {
    let begun = false;
    const work = within({ signal: AbortSignal.abort('over') }, async () => {
      begun = true;
    });
    assert.equal(await work.catch((reason: unknown) => reason), 'over');
    assert.equal(begun, false);
  });

  it('ignores an outcome that comes too late, a rejection as well', async () => {
    const unhandled: unknown[] = [];
    const listener = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', listener);
    try {
      const work = within({ time: { milliseconds: 1, late } }, async () => {
        await delay(10);
        throw new Error('nobody waits for this');
      });
      await assert.rejects(work, /late/);
      await delay(30);
      assert.deepEqual(unhandled, []);
    } finally {
      process.off('unhandledRejection', listener);
    }
  });

  it('takes no time that would be over at once because no timer is so long', async () => {
    for (const milliseconds of [MAX_TIMER_MS + 1, Number.POSITIVE_INFINITY, Number.NaN])
      assert.throws(() => within({ time: { milliseconds, late } }, never), RangeError);
    const time = { milliseconds: MAX_TIMER_MS, late };
    assert.equal(await within({ time }, () => delay(20, 'in time')), 'in time');
  });

  it('takes a time that is over already', async () => {
    await assert.rejects(within({ time: { milliseconds: -5, late } }, never), /late/);
  });
});
