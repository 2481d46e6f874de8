/** Scripts for ends of all kinds: FIN in every order, TIME-WAIT, LAST-ACK, shut() and abort(). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MAX_TIME_WAIT, TIME_WAIT_MS } from '../../../../src/capture/tun/timewait.ts';
import { TcpLab } from '../../../support/tcpscript.ts';

const SYN = { mss: 1460, scale: 7 } as const;
const TICK_MS = 50;
const FIN_WAIT_MS = 60_000;

function start(options: { readonly timestamps?: boolean; readonly family?: 4 | 6 } = {}) {
  const lab = new TcpLab();
  const app = lab.app(options);
  const far = app.connect();
  let over: string | undefined;
  far.other.whenOver((error) => {
    over = error === undefined ? 'in order' : 'error';
  });
  return { lab, app, far, over: () => over };
}

describe('the end', () => {
  it('of the application comes first: it is acknowledged, the rest goes on, and LAST-ACK ends it', () => {
    const { lab, app, far, over } = start();
    app.send('F.');
    app.expect('.', { ack: 2 });
    assert.deepEqual(far.said, ['finish']);
    far.give('the rest');
    app.expect('P.', { seq: 1, ack: 2, data: 'the rest' });
    app.send('.');
    assert.equal(over(), undefined);
    far.other.finish();
    app.expect('F.', { seq: 9, ack: 2 });
    assert.equal(over(), undefined);
    app.send('.');
    assert.equal(over(), 'in order');
    lab.silent();
    lab.idle();
    // No TIME-WAIT: what comes late is reset.
    app.send('.');
    app.expect('R', { seq: 10 });
    assert.deepEqual(far.said, ['finish']);
  });

  it('of the far side comes first: the application goes on, and its end is acknowledged in TIME-WAIT', () => {
    const { lab, app, far, over } = start();
    far.give('all');
    app.expect('P.', { data: 'all' });
    far.other.finish();
    app.expect('F.', { seq: 4, ack: 1 });
    app.send('.');
    app.send('P.', { data: 'still here' });
    app.expect('.', { seq: 5, ack: 11 });
    app.send('F.');
    assert.equal(over(), 'in order');
    app.expect('.', { seq: 5, ack: 12 });
    lab.silent();
    lab.idle();
    assert.equal(far.text, 'still here');
    assert.deepEqual(far.said, ['finish']);
  });

  it('comes with data in one segment, both ways', () => {
    const { lab, app, far, over } = start();
    app.send('FP.', { data: 'request' });
    app.expect('.', { ack: 9 });
    far.give('answer');
    app.expect('P.', { data: 'answer' });
    far.other.finish();
    app.expect('F.', { seq: 7 });
    app.send('.');
    assert.equal(over(), 'in order');
    lab.idle();
  });

  it('comes from both at once, and leaves a TIME-WAIT', () => {
    const { lab, app, far, over } = start();
    far.other.finish();
    app.expect('F.', { seq: 1, ack: 1 });
    // It has been sent before ours has arrived.
    app.send('F.', { ack: 1 });
    app.expect('.', { seq: 2, ack: 2 });
    assert.equal(over(), undefined);
    app.send('.', { ack: 2 });
    assert.equal(over(), 'in order');
    lab.silent();
    lab.idle();
    app.send('F.', { seq: 1 });
    app.expect('.', { seq: 2, ack: 2 });
  });

  it('of the application acknowledges ours', () => {
    const { lab, app, far, over } = start();
    far.other.finish();
    app.expect('F.', { seq: 1 });
    app.send('F.');
    app.expect('.', { seq: 2, ack: 2 });
    lab.silent();
    assert.equal(over(), 'in order');
    lab.idle();
  });

  it('is sent again until it is acknowledged', () => {
    const { lab, app, far } = start();
    far.other.finish();
    app.expect('F.', { seq: 1 });
    for (let n = 0; n < 3; n++) {
      lab.waitForFrame(5000);
      app.expect('F.', { seq: 1, ack: 1 });
    }
    app.send('.');
    lab.wait(20_000);
    lab.silent();
    far.other.finish();
    lab.silent();
  });

  it('again, while ours is on its way, is acknowledged at once', () => {
    const { lab, app, far } = start();
    app.send('F.');
    app.expect('.', { ack: 2 });
    app.send('F.', { seq: 1 });
    app.expect('.', { seq: 1, ack: 2 });
    far.other.finish();
    app.expect('F.', { seq: 1, ack: 2 });
    app.send('F.', { seq: 1, ack: 1 });
    app.expect('.', { seq: 2, ack: 2 });
    lab.silent();
    assert.deepEqual(far.said, ['finish']);
  });

  it('is followed by a reset: the other end is told', () => {
    const { lab, app, far, over } = start();
    app.send('F.');
    app.expect('.');
    app.send('R');
    assert.deepEqual(far.said, ['finish', 'abort ECONNRESET']);
    assert.equal(over(), 'error');
    lab.silent();
    lab.idle();
  });

  it('drops what the far side gives behind its own end', () => {
    const { lab, app, far } = start();
    far.other.finish();
    app.expect('F.');
    far.give('too late');
    lab.silent();
    assert.equal(far.outstanding, 0);
  });

  it('waits for data that the window does not admit', () => {
    const { lab, app, far } = start();
    app.send('.', { window: 0 });
    far.give('data');
    far.other.finish();
    lab.silent();
    app.send('.', { window: 100 });
    app.expect('FP.', { seq: 1, data: 'data' });
    lab.silent();
  });
});

describe('TIME-WAIT', () => {
  /** Ended by the far side first; `app.nextSeq` is 2, and 2 is acknowledged. */
  function waiting(options: { readonly timestamps?: boolean; readonly family?: 4 | 6 } = {}) {
    const all = start(options);
    const { app, far, lab } = all;
    far.other.finish();
    app.expect('F.', { seq: 1 });
    app.send('F.');
    app.expect('.', { seq: 2, ack: 2 });
    lab.idle();
    return all;
  }

  it('acknowledges the end again, and late data, and ignores resets', () => {
    for (const family of [4, 6] as const) {
      const { lab, app } = waiting({ family });
      app.send('F.', { seq: 1 });
      app.expect('.', { seq: 2, ack: 2, ts: true });
      app.send('R', { seq: 2 }).send('R.', { seq: 2 });
      lab.silent();
      app.send('P.', { seq: 0, data: 'x' });
      app.expect('.', { seq: 2, ack: 2 });
      assert.equal(lab.counters.droppedUnanswerable, 2);
    }
  });

  it('ends after a minute', () => {
    const { lab, app } = waiting();
    lab.wait(TIME_WAIT_MS - TICK_MS);
    app.send('F.', { seq: 1 });
    app.expect('.');
    lab.wait(2 * TICK_MS);
    app.send('F.', { seq: 1 });
    app.expect('R');
    lab.silent();
    assert.equal(lab.deadline, Number.POSITIVE_INFINITY);
  });

  const cases = [
    ['a newer timestamp', true, 1, -5_000_000, true],
    ['an older timestamp', true, -1, 5_000_000, false],
    ['the same timestamp and a later number', true, 0, 10, true],
    ['the same timestamp and an earlier number', true, 0, -10, false],
    ['a later number', false, 0, 10, true],
    ['an earlier number', false, 0, -10, false],
  ] as const;
  for (const [what, timestamps, newer, later, admitted] of cases)
    it(`${admitted ? 'gives way to' : 'acknowledges'} a SYN with ${what}`, () => {
      const { lab, app } = waiting({ timestamps });
      const { isn } = app;
      const { flows } = lab;
      app.again(isn + 2 + later);
      app.send('S', { ...SYN, ...(timestamps ? { ts: lab.now + newer } : {}) });
      if (admitted) {
        lab.silent();
        assert.equal(flows.length, 2);
        app.open();
        app.expect('S.', { seq: 0, ack: 1 });
        app.send('.', timestamps ? { ts: lab.now + 1 } : {});
        lab.silent();
      } else {
        assert.equal(flows.length, 1);
        app.isn = isn;
        app.expect('.', { ack: 2 });
        lab.silent();
      }
    });

  it('is forgotten, the oldest first, beyond MAX_TIME_WAIT, and counted', () => {
    const lab = new TcpLab();
    const apps = [];
    for (let n = 0; n < MAX_TIME_WAIT + 2; n++) {
      const app = lab.app({
        port: 1024 + (n % 60_000),
        destinationPort: 80 + Math.floor(n / 60_000),
      });
      const far = app.connect();
      far.other.finish();
      app.expect('F.', { seq: 1 });
      app.send('F.');
      app.expect('.');
      apps.push(app);
    }
    assert.equal(lab.counters.forgottenTimeWaits, 2);
    for (const [n, flags] of [
      [0, 'R'],
      [1, 'R'],
      [2, '.'],
      [MAX_TIME_WAIT + 1, '.'],
    ] as const)
      apps[n]?.send('F.', { seq: 1 }).expect(flags);
    lab.silent();
    lab.wait(TIME_WAIT_MS + TICK_MS);
    lab.idle();
  });
});

describe('shut()', () => {
  it('delivers all, and then resets what the application sends', () => {
    const { lab, app, far, over } = start();
    app.send('.', { window: 0 });
    far.give('all of this');
    far.other.shut();
    far.other.finish();
    lab.silent();
    // It is acknowledged and dropped while ours is on its way.
    app.send('P.', { data: 'nobody takes it', window: 0 });
    app.expect('.', { seq: 1, ack: 16 });
    lab.silent();
    app.send('.', { window: 100 });
    app.expect('FP.', { seq: 1, data: 'all of this' });
    lab.silent();
    app.send('.');
    app.expect('R.', { seq: 13, ack: 16 });
    assert.equal(over(), 'error');
    assert.equal(far.text, '');
    lab.idle();
  });

  it('resets later data as well', () => {
    const { lab, app, far } = start();
    far.give('all');
    far.other.shut();
    far.other.finish();
    app.expect('P.', { data: 'all' });
    app.expect('F.', { seq: 4 });
    app.send('.');
    lab.silent();
    lab.wait(1000);
    app.send('P.', { data: 'still here?' });
    app.expect('R.', { seq: 5 });
    lab.idle();
  });

  it('resets what was not taken when it came', () => {
    const lab = new TcpLab();
    const app = lab.app();
    const far = app.connect({}, { automatic: false });
    app.send('P.', { data: 'not taken' });
    app.expect('.', { ack: 10 });
    far.give('all');
    far.other.shut();
    app.expect('P.', { data: 'all' });
    lab.silent();
    app.send('.');
    app.expect('R.', { seq: 4, ack: 10 });
    lab.idle();
  });

  it('is an end in order when the application sends nothing more', () => {
    const { lab, app, far, over } = start();
    far.give('all');
    far.other.finish();
    far.other.shut();
    far.other.shut();
    app.expect('P.', { data: 'all' });
    app.expect('F.', { seq: 4 });
    app.send('F.');
    app.expect('.', { seq: 5, ack: 2 });
    assert.equal(over(), 'in order');
    lab.silent();
    lab.idle();
  });

  it('waits a minute for the end of the application, and no longer', () => {
    const { lab, app, far } = start();
    far.other.shut();
    far.other.finish();
    app.expect('F.');
    app.send('.');
    lab.wait(FIN_WAIT_MS - 1);
    assert.equal(lab.counters.flowsLive, 1);
    lab.wait(1 + TICK_MS);
    lab.silent();
    lab.idle();
    app.send('P.', { data: 'still here' });
    app.expect('R');
  });
});

describe('abort()', () => {
  it('resets with the very next number, what was in flight included', () => {
    const { lab, app, far, over } = start();
    far.give('data');
    app.expect('P.', { data: 'data' });
    app.send('P.', { ack: 1, data: 'more' });
    app.expect('.', { ack: 5 });
    far.other.abort(undefined);
    app.expect('R.', { seq: 5, ack: 5 });
    assert.equal(over(), 'error');
    assert.deepEqual(far.said, ['abort ECONNRESET']);
    far.other.abort(undefined);
    far.give('nothing');
    far.other.finish();
    far.other.shut();
    far.other.taken(4);
    lab.silent();
    lab.wait(100_000);
    lab.silent();
    lab.idle();
  });

  it('within send(), finish() or taken() is the end: nothing follows, and nothing is left', () => {
    for (const moment of ['send', 'finish', 'taken'] as const) {
      const { lab, app, far } = start();
      far.give('data');
      app.expect('P.', { data: 'data' });
      const abort = () => far.other.abort(undefined);
      const after: string[] = [];
      const note = (what: string) => () => {
        after.push(what);
      };
      Object.assign(far, { send: note('send'), finish: note('finish'), taken: note('taken') });
      far[moment] = () => {
        after.push(moment);
        abort();
      };
      const before = lab.counters.framesOut;
      app.send('FP.', { data: 'x' });
      assert.deepEqual(after, ['taken', 'send', 'finish'].slice(0, after.indexOf(moment) + 1));
      assert.equal(after.at(-1), moment, 'nothing was said after it');
      app.expect('R.');
      lab.silent();
      assert.equal(lab.counters.framesOut, before + 1);
      lab.idle();
    }
    // An end alone.
    const { lab, app, far } = start();
    far.finish = () => far.other.abort(undefined);
    app.send('F.');
    app.expect('R.', { seq: 1, ack: 2 });
    lab.silent();
    lab.idle();
  });

  it('of all, by close(): held ones are refused', () => {
    const lab = new TcpLab();
    const open = lab.app();
    const far = open.connect();
    const answered = lab.app().send('S', SYN);
    answered.open();
    answered.expect('S.');
    const held = lab.app().send('S', SYN);
    const refused = lab.app().send('S', SYN);
    refused.flow.refuse('timeout');
    lab.endpoint.close(new Error('over'));
    const flags = lab.frames
      .splice(0)
      .map((frame) => (frame.kind === 'tcp' ? frame.flags : frame.kind));
    assert.deepEqual(flags, ['R.', 'R.', 'R.']);
    assert.deepEqual(far.said, ['abort over']);
    assert.equal(held.flow.open(), undefined);
    lab.silent();
    lab.idle();
    lab.wait(100_000);
    lab.silent();
  });
});
