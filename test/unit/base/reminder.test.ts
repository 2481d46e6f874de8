import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LONGEST_INTERVAL_MS, Reminder } from '../../../src/base/reminder.ts';
import { ManualClock } from '../../support/manualclock.ts';

function reminded() {
  const clock = new ManualClock();
  const times: number[] = [];
  const reminder = new Reminder((elapsed) => times.push(elapsed / 1000), clock);
  return { clock, times, reminder };
}

describe('Reminder', () => {
  it('comes after a few seconds, then after ever longer intervals', async () => {
    const { clock, times, reminder } = reminded();
    await clock.advance(4_999);
    assert.deepEqual(times, []);
    await clock.advance(20 * 60_000);
    assert.deepEqual(times, [5, 15, 35, 75, 155, 315, 615, 915]);
    assert.equal(((times.at(-1) ?? 0) - (times.at(-2) ?? 0)) * 1000, LONGEST_INTERVAL_MS);
    reminder.stop();
    assert.equal(clock.timers, 0);
  });

  it('begins again after a pause', async () => {
    const { clock, times, reminder } = reminded();
    await clock.advance(6_000);
    reminder.pause(true);
    await clock.advance(60_000);
    reminder.pause(false);
    await clock.advance(4_999);
    assert.deepEqual(times, [5]);
    await clock.advance(10_001);
    assert.deepEqual(times, [5, 5, 15]);
    reminder.stop();
  });

  it('says nothing once it is stopped, also after a pause', async () => {
    const { clock, times, reminder } = reminded();
    reminder.stop();
    reminder.pause(false);
    await clock.advance(60_000);
    assert.deepEqual(times, []);
    assert.equal(clock.timers, 0);
  });
});
