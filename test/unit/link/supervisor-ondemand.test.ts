/**
 * --on-demand: the jump host is dialled when a connect needs it, again only while one waits, and
 * left alone after --idle-disconnect.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { TunnelError } from '../../../src/errors/errors.ts';
import type { SupervisorOptions } from '../../../src/link/supervisoroptions.ts';
import {
  API,
  assertRefused,
  broken,
  denied,
  HOLD,
  inOrder,
  MINUTE,
  type Outcome,
  ProbedTwin,
  pass,
  refused,
  serving,
  settle,
  supervised,
  watch,
} from '../../support/supervised.ts';

/** Seconds. */
const IDLE = 60;

async function waiting(
  outcomes: Outcome[],
  { idleDisconnect = 0, ...options }: Partial<SupervisorOptions> & { idleDisconnect?: number } = {},
) {
  const prepared: AbortSignal[] = [];
  const prepare = async (signal: AbortSignal) => {
    prepared.push(signal);
  };
  const all = supervised(outcomes, { demand: { prepare, idleDisconnect }, ...options });
  await all.supervisor.start();
  assert.equal(prepared.length, 1);
  return all;
}

/** What has become of it after some milliseconds. */
async function given<T>(promise: Promise<T>, milliseconds: number) {
  const watched = watch(promise);
  await pass(milliseconds);
  return watched;
}

const unresolved = () => new TunnelError('jumphost-dns', 'the name jump.example does not resolve');
const untrusted = () => new TunnelError('host-key-changed', 'the host key has changed');

describe('supervisor on demand', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'] }));
  afterEach(() => mock.timers.reset());

  it('dials nobody before the first connect', async () => {
    const { supervisor, dials, observer } = await waiting([]);
    await pass(10 * MINUTE);
    supervisor.disturbed('the network has changed');
    assert.equal(dials.length, 0);
    const first = watch(supervisor.connect(API));
    await settle();
    assert.ok(first.value !== undefined, String(first.error));
    assert.equal(dials.length, 1);
    assert.equal(dials[0]?.request.attempt, 1);
    assert.deepEqual(observer.notices(), []);
    await supervisor.close();
  });

  it('ends its start with the error of what can be checked without the jump host', async () => {
    const error = new TunnelError('usage', 'no such file');
    const prepare = () => Promise.reject(error);
    const { supervisor, dials } = supervised([], { demand: { prepare, idleDisconnect: 0 } });
    await assert.rejects(supervisor.start(), error);
    assert.equal(await supervisor.ended, undefined);
    assert.equal(dials.length, 0);
    await supervisor.close();
  });

  it('ends its start when it is closed meanwhile', async () => {
    const prepare = (signal: AbortSignal) =>
      new Promise<never>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    const { supervisor } = supervised([], { demand: { prepare, idleDisconnect: 0 } });
    const start = watch(supervisor.start());
    await settle();
    await supervisor.close();
    await settle();
    assert.ok(start.error instanceof TunnelError && start.error.code === 'link-closed');
    const late = watch(supervisor.connect(API));
    await settle();
    assertRefused(late.error);
  });

  it('holds connects while the name does not resolve, nobody is there, and sshd starts', async () => {
    const down = [unresolved(), unresolved(), refused(), refused(), refused()];
    const { supervisor, observer } = await waiting(down);
    const held = [watch(supervisor.connect(API)), watch(supervisor.connect(API))];
    await pass(500);
    assert.ok(held.every(({ settled }) => !settled));
    await pass(5_000);
    for (const { value, error } of held) assert.ok(value !== undefined, String(error));
    assert.match(observer.notices()[0] ?? '', /does not resolve; trying again in 1\.0 s/);
    assert.match(observer.notices().at(-1) ?? '', /^connected after \d\.\d s$/);
    await supervisor.close();
  });

  it('refuses them after the hold, with the reason, and then stops dialling', async () => {
    const { supervisor, dials } = await waiting(Array.from({ length: 200 }, unresolved));
    const begin = Date.now();
    const held = watch(supervisor.connect(API));
    await pass(HOLD * 1_000);
    assertRefused(held.error);
    assert.match(held.error.message, /within 30 s: the name jump\.example does not resolve/);
    assert.equal(held.at - begin, HOLD * 1_000);
    await pass(2_000);
    const tried = dials.length;
    assert.ok(tried > 10, `${tried} dials`);
    await pass(60 * MINUTE);
    assert.equal(dials.length, tried, 'nobody waits for it');
    await supervisor.close();
  });

  it('dials again at once for a connect that comes much later', async () => {
    const { supervisor, dials } = await waiting([refused()], { hold: 0 });
    const first = watch(supervisor.connect(API));
    await pass(1);
    assertRefused(first.error);
    await pass(10 * MINUTE);
    assert.equal(dials.length, 1);
    const second = watch(supervisor.connect(API));
    await settle();
    assert.ok(second.value !== undefined, String(second.error));
    assert.equal(dials.length, 2);
    await supervisor.close();
  });

  it('keeps to the schedule for a connect that comes soon after', async () => {
    const closed = new TunnelError('jumphost-closed', 'too many connections');
    const { supervisor, dials } = await waiting([closed], { hold: 1 });
    const first = watch(supervisor.connect(API));
    await pass(1_000);
    assertRefused(first.error);
    const second = watch(supervisor.connect(API));
    await pass(10_000);
    assertRefused(second.error);
    assert.equal(dials.length, 1, 'sshd counts it: the next dial is 15 s away');
    await pass(10_000);
    assert.equal(dials.length, 1, 'nobody waits');
    await supervisor.close();
  });

  it('refuses connects at once while a refused login may not be tried again', async () => {
    const { supervisor, dials, observer } = await waiting([denied()]);
    const first = watch(supervisor.connect(API));
    const second = watch(supervisor.connect(API));
    await pass(1);
    for (const { error } of [first, second]) {
      assertRefused(error);
      assert.match(error.message, /no link to the jump host: the jump host does not let "jump" in/);
    }
    assert.match(observer.notices()[0] ?? '', /the login is tried again only in 6 min/);
    await pass(4 * MINUTE);
    const soon = watch(supervisor.connect(API));
    await settle();
    assertRefused(soon.error);
    assert.equal(dials.length, 1);
    await pass(2 * MINUTE);
    assert.equal(dials.length, 1, 'nobody asks for it');
    const later = watch(supervisor.connect(API));
    await settle();
    assert.ok(later.value !== undefined, String(later.error));
    await supervisor.close();
  });

  it('holds connects for a refused login with --wait-auth', async () => {
    const { supervisor } = await waiting([denied()], { waitAuth: 900, hold: 120 });
    const held = watch(supervisor.connect(API));
    await pass(74_000);
    assert.equal(held.settled, false);
    await pass(2_000);
    assert.ok(held.value !== undefined, String(held.error));
    await supervisor.close();
  });

  it('holds them only as long as the hold once a login was refused, with --wait-auth', async () => {
    const { supervisor } = await waiting([denied()], { waitAuth: 900, hold: 2 });
    const begin = Date.now();
    const held = watch(supervisor.connect(API));
    await pass(5_000);
    assertRefused(held.error);
    assert.equal(held.at - begin, 2_000);
    await supervisor.close();
  });

  it('tries a refused login again only while a connect waits, with --wait-auth', async () => {
    const { supervisor, dials, observer } = await waiting([denied(), denied(), serving()], {
      waitAuth: 900,
      hold: 2,
    });
    const begin = Date.now();
    assertRefused((await given(supervisor.connect(API), 5_000)).error);
    await pass(20 * MINUTE);
    assert.equal(dials.length, 1, 'nobody waits for it');
    assert.match(observer.lines.at(-1)?.message ?? '', /nobody waits for the link/);
    // Long after: the first one is tried at once, and the time begins with it.
    const again = Date.now();
    assertRefused((await given(supervisor.connect(API), 10_000)).error);
    assert.match(observer.notices().at(-1) ?? '', /up to 900 s .*trying again in 75 s$/);
    // One that comes before the next attempt is due waits for that.
    await pass(64_000);
    const last = await given(supervisor.connect(API), 2_000);
    assert.ok(last.value !== undefined, String(last.error));
    assert.deepEqual(
      dials.map(({ at }) => at - begin),
      [0, again - begin, again - begin + 75_000],
    );
    await supervisor.close();
  });

  it('goes on through an outage long after three refused logins, with --wait-auth', async () => {
    const outcomes = [denied(), denied(), denied(), unresolved(), serving()];
    const { supervisor, dials } = await waiting(outcomes, { waitAuth: 900, hold: 2 });
    const ended = watch(supervisor.ended);
    for (let login = 0; login < 3; login++) {
      assertRefused((await given(supervisor.connect(API), 5_000)).error);
      await pass(60 * MINUTE);
    }
    assert.equal(dials.length, 3, 'each next attempt is left out');
    const connected = await given(supervisor.connect(API), 5_000);
    assert.equal(ended.settled, false, String(ended.value));
    assert.ok(connected.value !== undefined, String(connected.error));
    await supervisor.close();
  });

  it('stays closed when it is closed at the moment of an attempt, with --wait-auth', async () => {
    const { supervisor, dials } = await waiting([denied()], { waitAuth: 900, hold: 2 });
    assertRefused((await given(supervisor.connect(API), 5_000)).error);
    mock.timers.tick(70_000);
    await supervisor.close();
    const late = await given(supervisor.connect(API), 5_000);
    assertRefused(late.error);
    assert.match(late.error.message, /was closed/);
    assert.equal(dials.length, 1);
  });

  it('ends with a host key that is not accepted', async () => {
    const { supervisor } = await waiting([untrusted()]);
    const held = watch(supervisor.connect(API));
    await settle();
    assertRefused(held.error);
    assert.equal((await supervisor.ended)?.code, 'host-key-changed');
    await supervisor.close();
  });

  it('ends after the third refused login', async () => {
    const { supervisor } = await waiting([denied(), denied(), denied()]);
    for (let login = 0; login < 3; login++) {
      const asked = watch(supervisor.connect(API));
      await pass(1);
      assertRefused(asked.error);
      await pass(7 * MINUTE);
    }
    assert.equal((await supervisor.ended)?.code, 'auth-failed');
    await supervisor.close();
  });

  it('leaves a lost link alone until a connect needs the next', async () => {
    const { supervisor, dials, twin, observer } = await waiting([]);
    (await supervisor.connect(API)).whenOver(() => {});
    await pass(IDLE * 1_000);
    twin().lose(broken());
    await pass(10 * MINUTE);
    assert.equal(dials.length, 1);
    assert.match(observer.notices()[0] ?? '', /^link lost: .*; dialled again when needed$/);
    const next = watch(supervisor.connect(API));
    await settle();
    assert.ok(next.value !== undefined, String(next.error));
    await supervisor.close();
  });

  it('dials a lost link again for a connect that was under way', async () => {
    const first = new ProbedTwin();
    first.hang('*');
    const { supervisor, dials } = await waiting([first]);
    const pending = watch(supervisor.connect(API));
    await pass(5_000);
    first.lose(broken());
    await settle();
    assert.ok(pending.value !== undefined, String(pending.error));
    assert.equal(dials.length, 2);
    await supervisor.close();
  });

  describe('without flows', () => {
    it('disconnects after the time, counted from the last one', async () => {
      const { supervisor, dials, twin, observer } = await waiting([], { idleDisconnect: IDLE });
      const link = watch(supervisor.connect(API));
      await settle();
      await pass(10 * MINUTE);
      assert.equal(twin().closed, false, 'a flow is open');
      link.value?.abort(undefined);
      await pass(IDLE * 1_000 - 1_000);
      assert.equal(twin().closed, false);
      const short = watch(supervisor.connect(API));
      await settle();
      short.value?.abort(undefined);
      await pass(IDLE * 1_000 - 1_000);
      assert.equal(twin().closed, false, 'it was used again');
      await pass(2_000);
      assert.equal(twin().closed, true);
      assert.equal(observer.counters.get('tunnel_idle_disconnects_total'), 1);
      assert.equal(observer.counters.get('tunnel_links_lost_total'), undefined);
      assert.equal(dials.length, 1);
      const again = watch(supervisor.connect(API));
      await settle();
      assert.ok(again.value !== undefined, String(again.error));
      assert.equal(dials.length, 2);
      await supervisor.close();
    });

    it('stays connected without the option', async () => {
      const { supervisor, twin } = await waiting([]);
      const link = watch(supervisor.connect(API));
      await settle();
      link.value?.abort(undefined);
      await pass(60 * MINUTE);
      assert.equal(twin().closed, false);
      await supervisor.close();
    });

    it('counts a connect that is under way as one', async () => {
      const slow = new ProbedTwin();
      slow.hang('*');
      const { supervisor } = await waiting([slow], { idleDisconnect: 1 });
      const pending = watch(supervisor.connect(API));
      await pass(20_000);
      assert.equal(slow.closed, false);
      assert.equal(pending.settled, false);
      await supervisor.close();
    });

    it('gives a connect that comes while it closes the next link', async () => {
      const first = serving();
      let closed: () => void = () => {};
      const close = first.close.bind(first);
      first.close = async () => {
        await new Promise<void>((resolve) => {
          closed = resolve;
        });
        await close();
      };
      const { supervisor, dials, twin } = await waiting([first], { idleDisconnect: 1 });
      const used = watch(supervisor.connect(API));
      await settle();
      used.value?.abort(undefined);
      await pass(1_000);
      const late = watch(supervisor.connect(API));
      await settle();
      assert.ok(late.value !== undefined, String(late.error));
      assert.equal(dials.length, 2);
      assert.notEqual(twin(), first);
      const end = watch(supervisor.close());
      await settle();
      assert.equal(end.settled, false, 'the first link still closes');
      closed();
      await settle();
      assert.equal(end.settled, true);
    });

    it('forgets the time of a link that is lost or closed', async () => {
      const { supervisor, dials, twin, observer } = await waiting([], { idleDisconnect: IDLE });
      const used = watch(supervisor.connect(API));
      await settle();
      used.value?.abort(undefined);
      await pass(IDLE * 500);
      twin().lose(inOrder());
      const next = watch(supervisor.connect(API));
      await settle();
      next.value?.abort(undefined);
      await pass(IDLE * 750);
      assert.equal(dials.length, 2);
      assert.equal(twin().closed, false, 'the time is that of the second link');
      await supervisor.close();
      await pass(10 * MINUTE);
      assert.equal(observer.counters.get('tunnel_idle_disconnects_total'), undefined);
    });
  });
});
