/** A refused login with --wait-auth, and slow opens: what the supervisor does meanwhile. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { TunnelError } from '../../../src/errors/errors.ts';
import { LOGIN_TRIES } from '../../../src/link/redialschedule.ts';
import {
  API,
  assertRefused,
  broken,
  denied,
  HOLD,
  MINUTE,
  pass,
  serving,
  settle,
  supervised,
  watch,
} from '../../support/supervised.ts';

describe('supervisor', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] }));
  afterEach(() => mock.timers.reset());

  describe('with --wait-auth', () => {
    it('starts when the login is accepted', async () => {
      const all = supervised([denied(), denied(), serving()], { waitAuth: 900 });
      const begin = Date.now();
      const started = watch(all.supervisor.start());
      for (let i = 0; i < 3; i++) await pass(49_000);
      assert.equal(started.settled, false);
      await pass(4_000);
      assert.equal(started.error, undefined);
      assert.deepEqual(
        all.dials.map(({ at, request }) => [at - begin, request.attempt]),
        [
          [0, 1],
          [75_000, 2],
          [150_000, 3],
        ],
      );
      assert.deepEqual(all.observer.notices().slice(1), [
        'the login is still refused, after 75 of 900 s; trying again in 75 s',
        'the login is accepted, after 150 s',
      ]);
      await all.supervisor.close();
    });

    it('fails with the refusal when the time is over', async () => {
      const refusal = denied();
      const outcomes = [denied(), denied(), refusal];
      const { supervisor, dials } = supervised(outcomes, { waitAuth: 120 });
      const started = watch(supervisor.start());
      await pass(121_000);
      assert.equal(started.error, refusal);
      assert.equal(dials.length, 3);
    });

    it('ends at once when it is closed', async () => {
      const { supervisor, dials } = supervised([denied()], { waitAuth: 900 });
      const started = watch(supervisor.start());
      await pass(10_000);
      await supervisor.close();
      await settle();
      assert.ok(started.error instanceof TunnelError && started.error.code === 'link-closed');
      await pass(300_000);
      assert.equal(dials.length, 1);
    });

    it('without it, a refused login is the end of the start', async () => {
      const { supervisor, dials } = supervised([denied()]);
      await assert.rejects(supervisor.start(), { code: 'auth-failed' });
      assert.equal(dials.length, 1);
    });

    it('waits for a key after the link is lost, and holds connections no longer than usual', async () => {
      const outcomes = [serving(), denied(), denied(), serving()];
      const { supervisor, dials, twin } = supervised(outcomes, { waitAuth: 900 });
      await supervisor.start();
      await pass(60_000);
      twin().lose(broken());
      await settle();
      const begin = Date.now();
      const held = watch(supervisor.connect(API));
      await pass((HOLD + 1) * 1_000);
      assertRefused(held.error);
      assert.match(String((held.error as Error).cause), /does not let "jump" in/);
      await pass(100_000);
      const next = watch(supervisor.connect(API));
      await pass(HOLD * 1_000);
      assert.ok(next.value !== undefined, String(next.error));
      assert.deepEqual(
        dials.slice(1).map(({ at }) => at - begin),
        [0, 75_000, 150_000],
      );
      await supervisor.close();
    });

    it('the first dial on demand that is refused ends the patience for what waits for it', async () => {
      const outcomes = [serving(), denied(), denied(), denied()];
      const { supervisor, twin } = supervised(outcomes, { waitAuth: 900, hold: 0 });
      await supervisor.start();
      await pass(60_000);
      twin().lose(new TunnelError('link-lost', 'the jump host closed the connection'));
      await settle();
      const asked = watch(supervisor.connect(API));
      await pass(1_000);
      assertRefused(asked.error);
      await supervisor.close();
    });

    it('ends the program when the time is over after a loss, if it was refused often enough', async () => {
      const outcomes = [serving(), ...Array.from({ length: 9 }, denied)];
      const { supervisor, dials, twin } = supervised(outcomes, { waitAuth: 300 });
      await supervisor.start();
      await pass(60_000);
      twin().lose(broken());
      const ended = watch(supervisor.ended);
      await pass(299_000);
      assert.equal(ended.settled, false);
      await pass(2_000);
      assert.equal(ended.value?.code, 'auth-failed');
      assert.equal(dials.length, 1 + 4);
    });

    it('after that, tries as rarely as without it', async () => {
      const outcomes = [serving(), ...Array.from({ length: 9 }, denied)];
      const { supervisor, dials, twin } = supervised(outcomes, { waitAuth: 15 });
      await supervisor.start();
      await pass(60_000);
      twin().lose(broken());
      const ended = watch(supervisor.ended);
      await settle();
      const begin = Date.now();
      await pass(300_000);
      assert.equal(ended.settled, false);
      await pass(100_000);
      assert.equal(ended.value?.code, 'auth-failed');
      const times = dials.slice(1).map(({ at }) => Math.round((at - begin) / 1000));
      assert.deepEqual(times.slice(0, 2), [0, 15]);
      assert.ok(times.length === 3 && (times[2] ?? 0) >= 345, `${times}`);
    });
  });

  describe('with a question that nobody answers', () => {
    const unasked = () => new TunnelError('no-terminal', 'nobody could be asked for a code');
    const cancelled = (cause?: unknown) =>
      new TunnelError('auth-cancelled', 'a question was not answered', { cause });

    it('goes on, and asks again as soon as a user wants a new link', async () => {
      const outcomes = [serving(), unasked(), cancelled(), unasked(), cancelled(), serving()];
      const { supervisor, dials, twin, observer } = supervised(outcomes);
      const ended = watch(supervisor.ended);
      await supervisor.start();
      await pass(60_000);
      twin().lose(broken());
      await settle();
      for (let dialled = 2; dialled < 6; dialled++) {
        assert.equal(dials.length, dialled);
        assert.equal(supervisor.view().state, 'waiting');
        supervisor.disturbed('the network has changed');
        await pass(MINUTE);
        assert.equal(dials.length, dialled);
        assertRefused(await supervisor.connect(API).catch((error: unknown) => error));
        supervisor.reconnect();
        await pass(1);
      }
      assert.equal(supervisor.view().state, 'up');
      assert.equal(ended.settled, false);
      assert.match(
        observer.notices().join(),
        /nobody could be asked for a code; the login is tried again only in 6 min/,
      );
      await supervisor.close();
    });

    it('counts what was refused before it was cancelled', async () => {
      const refusedFirst = () => cancelled(denied());
      const outcomes = [serving(), refusedFirst(), refusedFirst(), refusedFirst()];
      const { supervisor, dials, twin } = supervised(outcomes);
      await supervisor.start();
      await pass(60_000);
      twin().lose(broken());
      await settle();
      for (let minute = 0; minute < 40; minute++) {
        if (supervisor.view().state === 'waiting') supervisor.reconnect();
        await pass(MINUTE);
      }
      const [, first = 0, second = 0] = dials.map(({ at }) => at);
      assert.ok(second - first >= 5.5 * MINUTE);
      assert.equal(dials.length, 1 + LOGIN_TRIES);
      assert.equal((await supervisor.ended)?.code, 'auth-cancelled');
    });

    it('on demand, a user gets the link although no connection waits for it', async () => {
      const demand = { prepare: async () => {}, idleDisconnect: 0 };
      const { supervisor, dials } = supervised([cancelled(), serving()], { demand });
      assert.equal(supervisor.started, false);
      await supervisor.start();
      assert.equal(supervisor.started, true);
      supervisor.reconnect();
      await settle();
      assert.equal(supervisor.view().state, 'waiting');
      supervisor.reconnect();
      await pass(1);
      assert.equal(dials.length, 2);
      assert.equal(supervisor.view().state, 'up');
      await supervisor.close();
    });

    it('at the start it is the end, as for any program that asks', async () => {
      const { supervisor } = supervised([cancelled()]);
      await assert.rejects(supervisor.start(), { code: 'auth-cancelled' });
    });
  });

  it('says which connection the jump host takes long to open, and waits for as long as it does', async () => {
    const slow = serving();
    const { supervisor, observer } = supervised([slow]);
    await supervisor.start();
    let answer: () => void = () => {};
    const open = slow.connect.bind(slow);
    slow.connect = async (destination, options) => {
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return open(destination, options);
    };
    const asked = watch(supervisor.connect(API));
    for (let i = 0; i < 6; i++) await pass(50_000);
    assert.equal(asked.settled, false);
    assert.deepEqual(
      observer.notices().map((text) => /^waiting .* open 10\.0\.0\.5:80 \((\d+) s/.exec(text)?.[1]),
      ['5', '15', '35', '75', '155'],
    );
    answer();
    await settle();
    assert.ok(asked.value !== undefined);
    assert.match(observer.notices().at(-1) ?? '', /^10\.0\.0\.5:80 is open, after 300 s$/);
    await supervisor.close();
  });
});
