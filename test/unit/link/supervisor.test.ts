/**
 * The supervisor over the twin, with the time in the test's hands: when it dials, what it gives up,
 * and its end.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { TunnelError } from '../../../src/errors/errors.ts';
import { ConnectError } from '../../../src/flow/connector.ts';
import { LOGIN_TRIES } from '../../../src/link/redialschedule.ts';
import { PROBE_TIMEOUT_MS, type Supervisor } from '../../../src/link/supervisor.ts';
import { connectStream } from '../../support/connectstream.ts';
import {
  API,
  assertRefused,
  broken,
  closed,
  denied,
  inOrder,
  isUp,
  MINUTE,
  ProbedTwin,
  pass,
  refused,
  serving,
  settle,
  silent,
  slow,
  supervised,
  unidentified,
  watch,
} from '../../support/supervised.ts';
import type { TwinTransport } from '../../support/twin.ts';

async function refusalOf(supervisor: Supervisor): Promise<unknown> {
  return supervisor.connect(API).then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('supervisor', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'] }));
  afterEach(() => mock.timers.reset());

  it('does not repeat a first dial that fails', async () => {
    const error = refused();
    const { supervisor, dials } = supervised([error]);
    await assert.rejects(supervisor.start(), error);
    assert.equal(await supervisor.ended, undefined);
    await pass(MINUTE);
    assert.equal(dials.length, 1);
    await assert.rejects(supervisor.connect(API), ConnectError);
  });

  it('resets the flows of a lost link at once, and dials at once', async () => {
    const { supervisor, dials, twin, observer } = supervised();
    await supervisor.start();
    const stream = await connectStream(supervisor, API);
    await pass(5_000);
    const first = twin();
    first.lose(broken());
    assert.ok(stream.destroyed);
    await settle();
    assert.equal(stream.errored?.message, broken().message);
    assert.equal(dials.length, 2);
    assert.notEqual(twin(), first);
    assert.deepEqual(observer.notices(), [
      `link lost: ${broken().message}; reconnecting`,
      'reconnected after 0.0 s',
    ]);
    (await supervisor.connect(API)).abort(undefined);
    await supervisor.close();
  });

  it('says in the log for which flow a channel is opened and closed', async () => {
    const { supervisor, observer, twin } = supervised();
    await supervisor.start();
    twin().serve('10.0.0.6:80', (far) => far.end());
    const stream = await connectStream(supervisor, { host: '10.0.0.6', port: 80 }, { flow: 17 });
    stream.end();
    stream.resume();
    await settle();
    const lines = observer.lines.filter(({ message }) => message.includes('channel'));
    assert.deepEqual(lines, [
      {
        level: 'debug',
        message: '10.0.0.6:80: channel open',
        fields: { flow: 17, after_ms: 0 },
      },
      {
        level: 'debug',
        message: '10.0.0.6:80: channel closed',
        fields: { flow: 17, error: undefined },
      },
    ]);
    await supervisor.close();
  });

  it('is closed only when the links that were lost are', async () => {
    let closed = () => {};
    const slow = new ProbedTwin();
    slow.close = () => new Promise((resolve) => (closed = resolve));
    const { supervisor } = supervised([slow]);
    await supervisor.start();
    slow.lose(broken());
    await pass(10);
    let over = false;
    const end = supervisor.close().then(() => {
      over = true;
    });
    await pass(10);
    assert.equal(over, false);
    closed();
    await end;
  });

  it('backs off, at most one dial at a time, until the jump host is back', async () => {
    const { supervisor, dials, twin, observer } = supervised(
      [serving(), refused(), refused(), refused()],
      {
        random: () => 1,
      },
    );
    await supervisor.start();
    await pass(5_000);
    twin().lose(broken());
    await pass(20_000);
    assert.deepEqual(
      dials.slice(1).map(({ at }) => at - 5_000),
      [0, 2_000, 6_000, 14_000],
    );
    assert.deepEqual(
      dials.map(({ request }) => request.attempt),
      [1, 1, 2, 3, 4],
    );
    assert.ok(await isUp(supervisor));
    // The first failure is news, its repetitions are not.
    assert.equal(observer.notices().filter((line) => line.includes('refused')).length, 1);
    assert.equal(observer.notices().at(-1), 'reconnected after 14.0 s');
    await supervisor.close();
  });

  it('spares a server that drops connections', async () => {
    const { supervisor, dials, twin } = supervised([serving(), closed(), closed(), closed()], {
      random: () => 0.5,
    });
    await supervisor.start();
    await pass(5_000);
    twin().lose(broken());
    await pass(5 * MINUTE);
    const [, ...at] = dials.map((dial) => dial.at);
    const gaps = at.slice(1).map((time, i) => time - (at[i] ?? 0));
    assert.ok(
      gaps.every((gap) => gap >= 15_000),
      `${gaps}`,
    );
    assert.ok(await isUp(supervisor));
    await supervisor.close();
  });

  describe('while a connection waits', () => {
    const dialsAfterLoss = async (failure: () => TunnelError, count: number, ms: number) => {
      const failures = Array.from({ length: count }, failure);
      const { supervisor, dials, twin } = supervised([serving(), ...failures], {
        random: () => 1,
        hold: 600,
      });
      await supervisor.start();
      await pass(5_000);
      twin().lose(broken());
      const held = watch(supervisor.connect(API));
      await pass(ms);
      const gaps = dials.slice(2).map(({ at }, i) => at - (dials[i + 1]?.at ?? 0));
      await supervisor.close();
      return { gaps, held };
    };

    it('a jump host that refuses is tried soon, and less often after ten times', async () => {
      const { gaps } = await dialsAfterLoss(refused, 100, 30_000);
      assert.deepEqual(gaps.slice(0, 10), new Array(10).fill(500));
      assert.ok(gaps.length > 15 && gaps.slice(10).every((gap) => gap === 3_000), `${gaps}`);
    });

    it('so is one behind a balancer, which closes without a word', async () => {
      const { gaps, held } = await dialsAfterLoss(unidentified, 20, 60_000);
      assert.ok(
        gaps.every((gap) => gap <= 2_300),
        `${gaps}`,
      );
      assert.ok(held.value !== undefined);
    });

    it('one that is busy is not', async () => {
      for (const failure of [closed, slow]) {
        const { gaps } = await dialsAfterLoss(failure, 20, 60_000);
        assert.ok(gaps.length <= 5, `${gaps}`);
      }
    });

    it('a wait that has begun is cut short', async () => {
      const { supervisor, dials, twin } = supervised(
        [serving(), ...Array.from({ length: 7 }, refused)],
        { random: () => 1, hold: 0 },
      );
      await supervisor.start();
      await pass(5_000);
      twin().lose(broken());
      // 2, 4, 8 and 16 s after each other, and then 30 s.
      await pass(31_000);
      const before = dials.length;
      await pass(5_000);
      assert.equal(dials.length, before);
      // Also by one that may not wait.
      assertRefused(await refusalOf(supervisor));
      await pass(250);
      assert.equal(dials.length, before + 1);
      await supervisor.close();
    });

    it('a server that lets us in and throws us out is tried once in three seconds', async () => {
      const { supervisor, dials, twin } = supervised([], { random: () => 0, hold: 600 });
      await supervisor.start();
      await pass(5_000);
      const thrownOut = new Map<ProbedTwin, number>();
      const begin = dials.length;
      for (const end = Date.now() + MINUTE; Date.now() < end; await pass(250)) {
        const since = thrownOut.get(twin());
        if (since === undefined) thrownOut.set(twin(), Date.now());
        else if (Date.now() - since === 1_000) twin().lose(inOrder());
        void supervisor.connect(API).catch(() => {});
      }
      assert.ok(dials.length - begin <= 21, `${dials.length - begin} dials in a minute`);
      assert.ok(dials.length - begin >= 18, `${dials.length - begin} dials in a minute`);
      await supervisor.close();
    });
  });

  it('silence after a refused login is told as a possible block, with the next attempt', async () => {
    const { supervisor, twin, observer } = supervised([serving(), denied(), silent()]);
    await supervisor.start();
    await pass(5_000);
    twin().lose(broken());
    await pass(6 * MINUTE);
    assert.match(
      observer.notices().at(-2) ?? '',
      /does not answer; it may block this address since it refused the login; trying again in 1.0 s$/,
    );
    await supervisor.close();
  });

  it('leaves a slow server alone for a while, then gives it all the time that is allowed', async () => {
    const { supervisor, dials, twin } = supervised(
      [serving(), ...Array.from({ length: 12 }, slow), serving()],
      { random: () => 1 },
    );
    await supervisor.start();
    await pass(5_000);
    twin().lose(broken());
    // In steps of 250 ms, of which each of the waits is a multiple.
    for (let i = 0; i < 24; i++) await pass(5_000);
    const [, first, ...again] = dials;
    assert.notEqual(first?.request.lastDialMs, undefined);
    assert.deepEqual(
      again.slice(0, 6).map(({ at }) => at - (first?.at ?? 0)),
      [2_000, 6_000, 14_000, 30_000, 60_000, 90_000],
    );
    assert.ok(again.every(({ request }) => request.lastDialMs === undefined));
    await supervisor.close();
  });

  it('does not hammer a server that lets it in and throws it out', async () => {
    const { supervisor, dials, twin } = supervised([], { random: () => 1 });
    await supervisor.start();
    const thrownOut = new Set<ProbedTwin>();
    for (const end = Date.now() + 5 * MINUTE; Date.now() < end; await pass(250)) {
      if (!thrownOut.has(twin())) twin().lose(inOrder());
      thrownOut.add(twin());
    }
    assert.ok(dials.length < 20, `${dials.length} dials in 5 minutes`);
    await supervisor.close();
  });

  for (const attempts of [1, 2, 3, 4]) {
    it(`a host key that is not accepted on attempt ${attempts} is the end`, async () => {
      const error = new TunnelError('host-key-changed', 'another key');
      const failures = Array.from({ length: attempts - 1 }, refused);
      const { supervisor, dials, twin } = supervised([serving(), ...failures, error]);
      await supervisor.start();
      await pass(5_000);
      twin().lose(broken());
      const held = watch(supervisor.connect(API));
      await pass(20_000);
      assert.equal(await supervisor.ended, error);
      assertRefused(held.error);
      await pass(10 * MINUTE);
      assert.equal(dials.length, 1 + attempts);
      const after = watch(supervisor.connect(API));
      await settle();
      assertRefused(after.error);
      await supervisor.close();
    });
  }

  it('a refused login is tried less than three times in ten minutes, whatever events come, and then no more', async () => {
    for (const random of [() => 0, () => 1]) {
      const { supervisor, dials, twin, observer } = supervised(
        [serving(), denied(), denied(), denied(), denied(), denied()],
        { random },
      );
      await supervisor.start();
      await pass(5_000);
      twin().lose(broken());
      for (let minute = 0; minute < 40; minute++) {
        supervisor.disturbed('the network has changed');
        await pass(MINUTE);
      }
      const at = dials.slice(1).map((dial) => dial.at);
      assert.equal(at.length, LOGIN_TRIES);
      for (const time of at)
        assert.ok(
          at.filter((other) => other >= time && other <= time + 10 * MINUTE).length < 3,
          `${at}`,
        );
      assert.equal((await supervisor.ended)?.code, 'auth-failed');
      assert.ok(
        observer
          .notices()
          .some((line) => /; the login is tried again only in [67] min$/.test(line)),
      );
    }
  });

  it('a refused login that is accepted later is forgotten', async () => {
    const { supervisor, twin } = supervised([
      serving(),
      denied(),
      denied(),
      serving(),
      denied(),
      denied(),
    ]);
    await supervisor.start();
    for (let outage = 0; outage < 2; outage++) {
      await pass(5_000);
      twin().lose(broken());
      await pass(15 * MINUTE);
      assert.ok(await isUp(supervisor));
    }
    await supervisor.close();
  });

  describe('a link that the server closes in order', () => {
    it('while nobody uses it, is dialled again when it is needed', async () => {
      const { supervisor, dials, twin, observer } = supervised();
      await supervisor.start();
      (await supervisor.connect(API)).abort(undefined);
      await pass(MINUTE);
      twin().lose(inOrder());
      await pass(60 * MINUTE);
      assert.equal(dials.length, 1);
      const [one, other] = [watch(supervisor.connect(API)), watch(supervisor.connect(API))];
      await settle();
      assert.ok(one.value !== undefined && other.value !== undefined);
      assert.equal(dials.length, 2);
      assert.deepEqual(observer.notices(), []);
      await supervisor.close();
    });

    it('while a flow is open, is dialled again at once', async () => {
      const { supervisor, dials, twin } = supervised();
      await supervisor.start();
      const stream = await connectStream(supervisor, API);
      await pass(MINUTE);
      twin().lose(inOrder());
      await settle();
      assert.ok(stream.destroyed);
      assert.equal(dials.length, 2);
      await supervisor.close();
    });

    it('is an outage when that dial fails: the connect then waits no longer than in any outage', async () => {
      for (const hold of [0, 2]) {
        const { supervisor, twin, observer } = supervised([serving(), refused(), 'hang'], { hold });
        await supervisor.start();
        await pass(MINUTE);
        twin().lose(inOrder());
        await settle();
        const begin = Date.now();
        const connect = watch(supervisor.connect(API));
        await pass(5_000);
        assertRefused(connect.error);
        assert.equal(connect.at - begin, hold * 1_000 || 250);
        assert.equal(observer.notices().length, 1);
        await supervisor.close();
      }
    });

    it('is dialled even for a connect that may not wait in an outage', async () => {
      const { supervisor, twin } = supervised([], { hold: 0 });
      await supervisor.start();
      await pass(MINUTE);
      twin().lose(inOrder());
      await settle();
      const connect = watch(supervisor.connect(API));
      await settle();
      assert.ok(connect.value !== undefined, String(connect.error));
      await supervisor.close();
    });
  });

  it('a link that is lost while nobody uses it, but not in order, is dialled at once', async () => {
    const { supervisor, dials, twin } = supervised();
    await supervisor.start();
    await pass(MINUTE);
    twin().lose(broken());
    await settle();
    assert.equal(dials.length, 2);
    await supervisor.close();
  });

  describe('after a disturbance', () => {
    it('a link that answers is kept', async () => {
      const { supervisor, dials, twin } = supervised();
      await supervisor.start();
      const stream = await connectStream(supervisor, API);
      supervisor.disturbed('the network has changed');
      supervisor.disturbed('the network has changed');
      await pass(2 * PROBE_TIMEOUT_MS);
      assert.equal(twin().probes, 1);
      assert.equal(dials.length, 1);
      assert.equal(stream.destroyed, false);
      assert.ok(await isUp(supervisor));
      await supervisor.close();
    });

    it('a link that does not answer is given up and dialled again', async () => {
      const { supervisor, dials, twin, observer } = supervised();
      await supervisor.start();
      const stream = await connectStream(supervisor, API);
      await pass(MINUTE);
      twin().alive = false;
      supervisor.disturbed('the network has changed');
      await pass(PROBE_TIMEOUT_MS - 250);
      assert.equal(stream.destroyed, false);
      await pass(250);
      assert.ok(stream.destroyed);
      assert.equal(dials.length, 2);
      assert.ok(await isUp(supervisor));
      assert.match(
        observer.notices()[0] ?? '',
        /^link lost: no answer within 3 s \(the network has changed\); reconnecting$/,
      );
      await supervisor.close();
    });

    it('a wait is cut short, but not to less than its floor', async () => {
      for (const [failure, floor] of [
        [refused, 1_000],
        [silent, 1_000],
        [closed, 15_000],
      ] as const) {
        const outcomes = [serving(), ...Array.from({ length: 4 }, failure)];
        const { supervisor, dials, twin } = supervised(outcomes, { random: () => 1 });
        await supervisor.start();
        await pass(5_000);
        twin().lose(broken());
        await settle();
        const before = dials.length;
        supervisor.disturbed('the network has changed');
        await pass(floor - 250);
        assert.equal(dials.length, before, failure().code);
        await pass(250);
        assert.equal(dials.length, before + 1, failure().code);
        await supervisor.close();
      }
    });
  });

  it('close() ends a dial that is under way, and everything that waits', async () => {
    const { supervisor, dials, twin } = supervised([serving(), 'hang']);
    await supervisor.start();
    await pass(5_000);
    twin().lose(broken());
    const held = watch(supervisor.connect(API));
    await settle();
    await Promise.all([supervisor.close(), supervisor.close()]);
    assert.equal(dials[1]?.request.signal.aborted, true);
    await settle();
    assertRefused(held.error);
    assert.equal(await supervisor.ended, undefined);
    await assert.rejects(supervisor.connect(API), ConnectError);
    supervisor.disturbed('anything');
    await pass(MINUTE);
    assert.equal(dials.length, 2);
  });

  it('close() closes a link that comes up all the same', async () => {
    const late = serving();
    let answer: (twin: TwinTransport) => void = () => {};
    const { supervisor } = supervised([], {
      dial: () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    });
    const starting = watch(supervisor.start());
    const closing = supervisor.close();
    answer(late);
    await closing;
    await settle();
    assert.equal((starting.error as TunnelError).code, 'link-closed');
    assert.equal(await late.ended, undefined);
    await assert.rejects(late.connect(API), ConnectError);
  });
});
