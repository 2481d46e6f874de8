/**
 * When a server is asked for a segment's worth of answers: each row of the table in
 * ssh/embedded/channels/flushtiming.ts.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  BULK_MS,
  FlushTiming,
  LEAST_RTT_MS,
  leavesNagleOn,
  MAX_UNANSWERED,
  MOST_IN_A_ROUND_TRIP,
  SEGMENT_BYTES,
  STEP_BYTES,
} from '../../../../../src/ssh/embedded/channels/flushtiming.ts';

const RTT = 50;
const WRITE = 64 * 1024;

/**
 * Sends `bytes` in as many milliseconds as they take at `rate` bytes a millisecond. Returns the
 * verdicts.
 */
function sender(timing: FlushTiming) {
  let now = 1_000_000;
  return {
    wait: (milliseconds: number) => (now += milliseconds),
    send(bytes: number, rate: number, unanswered = 0, meanwhile = () => {}) {
      const verdicts: string[] = [];
      for (let sent = 0; sent < bytes; sent += WRITE) {
        now += WRITE / rate;
        meanwhile();
        const verdict = timing.sent(WRITE, now, unanswered);
        if (verdict !== undefined) verdicts.push(verdict);
      }
      return verdicts;
    },
  };
}

function answering(rtt = RTT) {
  const timing = new FlushTiming();
  timing.roundTrip(rtt);
  const { send, wait } = sender(timing);
  // The first step has begun at no time that is known.
  assert.deepEqual(send(STEP_BYTES, 10_000), []);
  return { timing, send, wait };
}

describe('leavesNagleOn', () => {
  const cases: readonly [software: string, expected: boolean][] = [
    ['OpenSSH_9.2p1', true],
    ['OpenSSH_7.4', true],
    ['OpenSSH_10.0', true],
    ['OpenSSH_10.0p2', true],
    ['OpenSSH_for_Windows_9.5', true],
    ['OpenSSH_10.1p1', false],
    ['OpenSSH_10.2', false],
    ['OpenSSH_11.0', false],
    ['OpenSSH', false],
    ['MyOpenSSH_9.2', false],
    ['dropbear_2022.83', false],
    ['', false],
  ];
  for (const [software, expected] of cases)
    it(`${software || 'nothing'}: ${expected}`, () =>
      assert.equal(leavesNagleOn(software), expected));
});

describe('FlushTiming', () => {
  it('asks once for each step of an upload', () => {
    const { send } = answering();
    assert.deepEqual(send(10 * STEP_BYTES, 40_000), Array(10).fill('ask'));
  });

  it('counts the bytes of a write beyond a step for the next one', () => {
    const timing = new FlushTiming();
    timing.roundTrip(RTT);
    let asked = 0;
    let now = 0;
    for (let write = 0; write < 301; write++) {
      now += 5;
      if (timing.sent((2 * STEP_BYTES) / 3, now, 0) === 'ask') asked++;
    }
    assert.equal(asked, 199);
  });

  it('asks nothing of a server that has answered nothing', () => {
    const { send } = sender(new FlushTiming());
    assert.deepEqual(send(100 * STEP_BYTES, 40_000), []);
  });

  it('asks nothing of a server that is near, even if answers have been late', () => {
    const { timing, send } = answering(LEAST_RTT_MS - 0.1);
    timing.roundTrip(200);
    assert.deepEqual(send(100 * STEP_BYTES, 40_000), []);
    assert.equal(answering(LEAST_RTT_MS).send(STEP_BYTES, 40_000).length, 1);
  });

  it('asks nothing while little is sent, and begins with the next step of bulk', () => {
    const { send } = answering();
    const slow = STEP_BYTES / (BULK_MS + 50);
    assert.deepEqual(send(10 * STEP_BYTES, slow), []);
    assert.equal(send(2 * STEP_BYTES, 40_000).length, 2);
  });

  it('a pause doesn’t count as bulk', () => {
    const { send, wait } = answering();
    wait(10 * BULK_MS);
    assert.deepEqual(send(STEP_BYTES, 40_000), []);
  });

  it('asks nothing while the server sends enough anyway, not counting answers to our questions', () => {
    const { timing, send } = answering();
    const download = () => timing.received(SEGMENT_BYTES);
    assert.deepEqual(send(10 * STEP_BYTES, 40_000, 0, download), []);
    const answers = () => {
      timing.received(SEGMENT_BYTES);
      timing.answered(SEGMENT_BYTES);
    };
    assert.equal(send(10 * STEP_BYTES, 40_000, 0, answers).length, 10);
    const adjustments = () => timing.received(2 * 36);
    assert.equal(send(10 * STEP_BYTES, 40_000, 0, adjustments).length, 10);
  });

  it('asks a limited number of times in a round trip, whatever is sent', () => {
    const { send } = answering();
    const rate = 1_000_000;
    const roundTrips = 20;
    const asked = send(rate * RTT * roundTrips, rate).length;
    assert.ok(asked <= (roundTrips + 1) * MOST_IN_A_ROUND_TRIP, String(asked));
    assert.ok(asked >= (roundTrips - 1) * MOST_IN_A_ROUND_TRIP, String(asked));
  });

  it('stops when the server has stopped answering, and goes on when it has answered', () => {
    const { send } = answering();
    assert.deepEqual(send(STEP_BYTES, 40_000, MAX_UNANSWERED - 1), ['ask']);
    assert.deepEqual(send(2 * STEP_BYTES, 40_000, MAX_UNANSWERED), ['limited', 'limited']);
    assert.deepEqual(send(STEP_BYTES, 40_000, 0), ['ask']);
  });
});
