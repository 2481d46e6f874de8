/**
 * What becomes of connects when there is no link: the supervisor holds them for the next one, but
 * not for ever.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import type { TunnelError } from '../../../src/errors/errors.ts';
import { ConnectError } from '../../../src/flow/connector.ts';
import { MAX_OPENS_OF_A_NAME } from '../../../src/link/openplaces.ts';
import type { SupervisorOptions } from '../../../src/link/supervisoroptions.ts';
import { MAX_WAITING_CONNECTS } from '../../../src/link/waitingconnects.ts';
import {
  API,
  assertRefused,
  broken,
  HOLD,
  type Outcome,
  ProbedTwin,
  pass,
  refused,
  serving,
  settle,
  supervised,
  watch,
} from '../../support/supervised.ts';

describe('supervisor', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'] }));
  afterEach(() => mock.timers.reset());

  describe('connects while there is no link', () => {
    async function down(options: Partial<SupervisorOptions> = {}, outcomes: Outcome[] = ['hang']) {
      const all = supervised([serving(), ...outcomes], options);
      await all.supervisor.start();
      await pass(5_000);
      all.twin().lose(broken());
      await settle();
      return all;
    }

    it('wait, and succeed with the next link', async () => {
      const { supervisor } = await down({}, Array.from({ length: 5 }, refused));
      const held = watch(supervisor.connect(API));
      await pass(500);
      assert.equal(held.settled, false);
      await pass(10_000);
      assert.ok(held.value !== undefined, String(held.error));
      await supervisor.close();
    });

    it('are refused when the hold is over, each counted from when it was asked for', async () => {
      const { supervisor, observer } = await down();
      const begin = Date.now();
      const first = watch(supervisor.connect(API));
      await pass(10_000);
      const second = watch(supervisor.connect(API));
      await pass(HOLD * 1_000);
      assert.equal(first.at - begin, HOLD * 1_000);
      assert.equal(second.at - begin, HOLD * 1_000 + 10_000);
      assertRefused(first.error);
      assertRefused(second.error);
      assert.match(second.error.message, /10\.0\.0\.5:80: no link to the jump host within 30 s/);
      assert.equal((second.error.cause as TunnelError).message, broken().message);
      assert.equal(observer.counters.get('tunnel_hold_timeouts_total'), 2);
      await supervisor.close();
    });

    it('are refused in time even when more ask for one name than are looked up at a time', async () => {
      const { supervisor, twin } = supervised([serving(), 'hang']);
      await supervisor.start();
      await pass(5_000);
      const name = { host: 'api.example.com', port: 443 };
      twin().hang('*');
      const many = () =>
        Array.from({ length: 3 * MAX_OPENS_OF_A_NAME }, () => watch(supervisor.connect(name)));
      const before = many();
      await settle();
      assert.equal(
        twin().requested.length,
        MAX_OPENS_OF_A_NAME,
        'the link is asked for so many at a time',
      );
      twin().lose(broken());
      const lost = Date.now();
      const after = many();
      await pass(HOLD * 1_000);
      for (const { error, at } of [...before, ...after]) {
        assertRefused(error);
        assert.equal(at - lost, HOLD * 1_000);
      }
      await supervisor.close();
    });

    it('are refused at once with a hold of 0', async () => {
      const { supervisor } = await down({ hold: 0 });
      const now = watch(supervisor.connect(API));
      await settle();
      assertRefused(now.error);
      await supervisor.close();
    });

    it('are refused at once when enough wait already', async () => {
      const { supervisor, observer } = await down();
      const held = Array.from({ length: MAX_WAITING_CONNECTS }, () =>
        watch(supervisor.connect(API)),
      );
      const surplus = watch(supervisor.connect(API));
      await settle();
      assertRefused(surplus.error);
      assert.equal(observer.counters.get('tunnel_hold_limit_total'), 1);
      assert.ok(held.every(({ settled }) => !settled));
      await supervisor.close();
      await settle();
      for (const { error } of held) assertRefused(error);
    });

    it('free their place when the application gives up', async () => {
      const { supervisor } = await down();
      for (let others = 1; others < MAX_WAITING_CONNECTS; others++)
        void watch(supervisor.connect(API));
      const application = new AbortController();
      const held = watch(supervisor.connect(API, { signal: application.signal }));
      await settle();
      const reason = new Error('given up');
      application.abort(reason);
      await settle();
      assert.equal(held.error, reason);
      const next = watch(supervisor.connect(API));
      await settle();
      assert.equal(next.settled, false);
      await supervisor.close();
    });
  });

  it('a connect that was under way when the link was lost goes on over the next link', async () => {
    const first = new ProbedTwin();
    first.hang('*');
    const { supervisor, twin } = supervised([first]);
    await supervisor.start();
    await pass(5_000);
    const pending = watch(supervisor.connect(API));
    await settle();
    first.lose(broken());
    await settle();
    assert.ok(pending.value !== undefined, String(pending.error));
    assert.equal(twin().flows, 1);
    await supervisor.close();
  });

  it('such a connect is refused when its own hold is over', async () => {
    const first = new ProbedTwin();
    first.hang('*');
    const { supervisor } = supervised([first, 'hang']);
    await supervisor.start();
    const begin = Date.now();
    const pending = watch(supervisor.connect(API));
    await pass(10_000);
    first.lose(broken());
    await pass(HOLD * 1_000);
    assertRefused(pending.error);
    assert.equal(pending.at - begin, HOLD * 1_000);
    await supervisor.close();
  });

  it('a refusal by the far side is not tried again', async () => {
    const first = new ProbedTwin();
    first.refuse('*', 'unreachable');
    const { supervisor, dials } = supervised([first]);
    await supervisor.start();
    await assert.rejects(
      supervisor.connect(API),
      (error) => error instanceof ConnectError && error.refusal === 'unreachable',
    );
    assert.equal(dials.length, 1);
    await supervisor.close();
  });
});
