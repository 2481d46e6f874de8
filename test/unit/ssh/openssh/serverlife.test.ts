/** Against an ssh and a server that are simulated, on a clock that the test moves. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { ClockTimer } from '../../../../src/base/clock.ts';
import {
  MAX_UNANSWERED_REQUESTS,
  noAnswersYet,
  type ServerAnswers,
} from '../../../../src/ssh/answers.ts';
import { ServerLife } from '../../../../src/ssh/openssh/serverlife.ts';
import { ManualClock } from '../../../support/manualclock.ts';

const INTERVAL = 15;
const COUNT = 3;
const SECOND = 1_000;
/** What ssh reads of one small message. */
const MESSAGE = 36;
const ROUND_TRIP_MS = 50;

describe('ServerLife', () => {
  let clock: ManualClock;
  let answers: ServerAnswers;
  /** What the server does. */
  let server: { requests: boolean; opens: boolean };
  let hidden: boolean;
  let stuck: boolean | undefined;
  let read: number;
  /** Told once a second, as by the guard of a custom command; undefined: `read` itself. */
  let reported: number | undefined;
  let flows: { written: number; received: number; waiting: boolean; ends: number };
  /** What the server was asked. */
  let asked: { requests: number; opens: number };
  let events: string[];
  let life: ServerLife | undefined;
  let timer: ClockTimer | undefined;

  /** ssh asks after a silence of INTERVAL and up to a second more. */
  const silenceTimer = (): void => {
    timer?.cancel();
    timer = clock.after((INTERVAL + 0.6) * SECOND, () => {
      asked.requests++;
      silenceTimer();
      if (server.requests) clock.after(ROUND_TRIP_MS, fromServer);
    });
  };
  const fromServer = (): void => {
    read += MESSAGE;
    silenceTimer();
  };
  /** A flow sends: ssh reads it, and the server admits more now and then. */
  const send = (bytes: number): void => {
    flows.written += bytes;
    read += bytes;
  };
  const receive = (bytes: number): void => {
    flows.received += bytes;
    read += bytes;
    silenceTimer();
  };

  const report = (): void => {
    reported = read;
    clock.after(SECOND, report);
  };

  function start({ expected = false, delay = 0 } = {}): void {
    silenceTimer();
    if (delay > 0) clock.after(SECOND / 3, report);
    life = new ServerLife({
      keepalive: { interval: INTERVAL, count: COUNT },
      answers,
      expected,
      read: () => (hidden ? undefined : (reported ?? read)),
      flows: () => ({ ...flows }),
      stuck: () => stuck,
      ask: () => {
        asked.opens++;
        send(20);
        if (!server.opens) return new Promise(() => {});
        return new Promise((resolve) => {
          clock.after(ROUND_TRIP_MS, () => {
            fromServer();
            flows.ends++;
            resolve(true);
          });
        });
      },
      unanswering: () => void events.push('unanswering'),
      limited: () => void events.push('limited'),
      lost: (why) => void events.push(why),
      delay,
      clock,
    });
  }
  const pass = (seconds: number): Promise<void> => clock.advance(seconds * SECOND);
  const lost = (): boolean => events.some((event) => /answers|acknowledged/.test(event));

  beforeEach(() => {
    clock = new ManualClock();
    answers = noAnswersYet();
    server = { requests: true, opens: true };
    hidden = false;
    stuck = false;
    read = 10_000;
    reported = undefined;
    flows = { written: 0, received: 0, waiting: false, ends: 0 };
    asked = { requests: 0, opens: 0 };
    events = [];
  });
  afterEach(() => {
    life?.stop();
    timer?.cancel();
  });

  describe('a server that answers', () => {
    it('is seen to answer when the link is idle, and keeps it', async () => {
      start();
      await pass(14);
      assert.equal(answers.seen, false);
      await pass(6);
      assert.equal(answers.seen, true);
      await pass(600);
      assert.deepEqual(events, []);
    });

    it('is given up after `count` intervals of silence', async () => {
      start();
      await pass(20);
      server = { requests: false, opens: false };
      fromServer();
      await pass(COUNT * INTERVAL - 2);
      assert.deepEqual(events, []);
      await pass(3);
      assert.deepEqual(events, ['the jump host no longer answers keepalives']);
      await pass(600);
      assert.equal(events.length, 1);
      assert.equal(answers.doubted, false);
    });

    it('is given up although flows go on trying to send', async () => {
      start();
      await pass(20);
      server = { requests: false, opens: false };
      fromServer();
      for (let second = 0; second < 48; second++) {
        send(500);
        await pass(1);
      }
      assert.ok(lost());
    });

    it('is alive while it takes what flows send, or sends anything', async () => {
      answers.seen = true;
      server = { requests: false, opens: false };
      start();
      await pass(1);
      for (let time = 0; time < 20; time++) {
        await pass(20);
        send(2_000_000);
        fromServer();
        await pass(20);
        receive(1);
      }
      assert.deepEqual(events, []);
    });

    it('is alive while ssh goes on reading what had to be queued', async () => {
      answers.seen = true;
      server = { requests: false, opens: false };
      start();
      await pass(1);
      flows.waiting = true;
      for (let second = 0; second < 120; second++) {
        flows.written += 50_000;
        read += 30_000;
        await pass(1);
      }
      assert.deepEqual(events, []);
    });

    it('counts for its silence when an earlier link has shown it', async () => {
      answers.seen = true;
      server = { requests: false, opens: false };
      start();
      await pass(48);
      assert.ok(lost());
    });
  });

  describe('a server that has never answered', () => {
    beforeEach(() => {
      server = { requests: false, opens: true };
    });

    it('keeps its link, is told once, and is asked for channels before ssh would ask too often', async () => {
      start();
      await pass(COUNT * INTERVAL - 1);
      assert.deepEqual(events, []);
      await pass(3);
      assert.deepEqual(events, ['unanswering']);
      await pass(1800);
      assert.deepEqual(events, ['unanswering', 'limited']);
      assert.ok(asked.requests <= MAX_UNANSWERED_REQUESTS + 1, `${asked.requests} requests`);
      assert.ok(asked.opens > 100);
      assert.equal(answers.seen, false);
    });

    it('is given up once it no longer refuses those', async () => {
      start();
      await pass(300);
      server.opens = false;
      await pass(60);
      assert.ok(lost());
      assert.equal(answers.doubted, false);
    });

    it('is given up when TCP sends again for `count` intervals, not when it did so once', async () => {
      server.opens = false;
      start();
      await pass(50);
      stuck = true;
      await pass(30);
      stuck = false;
      await pass(30);
      assert.deepEqual(events, ['unanswering']);
      stuck = true;
      await pass(COUNT * INTERVAL - 4);
      assert.ok(!lost());
      await pass(8);
      assert.deepEqual(events.at(-1), 'nothing was acknowledged for 45 s');
    });

    it('is never given up where TCP can not be seen', async () => {
      server.opens = false;
      stuck = undefined;
      start();
      await pass(3600);
      assert.ok(!lost());
    });

    for (const [what, happens] of [
      ['ends a flow', () => flows.ends++],
      ['sends on a flow', () => receive(100)],
    ] as const)
      it(`when it ${what} just when ssh has asked, that is not taken for an answer`, async () => {
        start();
        for (let time = 0; time < 10; time++) {
          receive(10);
          await pass(INTERVAL + 1);
          fromServer();
          // This process may see the flow's part of it a look later.
          if (time % 2 === 1) await pass(1);
          happens();
          await pass(3);
        }
        assert.equal(answers.seen, false);
      });

    it('what it sends by itself after a flow has sent is not taken for an answer', async () => {
      start();
      for (let time = 0; time < 10; time++) {
        receive(10);
        await pass(14);
        send(100);
        await pass(2);
        fromServer();
        await pass(3);
      }
      assert.equal(answers.seen, false);
    });
  });

  describe('what ssh has read is told a second late', () => {
    const delay = SECOND;

    it('an idle server that answers is seen to, and is given up when it is silent', async () => {
      start({ delay });
      await pass(60);
      assert.equal(answers.seen, true);
      server = { requests: false, opens: false };
      await pass(COUNT * INTERVAL + 5);
      assert.ok(lost());
    });

    it('what flows write, now and then, is not taken for a sign of life', async () => {
      answers.seen = true;
      server = { requests: false, opens: false };
      start({ delay });
      await pass(0.5);
      for (let time = 0; time < 17; time++) {
        send(500);
        await pass(0.1);
        // ssh will never read this.
        flows.written += 40;
        flows.ends++;
        await pass(2.9);
      }
      assert.ok(lost());
    });

    it('uploads that are answered keep the link, whatever was not read of others', async () => {
      answers.seen = true;
      server = { requests: false, opens: false };
      start({ delay });
      for (let time = 0; time < 40; time++) {
        if (time % 10 === 0) {
          flows.written += 100_000;
          await pass(0.2);
          flows.ends++;
        }
        for (let second = 0; second < 10; second++) {
          send(500);
          await pass(1);
        }
        fromServer();
      }
      assert.deepEqual(events, []);
    });

    it('a silent server keeps its link, also when it refuses the first channel', async () => {
      server.requests = false;
      start({ delay });
      await pass(1800);
      assert.deepEqual(events, ['unanswering', 'limited']);
      assert.ok(asked.requests <= MAX_UNANSWERED_REQUESTS + 1, `${asked.requests} requests`);
    });

    it('what flows do just when ssh has asked is not taken for an answer', async () => {
      server.requests = false;
      start({ delay });
      for (let time = 0; time < 20; time++) {
        receive(10);
        await pass(INTERVAL + 0.6 + time / 10);
        flows.ends++;
        fromServer();
        await pass(3);
      }
      assert.equal(answers.seen, false);
    });
  });

  it('software that is known to answer needs not be seen to; it is doubted after that', async () => {
    server = { requests: false, opens: false };
    start({ expected: true });
    for (let second = 0; second < 100; second++) {
      receive(10);
      await pass(1);
    }
    assert.equal(answers.seen, false);
    await pass(48);
    assert.ok(lost());
    assert.equal(answers.doubted, true);
    events = [];
    start({ expected: true });
    await pass(600);
    assert.deepEqual(events, ['unanswering', 'limited']);
  });

  it('what ssh reads is hidden: the server is asked for channels from the beginning', async () => {
    hidden = true;
    start();
    await pass(600);
    assert.ok(asked.opens > 30 && asked.opens < 60, `${asked.opens} opens`);
    assert.deepEqual(events, []);
    server = { requests: false, opens: false };
    await pass(60);
    assert.ok(lost());
  });

  it('is asked so only as long as that is hidden', async () => {
    hidden = true;
    server.requests = false;
    start();
    await pass(12);
    assert.equal(asked.opens, 1);
    hidden = false;
    server.opens = false;
    await pass(100);
    assert.deepEqual(events, ['unanswering']);
  });

  it('after a stop of this process silence begins where it was', async () => {
    answers.seen = true;
    server = { requests: false, opens: false };
    start();
    await pass(30);
    const { now } = clock;
    clock.now = () => now.call(clock) + 3_600_000;
    await pass(10);
    assert.deepEqual(events, []);
    await pass(10);
    assert.ok(lost());
  });
});
