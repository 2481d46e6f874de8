import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../../../src/errors/errors.ts';
import { LoginWait } from '../../../src/link/loginwait.ts';
import { ManualClock } from '../../support/manualclock.ts';
import { denied, Recorder, silent } from '../../support/supervised.ts';

const LOGIN_SECONDS = 0.5;

/** When logins are tried that are all refused, in seconds from the first. */
async function attempts(seconds: number, error: () => TunnelError = denied, start = 0) {
  const clock = new ManualClock();
  await clock.advance(start);
  const observer = new Recorder();
  const wait = new LoginWait({ seconds, observer, clock });
  const begin = clock.now();
  const times: number[] = [];
  for (let failure = denied(); ; failure = error()) {
    times.push((clock.now() - begin) / 1000);
    const next = wait.failed(failure);
    if (next === undefined) return { times, observer, outcome: wait.outcome(failure) };
    await clock.advance(next);
  }
}

describe('LoginWait', () => {
  const cases: readonly (readonly [seconds: number, times: readonly number[]])[] = [
    [0, [0]],
    [15, [0, 15]],
    [60, [0, 60]],
    [75, [0, 75]],
    [80, [0, 80]],
    [120, [0, 75, 120]],
    [150, [0, 75, 150]],
    [300, [0, 75, 150, 300]],
    [500, [0, 75, 150, 500]],
    [620, [0, 75, 150, 330, 620]],
    [900, [0, 75, 150, 330, 630, 795, 900]],
    [1200, [0, 75, 150, 330, 630, 795, 960, 1200]],
  ];
  for (const [seconds, times] of cases)
    it(`${seconds} s: tries at ${times.join(', ')}`, async () =>
      assert.deepEqual((await attempts(seconds)).times, times));

  it('a clock with fractions changes nothing', async () => {
    for (let i = 0; i < 50; i++) {
      const { times } = await attempts(15, denied, i * 1234.56789);
      assert.deepEqual(times.map(Math.round), [0, 15]);
    }
  });

  it('a cache that lasts 2 or 15 minutes is met soon after', async () => {
    const { times } = await attempts(1200);
    for (const [valid, by] of [
      [120, 150],
      [900, 960],
    ] as const)
      assert.equal(
        times.find((at) => at > valid),
        by,
      );
  });

  it('no server has a reason to shut us out, whatever the time', () =>
    fc.assert(
      fc.asyncProperty(fc.integer({ min: 15, max: 3600 }), async (seconds) => {
        const { times } = await attempts(seconds);
        // sshd: each adds 5 s to a penalty that runs off, and counts from 15 s on.
        let until = 0;
        for (const at of times) {
          until = Math.max(until, at) + 5;
          assert.ok(until - at < 15, `penalty at ${at} s of ${times}`);
        }
        // fail2ban: maxretry 5, findtime 600.
        for (const at of times)
          assert.ok(
            times.filter((other) => other <= at && other > at - 600).length < 5,
            `five in ten minutes before ${at} s of ${times}`,
          );
        assert.equal(times.at(-1), seconds, 'the last one is made when the time is over');
      }),
    ));

  it('says what it waits for, how long, and when the next attempt is', async () => {
    const { observer, outcome } = await attempts(120);
    assert.deepEqual(observer.notices(), [
      'the jump host does not let "jump" in; waiting up to 120 s for the login to be accepted (--wait-auth); trying again in 75 s',
      'the login is still refused, after 75 of 120 s; trying again in 45 s',
    ]);
    assert.ok(outcome instanceof TunnelError && outcome.code === 'auth-failed');
    assert.equal(observer.counters.get('tunnel_logins_waited_for_total'), 2);
  });

  it('is patient with a jump host that is unreachable meanwhile; the refusal is the error', async () => {
    const { times, observer, outcome } = await attempts(300, silent);
    assert.deepEqual(times, [0, 75, 150, 300]);
    assert.match(observer.notices()[1] ?? '', /^the jump host does not answer, after 75 of 300 s/);
    assert.ok(outcome instanceof TunnelError);
    assert.equal(outcome.code, 'auth-failed');
    assert.match(outcome.message, /does not let "jump" in; since then: .*does not answer/);
    assert.match(outcome.hint ?? '', /blocked this address/);
  });

  it('other errors are passed on at once', () => {
    const wait = new LoginWait({
      seconds: 900,
      observer: new Recorder(),
      clock: new ManualClock(),
    });
    for (const error of [silent(), new TunnelError('auth-timeout', 'slow'), new Error('other')]) {
      assert.equal(wait.failed(error), undefined);
      assert.equal(wait.outcome(error), error);
    }
    assert.ok(wait.failed(denied()) !== undefined);
    const changed = new TunnelError('host-key-changed', 'another key');
    assert.equal(wait.failed(changed), undefined);
    assert.equal(wait.outcome(changed), changed);
  });

  it('begins anew after a login that was accepted', async () => {
    const clock = new ManualClock();
    const observer = new Recorder();
    const wait = new LoginWait({ seconds: 120, observer, clock });
    assert.equal(wait.failed(denied()), 75_000);
    await clock.advance(75_000 + LOGIN_SECONDS * 1000);
    wait.succeeded();
    assert.match(observer.notices().at(-1) ?? '', /^the login is accepted, after 76 s$/);
    await clock.advance(3_600_000);
    wait.succeeded();
    assert.equal(wait.failed(denied()), 75_000);
    assert.equal(observer.lines.length, 3);
  });

  describe('when attempts are left out because nobody needs the link', () => {
    it('keeps its pace and its time, and forgets the refusal when that is over', async () => {
      const clock = new ManualClock();
      const observer = new Recorder();
      const wait = new LoginWait({ seconds: 300, observer, clock });
      assert.equal(wait.failed(denied()), 75_000);
      await clock.advance(100_000);
      wait.leaveOut();
      // As if the second attempt had come at 75 s.
      assert.equal(wait.failed(denied()), 75_000);
      assert.match(observer.notices().at(-1) ?? '', /still refused, after 100 of 300 s/);
      await clock.advance(250_000);
      wait.leaveOut();
      const unreachable = silent();
      assert.equal(wait.failed(unreachable), undefined);
      assert.equal(wait.outcome(unreachable), unreachable, 'no refusal is waited for any longer');
      assert.equal(wait.failed(denied()), 75_000);
      assert.match(observer.notices().at(-1) ?? '', /waiting up to 300 s/);
    });

    it('still refuses no more than four logins in ten minutes', async () => {
      const clock = new ManualClock();
      const wait = new LoginWait({ seconds: 15, observer: new Recorder(), clock });
      for (const next of [15_000, 15_000, 15_000, undefined]) {
        assert.equal(wait.failed(denied()), next);
        await clock.advance(20_000);
        wait.leaveOut();
      }
    });
  });

  it('a pause ends at once when it is aborted', async () => {
    const clock = new ManualClock();
    const wait = new LoginWait({ seconds: 900, observer: new Recorder(), clock });
    const abort = new AbortController();
    const pause = wait.pause(75_000, abort.signal);
    abort.abort(new Error('stop'));
    await assert.rejects(pause, /stop/);
    await assert.rejects(wait.pause(75_000, abort.signal), /stop/);
    assert.equal(clock.timers, 0);
  });
});
