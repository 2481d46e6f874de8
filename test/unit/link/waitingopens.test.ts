import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Groups } from '../../../src/link/openshares.ts';
import { type WaitingOpen, WaitingOpens } from '../../../src/link/waitingopens.ts';

interface Open extends WaitingOpen {
  readonly id: number;
}

let id = 0;
function open(owner: string, process: string, prefix: string, host: string, port = 1): Open {
  const at = `${owner} ${process}`;
  const groups: Groups = [owner, at, `${at} ${prefix}`, `${at} ${prefix} ${host}`];
  return { id: ++id, request: { groups, destination: `${host}:${port}` }, ready: true };
}

const ALL = { groupMay: () => true, take: () => true };

describe('WaitingOpens', () => {
  it('goes round, on every level', () => {
    const waiting = new WaitingOpens<Open>();
    const many = Array.from({ length: 100 }, (_, i) => open('a', 'browser', `p${i}`, `h${i}`));
    for (const each of many) waiting.add(each);
    const terminal = open('a', 'terminal', 'p', 'h');
    const user = open('b', '', 'p', 'h');
    waiting.add(terminal);
    waiting.add(user);
    const turns = Array.from({ length: 4 }, () => waiting.next(ALL));
    assert.deepEqual(turns, [many[0], user, terminal, many[1]]);
  });

  it('passes over groups that may have none, and all others in it', () => {
    const waiting = new WaitingOpens<Open>();
    const asked: string[] = [];
    for (let i = 0; i < 10; i++) waiting.add(open('a', 'x', 'p', `h${i}`));
    const other = open('b', 'x', 'p', 'h');
    waiting.add(other);
    const turns = {
      groupMay: (group: string) => group !== 'a',
      take: ({ request }: Open) => {
        asked.push(request.destination);
        return true;
      },
    };
    assert.equal(waiting.next(turns), other);
    assert.equal(waiting.next(turns), undefined);
    assert.deepEqual(asked, ['h:1']);
    assert.equal(waiting.size, 10);
  });

  it('the first of a destination stands for all of it', () => {
    const waiting = new WaitingOpens<Open>();
    const silent = Array.from({ length: 50 }, () => open('a', 'x', 'p', 'silent'));
    for (const each of silent) waiting.add(each);
    const good = open('a', 'x', 'p', 'good');
    waiting.add(good);
    let asked = 0;
    const next = waiting.next({
      groupMay: () => true,
      take: ({ request }) => {
        asked++;
        return request.destination !== 'silent:1';
      },
    });
    assert.equal(next, good);
    assert.equal(asked, 2);
  });

  it('one whose owner is not known yet has no turn, but counts', () => {
    const waiting = new WaitingOpens<Open>();
    const unknown = { ...open('here', '', 'p', 'h'), ready: false };
    waiting.add(unknown);
    assert.equal(waiting.next(ALL), undefined);
    assert.equal(waiting.size, 1);
    assert.equal(waiting.crowded(), unknown);
    waiting.regroup(unknown, open('a', 'x', 'p', 'h').request.groups);
    assert.equal(waiting.next(ALL), undefined);
    waiting.ready(unknown);
    assert.equal(waiting.next(ALL), unknown);
    waiting.regroup(unknown, open('b', 'x', 'p', 'h').request.groups);
    waiting.ready(unknown);
    assert.equal(waiting.size, 0);
    assert.equal(waiting.next(ALL), undefined, 'it has left');
  });

  it('the oldest of the largest makes room', () => {
    const waiting = new WaitingOpens<Open>();
    waiting.add(open('b', 'x', 'p', 'h'));
    waiting.add(open('a', 'small', 'p', 'h'));
    const oldest = open('a', 'large', 'p', 'h');
    waiting.add(oldest);
    waiting.add(open('a', 'large', 'q', 'h'));
    assert.equal(waiting.crowded(), oldest);
  });

  it('whatever comes, leaves and has turns: everybody has one, once', () => {
    const part = fc.constantFrom('a', 'b', 'c');
    const step = fc.oneof(
      fc.record({ what: fc.constant('add' as const), keys: fc.tuple(part, part, part, part) }),
      fc.record({ what: fc.constantFrom('next' as const, 'leave' as const), which: fc.nat(50) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (script) => {
        const waiting = new WaitingOpens<Open>();
        const here = new Set<Open>();
        for (const each of script) {
          if (each.what === 'add') {
            const added = open(...each.keys);
            waiting.add(added);
            here.add(added);
          } else if (each.what === 'next') {
            const next = waiting.next(ALL);
            assert.equal(next === undefined, here.size === 0);
            if (next !== undefined) assert.ok(here.delete(next));
          } else {
            const left = [...here][each.which % Math.max(1, here.size)];
            if (left === undefined) continue;
            waiting.delete(left);
            waiting.delete(left);
            here.delete(left);
          }
          assert.equal(waiting.size, here.size);
          assert.deepEqual([...waiting.all], [...here]);
        }
        while (here.size > 0) {
          const next = waiting.next(ALL);
          assert.ok(next !== undefined && here.delete(next));
        }
        assert.equal(waiting.next(ALL), undefined);
        assert.equal(waiting.crowded(), undefined);
        assert.equal(waiting.to('a:1'), undefined);
      }),
    );
  });
});
