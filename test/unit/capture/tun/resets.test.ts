/**
 * Scripts for what does not fit: resets, SYNs and acknowledgements of strangers (RFC 5961), old
 * timestamps (RFC 7323), keepalive probes.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FIRST_WINDOW } from '../../../../src/capture/tun/receiveside.ts';
import { CHALLENGE_MS } from '../../../../src/capture/tun/tcpflow.ts';
import { TcpLab } from '../../../support/tcpscript.ts';

const SYN = { mss: 1460, scale: 7 } as const;

function start(timestamps = true) {
  const lab = new TcpLab();
  const app = lab.app({ timestamps });
  const far = app.connect();
  return { lab, app, far };
}

describe('a reset', () => {
  it('with the very next number ends the flow; its old timestamp does not matter', () => {
    const { lab, app, far } = start();
    app.send('R', { ts: lab.now - 1_000_000 });
    assert.deepEqual(far.said, ['abort ECONNRESET']);
    lab.silent();
    lab.idle();
    app.send('R');
    lab.silent();
  });

  it('elsewhere in the window is challenged, so many times a second', () => {
    const { lab, app, far } = start();
    app.send('R', { seq: 2 });
    app.expect('.', { seq: 1, ack: 1 });
    app.send('R', { seq: 3 }).send('R.', { seq: 1000 });
    lab.silent();
    lab.wait(CHALLENGE_MS);
    app.send('R', { seq: 1 + 65_535 });
    app.expect('.', { seq: 1, ack: 1 });
    assert.deepEqual(far.said, []);
    // What a kernel answers to the challenge.
    app.send('R', { seq: 1 });
    assert.deepEqual(far.said, ['abort ECONNRESET']);
  });

  it('outside of the window is dropped', () => {
    const { lab, app, far } = start();
    for (const seq of [0, -1000, 1 + FIRST_WINDOW, 2 ** 31])
      app.send('R', { seq }).send('R.', { seq });
    lab.silent();
    assert.deepEqual(far.said, []);
    assert.equal(lab.counters.flowsLive, 1);
  });

  it('of no flow is dropped, and counted', () => {
    const lab = new TcpLab();
    lab.app().send('R').send('R.', { ack: 5 }).send('SR');
    lab.silent();
    assert.equal(lab.counters.droppedUnanswerable, 3);
  });
});

describe('a SYN in an open connection', () => {
  it('is challenged, wherever it is and whatever else it says', () => {
    const { lab, app, far } = start();
    for (const [flags, seq] of [
      ['S', 1],
      ['S', 0],
      ['S', -100_000],
      ['S.', 1],
      ['S', 500],
      ['S', 2 ** 31],
    ] as const) {
      app.send(flags, { ...SYN, seq });
      app.expect('.', { seq: 1, ack: 1 });
      app.send(flags, { ...SYN, seq });
      lab.silent();
      lab.wait(CHALLENGE_MS);
      app.nextSeq = 1;
    }
    assert.deepEqual(far.said, []);
    assert.equal(lab.flows.length, 1);
  });

  it('that a restarted kernel sends leads to its connection, by the reset that it answers', () => {
    const { lab, app, far } = start();
    const { isn } = app;
    app.again(777_000).send('S', SYN);
    const challenge = lab.next();
    assert.ok(challenge.kind === 'tcp' && challenge.flags === '.');
    app.isn = isn;
    app.send('R', { seq: (challenge.ack - isn) | 0 });
    assert.deepEqual(far.said, ['abort ECONNRESET']);
    app.again(777_000).send('S', { ...SYN, seq: 0 });
    app.open();
    app.expect('S.', { ack: 1 });
  });
});

describe('an acknowledgement', () => {
  it('of what was not sent is challenged, and its data are dropped', () => {
    const { lab, app, far } = start();
    app.send('P.', { ack: 2, data: 'x' });
    app.expect('.', { seq: 1, ack: 1 });
    app.nextSeq = 1;
    app.send('.', { ack: 2 });
    lab.silent();
    lab.wait(CHALLENGE_MS);
    app.send('.', { ack: 100_000 });
    app.expect('.', { seq: 1, ack: 1 });
    assert.equal(far.text, '');
    far.give('x');
    app.expect('.', { seq: 1, data: 'x' });
  });

  it('that is old is no harm, and its data are taken', () => {
    const { lab, app, far } = start();
    far.give('data');
    app.expect('.', { data: 'data' });
    app.send('.');
    app.send('P.', { ack: 1, data: 'old' });
    app.expect('.', { ack: 4 });
    assert.equal(far.text, 'old');
    lab.silent();
  });

  it('counts at the very edge of the window, where all before it is lost, and not beyond', () => {
    const { lab, app, far } = start();
    far.give('data');
    app.expect('P.', { data: 'data' });
    const edge = 1 + FIRST_WINDOW;
    app.send('.', { seq: edge + 1, ack: 5 });
    app.expect('.', { ack: 1 });
    assert.equal(far.outstanding, 4);
    app.send('.', { seq: edge, ack: 5 });
    assert.equal(far.outstanding, 0);
    lab.silent();
  });

  it('that is too old is challenged', () => {
    const { lab, app, far } = start();
    app.send('P.', { ack: 1 - 64 * 1024 * 1024 - 1, data: 'x' });
    app.expect('.', { seq: 1, ack: 1 });
    lab.silent();
    assert.equal(far.text, '');
  });
});

describe('PAWS', () => {
  it('drops what is older than what was seen, and says so', () => {
    const { lab, app, far } = start();
    app.send('P.', { data: 'new' });
    app.expect('.', { ack: 4 });
    app.send('P.', { data: 'old', ts: lab.now - 1 });
    app.expect('.', { ack: 4 });
    app.nextSeq = 4;
    app.send('.', { ts: lab.now - 1 });
    lab.silent();
    assert.equal(far.text, 'new');
    app.send('P.', { data: ' and newer', ts: lab.now });
    app.expect('.', { ack: 14 });
    assert.equal(far.text, 'new and newer');
  });

  it('goes by the timestamps of what is in order: later ones of a gap are not echoed', () => {
    const { lab, app } = start();
    const { now } = lab;
    app.send('P.', { seq: 5, data: 'late', ts: now + 7 });
    const duplicate = app.expect('.', { ack: 1 });
    assert.equal(duplicate.ts?.[1], now);
    app.send('P.', { seq: 1, data: 'gap ', ts: now + 9 });
    const acknowledgement = app.expect('.', { ack: 5 });
    assert.equal(acknowledgement.ts?.[1], now + 9);
  });

  it("segments without timestamps don't set the clock", () => {
    const { lab, app, far } = start();
    // Another connection's clock is far ahead.
    const other = lab.app().send('S', { ...SYN, ts: lab.now + 2 ** 30 });
    other.flow.refuse('timeout');
    app.send('P.', { data: 'without', ts: false });
    app.expect('.', { ack: 8 });
    app.send('P.', { data: ' and with' });
    app.expect('.', { ack: 17 });
    assert.equal(far.text, 'without and with');
  });

  it('survives a clock that comes round', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', { ...SYN, ts: 2 ** 31 - 2 });
    const far = app.open();
    app.expect('S.');
    app.send('.', { ts: 2 ** 31 - 1 });
    for (const [n, text] of ['one', 'two', 'three'].entries()) {
      app.send('P.', { ts: 2 ** 31 + n, data: text });
      app.expect('.');
    }
    assert.equal(far.text, 'onetwothree');
  });
});

describe('a keepalive probe', () => {
  for (const data of ['', 'x'])
    it(`is answered, ${data === '' ? 'so many times a second' : 'with its byte of data at once'}`, () => {
      const { lab, app, far } = start();
      app.send('P.', { data: 'abc' });
      app.expect('.', { ack: 4 });
      for (let n = 0; n < 3; n++) {
        lab.wait(75_000);
        app.send('.', { seq: 3, data });
        app.expect('.', { seq: 1, ack: 4 });
      }
      app.send('.', { seq: 3, data });
      if (data === '') lab.silent();
      else app.expect('.', { seq: 1, ack: 4 });
      lab.silent();
      assert.equal(far.text, 'abc');
    });
});
