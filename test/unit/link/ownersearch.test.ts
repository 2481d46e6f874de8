/** Opens whose owners a look has missed: they are looked for again while they wait. */
import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import { describe, it } from 'node:test';
import {
  FIRST_PAUSE_MS,
  type Found,
  LOOKS_AGAIN,
  OwnerSearch,
} from '../../../src/link/ownersearch.ts';
import { turns } from '../../support/manualclock.ts';
import { HERE, heldQueue } from '../../support/opens.ts';

describe('OwnerSearch', () => {
  it('looks after growing pauses, and a bounded number of times', () => {
    let looks = 0;
    const search = new OwnerSearch(() => {
      looks++;
      return undefined;
    });
    assert.equal(search.due(1e9), false, 'the first look is not over');
    let now = 1000;
    for (let i = 0; i < LOOKS_AGAIN; i++) {
      assert.ok(search.missed(now));
      now += FIRST_PAUSE_MS * 2 ** i;
      assert.equal(search.due(now - 1), false);
      assert.ok(search.due(now));
      void search.again();
      assert.equal(search.due(now), false, 'a look is under way');
    }
    assert.equal(search.missed(now), false);
    assert.equal(search.due(1e9), false);
    assert.equal(looks, LOOKS_AGAIN);
  });
});

const ATTACKER = 1;
const GOOD = '10.77.0.1';
const SHELL = { user: 1000, process: Promise.resolve('815 (ssh)') };

/**
 * Owners of sockets from ATTACKER are never found, and their opens hold the share of those. Another
 * one is missed by the first `misses` looks.
 */
async function missed(miss: () => Found, misses: number) {
  let looks = 0;
  const { held, clock, observer, opens } = heldQueue((port) => {
    if (port === ATTACKER) return miss();
    looks++;
    return looks <= misses ? miss() : SHELL;
  });
  held.good = ({ host, port }) => host === GOOD || port === 0;
  // Of the first ones, nobody looks for owners: nothing is silent yet.
  for (let round = 0; round < 2; round++) {
    const given = new AbortController();
    setMaxListeners(0, given.signal);
    for (let i = 0; i < 2000; i++)
      opens
        .connect(
          { host: `10.78.${i >> 8}.${i & 255}`, port: 443 },
          { originator: { host: HERE, port: ATTACKER }, signal: given.signal },
        )
        .catch(() => {});
    await clock.advance(3_000);
    given.abort(new Error('given up'));
    await turns();
  }
  const began = clock.now();
  const abort = new AbortController();
  const times: { sent?: number; opened?: number } = {};
  const options = {
    originator: { host: HERE, port: 4000 },
    signal: abort.signal,
  };
  const watch = {
    sent: () => {
      times.sent = clock.now() - began;
    },
  };
  opens.connect({ host: GOOD, port: 443 }, options, watch).then(
    () => {
      times.opened = clock.now() - began;
    },
    () => {},
  );
  await turns();
  assert.deepEqual(times, {}, 'those that are not found have had their share');
  const before = observer.counters.get('tunnel_opens_looks_again_total') ?? 0;
  const again = () => (observer.counters.get('tunnel_opens_looks_again_total') ?? 0) - before;
  return { clock, observer, abort, times, looks: () => looks, again };
}

describe('an open whose owner a look has missed', () => {
  const misses: Record<string, () => Found> = {
    'at once': () => undefined,
    'in the tables': () => Promise.resolve(undefined),
    'in the descriptors of processes': () => ({
      user: 1000,
      process: Promise.resolve(undefined),
    }),
  };
  for (const [what, miss] of Object.entries(misses)) {
    it(`waits no longer than a second: ${what}`, async () => {
      const { clock, times, looks, again } = await missed(miss, 1);
      await clock.advance(1_000);
      assert.ok(times.opened !== undefined && times.sent === times.opened, 'it is open');
      assert.equal(looks(), 2);
      assert.equal(again(), 1);
    });

    it(`is looked for a bounded number of times: ${what}`, async () => {
      const { clock, observer, times, looks, again } = await missed(miss, Number.MAX_VALUE);
      await clock.advance(50_000);
      assert.deepEqual(times, {});
      assert.equal(looks(), 1 + LOOKS_AGAIN);
      assert.equal(again(), LOOKS_AGAIN);
      assert.equal(observer.counters.get('tunnel_opens_unknown_total'), 1);
    });

    it(`is not looked for after it has left: ${what}`, async () => {
      const { clock, looks, abort } = await missed(miss, Number.MAX_VALUE);
      abort.abort(new Error('given up'));
      await clock.advance(50_000);
      assert.equal(looks(), 1);
      assert.equal(clock.timers, 0);
    });
  }

  it('keeps what was known of it, once its socket is closed', async () => {
    let found: Found = { user: 1000, process: Promise.resolve(undefined) };
    const { clock, times, looks } = await missed(() => found, Number.MAX_VALUE);
    found = undefined;
    await clock.advance(10_000);
    assert.ok(looks() > 2);
    assert.deepEqual(times, {}, "it is not one of nobody's, which have places");
  });
});
