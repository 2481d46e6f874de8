/** When a lost link is dialled again: by the caller at once, or by the schedule, never by both. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ErrorCode } from '../../../src/errors/codes.ts';
import { LASTING_MS, SETTLED_MS, WAITS } from '../../../src/link/backoff.ts';
import { LOGIN_TRIES, RedialSchedule } from '../../../src/link/redialschedule.ts';
import { ManualClock } from '../../support/manualclock.ts';

const MINUTE = 60_000;

function setUp({ wanted, random = 0 }: { readonly wanted: boolean; readonly random?: number }) {
  const clock = new ManualClock();
  let dials = 0;
  const schedule = new RedialSchedule({
    dial: () => {
      dials++;
    },
    wanted: () => wanted,
    clock,
    random: () => random,
  });
  const dialsAfter = async (ms: number): Promise<number> => {
    await clock.advance(ms);
    return dials;
  };
  return { schedule, dialsAfter };
}

describe('RedialSchedule', () => {
  it('leaves the dial to the caller where there is no wait, and does not dial as well', async () => {
    const { schedule, dialsAfter } = setUp({ wanted: true });
    for (const ms of [SETTLED_MS, LASTING_MS, LASTING_MS, LASTING_MS])
      assert.equal(schedule.afterLoss(ms), 0);
    assert.equal(await dialsAfter(MINUTE), 0);
  });

  it('dials once when a connection begins to wait for a link that kept ending', async () => {
    const { schedule, dialsAfter } = setUp({ wanted: false });
    assert.equal(schedule.afterLoss(LASTING_MS), 0);
    assert.ok(schedule.afterLoss(LASTING_MS) > 0);
    assert.equal(await dialsAfter(0), 0);
    schedule.demanded();
    assert.equal(await dialsAfter(0), 1);
    assert.equal(await dialsAfter(MINUTE), 1);
  });

  it('gives up because of refused logins when a login is refused, not when nobody is there', () => {
    const { schedule } = setUp({ wanted: true });
    for (let n = 0; n < LOGIN_TRIES; n++) schedule.loginWasRefused();
    assert.ok(schedule.afterFailure('jumphost-dns', 0) !== undefined);
    assert.equal(schedule.afterFailure('auth-failed', 0), undefined);
  });

  it('a question that nobody answers counts for nothing, and is asked again when a user wants it', async () => {
    for (const code of ['no-terminal', 'auth-cancelled'] as const) {
      const { schedule, dialsAfter } = setUp({ wanted: true });
      for (let n = 1; n <= 2 * LOGIN_TRIES; n++) {
        const wait = schedule.afterFailure(code, 0);
        assert.ok(wait !== undefined && wait >= WAITS.login.floor, code);
        assert.equal(schedule.untilLogin, wait);
        schedule.demanded();
        schedule.hurry();
        assert.equal(await dialsAfter(MINUTE), n - 1, 'no event asks a person');
        schedule.requested();
        assert.equal(await dialsAfter(0), n);
      }
      assert.ok(!schedule.loginRefused);
    }
  });

  it('no user has a refused login tried more often, or for ever', async () => {
    const { schedule, dialsAfter } = setUp({ wanted: true, random: 1 });
    for (let n = 0; n < LOGIN_TRIES - 1; n++) {
      assert.ok(schedule.afterFailure('auth-failed', 0) !== undefined);
      schedule.requested();
      assert.equal(await dialsAfter(WAITS.login.floor - 1), n);
      assert.equal(await dialsAfter(1), n + 1);
    }
    assert.equal(schedule.afterFailure('auth-failed', 0), undefined);
  });

  it('always waits after a dial that has failed, and dials once after that', async () => {
    const codes: readonly ErrorCode[] = [
      'jumphost-timeout',
      'jumphost-refused',
      'jumphost-no-identification',
      'jumphost-slow',
      'jumphost-closed',
      'auth-failed',
    ];
    for (const code of codes) {
      const { schedule, dialsAfter } = setUp({ wanted: true });
      const wait = schedule.afterFailure(code, 0);
      assert.ok(wait !== undefined && wait > 0, code);
      assert.equal(await dialsAfter(wait - 1), 0, code);
      assert.equal(await dialsAfter(1), 1, code);
      assert.equal(await dialsAfter(20 * MINUTE), 1, code);
    }
  });
});
