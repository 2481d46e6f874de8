import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { watchClock } from '../../../../src/system/watch/clock.ts';

describe('watchClock', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setInterval'] }));
  afterEach(() => mock.timers.reset());

  function watched() {
    const clock = { monotonic: 1_000, wall: 1_700_000_000_000 };
    let jumps = 0;
    const end = watchClock({
      jumped: () => {
        jumps++;
      },
      monotonic: () => clock.monotonic,
      wall: () => clock.wall,
    });
    /** One tick that took so much longer than it should, on either clock. */
    const tick = (lateMonotonic = 0, lateWall = lateMonotonic) => {
      clock.monotonic += 2_000 + lateMonotonic;
      clock.wall += 2_000 + lateWall;
      mock.timers.tick(2_000);
      return jumps;
    };
    return { tick, end };
  }

  it('says nothing while time goes on as it should, nor of a busy machine or a clock that is adjusted', () => {
    const { tick } = watched();
    for (let i = 0; i < 100; i++) tick();
    tick(3_000);
    tick(0, 3_000);
    assert.equal(tick(0, -3_000), 0);
  });

  it('tells of a machine that slept, once', () => {
    const { tick } = watched();
    tick();
    assert.equal(tick(0, 3_600_000), 1);
    assert.equal(tick(), 1);
  });

  it('tells of a process that was stopped, and of a clock that was set back', () => {
    const { tick } = watched();
    assert.equal(tick(10_000), 1);
    assert.equal(tick(0, -60_000), 2);
  });

  it('ends', () => {
    const { tick, end } = watched();
    end();
    assert.equal(tick(0, 3_600_000), 0);
  });
});
