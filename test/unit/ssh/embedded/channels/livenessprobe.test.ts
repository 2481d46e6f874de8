import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import {
  MAX_UNANSWERED_REQUESTS,
  noAnswersYet,
  type ServerAnswers,
} from '../../../../../src/ssh/answers.ts';
import { LivenessProbe } from '../../../../../src/ssh/embedded/channels/livenessprobe.ts';

const INTERVAL = 15;
const COUNT = 3;

describe('LivenessProbe', () => {
  let now: number;
  let asked: number;
  let lost: number;
  let measured: number[];
  /** Whether the server has answered in an earlier link. */
  let seen: boolean;
  let answers: ServerAnswers;
  let nudged: number;
  /** What `unanswering`, `limited` and `unmeasured` were called for, in order. */
  let events: string[];
  let acknowledged: number | undefined;

  beforeEach(() => {
    now = 1_000;
    seen = true;
    answers = noAnswersYet();
    nudged = 0;
    events = [];
    acknowledged = 0;
    asked = 0;
    lost = 0;
    measured = [];
    mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
    mock.method(performance, 'now', () => now);
  });
  afterEach(() => {
    mock.timers.reset();
    mock.restoreAll();
  });

  function probe(interval = INTERVAL, expected = false): LivenessProbe {
    answers = { ...answers, seen };
    return new LivenessProbe({
      keepalive: { interval, count: COUNT },
      answers,
      expected,
      ask: () => asked++,
      nudge: () => nudged++,
      acknowledged: () => acknowledged,
      unanswering: () => void events.push('unanswering'),
      limited: () => void events.push('limited'),
      lost: () => lost++,
      measured: (milliseconds) => void measured.push(milliseconds),
      unmeasured: () => void events.push('unmeasured'),
    });
  }
  const pass = (seconds: number): void => {
    for (let second = 0; second < seconds; second++) {
      now += 1000;
      mock.timers.tick(1000);
    }
  };

  it('asks at the start, and times the answer', () => {
    const subject = probe();
    assert.equal(asked, 1);
    now += 37;
    subject.answered();
    assert.deepEqual(measured, [37]);
    subject.stop();
  });

  it('times another answer when the start is over, of a server that answers', () => {
    const subject = probe();
    now += 64;
    subject.answered();
    pass(1);
    assert.equal(asked, 2);
    now += 1;
    subject.answered();
    assert.deepEqual(measured, [64, 1]);
    pass(10);
    assert.equal(asked, 3, 'once more, and then only after silence');
    subject.stop();
    const silent = probe();
    pass(5);
    assert.equal(asked, 4, 'one question without an answer is enough');
    silent.stop();
  });

  it('gives a silent server up after `count` intervals, once', () => {
    probe();
    pass(COUNT * INTERVAL - 1);
    assert.equal(lost, 0);
    assert.equal(asked, COUNT);
    pass(1);
    assert.equal(lost, 1);
    pass(10 * INTERVAL);
    assert.equal(lost, 1);
    assert.equal(asked, COUNT, 'and asks no more');
  });

  it('takes any byte as a sign of life', () => {
    const subject = probe();
    for (let time = 0; time < 20; time++) {
      pass(INTERVAL - 1);
      subject.received();
    }
    assert.equal(lost, 0);
    assert.equal(asked, 1, 'and asks for none while there are some');
    pass((COUNT - 1) * INTERVAL);
    assert.equal(lost, 0);
    pass(2 * INTERVAL);
    assert.equal(lost, 1);
  });

  it('an interval of 0 means never', () => {
    const subject = probe(0);
    pass(1000);
    assert.equal(lost, 0);
    subject.stop();
  });

  it('measures no more often than four times a second, and one question at a time', () => {
    const subject = probe();
    subject.answered();
    subject.measure();
    assert.equal(asked, 1, 'just asked');
    now += 250;
    subject.measure();
    assert.equal(asked, 2);
    now += 5_000;
    for (let time = 0; time < 1_000; time++) subject.measure();
    assert.equal(asked, 2, 'the answer is not there yet');
    subject.answered();
    assert.deepEqual(measured, [0, 5_000]);
    subject.measure();
    assert.equal(asked, 3);
    subject.stop();
  });

  it('matches answers with questions by their order, and ignores answers without a question', async () => {
    const subject = probe();
    now += 10;
    const first = subject.probe(1_000);
    const second = subject.probe(1_000);
    assert.equal(asked, 3);
    now += 10;
    for (let answer = 0; answer < 9; answer++) subject.answered();
    assert.deepEqual(measured, [20], 'the first question is the one that was timed');
    now += 250;
    subject.measure();
    now += 33;
    subject.answered();
    assert.deepEqual(measured, [20, 33], 'the surplus was not saved up');
    subject.stop();
    assert.deepEqual(await Promise.all([first, second]), [false, false]);
  });

  it('untimed questions are counted in their order', () => {
    const subject = probe();
    subject.answered();
    subject.askUntimed(40);
    assert.equal(asked, 41);
    assert.equal(subject.unanswered, 40);
    now += 250;
    subject.measure();
    now += 20;
    for (let answer = 0; answer < 40; answer++) subject.answered();
    assert.deepEqual(measured, [0], 'the timed one is still to be answered');
    now += 5;
    subject.answered();
    assert.deepEqual(measured, [0, 25]);
    assert.equal(subject.unanswered, 0);
    subject.stop();
    subject.askUntimed(40);
    assert.equal(asked, 42);
  });

  it('a silent server is given up even if many questions were asked', () => {
    const subject = probe();
    subject.askUntimed(1_000);
    pass(COUNT * INTERVAL);
    assert.equal(lost, 1);
  });

  it('two probes at once: the first byte settles both', async () => {
    const subject = probe();
    const probes = [subject.probe(1_000), subject.probe(1_000)];
    subject.received();
    assert.deepEqual(await Promise.all(probes), [true, true]);
    const silent = subject.probe(1_000);
    pass(1);
    assert.equal(await silent, false);
    subject.stop();
  });

  describe('a server that has never answered', () => {
    beforeEach(() => {
      seen = false;
    });

    it('is not given up for its silence; it is told once', () => {
      const subject = probe();
      pass(COUNT * INTERVAL - 1);
      assert.deepEqual(events, []);
      pass(1);
      assert.deepEqual(events, ['unanswering']);
      subject.received();
      pass(40 * INTERVAL);
      assert.equal(lost, 0);
      assert.deepEqual(events, ['unanswering', 'limited']);
      subject.stop();
    });

    it('is asked a few times in all, and then sent something else in each interval', () => {
      const subject = probe();
      pass(5 * INTERVAL);
      subject.received();
      pass(35 * INTERVAL);
      assert.equal(asked, MAX_UNANSWERED_REQUESTS);
      assert.equal(asked + nudged, 1 + 40);
      subject.stop();
      pass(INTERVAL);
      assert.equal(asked + nudged, 1 + 40);
    });

    it('is given up like all the others once it has answered', () => {
      const subject = probe();
      pass(20 * INTERVAL);
      subject.answered();
      subject.received();
      pass(COUNT * INTERVAL);
      assert.equal(lost, 1);
    });

    it('is given up when it has answered in an earlier link', () => {
      seen = true;
      probe();
      pass(COUNT * INTERVAL);
      assert.equal(lost, 1);
      assert.deepEqual(events, []);
    });

    it('is given up if its software always answers, but not again', async () => {
      probe(INTERVAL, true);
      pass(COUNT * INTERVAL);
      assert.equal(lost, 1);
      assert.equal(answers.doubted, true);
      const again = probe(INTERVAL, true);
      pass(20 * INTERVAL);
      assert.equal(lost, 1);
      acknowledged = undefined;
      const probed = again.probe(3_000);
      pass(3);
      assert.equal(await probed, true);
      again.stop();
    });

    it('is doubted after a probe that it should have answered, not after one that it has', async () => {
      const subject = probe(INTERVAL, true);
      acknowledged = 36;
      const unanswered = subject.probe(3_000);
      acknowledged = 72;
      pass(3);
      assert.equal(await unanswered, false);
      assert.equal(answers.doubted, true);
      answers.doubted = false;
      subject.answered();
      const late = subject.probe(3_000);
      pass(3);
      assert.equal(await late, false);
      assert.equal(answers.doubted, false);
      subject.stop();
    });

    it('a probe is answered by an acknowledgement, and fails without one', async () => {
      const subject = probe();
      const answered = subject.probe(3_000);
      assert.equal(asked, 2);
      acknowledged = 36;
      pass(3);
      assert.equal(await answered, true);
      const unanswered = subject.probe(3_000);
      pass(3);
      assert.equal(await unanswered, false);
      for (let time = 0; time < 10; time++) void subject.probe(3_000);
      assert.equal(asked, MAX_UNANSWERED_REQUESTS);
      assert.equal(nudged, 5, 'what must be acknowledged is sent all the same');
      subject.stop();
    });

    it('a probe does not fail where TCP can not be seen, unless the server has answered before', async () => {
      acknowledged = undefined;
      const subject = probe();
      const first = subject.probe(3_000);
      pass(3);
      assert.equal(await first, true);
      subject.answered();
      const second = subject.probe(3_000);
      pass(3);
      assert.equal(await second, false);
      subject.stop();
    });

    it('while data flow, a second without a measurement is a round', () => {
      const subject = probe();
      for (let time = 0; time < 35; time++) {
        now += 100;
        subject.measure();
      }
      assert.deepEqual(events, ['unmeasured', 'unmeasured', 'unmeasured']);
      assert.equal(asked, 1);
      subject.answered();
      subject.measure();
      now += 5_000;
      subject.measure();
      assert.equal(events.length, 3, 'a slow answer is none of these');
      subject.stop();
    });
  });

  it('after stop() nothing is asked, and waiting probes are settled', async () => {
    const subject = probe();
    const waiting = subject.probe(60_000);
    subject.stop();
    assert.equal(await waiting, false);
    const before = asked;
    assert.equal(await subject.probe(60_000), false);
    now += 10_000;
    subject.answered();
    subject.answered();
    subject.measure();
    pass(10 * INTERVAL);
    assert.equal(asked, before);
    assert.equal(lost, 0);
  });
});
