/** Scripts for data in order: the state `open` of tcpflow.ts, and the receive window. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FIRST_WINDOW, MAX_WINDOW, WINDOW_SCALE } from '../../../../src/capture/tun/receiveside.ts';
import { CHALLENGE_MS } from '../../../../src/capture/tun/tcpflow.ts';
import type { Slab } from '../../../../src/flow/memory.ts';
import { pseudoRandomBytes } from '../../../support/bytes.ts';
import { type TcpApp, TcpLab } from '../../../support/tcpscript.ts';

const UNIT = 2 ** WINDOW_SCALE;

function start(family: 4 | 6 = 4, automatic = true) {
  const lab = new TcpLab();
  const app = lab.app({ family });
  const far = app.connect({}, { automatic });
  return { lab, app, far };
}

/** Sends as the window admits; returns how much that was. */
function fill(app: TcpApp, bytes: number, size = 32 * 1024): number {
  let sent = 0;
  for (; sent < bytes; sent += size)
    app.send('.', { data: Buffer.alloc(Math.min(size, bytes - sent), 7) });
  return Math.min(sent, bytes);
}

describe('data', () => {
  for (const family of [4, 6] as const)
    it(`go both ways, and are acknowledged, IPv${family}`, () => {
      const { lab, app, far } = start(family);
      app.send('P.', { data: 'GET' });
      app.expect('.', { seq: 1, ack: 4, ts: true });
      assert.equal(far.text, 'GET');
      far.give('answer');
      app.expect('P.', { seq: 1, ack: 4, data: 'answer', gso: 0 });
      lab.silent();
      assert.equal(far.outstanding, 6);
      app.send('.');
      assert.equal(far.outstanding, 0);
      assert.deepEqual(far.wrong, []);
      lab.silent();
    });

  it('are acknowledged once a batch, which its segments carry where there are any', () => {
    const { lab, app, far } = start();
    lab.batch(() => {
      for (let n = 0; n < 10; n++) app.send('.', { data: 'abcd' });
    });
    app.expect('.', { ack: 41 });
    lab.silent();
    lab.batch(() => {
      app.send('.', { data: 'abcd' });
      far.give('x');
    });
    app.expect('.', { seq: 1, ack: 45, data: 'x' });
    lab.silent();
    assert.equal(far.text, 'abcd'.repeat(11));
  });

  it('that are answered within the call are acknowledged by the answer alone', () => {
    const { lab, app, far } = start();
    far.send = (data) => {
      far.other.taken(data.length);
      far.give('echo');
    };
    app.send('.', { data: 'ping' });
    app.expect('P.', { ack: 5, data: 'echo' });
    lab.silent();
  });

  it('may overlap what is known', () => {
    const { lab, app, far } = start();
    app.send('.', { data: 'abcdef' });
    app.expect('.', { ack: 7 });
    app.send('.', { seq: 4, data: 'defghi' });
    app.expect('.', { ack: 10 });
    // All of it again: a duplicate, at once.
    app.send('.', { seq: 1, data: 'abcdef' });
    app.expect('.', { ack: 10 });
    // The end behind data that are known.
    app.send('F.', { seq: 7, data: 'ghi' });
    app.expect('.', { ack: 11 });
    lab.silent();
    assert.equal(far.text, 'abcdefghi');
    assert.deepEqual(far.said, ['finish']);
  });

  it('ahead of what is expected are dropped, each with a duplicate acknowledgement at once', () => {
    const { lab, app, far } = start();
    lab.batch(() => {
      app.send('.', { seq: 5, data: 'efgh' });
      app.send('.', { seq: 9, data: 'ijkl' });
      app.send('F.', { seq: 13 });
      for (let n = 0; n < 3; n++) app.expect('.', { seq: 1, ack: 1 });
    });
    lab.silent();
    app.send('.', { seq: 1, data: 'abcd' });
    app.expect('.', { ack: 5 });
    assert.equal(far.text, 'abcd');
    assert.deepEqual(far.said, []);
  });

  it('beyond the window are cut off', () => {
    const { app, far } = start(4, false);
    fill(app, FIRST_WINDOW - UNIT);
    app.lab.ignore();
    app.send('F.', { data: Buffer.alloc(1000) });
    app.expect('.', { ack: 1 + FIRST_WINDOW, win: 0 });
    assert.equal(far.data.length, FIRST_WINDOW);
    assert.deepEqual(far.said, []);
  });

  it('urgent are inline', () => {
    const { app, far } = start();
    app.send('PU.', { data: 'now' });
    app.expect('.', { ack: 4 });
    assert.equal(far.text, 'now');
  });

  it('without an acknowledgement are dropped', () => {
    const { lab, app, far } = start();
    app.send('P', { data: 'lost' });
    app.send('', { data: 'lost' });
    lab.silent();
    assert.equal(far.text, '');
  });

  it('arrive in frames of 64 KiB, and go out in such', () => {
    for (const family of [4, 6] as const) {
      const { lab, app, far } = start(family);
      const bytes = pseudoRandomBytes(200_000, 'frames');
      for (let at = 0; at < bytes.length; at += 65_400)
        app.send('.', { data: bytes.subarray(at, at + 65_400) });
      assert.ok(far.data.equals(bytes));
      lab.ignore();
      far.give(bytes);
      const sizes: number[] = [];
      const received: Buffer[] = [];
      while (Buffer.concat(received).length < bytes.length) {
        const frame = lab.next();
        assert.ok(frame.kind === 'tcp');
        sizes.push(frame.data.length);
        received.push(frame.data);
      }
      assert.ok(Buffer.concat(received).equals(bytes));
      const most = family === 4 ? 65_463 : 65_448;
      assert.deepEqual(sizes, [most, most, most, bytes.length - 3 * most]);
    }
  });

  it('after the end of what the application sends are answered, and no more', () => {
    const { lab, app, far } = start();
    app.send('F.');
    app.expect('.', { ack: 2 });
    app.send('.', { data: 'more' });
    app.expect('.', { ack: 2 });
    lab.silent();
    assert.equal(far.text, '');
    assert.deepEqual(far.said, ['finish']);
  });

  it('of size zero, from the far side, are nothing, and hold nothing', () => {
    const { lab, app, far } = start();
    const slab = lab.slabs.take();
    far.other.send(slab.bytes.subarray(0, 0), slab);
    far.give('x');
    far.other.send(slab.bytes.subarray(0, 0), slab);
    app.expect('.', { data: 'x' });
    app.send('.');
    assert.equal(slab.shared, false);
    slab.release();
    lab.silent();
  });

  it('are held by their slab until they are acknowledged, or the timer copies them out', () => {
    const { lab, app, far } = start();
    const slab = lab.slabs.take();
    slab.bytes.fill(1, 0, 10);
    far.give(slab.bytes.subarray(0, 10), slab);
    const first = app.expect('.', { seq: 1, data: 10 });
    assert.equal(slab.shared, true);
    lab.wait(400);
    assert.equal(slab.shared, false, 'copied out');
    slab.bytes.fill(2);
    assert.deepEqual(app.expect('.', { seq: 1, data: 10 }).data, first.data);
    app.send('.');
    far.give(slab.bytes.subarray(0, 10), slab);
    app.expect('.', { data: 10 });
    app.send('.');
    assert.equal(slab.shared, false, 'acknowledged');
    far.give(slab.bytes.subarray(0, 10), slab);
    app.expect('.', { data: 10 });
    app.send('R');
    assert.equal(slab.shared, false, 'reset');
    slab.release();
    lab.idle();
  });
});

describe('data before the connection is complete', () => {
  it('are copied out of their slabs when it takes long', () => {
    const lab = new TcpLab();
    const app = lab.app().send('S', { mss: 1460, scale: 7 });
    const far = app.open();
    app.expect('S.');
    const slab = lab.slabs.take();
    slab.bytes.fill(97, 0, 10);
    far.give(slab.bytes.subarray(0, 10), slab);
    assert.equal(slab.shared, true);
    lab.wait(1100);
    app.expect('S.');
    assert.equal(slab.shared, false);
    slab.bytes.fill(98);
    slab.release();
    app.send('.');
    app.expect('P.', { data: 'a'.repeat(10) });
  });
});

describe('much data that can not be sent', () => {
  it('are copied out of their slabs at once', () => {
    const { lab, app, far } = start();
    app.send('.', { window: 0 });
    const held: Slab[] = [];
    for (let n = 0; n < 20; n++) {
      const slab = lab.slabs.take();
      slab.bytes.fill(97 + n, 0, 32 * 1024);
      far.give(slab.bytes.subarray(0, 32 * 1024), slab);
      held.push(slab);
    }
    assert.ok(held.filter((slab) => slab.shared).length <= 16, 'at most 512 KiB are borrowed');
    for (const slab of held) {
      if (!slab.shared) slab.bytes.fill(0);
      slab.release();
    }
    app.send('.', { window: 0xffff });
    const received: Buffer[] = [];
    for (const frame of lab.frames.splice(0)) if (frame.kind === 'tcp') received.push(frame.data);
    const all = Buffer.concat(received);
    assert.equal(all.length, 20 * 32 * 1024);
    for (let n = 0; n < 20; n++) {
      const part = all.subarray(n * 32 * 1024, (n + 1) * 32 * 1024);
      assert.ok(
        part.every((byte) => byte === 97 + n),
        `piece ${n}`,
      );
    }
    app.send('.', { ack: 1 + all.length });
    assert.equal(far.outstanding, 0);
    far.other.abort(undefined);
    lab.idle();
  });
});

describe('the receive window', () => {
  it('is what has not been taken, and follows taken()', () => {
    const { lab, app, far } = start(4, false);
    app.send('.', { data: Buffer.alloc(UNIT * 100) });
    app.expect('.', { win: FIRST_WINDOW / UNIT - 100 });
    far.take(UNIT * 50);
    lab.silent();
    app.send('.', { data: Buffer.alloc(UNIT) });
    app.expect('.', { win: FIRST_WINDOW / UNIT - 51 });
  });

  it('shuts, and is told when it has opened by half', () => {
    const { lab, app, far } = start(4, false);
    fill(app, FIRST_WINDOW);
    const frames = lab.frames.splice(0);
    const last = frames.at(-1);
    assert.ok(last?.kind === 'tcp' && last.window === 0);
    far.take(FIRST_WINDOW / 2 - 1);
    lab.silent();
    far.take(1);
    app.expect('.', { ack: 1 + FIRST_WINDOW, win: FIRST_WINDOW / 2 / UNIT });
    lab.silent();
  });

  for (const size of [1, 50, 127, 129, 1000])
    it(`shuts for an application that writes ${size} bytes at a time, too`, () => {
      const { lab, app, far } = start(4, false);
      let window = Number.POSITIVE_INFINITY;
      while (window > 0) {
        app.send('.', { data: Buffer.alloc(size) });
        lab.settle();
        for (const frame of lab.frames.splice(0)) {
          assert.ok(frame.kind === 'tcp');
          window = frame.window;
        }
        assert.ok(far.untaken < FIRST_WINDOW + UNIT, `${far.untaken} wait`);
      }
      assert.ok(far.untaken > FIRST_WINDOW - UNIT - size);
    });

  it('grows once as much as it has been taken', () => {
    const { lab, app, far } = start(4, false);
    fill(app, FIRST_WINDOW);
    lab.ignore();
    far.take();
    const update = app.expect('.');
    assert.equal(update.window, MAX_WINDOW / UNIT);
    lab.silent();
  });

  it('is never taken back', () => {
    const lab = new TcpLab();
    // Windows are told in units: an edge may seem to come back by less than one (RFC 7323 §2.4).
    const app = lab.app();
    const far = app.connect({}, { automatic: false });
    let edge = 1 + 0xffff;
    let sent = 0;
    for (let n = 0; n < 3000; n++) {
      const size = 1 + ((n * 7919) % 997);
      if (app.nextSeq + size > edge) {
        far.take(Math.ceil(far.untaken / 3));
        lab.settle();
      } else {
        app.send('.', { data: Buffer.alloc(size) });
        sent += size;
      }
      for (const frame of lab.frames.splice(0)) {
        assert.ok(frame.kind === 'tcp');
        const next = ((frame.ack - app.isn) | 0) + frame.window * UNIT;
        assert.ok(next > edge - UNIT, `${next} after ${edge}`);
        edge = Math.max(edge, next);
      }
    }
    assert.ok(far.data.length === sent && sent > 2 * FIRST_WINDOW);
    assert.ok(edge - app.nextSeq <= MAX_WINDOW + UNIT);
  });

  it('without scaling is at most 65535', () => {
    const lab = new TcpLab();
    const app = lab.app({ timestamps: false });
    app.send('S', { mss: 1460 });
    const far = app.open({ automatic: false });
    app.expect('S.', { win: 0xffff });
    app.send('.');
    app.send('.', { data: Buffer.alloc(30_000) });
    app.expect('.', { ack: 30_001, win: 0xffff });
    for (let n = 0; n < 4; n++) app.send('.', { data: Buffer.alloc(30_000) });
    lab.ignore();
    app.send('.', { data: Buffer.alloc(20_000) });
    app.expect('.', { ack: 1 + FIRST_WINDOW, win: 0 });
    assert.equal(far.data.length, FIRST_WINDOW);
  });

  it('that is shut is told to whoever probes, so many times a second', () => {
    const { lab, app } = start(4, false);
    fill(app, FIRST_WINDOW);
    lab.ignore();
    lab.wait(CHALLENGE_MS);
    const probe = app.nextSeq - 1;
    app.send('.', { seq: probe });
    app.expect('.', { ack: 1 + FIRST_WINDOW, win: 0 });
    app.send('.', { seq: probe });
    lab.silent();
    lab.wait(CHALLENGE_MS);
    app.send('.', { seq: probe });
    app.expect('.', { win: 0 });
    // A probe with data.
    app.send('.', { data: 'x' });
    app.expect('.', { ack: 1 + FIRST_WINDOW, win: 0 });
    lab.silent();
  });

  it('that is shut still takes acknowledgements and resets', () => {
    const { lab, app, far } = start(4, false);
    fill(app, FIRST_WINDOW);
    lab.ignore();
    far.give('data');
    app.expect('.', { data: 'data' });
    app.send('.');
    assert.equal(far.outstanding, 0);
    app.send('R');
    assert.deepEqual(far.said, ['abort ECONNRESET']);
    lab.idle();
  });

  it('is that of the others while the far sides have much to take', () => {
    const lab = new TcpLab();
    const apps = Array.from({ length: 270 }, () => {
      const app = lab.app();
      return { app, far: app.connect({}, { automatic: false }) };
    });
    for (const { app } of apps) fill(app, FIRST_WINDOW, 65_000);
    lab.ignore();
    const [first] = apps;
    assert.ok(first !== undefined);
    // It has a window of MAX_WINDOW by now, of which it is granted only a part.
    first.far.take();
    const told = first.app.expect('.');
    assert.equal(told.window, (64 * 1024) / UNIT);
    fill(first.app, 64 * 1024);
    lab.ignore();
    first.far.take();
    first.app.expect('.', { win: (64 * 1024) / UNIT });
  });
});
