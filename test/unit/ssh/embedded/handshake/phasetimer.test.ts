import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { PhaseTimer } from '../../../../../src/ssh/embedded/handshake/phasetimer.ts';

describe('PhaseTimer', () => {
  it('measures elapsed time, however the wall clock is set meanwhile', async () => {
    const wall = { now: 1e12 };
    const clock = mock.method(Date, 'now', () => wall.now);
    try {
      for (const jump of [3600_000, -3600_000]) {
        const began = performance.now();
        await new Promise<void>((resolve) => {
          const timer = new PhaseTimer(300, resolve);
          wall.now += jump;
          timer.pause(true);
          timer.pause(false);
        });
        const took = performance.now() - began;
        assert.ok(took > 250 && took < 2000, `${took} ms`);
      }
    } finally {
      clock.mock.restore();
    }
  });

  it('stands still while somebody is asked', async () => {
    let expired = false;
    const timer = new PhaseTimer(50, () => {
      expired = true;
    });
    timer.pause(true);
    await new Promise((resolve) => setTimeout(resolve, 150));
    assert.equal(expired, false);
    timer.pause(false);
    await new Promise((resolve) => setTimeout(resolve, 150));
    assert.equal(expired, true);
  });
});
