import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QUIET_MS, SlowOpens } from '../../../src/link/slowopens.ts';
import { ManualClock } from '../../support/manualclock.ts';
import { Recorder } from '../../support/supervised.ts';

function watched() {
  const clock = new ManualClock();
  const observer = new Recorder();
  const opens = new SlowOpens(observer, clock);
  const wait = (host: string) => opens.begin({ host, port: 443 });
  const begin = (host: string) => {
    const progress = wait(host);
    progress.sent();
    return (opened: boolean) => progress.ended(opened);
  };
  return { clock, observer, wait, begin };
}

describe('SlowOpens', () => {
  it('is silent about opens that are answered soon', async () => {
    const { clock, observer, begin } = watched();
    for (let i = 0; i < 20; i++) {
      const answered = begin('10.0.0.1');
      await clock.advance(4_900);
      answered(i % 2 === 0);
    }
    await clock.advance(60_000);
    assert.deepEqual(observer.notices(), []);
    assert.equal(clock.timers, 0);
  });

  it('names what is waited for, after ever longer intervals, and tells when it is open', async () => {
    const { clock, observer, begin } = watched();
    const answered = begin('workspace.example');
    await clock.advance(80_000);
    const seconds = [5, 15, 35, 75];
    assert.deepEqual(
      observer.notices(),
      seconds.map((s) => `waiting for the jump host to open workspace.example:443 (${s} s so far)`),
    );
    answered(true);
    assert.equal(observer.notices().at(-1), 'workspace.example:443 is open, after 80 s');
    await clock.advance(600_000);
    assert.equal(observer.lines.length, 5);
  });

  it('counts the others that are slow as well, and leaves out the younger ones', async () => {
    const { clock, observer, begin } = watched();
    const all = [begin('10.0.0.1'), begin('10.0.0.2'), begin('10.0.0.3')];
    await clock.advance(1_000);
    all.push(begin('10.0.0.4'));
    await clock.advance(4_000);
    assert.match(observer.notices()[0] ?? '', /open 10\.0\.0\.1:443 and 2 other connections \(5 s/);
    for (const answered of all.slice(0, 2)) answered(false);
    await clock.advance(10_000);
    assert.match(observer.notices()[1] ?? '', /open 10\.0\.0\.3:443 and 1 other connection \(15 s/);
    assert.equal(observer.lines.length, 2, 'a refusal is told by somebody else');
  });

  it('says of those without a place that the jump host has not been asked', async () => {
    const { clock, observer, wait, begin } = watched();
    const progress = wait('10.77.1.4');
    wait('10.77.1.5');
    await clock.advance(12_000);
    const waits = 'waiting for a place to open 10.77.1.4:443 and 1 other connection';
    assert.deepEqual(observer.notices(), [`${waits}, before the jump host is asked (5 s so far)`]);
    progress.sent();
    await clock.advance(6_000);
    assert.deepEqual(observer.notices().slice(1), [
      'waiting for a place to open 10.77.1.5:443, before the jump host is asked (15 s so far)',
      'waiting for the jump host to open 10.77.1.4:443 (5 s so far)',
    ]);
    progress.ended(true);
    assert.equal(observer.notices().at(-1), '10.77.1.4:443 is open, after 18 s');
    begin('10.0.0.1');
    await clock.advance(30_000);
    assert.match(observer.notices().at(-1) ?? '', /the jump host to open 10\.0\.0\.1:443 \(\d+ s/);
  });

  it('one that was named while it waited for a place is told to be open', async () => {
    const { clock, observer, wait } = watched();
    const progress = wait('10.77.1.4');
    await clock.advance(8_000);
    progress.sent();
    progress.ended(true);
    assert.equal(observer.notices().at(-1), '10.77.1.4:443 is open, after 8 s');
    await clock.advance(10_000);
    assert.equal(clock.timers, 0);
  });

  it('a program that tries a dead destination for hours is no flood', async () => {
    const { clock, observer, begin } = watched();
    for (let i = 0; i < 240; i++) {
      const answered = begin('10.0.0.1');
      await clock.advance(20_000);
      answered(false);
      await clock.advance(10_000);
    }
    const { length } = observer.notices();
    assert.ok(length >= 20 && length <= 35, `${length} messages in two hours`);
  });

  it('begins with the short interval again after a quiet time', async () => {
    const { clock, observer, begin } = watched();
    for (let i = 1; i <= 3; i++) {
      const answered = begin('10.0.0.1');
      await clock.advance(6_000);
      answered(false);
      assert.equal(observer.notices().length, i);
      await clock.advance(QUIET_MS + 1_000);
    }
  });
});
