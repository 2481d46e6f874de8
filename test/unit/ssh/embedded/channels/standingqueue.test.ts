/**
 * When round trips are taken for a queue, and what follows. The windows that obey it:
 * receivewindow.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StandingQueue } from '../../../../../src/ssh/embedded/channels/standingqueue.ts';

const LEAST_MS = 60;
/** Of that least round trip. */
const TARGET_MS = 1.5 * LEAST_MS;
const ALLOWED_MS = 2 * LEAST_MS;
const EVERY_MS = 250;
const RATE = 10_000;

class Bench {
  readonly queue = new StandingQueue();
  #now = 1_000;

  constructor() {
    this.queue.atMost(LEAST_MS);
    this.measure(LEAST_MS + 1, RATE);
  }

  /**
   * Data at that rate (bytes a millisecond) for EVERY_MS, then a round trip of so many
   * milliseconds. Returns the limit.
   */
  measure(milliseconds: number, rate = RATE): number {
    for (let piece = 0; piece < 10; piece++) {
      this.#now += EVERY_MS / 10;
      this.queue.delivered((rate * EVERY_MS) / 10, this.#now);
    }
    this.queue.roundTrip(milliseconds, this.#now);
    return this.queue.limit;
  }

  pause(milliseconds: number): void {
    this.#now += milliseconds;
    this.queue.delivered(1, this.#now);
  }

  limited(): this {
    this.measure(300);
    this.measure(300);
    assert.ok(Number.isFinite(this.queue.limit));
    return this;
  }
}

const near = (value: number, expected: number): void =>
  assert.ok(Math.abs(value / expected - 1) < 0.05, `${value}, not ${expected}`);

describe('StandingQueue', () => {
  it('takes two long round trips in a row for a queue, and admits what arrives in a target round trip', () => {
    const bench = new Bench();
    assert.equal(bench.measure(300), Number.POSITIVE_INFINITY);
    assert.equal(bench.queue.suspected, true);
    near(bench.measure(300), RATE * TARGET_MS);
    assert.equal(bench.queue.suspected, false);
  });

  it('takes neither one long round trip nor two that are just allowed for a queue', () => {
    const bench = new Bench();
    for (const milliseconds of [300, LEAST_MS, 300, ALLOWED_MS - 1, ALLOWED_MS - 1, 300, LEAST_MS])
      assert.equal(bench.measure(milliseconds), Number.POSITIVE_INFINITY, `${milliseconds}`);
  });

  it('does not take delays of busy processors on a short path for a queue', () => {
    const bench = new Bench();
    bench.queue.atMost(0.2);
    for (const milliseconds of [30, 35, 39, 25])
      assert.equal(bench.measure(milliseconds), Number.POSITIVE_INFINITY);
  });

  it('waits while the rate grows, as in slow start, and while it is below what it was, as after losses', () => {
    const bench = new Bench();
    for (const rate of [1.3, 1.7, 2.3, 3])
      assert.equal(bench.measure(300, rate * RATE), Number.POSITIVE_INFINITY);
    for (const rate of [1, 1, 1])
      assert.equal(bench.measure(300, rate * RATE), Number.POSITIVE_INFINITY);
    bench.measure(300, 3 * RATE);
    assert.ok(Number.isFinite(bench.measure(300, 3 * RATE)));
  });

  it('admits more while round trips are short, and less again when they are not', () => {
    const bench = new Bench().limited();
    const first = bench.queue.limit;
    near(bench.measure(TARGET_MS - 1), 1.25 * first);
    near(bench.measure(ALLOWED_MS - 1), 1.25 * 1.1 * first);
    near(bench.measure(ALLOWED_MS + 1), first);
    // A better rate is a better measure of the path.
    near(bench.measure(ALLOWED_MS + 1, 2 * RATE), first);
    bench.measure(TARGET_MS - 1, 2 * RATE);
    bench.measure(TARGET_MS - 1, 2 * RATE);
    bench.measure(TARGET_MS - 1, 2 * RATE);
    bench.measure(TARGET_MS - 1, 2 * RATE);
    near(bench.measure(ALLOWED_MS + 1, 2 * RATE), 2 * first);
  });

  it('ends a limit that does not matter any more', () => {
    const bench = new Bench().limited();
    let rounds = 0;
    while (Number.isFinite(bench.measure(LEAST_MS + 1))) rounds++;
    assert.ok(rounds > 4 && rounds < 10, `${rounds}`);
  });

  it('ends a limit that lowers the rate without shortening round trips, and takes the path to be longer', () => {
    const bench = new Bench().limited();
    for (const rate of [0.5, 0.4, 0.4])
      assert.ok(Number.isFinite(bench.measure(201 + rate, rate * RATE)));
    assert.equal(bench.measure(200, 0.4 * RATE), Number.POSITIVE_INFINITY);
    assert.equal(bench.queue.least, 200);
    // And a limit that takes nothing stays, however long what was granted before takes to come.
    const other = new Bench().limited();
    for (let round = 0; round < 20; round++) assert.ok(Number.isFinite(other.measure(2_000)));
    assert.equal(other.queue.least, LEAST_MS);
  });

  it('does not end a limit because less arrives for a moment', () => {
    const bench = new Bench().limited();
    for (const rate of [0.2, 0.3, 1, 0.2, 1, 1])
      assert.ok(Number.isFinite(bench.measure(300, rate * RATE)));
    for (const rate of [0.2, 0.2]) assert.ok(Number.isFinite(bench.measure(300, rate * RATE)));
    assert.ok(Number.isFinite(bench.measure(TARGET_MS - 1)));
    for (const rate of [0.2, 0.2]) assert.ok(Number.isFinite(bench.measure(300, rate * RATE)));
  });

  it('forgets its limit in a pause, but not the least round trip', () => {
    const bench = new Bench().limited();
    bench.pause(1_900);
    assert.ok(Number.isFinite(bench.queue.limit));
    bench.pause(2_100);
    assert.equal(bench.queue.limit, Number.POSITIVE_INFINITY);
    assert.equal(bench.queue.least, LEAST_MS);
  });
});
