/** Places that nobody can have alone. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FairShare } from '../../../../src/dns/server/fairshare.ts';

function takeAll(places: FairShare, user: string): number {
  let taken = 0;
  while (places.take(user)) taken++;
  return taken;
}

describe('places that are shared', () => {
  it('are half of one user who is alone, and there for the next ones', () => {
    const places = new FairShare(120);
    assert.equal(takeAll(places, 'a'), 60);
    assert.equal(takeAll(places, 'b'), 30);
    for (let i = 0; i < 50; i++) places.giveBack('a');
    assert.equal(takeAll(places, 'b'), 25);
    assert.equal(takeAll(places, 'a'), 23);
  });

  it('are never more than there are, and one that is given back can be taken', () => {
    const steps = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.boolean()));
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 12 }), (all, limit) => {
        const places = new FairShare(limit);
        const own = new Map<string, number>();
        for (const [user, takes] of all) {
          const before = own.get(user) ?? 0;
          if (takes && places.take(user)) own.set(user, before + 1);
          if (!takes && before > 0) {
            places.giveBack(user);
            own.set(user, before - 1);
          }
          const taken = [...own.values()].reduce((sum, n) => sum + n, 0);
          assert.ok(taken <= limit);
          assert.equal(places.contended, taken >= limit / 8);
        }
      }),
    );
  });
});
