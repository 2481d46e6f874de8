import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../../../../src/errors/errors.ts';
import {
  ATTEMPT_DELAY_MS,
  type Contender,
  interleave,
  JUMP_HOST_DELAY_MS,
  race,
} from '../../../../src/ssh/dial/race.ts';

/** Connects (`ms` > 0) or fails (`ms` < 0) after so long; never, if 0. Keeps what became of it. */
class Runner implements Contender {
  readonly name: string;
  readonly jumpHost: number;
  readonly stream = new PassThrough();
  started: number | undefined;
  aborted = false;
  readonly #ms: number;

  constructor(name: string, jumpHost: number, ms: number) {
    this.name = name;
    this.jumpHost = jumpHost;
    this.#ms = ms;
  }

  open(signal: AbortSignal): Promise<PassThrough> {
    this.started = Date.now();
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => {
        this.aborted = true;
        reject(signal.reason);
      });
      if (this.#ms > 0) setTimeout(resolve, this.#ms, this.stream);
      if (this.#ms < 0)
        setTimeout(() => reject(new TunnelError('jumphost-refused', this.name)), -this.#ms);
    });
  }
}

const STEP_MS = 10;
const near = (actual: number, expected: number): void =>
  assert.ok(actual >= expected && actual < expected + 2 * STEP_MS, `${actual} ms, not ${expected}`);
const names = (runners: readonly Runner[]): string[] => runners.map(({ name }) => name);

/** Lets so much time pass, and all that happens in it. */
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += STEP_MS) {
    mock.timers.tick(STEP_MS);
    await new Promise(setImmediate);
  }
}

/** Lets time pass until it has settled. */
async function settled<T>(pending: Promise<T>): Promise<T> {
  let over = false;
  const note = () => {
    over = true;
  };
  pending.then(note, note);
  await new Promise(setImmediate);
  while (!over) await pass(STEP_MS);
  return pending;
}

async function timed(runners: readonly Runner[]) {
  const began = Date.now();
  const result = await settled(race(runners));
  const startedAt = (runner: Runner | undefined): number => (runner?.started ?? Number.NaN) - began;
  return { ...result, ms: Date.now() - began, startedAt };
}

describe('race', () => {
  // The clock stands still, so a busy machine delays nothing.
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'] }));
  afterEach(() => mock.timers.reset());

  it('only the first is started when it is fast enough', async () => {
    const runners = [new Runner('a', 0, 20), new Runner('b', 0, 20), new Runner('c', 1, 20)];
    const { winner, rest, failures } = await timed(runners);
    assert.equal(winner?.stream, runners[0]?.stream);
    assert.deepEqual(names(rest), ['b', 'c']);
    assert.deepEqual(failures, []);
    await pass(ATTEMPT_DELAY_MS * 2);
    assert.equal(runners[1]?.started, undefined);
  });

  it('a silent one is joined by the next after the delay, and given up when that has won', async () => {
    const runners = [new Runner('a', 0, 0), new Runner('b', 0, 0), new Runner('c', 0, 30)];
    const { winner, rest, ms } = await timed(runners);
    assert.equal(winner?.contender.name, 'c');
    near(ms, 2 * ATTEMPT_DELAY_MS + 30);
    assert.deepEqual(names(rest), ['a', 'b'], 'they have not failed');
    assert.ok(runners[0]?.aborted && runners[1]?.aborted);
  });

  it('one that fails starts the next at once', async () => {
    const runners = [new Runner('a', 0, -10), new Runner('b', 0, -10), new Runner('c', 0, 10)];
    const { ms, failures, rest } = await timed(runners);
    near(ms, 30);
    assert.deepEqual(
      failures.map(({ message }) => message),
      ['a', 'b'],
    );
    assert.deepEqual(rest, []);
  });

  it('the next jump host waits longer, unless nothing of the former is under way', async () => {
    const silent = [new Runner('a', 0, 0), new Runner('b', 1, 10)];
    near((await timed(silent)).ms, JUMP_HOST_DELAY_MS + 10);
    const half = [new Runner('a', 0, 600), new Runner('b', 0, -10), new Runner('c', 1, 10)];
    const { winner, startedAt } = await timed(half);
    assert.equal(winner?.contender.name, 'a', 'the failure of b is no reason to leave a');
    near(startedAt(half[1]), ATTEMPT_DELAY_MS);
    const failed = [new Runner('a', 0, -10), new Runner('b', 1, 10)];
    near((await timed(failed)).ms, 20);
  });

  it('all fail', async () => {
    const { winner, failures, rest } = await timed([
      new Runner('a', 0, -10),
      new Runner('b', 1, -300),
    ]);
    assert.equal(winner, undefined);
    assert.equal(failures.length, 2);
    assert.deepEqual(rest, []);
    assert.equal((await race<Runner>([])).winner, undefined);
  });

  it('two that connect at the same moment: one wins, the other is closed and stays in the race', async () => {
    const streams = [new PassThrough(), new PassThrough()];
    const connect: (() => void)[] = [];
    const contenders = streams.map((stream, i) => ({
      jumpHost: 0,
      open: () =>
        new Promise<PassThrough>((resolve) => {
          connect[i] = () => resolve(stream);
        }),
    }));
    const pending = race(contenders);
    await pass(ATTEMPT_DELAY_MS + 50);
    for (const now of connect) now();
    const { winner, rest } = await settled(pending);
    await new Promise(setImmediate);
    assert.equal(winner?.contender, contenders[0]);
    assert.deepEqual(rest, [contenders[1]]);
    assert.deepEqual(
      streams.map(({ destroyed }) => destroyed),
      [false, true],
    );
  });

  it('an abort ends all', async () => {
    const controller = new AbortController();
    const reason = new Error('stop');
    const runners = [new Runner('a', 0, 0), new Runner('b', 0, 0)];
    setTimeout(() => controller.abort(reason), ATTEMPT_DELAY_MS + 50);
    await assert.rejects(settled(race(runners, controller.signal)), reason);
    assert.ok(runners.every(({ aborted }) => aborted));
    await assert.rejects(race(runners, AbortSignal.abort(reason)), reason);
  });

  it('an error that is no TunnelError is no lost race but a fault', async () => {
    const fault = new RangeError('fault');
    const open = (): Promise<never> => Promise.reject(fault);
    await assert.rejects(race([{ jumpHost: 0, open }]), fault);
  });
});

describe('interleave', () => {
  const of = (...hosts: string[]) => hosts.map((host) => ({ host }));

  it('alternates from the family of the first address on', () => {
    assert.deepEqual(
      interleave(of('::1', '::2', '::3', '192.0.2.1', '192.0.2.2')),
      of('::1', '192.0.2.1', '::2', '192.0.2.2', '::3'),
    );
    assert.deepEqual(
      interleave(of('192.0.2.1', '192.0.2.2', 'fe80::1%lo')),
      of('192.0.2.1', 'fe80::1%lo', '192.0.2.2'),
    );
    assert.deepEqual(interleave([]), []);
  });

  it('loses nothing, and keeps the order of each family', () => {
    const host = fc.oneof(fc.ipV4(), fc.ipV6());
    fc.assert(
      fc.property(fc.array(host), (hosts) => {
        const result = interleave(of(...hosts)).map((address) => address.host);
        for (const six of [true, false]) {
          const family = (list: string[]) => list.filter((text) => text.includes(':') === six);
          assert.deepEqual(family(result), family(hosts));
        }
      }),
    );
  });
});
