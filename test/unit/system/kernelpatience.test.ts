import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { silentObserver } from '../../../src/observe/observer.ts';
import { KernelPatience, MAX_PAUSE_MS, PAUSE_MS } from '../../../src/system/kernelpatience.ts';

const { errno } = constants;

function failure(number: number | undefined): Error {
  return Object.assign(new Error('socketOwners'), number === undefined ? {} : { errno: number });
}

describe('KernelPatience', () => {
  let now = 0;
  beforeEach(() => {
    now = 1_000;
    mock.method(performance, 'now', () => now);
  });
  afterEach(() => mock.restoreAll());

  for (const name of ['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EAGAIN', 'EBADMSG'] as const)
    it(`has ${name} asked again at once, and once more for each pause`, () => {
      let counted = 0;
      const patience = new KernelPatience({ ...silentObserver, count: () => counted++ });
      patience.failed(failure(errno[name]));
      assert.ok(patience.mayAsk(), 'at once');
      let pause = PAUSE_MS;
      for (let times = 0; times < 20; times++) {
        patience.failed(failure(errno[name]));
        assert.ok(!patience.mayAsk(), `pause ${times}`);
        now += pause - 1;
        assert.ok(!patience.mayAsk(), `the end of pause ${times}`);
        now += 1;
        assert.ok(patience.mayAsk(), `after pause ${times}`);
        pause = Math.min(2 * pause, MAX_PAUSE_MS);
      }
      assert.equal(pause, MAX_PAUSE_MS);
      assert.equal(counted, 21);
      patience.answered();
      patience.failed(failure(errno[name]));
      assert.ok(patience.mayAsk(), 'an answer ends it');
    });

  for (const name of ['EPERM', 'EACCES', 'EINVAL', 'EPROTONOSUPPORT', undefined] as const)
    it(`never has ${name ?? 'a missing native part'} asked again`, () => {
      const patience = new KernelPatience(silentObserver);
      patience.failed(failure(name && errno[name]));
      now += 1e12;
      assert.ok(!patience.mayAsk());
    });
});
