import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  ForwardPlaces,
  type ForwardShare,
  MAX_FORWARD_CONNECTIONS,
  MAX_FORWARDS_CONNECTIONS,
} from '../../../../src/capture/forward/places.ts';
import { MAX_FLOWS } from '../../../../src/flow/flows.ts';

/** Takes all that it gets. */
function fill(share: ForwardShare): number {
  while (share.take());
  return share.taken;
}

describe('ForwardPlaces', () => {
  it('gives one forward its limit, and half of what the process has', () => {
    assert.equal(fill(new ForwardPlaces(65_536).share()), MAX_FORWARD_CONNECTIONS);
    assert.equal(fill(new ForwardPlaces(1024).share()), 256);
    assert.equal(fill(new ForwardPlaces(1).share()), 1);
    assert.ok(MAX_FORWARDS_CONNECTIONS <= MAX_FLOWS / 2);
  });

  it('keeps places for each forward, however many of the others are full', () => {
    for (const count of [2, 4, 16, 256]) {
      const places = new ForwardPlaces(65_536);
      const shares = Array.from({ length: count }, () => places.share());
      const [free, ...filled] = shares;
      for (const share of filled) fill(share);
      assert.ok(places.taken < MAX_FORWARDS_CONNECTIONS);
      assert.ok(free !== undefined && fill(free) >= MAX_FORWARDS_CONNECTIONS / 2 / count);
      assert.ok(places.taken <= MAX_FORWARDS_CONNECTIONS);
    }
  });

  it('counts the clients of a former forward until they end, and keeps nothing for it', () => {
    const places = new ForwardPlaces(16);
    const [former, other] = [places.share(), places.share()];
    assert.equal(fill(former), 4);
    former.retire();
    assert.equal(fill(other), 4);
    assert.equal(places.taken, 8);
    for (let i = 0; i < 4; i++) former.release();
    assert.equal(places.taken, 4);
  });
});
