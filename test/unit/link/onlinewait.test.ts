import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ErrorCode } from '../../../src/errors/codes.ts';
import { TunnelError } from '../../../src/errors/errors.ts';
import { OnlineWait } from '../../../src/link/onlinewait.ts';
import { ManualClock, turns } from '../../support/manualclock.ts';
import { Recorder } from '../../support/supervised.ts';

const SECOND = 1000;

function failure(code: ErrorCode, message = 'no way to the jump host'): TunnelError {
  return new TunnelError(code, message);
}

/** Dials that all do what `outcome` says; `at` has their times in seconds. */
async function waiting(seconds: number, outcome: (dial: number) => TunnelError | 'link') {
  const clock = new ManualClock();
  const observer = new Recorder();
  const told: string[] = [];
  const wait = new OnlineWait({ seconds, told: (what) => told.push(what), observer, clock });
  const begin = clock.now();
  const at: number[] = [];
  const stop = new AbortController();
  const dial = async () => {
    at.push((clock.now() - begin) / SECOND);
    const came = outcome(at.length);
    if (came !== 'link') throw came;
    return came;
  };
  const result = wait.dial(stop.signal, dial).catch((error: unknown) => error);
  await turns();
  return { clock, observer, told, wait, at, stop, dial, result };
}

describe('OnlineWait', () => {
  it('dials again while the jump host can’t be reached, until the time is over', async () => {
    const last = failure('jumphost-dns');
    const { clock, observer, told, at, result } = await waiting(50, () => last);
    await clock.advance(200 * SECOND);
    assert.equal(await result, last);
    assert.deepEqual(at, [0, 1, 3, 7, 15, 30, 45, 50]);
    assert.equal(observer.counters.get('tunnel_online_waits_total'), 7);
    assert.equal(told.length, 7);
    assert.equal(told[0], last.message);
    assert.deepEqual(observer.notices(), [
      `${last.message}; waiting up to 50 s (--wait-online); trying again in 1.0 s`,
    ]);
    assert.equal(clock.timers, 0);
  });

  it('says so again when it waits for something else', async () => {
    const { clock, observer, result } = await waiting(50, (dial) =>
      dial < 4 ? failure('jumphost-dns', `reason ${Math.min(dial, 2)}`) : 'link',
    );
    await clock.advance(50 * SECOND);
    assert.equal(await result, 'link');
    assert.equal(observer.notices().length, 2);
  });

  for (const code of ['jumphost-unreachable', 'jumphost-refused', 'jumphost-timeout'] as const)
    it(`waits after ${code}`, async () => {
      const { clock, at, result } = await waiting(5, (dial) => (dial < 3 ? failure(code) : 'link'));
      await clock.advance(10 * SECOND);
      assert.equal(await result, 'link');
      assert.deepEqual(at, [0, 1, 3]);
    });

  for (const code of ['auth-failed', 'host-key-changed', 'jumphost-not-ssh'] as const)
    it(`does not wait after ${code}, nor for anything after that`, async () => {
      const { clock, at, wait, stop, dial, result } = await waiting(60, (n) =>
        failure(n === 2 ? code : 'jumphost-dns'),
      );
      await clock.advance(60 * SECOND);
      assert.equal(((await result) as TunnelError).code, code);
      await assert.rejects(wait.dial(stop.signal, dial), { code: 'jumphost-dns' });
      assert.equal(at.length, 3);
    });

  it('does not wait once there has been a link', async () => {
    const { wait, stop, dial, result } = await waiting(60, (n) =>
      n === 1 ? 'link' : failure('jumphost-dns'),
    );
    assert.equal(await result, 'link');
    await assert.rejects(wait.dial(stop.signal, dial), { code: 'jumphost-dns' });
  });

  it('dials when the network changes, but not more than once a second', async () => {
    const { clock, wait, at, stop, result } = await waiting(100, () =>
      failure('jumphost-unreachable'),
    );
    await clock.advance(20 * SECOND);
    assert.deepEqual(at, [0, 1, 3, 7, 15]);
    wait.disturbed();
    await turns();
    assert.deepEqual(at.slice(5), [20]);
    for (let i = 0; i < 10; i++) wait.disturbed();
    await clock.advance(0.9 * SECOND);
    assert.deepEqual(at.slice(6), []);
    await clock.advance(0.1 * SECOND);
    assert.deepEqual(at.slice(6), [21]);
    stop.abort();
    await result;
  });

  it('ends at once when the tunnel is stopped', async () => {
    const { clock, stop, result } = await waiting(100, () => failure('jumphost-dns'));
    await turns();
    const reason = new Error('stopped');
    stop.abort(reason);
    assert.equal(await result, reason);
    assert.equal(clock.timers, 0);
  });
});
