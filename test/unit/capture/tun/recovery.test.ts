/** Scripts for the table at the head of sendside.ts: what is sent, sent again, and held back. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MAX_RETRIES } from '../../../../src/capture/tun/sendside.ts';
import { pseudoRandomBytes } from '../../../support/bytes.ts';
import { icmpFrame, tcpFrame } from '../../../support/tcpframes.ts';
import { ROUTER, type SendFields, type TcpApp, TcpLab } from '../../../support/tcpscript.ts';

const TICK_MS = 50;
const FIRST_MS = 300;
const MOST_MS = 60_000;
/** The kernel's own segment with timestamps is 12 bytes shorter than the MSS that it names. */
const SIZE = 1000;
const SMALL = { mss: SIZE + 12 } as const;

function start({
  syn = SMALL as SendFields,
  family = 4 as 4 | 6,
  win = 0xffff,
  timestamps = true,
} = {}) {
  const lab = new TcpLab();
  const app = lab.app({ family, timestamps });
  const far = app.connect(syn, { win });
  return { lab, app, far };
}

/** A window of `bytes`, told with scale 0. */
const unscaled = (bytes: number) => ({ syn: { ...SMALL, scale: 0 }, win: bytes });

function closeTo(gap: number, wanted: number): void {
  assert.ok(gap >= wanted - 1 && gap <= wanted + TICK_MS + 1, `${gap} instead of ${wanted} ms`);
}

/** Sends `count` segments of SIZE, each as a frame of its own. */
function inFlight(app: TcpApp, far: { give(data: Buffer): void }, count: number): void {
  for (let n = 0; n < count; n++) {
    far.give(Buffer.alloc(SIZE, 97 + n));
    app.expect('P.', { data: SIZE });
  }
}

describe('three duplicate acknowledgements', () => {
  it('bring the oldest segment again, once', () => {
    const { lab, app, far } = start(unscaled(20_000));
    inFlight(app, far, 3);
    for (let n = 0; n < 2; n++) app.send('.', { ack: 1, window: 20_000 });
    lab.silent();
    app.send('.', { ack: 1, window: 20_000 });
    app.expect('.', { seq: 1, data: 3 * SIZE, gso: SIZE });
    for (let n = 0; n < 5; n++) app.send('.', { ack: 1, window: 20_000 });
    lab.silent();
    app.send('.', { window: 20_000 });
    lab.silent();
    assert.equal(far.outstanding, 0);
  });

  it('are only those that say nothing else', () => {
    const { lab, app, far } = start(unscaled(20_000));
    inFlight(app, far, 3);
    app.send('.', { ack: 1, window: 20_001 });
    app.send('.', { ack: 1, window: 20_002 });
    app.send('.', { ack: 1, window: 20_003 });
    app.send('P.', { ack: 1, window: 20_003, data: 'x' });
    app.expect('.');
    app.send('P.', { ack: 1, window: 20_003, data: 'x' });
    app.expect('.');
    app.send('P.', { ack: 1, window: 20_003, data: 'x' });
    app.expect('.');
    lab.silent();
  });

  it('count only while something is in flight', () => {
    const { lab, app } = start(unscaled(20_000));
    for (let n = 0; n < 5; n++) app.send('.', { window: 20_000 });
    lab.silent();
  });

  it('begin a recovery: each partial acknowledgement brings the next oldest', () => {
    const { lab, app, far } = start({ syn: { mss: 65_480, scale: 7 } });
    const bytes = pseudoRandomBytes(4 * 65_463, 'recovery');
    far.give(bytes);
    for (let n = 0; n < 4; n++) app.expect('.', { seq: 1 + n * 65_463, data: 65_463 });
    for (let n = 0; n < 3; n++) app.send('.', { ack: 1 });
    const again = app.expect('.', { seq: 1, data: 65_463 });
    assert.ok(again.data.equals(bytes.subarray(0, 65_463)));
    // What is new is sent in between.
    far.give('new');
    app.expect('.', { seq: 1 + bytes.length, data: 'new' });
    app.send('.', { ack: 1 + 65_463 });
    const next = app.expect('.', { seq: 1 + 65_463, data: 65_463 });
    assert.ok(next.data.equals(bytes.subarray(65_463, 2 * 65_463)));
    app.send('.', { ack: 1 + 2 * 65_463 + 10 });
    app.expect('.', { seq: 1 + 2 * 65_463 + 10, data: 65_463 });
    // All that was in flight at the beginning: it is over.
    app.send('.', { ack: 1 + bytes.length });
    lab.silent();
    assert.equal(far.outstanding, 3);
    for (let n = 0; n < 3; n++) app.send('.', { ack: 1 + bytes.length });
    app.expect('.', { seq: 1 + bytes.length, data: 'new' });
    app.send('.');
    lab.silent();
  });

  it('send the end again with the data', () => {
    const { app, far } = start(unscaled(20_000));
    inFlight(app, far, 2);
    far.other.finish();
    app.expect('F.', { seq: 1 + 2 * SIZE });
    for (let n = 0; n < 3; n++) app.send('.', { ack: 1, window: 20_000 });
    app.expect('F.', { seq: 1, data: 2 * SIZE });
    app.send('.', { ack: 1 + 2 * SIZE, window: 20_000 });
    app.expect('F.', { seq: 1 + 2 * SIZE });
  });
});

describe('the retransmission timer', () => {
  it('sends the oldest again, doubles up to a minute, and gives up', () => {
    const { lab, app, far } = start();
    inFlight(app, far, 1);
    for (let n = 0; n < MAX_RETRIES; n++) {
      closeTo(lab.waitForFrame(2 * MOST_MS), Math.min(FIRST_MS * 2 ** n, MOST_MS));
      app.expect('P.', { seq: 1, data: SIZE });
    }
    lab.wait(MOST_MS - 1);
    assert.deepEqual(far.said, []);
    lab.wait(1 + TICK_MS);
    assert.deepEqual(far.said, ['abort flow-given-up']);
    assert.equal(lab.counters.flowsTimedOut, 1);
    lab.silent();
    lab.idle();
  });

  it('is reset by an acknowledgement of something new', () => {
    const { lab, app, far } = start();
    inFlight(app, far, 2);
    for (let n = 0; n < 4; n++) {
      lab.waitForFrame(MOST_MS);
      app.expect('P.', { seq: 1, data: 2 * SIZE, gso: SIZE });
    }
    // The answer to the first transmission: it brings the rest at once, and a new measurement.
    app.send('.', { ack: 1 + SIZE });
    app.expect('P.', { seq: 1 + SIZE, data: SIZE });
    const gap = lab.waitForFrame(MOST_MS);
    assert.ok(gap <= MOST_MS);
    app.expect('P.', { seq: 1 + SIZE, data: SIZE });
    app.send('.');
    lab.wait(2 * MOST_MS);
    lab.silent();
    assert.equal(far.outstanding, 0);
  });

  it('follows the round trip (RFC 6298)', () => {
    const { lab, app, far } = start();
    // First measurement: R + 4 * R/2.
    inFlight(app, far, 1);
    lab.wait(200);
    app.send('.');
    inFlight(app, far, 1);
    closeTo(lab.waitForFrame(5000), 600);
    app.expect('P.', { data: SIZE });
    app.send('.', { ts: lab.now });
    lab.silent();
    // Quick ones bring it down, but not below its least.
    for (let n = 0; n < 60; n++) {
      inFlight(app, far, 1);
      lab.wait(1);
      app.send('.');
    }
    inFlight(app, far, 1);
    closeTo(lab.waitForFrame(5000), FIRST_MS);
  });

  it('knows nothing of the round trip without timestamps', () => {
    const { lab, app, far } = start({ timestamps: false });
    far.give(Buffer.alloc(SIZE + 12));
    app.expect('P.', { data: SIZE + 12, gso: 0 });
    lab.wait(200);
    app.send('.');
    far.give(Buffer.alloc(SIZE));
    app.expect('P.', { data: SIZE });
    closeTo(lab.waitForFrame(5000), FIRST_MS);
  });

  it('is not put off by what the far side goes on to say', () => {
    const { lab, app, far } = start();
    far.give('first');
    lab.ignore();
    let again = 0;
    for (let n = 0; n < 300; n++) {
      far.give('x');
      lab.ignore();
      lab.wait(200);
      for (const frame of lab.frames.splice(0)) {
        assert.ok(frame.kind === 'tcp');
        if (((frame.seq - app.theirs) | 0) === 1) again++;
      }
    }
    assert.ok(again >= 5, `sent again ${again} times in a minute`);
  });

  it('nor is the probe of a window that is shut', () => {
    const { lab, app, far } = start();
    app.send('.', { window: 0 });
    let probes = 0;
    for (let n = 0; n < 300; n++) {
      far.give('x');
      lab.wait(200);
      probes += lab.frames.splice(0).length;
      app.send('.', { window: 0 });
    }
    assert.ok(probes >= 5, `${probes} probes in a minute`);
    // Once it opens, what is lost is sent again soon.
    app.send('.', { window: 0xffff });
    lab.ignore();
    assert.ok(lab.waitForFrame(1000) <= 400);
  });

  it('begins anew with what follows, and stops when nothing is in flight', () => {
    const { lab, app, far } = start();
    inFlight(app, far, 1);
    lab.wait(250);
    app.send('.', { ts: lab.now });
    lab.wait(MOST_MS);
    lab.silent();
    assert.ok(lab.deadline > lab.now + 100_000, 'there is only the keepalive');
  });

  it('has lost all that is in flight: the acknowledgements bring one frame after the other', () => {
    const { lab, app, far } = start({ syn: { mss: 65_480, scale: 7 } });
    far.give(Buffer.alloc(3 * 65_463));
    lab.ignore();
    lab.waitForFrame(1000);
    app.expect('.', { seq: 1, data: 65_463 });
    app.send('.', { ack: 1 + 65_463 });
    app.expect('.', { seq: 1 + 65_463, data: 65_463 });
    app.send('.', { ack: 1 + 2 * 65_463 });
    app.expect('.', { seq: 1 + 2 * 65_463, data: 65_463 });
    app.send('.', { ack: 1 + 3 * 65_463 });
    lab.silent();
    assert.equal(far.outstanding, 0);
  });

  it('does not give up a peer that answers with a shut window', () => {
    const { lab, app, far } = start();
    inFlight(app, far, 1);
    // It had no room for what it had admitted, as kernels may; for an hour.
    for (let n = 0; n < 70; n++) {
      lab.waitForFrame(MOST_MS + TICK_MS);
      lab.ignore();
      app.send('.', { ack: 1, window: 0 });
      assert.deepEqual(far.said, [], `given up after ${n} answers`);
    }
    app.send('.', { ack: 1, window: 0xffff });
    lab.waitForFrame(MOST_MS + TICK_MS);
    app.expect('P.', { seq: 1, data: SIZE });
  });
});

describe('a window that is shut', () => {
  it('is probed with the last number, more and more rarely, while the peer answers', () => {
    const { lab, app, far } = start({ win: 0 });
    far.give('waits');
    lab.silent();
    for (let n = 0; n < 40; n++) {
      closeTo(lab.waitForFrame(2 * MOST_MS), Math.min(FIRST_MS * 2 ** n, MOST_MS));
      app.expect('.', { seq: 0, ack: 1 });
      app.send('.', { window: 0 });
    }
    app.send('.', { window: 1 });
    app.expect('P.', { seq: 1, data: 'waits' });
    app.send('.');
    lab.wait(2 * MOST_MS);
    lab.silent();
    assert.equal(far.outstanding, 0);
  });

  it('is lost when nobody answers the probes', () => {
    const { lab, app, far } = start({ win: 0 });
    far.give('waits');
    for (let n = 0; n < MAX_RETRIES; n++) {
      lab.waitForFrame(2 * MOST_MS);
      app.expect('.', { seq: 0 });
    }
    lab.wait(2 * MOST_MS);
    lab.silent();
    assert.deepEqual(far.said, ['abort flow-given-up']);
    assert.equal(lab.counters.flowsTimedOut, 1);
    lab.idle();
  });

  it('opens by an update, at once', () => {
    const { lab, app, far } = start({ win: 0 });
    far.give('waits');
    lab.wait(100);
    app.send('.', { window: 1 });
    app.expect('P.', { data: 'waits' });
  });

  it('is what the newest segment says: an old one does not count', () => {
    const { lab, app, far } = start(unscaled(1000));
    app.send('P.', { seq: 4, data: 'def', window: 0 });
    app.expect('.', { ack: 1 });
    // It has been sent before, and was overtaken.
    app.send('.', { seq: 1, window: 1000 });
    far.give('waits');
    lab.silent();
    app.send('P.', { seq: 1, data: 'abc', window: 1000 });
    app.expect('.', { ack: 4 });
    lab.silent();
    app.send('P.', { seq: 4, data: 'def', window: 1000 });
    app.expect('P.', { seq: 1, data: 'waits' });
    app.expect('.', { ack: 7 });
    lab.silent();
  });
});

describe('the send window', () => {
  it('is never exceeded', () => {
    const { lab, app, far } = start(unscaled(5500));
    far.give(Buffer.alloc(20_000));
    app.expect('.', { seq: 1, data: 5500, gso: SIZE });
    lab.silent();
    app.send('.', { ack: 1 + 1000, window: 5000 });
    lab.silent();
    app.send('.', { ack: 1 + 2000, window: 5000 });
    app.expect('.', { seq: 5501, data: 1500 });
    lab.silent();
  });

  it('has the edge that was told last, when segments have overtaken each other', () => {
    const { lab, app, far } = start(unscaled(5000));
    far.give(Buffer.alloc(20_000));
    app.expect('.', { seq: 1, data: 5000 });
    app.send('P.', { seq: 10, ack: 1, window: 5000, data: 'overtaken' });
    app.expect('.', { ack: 1 });
    // Its sequence number is lower, its acknowledgement newer; the edge is where it was.
    app.send('P.', { seq: 1, ack: 1001, window: 4000, data: 'late data' });
    app.expect('.', { ack: 10 });
    lab.silent();
    // An update of before, behind what is acknowledged by now.
    app.send('.', { seq: 19, ack: 1, window: 5500 });
    app.send('.', { seq: 19, ack: 2001, window: 4000 });
    app.expect('.', { seq: 5001, data: 1000 });
    lab.silent();
  });

  it('that opens by a little is not used for a little (silly windows)', () => {
    const { lab, app, far } = start(unscaled(5000));
    far.give(Buffer.alloc(20_000));
    app.expect('.', { data: 5000 });
    for (const [ack, window] of [
      [101, 5000],
      [501, 5000],
      [1000, 5000],
    ] as const) {
      app.send('.', { ack, window });
      lab.silent();
    }
    app.send('.', { ack: 1001, window: 5000 });
    app.expect('.', { seq: 5001, data: 1000 });
    lab.silent();
  });

  it('that is smaller than a segment is used by halves', () => {
    const { lab, app, far } = start({ syn: { ...SMALL, scale: 0, window: 400 }, win: 400 });
    far.give(Buffer.alloc(2000));
    app.expect('.', { seq: 1, data: 400 });
    app.send('.', { ack: 101, window: 400 });
    lab.silent();
    app.send('.', { ack: 201, window: 400 });
    app.expect('.', { seq: 401, data: 200 });
  });

  it('that is small is used all the same when nothing is in flight', () => {
    const { lab, app, far } = start(unscaled(400));
    far.give(Buffer.alloc(2000));
    app.expect('.', { seq: 1, data: 400 });
    app.send('.', { ack: 301, window: 400 });
    lab.silent();
    app.send('.', { window: 400 });
    app.expect('.', { seq: 401, data: 400 });
  });

  it('has its scale from the SYN, at most 14, and none in the SYN itself', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', { mss: 65_480, scale: 200, window: 1000 });
    const far = app.open();
    app.expect('S.');
    far.give(Buffer.alloc(200_000));
    app.send('.', { window: 8 });
    let sent = 0;
    for (const frame of lab.frames.splice(0)) sent += frame.kind === 'tcp' ? frame.data.length : 0;
    assert.ok(sent > 7 << 14 && sent <= 8 << 14, `${sent} bytes`);
  });

  it('takes what comes in many small parts in frames of a few', () => {
    const { lab, app, far } = start({ win: 0 });
    const text = 'many small parts, one after the other';
    for (const letter of text) far.give(letter);
    far.other.finish();
    app.send('.');
    let seen = '';
    while (lab.frames.length > 0) {
      const frame = lab.next();
      assert.ok(frame.kind === 'tcp');
      assert.equal((frame.seq - app.theirs) | 0, 1 + seen.length);
      seen += frame.data.toString();
      assert.equal(frame.flags.includes('F'), seen.length === text.length);
    }
    assert.equal(seen, text);
  });
});

describe("the peer's MSS", () => {
  for (const family of [4, 6] as const)
    it(`is what the kernel is asked to cut by, IPv${family}`, () => {
      const { lab, app, far } = start({ family, syn: { mss: 1400, scale: 7 } });
      far.give(Buffer.alloc(100_000));
      const most = Math.floor(65_463 / 1388) * 1388;
      app.expect('.', { data: most, gso: 1388 });
      app.expect('P.', { seq: 1 + most, data: 100_000 - most, gso: 1388 });
      far.give(Buffer.alloc(1388));
      app.expect('P.', { data: 1388, gso: 0 });
      lab.silent();
    });

  it('is 536 or 1220 where the SYN names none, and 64 at least', () => {
    for (const [family, mss, size] of [
      [4, undefined, 536 - 12],
      [6, undefined, 1220 - 12],
      [4, 1, 64],
      [4, 0, 536 - 12],
      [4, 65_535, 65_463],
    ] as const) {
      const lab = new TcpLab();
      const app = lab.app({ family });
      app.send('S', { mss, scale: 7 });
      const far = app.open();
      app.expect('S.');
      app.send('.');
      far.give(Buffer.alloc(66_000));
      const frame = lab.next();
      assert.ok(frame.kind === 'tcp');
      assert.equal(frame.gso === 0 ? frame.data.length : frame.gso, size);
    }
  });

  it("is bounded by the device's MTU", () => {
    const lab = new TcpLab({ mtu: 1500 });
    const app = lab.app().send('S', { mss: 65_480, scale: 7 });
    const far = app.open();
    app.expect('S.', { mss: 1460 });
    app.send('.');
    far.give(Buffer.alloc(10_000));
    app.expect('P.', { data: 10_000, gso: 1448 });
  });
});

describe('a packet that is too big for a link', () => {
  /** As a router says it about a segment of the endpoint's with this number. */
  function tooBig(app: TcpApp, seq: number, mtu: number, port = app.tuple.destinationPort): Buffer {
    const { family, tuple } = app;
    const quoted = tcpFrame({
      source: tuple.destination,
      destination: tuple.source,
      sourcePort: port,
      destinationPort: tuple.sourcePort,
      flags: '.',
      seq: app.theirs + seq,
      ack: app.isn,
    });
    return icmpFrame({
      source: ROUTER[family],
      destination: tuple.destination,
      type: family === 4 ? 3 : 2,
      code: family === 4 ? 4 : 0,
      word: mtu,
      body: quoted.subarray(10, 10 + (family === 4 ? 28 : 48)),
    });
  }

  for (const [family, mtu, size] of [
    [4, 1300, 1300 - 52],
    [6, 1300, 1300 - 72],
    [4, 68, 536 - 12],
    [4, 0, 536 - 12],
    [6, 100, 1220 - 12],
  ] as const)
    it(`is sent again in smaller ones: MTU ${mtu}, IPv${family}`, () => {
      const { lab, app, far } = start({ family, syn: { mss: 1460, scale: 7 } });
      far.give(Buffer.alloc(5000));
      app.expect('P.', { seq: 1, data: 5000, gso: 1448 });
      lab.input(tooBig(app, 1, mtu));
      app.expect('P.', { seq: 1, data: 5000, gso: size });
      // The other packets of the same frame say so too.
      lab.input(tooBig(app, 1449, mtu));
      lab.silent();
      app.send('.');
      far.give(Buffer.alloc(size + 1));
      app.expect('P.', { data: size + 1, gso: size });
      assert.equal(lab.counters.tooBig, 2);
      app.send('.');
      // It never grows again.
      far.give(Buffer.alloc(1000));
      app.expect('P.', { data: 1000 });
      lab.input(tooBig(app, app.nextAck - 1, 9000));
      lab.silent();
    });

  it('is no word of ours when it quotes what was not sent', () => {
    const { lab, app, far } = start({ syn: { mss: 1460, scale: 7 } });
    far.give(Buffer.alloc(2000));
    app.expect('P.', { data: 2000, gso: 1448 });
    for (const seq of [0, 2001, -1, 2 ** 31]) lab.input(tooBig(app, seq, 1300));
    lab.input(tooBig(app, 1, 1300, 81));
    lab.silent();
    app.send('.');
    lab.input(tooBig(app, 1, 1300));
    far.give(Buffer.alloc(2000));
    app.expect('P.', { data: 2000, gso: 1448 });
    assert.equal(lab.counters.tooBig, 6);
  });

  it('is ignored for flows that are not open', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', { mss: 1460 });
    lab.input(tooBig(app, 0, 1300));
    app.open();
    app.expect('S.');
    lab.input(tooBig(app, 0, 1300));
    lab.silent();
  });
});
