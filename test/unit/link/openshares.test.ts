import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  FACTORS,
  FEW,
  type Groups,
  MOST_FOR_OWNER,
  OpenShares,
  RESERVED,
} from '../../../src/link/openshares.ts';

function groupsOf(owner: number, process = 0, prefix = 0, host = 0): Groups {
  const key = `${owner} ${process}`;
  return [`${owner}`, key, `${key} ${prefix}`, `${key} ${prefix} ${host}`];
}

const LIMIT = 600;
/** What is not left for those who have few. */
const REST = LIMIT * (1 - RESERVED);

/** How many places count for a group. */
function counted(held: readonly Groups[], level: number, group: string): number {
  const own = held.filter((other) => other[level] === group);
  if (level > 0) return own.length;
  const processes = new Set(own.map(([, process]) => process));
  return [...processes].reduce((sum, process) => {
    const of = own.filter((other) => other[1] === process).length;
    return sum + Math.min(of, MOST_FOR_OWNER);
  }, 0);
}

/** Takes as many places as it gets; returns how many. */
function fill(shares: OpenShares, groups: (i: number) => Groups): number {
  let taken = 0;
  for (let i = 0; i < 10 * LIMIT; i++) {
    if (!shares.may(groups(i), LIMIT)) continue;
    shares.take(groups(i));
    taken++;
  }
  return taken;
}

describe('OpenShares', () => {
  it('leaves places to others, however one spreads what he asks for', () => {
    for (const [spread, most] of [
      [() => groupsOf(1), REST / 2],
      [(i: number) => groupsOf(1, 0, 0, i), (REST * 3) / 5],
      [(i: number) => groupsOf(1, 0, i, i), (REST * 2) / 3],
      [(i: number) => groupsOf(1, i, i, i), (LIMIT * 4) / 5],
    ] as const) {
      const shares = new OpenShares();
      assert.equal(fill(shares, spread), Math.ceil(most));
      assert.ok(shares.may(groupsOf(2), LIMIT), 'another user');
    }
  });

  it('leaves places to another process of the same user, and to another prefix of the same one', () => {
    const shares = new OpenShares();
    fill(shares, (i) => groupsOf(1, 1, i, i));
    for (let other = 3; other < 10; other++) fill(shares, (i) => groupsOf(other, 1, i, i));
    assert.ok(fill(shares, () => groupsOf(1, 2)) >= FEW, 'although others have taken theirs');
    const scanned = new OpenShares();
    fill(scanned, (i) => groupsOf(1, 1, 1, i));
    assert.ok(fill(scanned, () => groupsOf(1, 1, 2)) > 30);
  });

  it('whatever is taken and given back in whatever order: never more than there are, no place lost, and whoever has none gets one while any is free', () => {
    const steps = fc.array(
      fc.record({
        groups: fc
          .tuple(fc.nat(3), fc.nat(2), fc.nat(3), fc.nat(3))
          .map(([owner, process, prefix, host]) => groupsOf(owner, process, prefix, host)),
        back: fc.nat(3),
        times: fc.integer({ min: 1, max: 60 }),
      }),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 200 }), (script, limit) => {
        const shares = new OpenShares();
        const held: Groups[] = [];
        for (const { groups, back, times } of script) {
          for (let i = 0; i < times; i++) {
            const few = counted(held, 1, groups[1]) < FEW;
            const free = limit - held.length - (few ? 0 : Math.floor(RESERVED * limit));
            assert.equal(shares.total, held.length);
            const may = shares.may(groups, limit);
            const expected =
              free >= 1 &&
              groups.every((group, level) => {
                const own = counted(held, level, group);
                return own < (FACTORS[level] ?? 0) * free;
              });
            assert.equal(may, expected);
            if (!may) break;
            shares.take(groups);
            held.push(groups);
          }
          if (held.length < limit) assert.ok(shares.may(groupsOf(99), limit), 'a newcomer');
          for (let i = 0; i < back * 10; i++) {
            const given = held.shift();
            if (given !== undefined) shares.giveBack(given);
          }
        }
        for (const groups of held) shares.giveBack(groups);
        assert.equal(shares.total, 0);
        for (const groups of held) for (const group of groups) assert.equal(shares.of(group), 0);
      }),
      { numRuns: 200 },
    );
  });
});
