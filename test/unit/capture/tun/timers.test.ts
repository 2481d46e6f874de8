import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Timed, TimerWheel } from '../../../../src/capture/tun/timers.ts';

/** The garbage collector, which V8 shows to contexts that are made after this. */
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

class Item implements Timed {
  dueAt = 0;
  lookAt = 0;
}

describe('TimerWheel', () => {
  it('calls each when its time has come, at most a tick late', () => {
    const wheel = new TimerWheel<Item>();
    const due = new Map<Item, number>();
    const wanted = new Map<Item, number>();
    for (let n = 0; n < 500; n++) {
      const item = new Item();
      const at = 1000 + ((n * 7919) % 30_011);
      wanted.set(item, at);
      wheel.arm(item, at);
    }
    for (let now = 1000; wheel.deadline < Number.POSITIVE_INFINITY; now++) {
      assert.ok(now < 40_000);
      wheel.expire(now, (item) => due.set(item, now));
    }
    for (const [item, at] of wanted) {
      const late = (due.get(item) ?? Number.NaN) - at;
      assert.ok(late >= 0 && late <= 50, `${late} ms late`);
    }
  });

  it('goes by the last time that was asked for, earlier or later', () => {
    const wheel = new TimerWheel<Item>();
    const item = new Item();
    const called: number[] = [];
    const until = (end: number) => {
      for (let now = 0; now <= end; now += 10) wheel.expire(now, () => called.push(now));
    };
    wheel.arm(item, 1000);
    wheel.arm(item, 3000);
    wheel.arm(item, 500);
    wheel.arm(item, 700);
    until(5000);
    assert.deepEqual(called, [700]);
    wheel.arm(item, 6000);
    assert.equal(wheel.deadline, 6000);
  });

  it('may be armed from within', () => {
    const wheel = new TimerWheel<Item>();
    const items = [new Item(), new Item()];
    const called: number[] = [];
    for (const item of items) wheel.arm(item, 1000);
    for (let now = 900; now < 5000; now += 50)
      wheel.expire(now, (item) => {
        called.push(now);
        if (now < 3000) wheel.arm(item, now + 1000);
      });
    assert.deepEqual(called, [1000, 1000, 2000, 2000, 3000, 3000]);
    assert.equal(wheel.deadline, Number.POSITIVE_INFINITY);
  });

  it('forgets what is not to be looked at any more', async () => {
    const wheel = new TimerWheel<Item>();
    const registry = new Set<WeakRef<Item>>();
    for (let n = 0; n < 1000; n++) {
      const item = new Item();
      wheel.arm(item, 1000 + n);
      wheel.forget(item);
      registry.add(new WeakRef(item));
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
    collect();
    const left = [...registry].filter((reference) => reference.deref() !== undefined).length;
    // The stack may still have the last one.
    assert.ok(left <= 10, `${left} are kept`);
    wheel.expire(10_000, () => assert.fail('nobody wants to be looked at'));
    assert.equal(wheel.deadline, Number.POSITIVE_INFINITY);
  });
});
