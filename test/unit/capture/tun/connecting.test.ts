/**
 * Scripts for the beginning of a connection: the states `held`, `refused`, `answered` of
 * tcpflow.ts.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SYN_SILENCE_MS } from '../../../../src/capture/tun/patience.ts';
import { SYN_ACK_RETRIES } from '../../../../src/capture/tun/tcpflow.ts';
import { addressFromBytes } from '../../../../src/net/address.ts';
import type { Refusal } from '../../../../src/net/refusal.ts';
import { SERVER, TcpLab } from '../../../support/tcpscript.ts';
import { joined } from '../../../support/testconduit.ts';

const SYN = { mss: 1460, scale: 7 } as const;
/** Timers may be late by a tick. */
const TICK_MS = 50;

describe('a held SYN', () => {
  for (const family of [4, 6] as const)
    it(`waits without an answer, and tells who asks for what, IPv${family}`, () => {
      const lab = new TcpLab();
      const app = lab.app({ family }).send('S', SYN);
      lab.silent();
      assert.equal(lab.flows.length, 1);
      const { source, sourcePort, destination, destinationPort } = app.tuple;
      assert.deepEqual(app.flow.source, { host: source, port: sourcePort });
      assert.deepEqual(app.flow.destination, { host: destination, port: destinationPort });
      assert.equal(lab.counters.flowsHeld, 1);
    });

  for (const family of [4, 6] as const)
    for (const refusal of ['refused', 'unreachable'] as const)
      it(`with data, IPv${family}, is answered (${refusal}) to its own sender`, () => {
        const lab = new TcpLab();
        const before = lab.app({ family }).send('S', SYN);
        before.flow.refuse(refusal);
        lab.wait(TICK_MS);
        lab.ignore();
        const source = family === 4 ? '10.77.0.99' : 'fd77::99';
        const app = lab.app({ family, source, isn: 500_000 }).send('S', { ...SYN, data: 'early' });
        app.flow.refuse(refusal);
        lab.wait(TICK_MS);
        const [answer, ...others] = lab.frames.splice(0);
        assert.deepEqual(others, []);
        assert.equal(answer?.kind, refusal === 'refused' ? 'tcp' : 'icmp');
        assert.equal(answer?.destination, source);
        if (answer?.kind === 'tcp') {
          assert.equal(answer.destinationPort, app.tuple.sourcePort);
          assert.equal((answer.ack - app.isn) | 0, 1);
        } else if (answer?.kind === 'icmp') {
          const ports = family === 4 ? 20 : 40;
          assert.equal(answer.quoted.readUInt16BE(ports), app.tuple.sourcePort);
        }
      });

  it('is one flow, however often it comes', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    for (const ms of [1000, 2000, 4000, 8000]) {
      lab.wait(ms);
      app.send('S', { ...SYN, seq: 0 });
    }
    lab.silent();
    assert.equal(lab.flows.length, 1);
    assert.equal(app.flow.signal.aborted, false);
    assert.equal(lab.counters.droppedRetransmits, 4);
  });

  it('is given up after 4 s of silence', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    lab.wait(SYN_SILENCE_MS - 1);
    assert.equal(app.flow.signal.aborted, false);
    lab.wait(1 + TICK_MS);
    assert.equal(app.flow.signal.aborted, true);
    assert.equal(lab.counters.flowsGivenUp, 1);
    assert.equal(app.flow.open(), undefined);
    app.flow.refuse('refused');
    lab.silent();
    lab.idle();
  });

  it('is given up after three times the longest gap between its SYNs', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    for (const ms of [1000, 3000, 2000]) {
      lab.wait(ms);
      app.send('S', { ...SYN, seq: 0 });
    }
    lab.wait(8999);
    assert.equal(app.flow.signal.aborted, false);
    lab.wait(1 + TICK_MS);
    assert.equal(app.flow.signal.aborted, true);
    lab.idle();
  });

  for (const since of [0, 1])
    it(`is given up when its socket resets it, with number ${since}`, () => {
      const lab = new TcpLab();
      const app = lab.app().send('S', SYN);
      app.send('R', { seq: since });
      assert.equal(app.flow.signal.aborted, true);
      lab.silent();
      lab.idle();
    });

  it('stays when a reset with another number comes', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    app.send('R', { seq: 2 }).send('R.', { seq: -1, ack: 7 });
    assert.equal(app.flow.signal.aborted, false);
    lab.silent();
  });

  it('is given up for a SYN with another number', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    const { flow } = app;
    app.again(300_000).send('S', SYN);
    assert.equal(flow.signal.aborted, true);
    assert.notEqual(app.flow, flow);
    assert.equal(flow.open(), undefined);
    app.open();
    app.expect('S.', { seq: 0, ack: 1 });
    lab.silent();
    assert.deepEqual([lab.counters.flowsGivenUp, lab.counters.flowsHeldTotal], [1, 2]);
  });

  it('leaves what is no SYN to be reset', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    app.send('.', { seq: 1, ack: 77 });
    const reset = app.expect('R');
    assert.equal(reset.seq, 77);
    assert.equal(app.flow.signal.aborted, false);
  });

  it('may be put off: the next SYN is a new flow', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    const { flow } = app;
    flow.defer();
    flow.defer();
    lab.silent();
    assert.equal(flow.open(), undefined);
    flow.refuse('refused');
    lab.silent();
    lab.idle();
    assert.equal(lab.counters.flowsDeferred, 1);
    lab.wait(1000);
    app.send('S', { ...SYN, seq: 0 });
    app.open();
    app.flow.defer();
    app.expect('S.', { ack: 1 });
    lab.wait(100_000);
    assert.equal(lab.counters.flowsDeferred, 1);
  });

  it('may be gone before it was joined, and the other end is told', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    const conduit = app.flow.open();
    app.expect('S.');
    app.send('R', { seq: 1 });
    assert.ok(conduit !== undefined);
    assert.deepEqual(joined(conduit).said, ['abort flow-given-up']);
    let over = 0;
    conduit.whenOver(() => over++);
    assert.equal(over, 1);
    lab.idle();
  });
});

describe('a refused SYN', () => {
  const errors = [
    ['unreachable', [3, 1], [1, 3], 'answeredUnreachable'],
    ['no-network', [3, 0], [1, 0], 'answeredUnreachable'],
    ['prohibited', [3, 13], [1, 1], 'answeredProhibited'],
  ] as const;
  for (const [refusal, four, six, counter] of errors)
    for (const [family, [type, code]] of [
      [4, four],
      [6, six],
    ] as const)
      it(`is answered with an ICMP error, not before 5 ms: ${refusal}, IPv${family}`, () => {
        const lab = new TcpLab();
        const app = lab.app({ family }).send('S', SYN);
        lab.wait(2);
        app.flow.refuse(refusal);
        app.send('S', { ...SYN, seq: 0 });
        lab.silent();
        assert.equal(lab.counters.droppedRetransmits, 1);
        lab.wait(2);
        lab.silent();
        lab.wait(1);
        const { quoted } = app.expectIcmp(type, code);
        const header = family === 4 ? 20 : 40;
        assert.equal(quoted.readUInt16BE(header), app.tuple.sourcePort);
        assert.equal(quoted.readInt32BE(header + 4), app.isn);
        assert.equal(
          addressFromBytes(quoted.subarray(header === 20 ? 16 : 24, header)),
          SERVER[family],
        );
        lab.silent();
        // Again for the same SYN, at once.
        lab.wait(1000);
        app.send('S', { ...SYN, seq: 0 });
        app.expectIcmp(type, code);
        lab.silent();
        assert.equal(lab.counters[counter], 2);
        assert.equal(lab.counters.flowsRefused, 1);
        // Until there are no more.
        lab.wait(SYN_SILENCE_MS + TICK_MS);
        app.send('S', { ...SYN, seq: 0 });
        assert.equal(lab.flows.length, 2);
      });

  it('is answered by the destination where no router is known', () => {
    const lab = new TcpLab({ routers: false });
    for (const family of [4, 6] as const) {
      const app = lab.app({ family }).send('S', SYN);
      lab.wait(10);
      app.flow.refuse('unreachable');
      app.expectIcmp(...([family === 4 ? 3 : 1, family === 4 ? 1 : 3, SERVER[family]] as const));
    }
  });

  for (const family of [4, 6] as const)
    it(`is reset at once, and again: refused, IPv${family}`, () => {
      const lab = new TcpLab();
      const app = lab.app({ family }).send('S', SYN);
      app.flow.refuse('refused');
      for (let n = 0; n < 2; n++) {
        const reset = app.expect('R.', { ack: 1, win: 0, mss: undefined, ts: false });
        assert.equal(reset.seq, 0);
        lab.silent();
        lab.wait(1000);
        if (n === 0) app.send('S', { ...SYN, seq: 0 });
      }
      assert.equal(lab.counters.answeredReset, 2);
      lab.wait(SYN_SILENCE_MS + TICK_MS);
      lab.idle();
    });

  it('is left to time out: timeout', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    app.flow.refuse('timeout');
    for (let n = 0; n < 3; n++) {
      lab.wait(2000);
      app.send('S', { ...SYN, seq: 0 });
    }
    lab.silent();
    assert.equal(lab.flows.length, 1);
    lab.wait(6000 + TICK_MS);
    app.send('S', { ...SYN, seq: 0 });
    assert.equal(lab.flows.length, 2);
  });

  it('is refused or opened once', () => {
    const lab = new TcpLab();
    const refused = lab.app().send('S', SYN);
    refused.flow.refuse('refused');
    refused.expect('R.');
    refused.flow.refuse('refused');
    assert.equal(refused.flow.open(), undefined);
    const opened = lab.app().send('S', SYN);
    opened.open();
    opened.expect('S.');
    assert.equal(opened.flow.open(), undefined);
    opened.flow.refuse('refused');
    lab.silent();
    assert.deepEqual([lab.counters.flowsRefused, lab.counters.flowsLive], [1, 1]);
  });

  it('makes room for a SYN with another number, whose answer is its own', () => {
    const refusals: Refusal[] = ['unreachable', 'refused', 'timeout'];
    for (const refusal of refusals) {
      const lab = new TcpLab();
      const app = lab.app().send('S', SYN);
      app.flow.refuse(refusal);
      if (refusal === 'refused') app.expect('R.');
      app.again(300_000).send('S', SYN);
      lab.wait(20);
      lab.silent();
      app.open();
      app.expect('S.', { ack: 1 });
      lab.silent();
    }
  });

  it('leaves what is no SYN to be reset, and resets alone', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    app.flow.refuse('timeout');
    app.send('.', { seq: 1, ack: 77 }).expect('R');
    app.send('R', { seq: 1 });
    lab.silent();
  });

  it('is prohibited where its family is not captured', () => {
    const lab = new TcpLab({ families: new Set([4]) });
    const app = lab.app({ family: 6 }).send('S', SYN);
    assert.equal(lab.flows.length, 0);
    lab.wait(5);
    app.expectIcmp(1, 1);
    lab.silent();
  });
});

describe('a SYN-ACK', () => {
  for (const [family, mss] of [
    [4, 65_480],
    [6, 65_460],
  ] as const)
    it(`offers what the SYN offers, IPv${family}`, () => {
      const lab = new TcpLab();
      const full = lab.app({ family }).send('S', SYN);
      full.open();
      full.expect('S.', { seq: 0, ack: 1, mss, scale: 7, ts: true, win: 0xffff });
      const plain = lab.app({ family, timestamps: false }).send('S');
      plain.open();
      plain.expect('S.', { seq: 0, ack: 1, mss, scale: undefined, ts: false, win: 0xffff });
      const scaled = lab.app({ family, timestamps: false }).send('S', { scale: 0 });
      scaled.open();
      scaled.expect('S.', { scale: 7, ts: false });
      lab.silent();
    });

  it("echoes the SYN's timestamp, and its own clock counts milliseconds", () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', { ...SYN, ts: 4711 });
    app.open();
    const first = app.expect('S.');
    assert.equal(first.ts?.[1], 4711);
    lab.wait(250);
    app.send('S', { ...SYN, seq: 0, ts: 4961 });
    const second = app.expect('S.');
    assert.equal((second.ts?.[0] ?? 0) - (first.ts?.[0] ?? 0), 250);
    assert.equal(second.ts?.[1], 4711, 'the SYN is not newer than what is known'); // the first of both
  });

  it('comes again for the SYN, and by itself after 1, 2, 4, 8, 16 s; then the flow is over', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    const far = app.open();
    app.expect('S.', { seq: 0, ack: 1 });
    app.send('S', { ...SYN, seq: 0 });
    app.expect('S.', { seq: 0, ack: 1, mss: 65_480, scale: 7, win: 0xffff });
    lab.silent();
    for (let n = 0; n < SYN_ACK_RETRIES; n++) {
      const gap = lab.waitForFrame(20_000);
      assert.ok(gap >= 1000 * 2 ** n && gap <= 1000 * 2 ** n + TICK_MS, `${gap} ms`);
      app.expect('S.', { seq: 0, ack: 1, mss: 65_480, scale: 7, win: 0xffff });
      lab.silent();
    }
    assert.deepEqual(far.said, []);
    lab.wait(32_000 + TICK_MS);
    lab.silent();
    assert.deepEqual(far.said, ['abort flow-given-up']);
    lab.idle();
  });

  it('is acknowledged, and with the acknowledgement may come data and an end', () => {
    for (const flags of ['.', 'P.', 'FP.']) {
      const lab = new TcpLab();
      const app = lab.app().send('S', SYN);
      const far = app.open();
      app.expect('S.');
      app.send(flags, { data: flags === '.' ? '' : 'hello' });
      assert.equal(far.text, flags === '.' ? '' : 'hello');
      assert.deepEqual(far.said, flags === 'FP.' ? ['finish'] : []);
      if (flags !== '.') app.expect('.', { seq: 1, ack: flags === 'P.' ? 6 : 7 });
      lab.silent();
    }
  });

  it('that is not what the segment acknowledges gets a reset, and stays', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    const far = app.open();
    app.expect('S.');
    for (const ack of [0, 2, 100_000]) {
      app.send('.', { ack });
      app.expect('R', { seq: ack });
    }
    lab.silent();
    assert.deepEqual(far.said, []);
    app.send('.');
    far.give('x');
    app.expect('.', { seq: 1, data: 'x' });
  });

  it('is followed by what the far side has sent and ended before it was acknowledged', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    const far = app.open();
    app.expect('S.');
    far.give('early ');
    far.give('data');
    far.other.finish();
    lab.silent();
    app.send('.');
    app.expect('FP.', { seq: 1, data: 'early data' });
    lab.silent();
    assert.equal(far.outstanding, 10);
    app.send('.');
    assert.equal(far.outstanding, 0);
  });

  it('is followed by the end alone', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    const far = app.open();
    app.expect('S.');
    far.other.finish();
    lab.silent();
    app.send('.');
    app.expect('F.', { seq: 1, ack: 1 });
  });

  it('is reset by the application: the other end is told', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    const far = app.open();
    app.expect('S.');
    app.send('R', { seq: 1 });
    assert.deepEqual(far.said, ['abort ECONNRESET']);
    lab.silent();
    lab.idle();
  });

  it('is followed by a reset when the far side goes', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    const far = app.open();
    app.expect('S.');
    far.other.abort(undefined);
    app.expect('R.', { seq: 1, ack: 1 });
    lab.silent();
    lab.idle();
  });

  it('gives way to a SYN with another number', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', SYN);
    const far = app.open();
    app.expect('S.');
    app.again(300_000).send('S', SYN);
    assert.deepEqual(far.said, ['abort flow-given-up']);
    app.open();
    app.expect('S.', { seq: 0, ack: 1 });
    app.send('.');
    lab.silent();
    assert.equal(lab.counters.flowsLive, 1);
  });

  it('ignores data in the SYN, which come again', () => {
    for (const family of [4, 6] as const) {
      const lab = new TcpLab();
      const app = lab.app({ family }).send('S', { ...SYN, data: 'fast open' });
      app.nextSeq = 1;
      const far = app.open();
      app.expect('S.', { ack: 1 });
      app.send('P.', { data: 'fast open' });
      app.expect('.', { ack: 10 });
      assert.equal(far.text, 'fast open');
    }
  });
});
