/** The limits of endpoint.ts, each with its counter, and the times that it announces. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MAX_HELD, MAX_WAITING_BYTES } from '../../../../src/capture/tun/endpoint.ts';
import {
  BEHIND_MS,
  MAX_HALF_OPEN,
  MAX_KNOWN,
  MAX_STRANGERS,
} from '../../../../src/capture/tun/newcomers.ts';
import { FIRST_WINDOW, LEAST_WINDOW } from '../../../../src/capture/tun/receiveside.ts';
import { TcpLab } from '../../../support/tcpscript.ts';
import type { TestConduit } from '../../../support/testconduit.ts';

const SYN = { mss: 1460, scale: 7 } as const;
const TICK_MS = 50;

describe('MAX_HELD', () => {
  it('drops further SYNs, until there is room', () => {
    const lab = new TcpLab();
    for (let n = 0; n < MAX_HELD; n++) lab.app().send('S', SYN);
    const one = lab.app().send('S', SYN);
    const other = lab.app().send('S', SYN);
    lab.silent();
    assert.equal(lab.flows.length, MAX_HELD);
    assert.equal(lab.counters.droppedHeldLimit, 2);
    lab.flows[0]?.refuse('refused');
    lab.ignore();
    one.send('S', { ...SYN, seq: 0 });
    one.open();
    one.expect('S.');
    other.send('S', { ...SYN, seq: 0 });
    assert.equal(lab.flows.length, MAX_HELD + 2);
    assert.equal(lab.counters.flowsHeld, MAX_HELD);
  });

  it('has the oldest forgotten once it has waited for a second: its SYN may come again', () => {
    const lab = new TcpLab();
    const oldest = lab.app();
    oldest.send('S', SYN);
    for (let n = 1; n < MAX_HELD; n++) lab.app().send('S', SYN);
    lab.wait(1000);
    lab.ignore();
    lab.app().send('S', SYN).open();
    assert.equal(lab.flows.length, MAX_HELD + 1);
    assert.equal(lab.flows[0]?.signal.aborted, true);
    assert.equal(lab.flows[1]?.signal.aborted, false);
    assert.equal(lab.counters.droppedHeldLimit, 1);
    assert.equal(lab.counters.flowsGivenUp, 1);
    oldest.send('S', { ...SYN, seq: 0 });
    oldest.open();
  });

  it('is for those that wait alone: all are let go after their silence', () => {
    const lab = new TcpLab();
    for (let n = 0; n < MAX_HELD; n++) lab.app().send('S', SYN);
    lab.wait(4000 + TICK_MS);
    assert.equal(lab.counters.flowsGivenUp, MAX_HELD);
    lab.silent();
    lab.idle();
    lab.app().send('S', SYN).open();
  });
});

describe('MAX_HALF_OPEN', () => {
  it('gives up the oldest that nobody has acknowledged', () => {
    const lab = new TcpLab();
    const pairs = Array.from({ length: MAX_HALF_OPEN + 2 }, () => {
      const app = lab.app().send('S', SYN);
      const far = app.open();
      app.expect('S.', { ack: 1 });
      // One in between is acknowledged, and no longer counts.
      if (lab.flows.length === 5) app.send('.');
      return { app, far };
    });
    lab.silent();
    const ended = pairs.filter(({ far }) => far.said.length > 0);
    assert.deepEqual(
      ended.map((pair) => pairs.indexOf(pair)),
      [0],
    );
    assert.equal(lab.counters.forgottenHalfOpen, 1);
    assert.equal(lab.counters.flowsLive, MAX_HALF_OPEN + 1);
    // Its acknowledgement is of nothing.
    pairs[0]?.app.send('.').expect('R');
    pairs[1]?.app.send('P.', { data: 'x' }).expect('.', { ack: 2 });
    lab.wait(100_000);
    assert.equal(lab.counters.flowsLive, 2);
  });
});

/** The n-th forged address. */
const forged = (n: number): string => `203.0.${n >> 8}.${n & 0xff}`;

describe('a source that has completed a handshake', () => {
  it('keeps its half-open connection, although strangers have newer ones', () => {
    const lab = new TcpLab();
    const half = (source?: string) => {
      const app = lab.app(source === undefined ? {} : { source }).send('S', SYN);
      app.open();
      app.expect('S.', { ack: 1 });
      return app;
    };
    half().send('.');
    const known = half();
    for (let n = 0; n < MAX_HALF_OPEN + 10; n++) half(forged(n));
    assert.ok(lab.counters.forgottenHalfOpen > 0);
    known.send('P.', { data: 'x' }).expect('.', { ack: 2 });
  });

  it('begins connections while frames wait, of strangers only MAX_STRANGERS a batch', () => {
    const lab = new TcpLab();
    const known = lab.app().send('S', SYN);
    known.open();
    known.expect('S.', { ack: 1 });
    known.send('.');
    const begun = (source: (n: number) => string | undefined): number => {
      const before = lab.counters.flowsHeldTotal;
      lab.batch(() => {
        for (let n = 0; n < 3 * MAX_STRANGERS; n++) {
          const from = source(n);
          lab.app(from === undefined ? {} : { source: from }).send('S', SYN);
        }
      });
      return lab.counters.flowsHeldTotal - before;
    };
    lab.endpoint.endBatch(true);
    lab.wait(BEHIND_MS - 1);
    assert.equal(begun(forged), 3 * MAX_STRANGERS, 'not for long enough');
    lab.wait(1);
    lab.endpoint.endBatch(true);
    assert.equal(begun(forged), MAX_STRANGERS);
    assert.equal(
      begun(() => undefined),
      3 * MAX_STRANGERS,
      'of the known one',
    );
    assert.equal(lab.counters.droppedStrangers, 2 * MAX_STRANGERS);
    lab.endpoint.endBatch(true);
    assert.equal(begun(forged), MAX_STRANGERS, 'in the next batch');
    lab.endpoint.endBatch(false);
    assert.equal(begun(forged), 3 * MAX_STRANGERS, 'nothing waits');
  });
});

describe('MAX_KNOWN', () => {
  it('makes the source a stranger that has completed a handshake longest ago', () => {
    const lab = new TcpLab();
    const complete = (source: string): void => {
      const app = lab.app({ source }).send('S', SYN);
      app.open();
      app.expect('S.', { ack: 1 });
      app.send('.');
    };
    for (let n = 0; n < MAX_KNOWN; n++) complete(forged(n));
    complete(forged(1));
    assert.equal(lab.counters.forgottenSources, 0, 'all are known');
    complete(forged(MAX_KNOWN));
    assert.equal(lab.counters.forgottenSources, 1);
    complete(forged(0));
    assert.equal(lab.counters.forgottenSources, 2, 'the first one was a stranger again');
    complete(forged(1));
    assert.equal(lab.counters.forgottenSources, 2, 'the second one still known');
  });
});

describe('a SYN that is too long', () => {
  it('is dropped, with data and without', () => {
    const lab = new TcpLab();
    for (const data of ['', 'x'])
      for (const octets of [64, 1024, 2040])
        lab.app({ family: 6 }).send('S', {
          ...SYN,
          data,
          extensions: Array.from({ length: 4 }, () => [60, octets] as const),
        });
    lab.silent();
    assert.equal(lab.flows.length, 0);
    assert.equal(lab.counters.droppedLongSyns, 6);
  });

  it('is not one that has all options that there are, or much data', () => {
    const lab = new TcpLab();
    const options = Buffer.alloc(40, 1);
    lab.app().send('S', { ...SYN, options, rawOptions: Buffer.alloc(20, 1) });
    lab.app({ family: 6 }).send('S', { ...SYN, rawOptions: Buffer.alloc(20, 1) });
    lab.app().send('S', { ...SYN, data: Buffer.alloc(1400) });
    assert.equal(lab.flows.length, 3);
  });
});

describe('MAX_WAITING_BYTES', () => {
  it('lets every flow have something, and drops the rest, which comes again', () => {
    const lab = new TcpLab();
    const pairs: { app: ReturnType<TcpLab['app']>; far: TestConduit; edge: number }[] = [];
    const data = Buffer.alloc(32 * 1024);
    const most = 4 * (MAX_WAITING_BYTES / LEAST_WINDOW);
    let waiting = 0;
    while (lab.counters.droppedWaitingLimit === 0) {
      assert.ok(pairs.length < most, 'the limit is reached');
      const app = lab.app();
      const far = app.connect({}, { automatic: false });
      // As far as the window goes that it is told.
      let edge = 1 + 0xffff;
      while (app.nextSeq < edge && lab.counters.droppedWaitingLimit === 0) {
        app.send('.', { data: data.subarray(0, edge - app.nextSeq) });
        for (const frame of lab.frames.splice(0))
          if (frame.kind === 'tcp')
            edge = Math.max(edge, ((frame.ack - app.isn) | 0) + frame.window * 128);
      }
      waiting += far.data.length;
      pairs.push({ app, far, edge });
    }
    assert.ok(
      waiting >= MAX_WAITING_BYTES && waiting < MAX_WAITING_BYTES + 2 * FIRST_WINDOW,
      `${waiting}`,
    );
    // Who has nothing that waits gets in.
    const app = lab.app();
    const far = app.connect({}, { automatic: false });
    app.send('.', { data: 'first' });
    app.expect('.', { ack: 6 });
    app.send('.', { data: 'second' });
    lab.silent();
    assert.equal(far.text, 'first');
    assert.equal(lab.counters.droppedWaitingLimit, 2);
    // It comes again when there is room.
    for (const pair of pairs.slice(0, 10)) pair.far.take();
    lab.ignore();
    app.send('.', { seq: 6, data: 'second' });
    app.expect('.', { ack: 12 });
    assert.equal(far.text, 'firstsecond');
    // What a flow leaves behind is given back.
    for (const { far } of pairs) far.other.abort(undefined);
    far.take();
    lab.ignore();
    const after = lab.app();
    after.connect({}, { automatic: false });
    after.send('.', { data: 'x' });
    const frame = after.expect('.', { ack: 2 });
    assert.equal(frame.window, FIRST_WINDOW / 128);
  });
});

describe('expire', () => {
  it('announces only what is to come', () => {
    const lab = new TcpLab();
    const app = lab.app();
    const far = app.connect();
    far.give('x');
    lab.app().send('S', SYN);
    lab.ignore();
    for (let n = 0; n < 20; n++) {
      const { deadline } = lab;
      if (deadline === Number.POSITIVE_INFINITY) break;
      lab.now = Math.max(lab.now, deadline);
      lab.expire();
      assert.ok(lab.deadline > lab.now, `${lab.deadline} at ${lab.now}`);
    }
  });

  it('is hardly wanted while nothing is to be done', () => {
    const lab = new TcpLab();
    assert.equal(lab.deadline, Number.POSITIVE_INFINITY);
    const app = lab.app();
    const far = app.connect();
    lab.wait(100_000);
    assert.ok(lab.deadline > lab.now + 100_000, 'an idle flow is looked at for its keepalive only');
    const before = lab.expirations;
    far.give('x');
    app.expect('P.', { data: 'x' });
    app.send('.');
    lab.wait(100_000);
    assert.ok(lab.expirations - before <= 2, `${lab.expirations - before} times`);
  });
});
