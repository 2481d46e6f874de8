/** The outbox, over sockets that are quick, slow, full, or broken. */
import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { MAX_BACKLOG, Outbox } from '../../../../../src/ssh/embedded/channels/outbox.ts';

const SLAB = 128 * 1024;

/**
 * Takes a write at once, or holds it until it is told to let it go: then compares what it holds
 * with what it was given.
 */
class FakeSocket extends Duplex {
  readonly written: Buffer[] = [];
  /** Takes nothing at once. */
  slow = false;
  #held: {
    readonly view: Buffer;
    readonly copy: Buffer;
    readonly done: (error?: Error) => void;
  }[] = [];

  override _read(): void {
    // Nothing comes.
  }

  override _write(
    chunk: Buffer,
    _encoding: string,
    callback: (error?: Error | null) => void,
  ): void {
    if (this.slow) {
      this.#held.push({ view: chunk, copy: Buffer.from(chunk), done: callback });
      return;
    }
    this.written.push(Buffer.from(chunk));
    callback();
  }

  get holding(): boolean {
    return this.#held.length > 0;
  }

  /** What the kernel takes when there is room again. */
  takeOne(error?: Error): void {
    const write = this.#held.shift();
    if (write === undefined) return;
    assert.ok(write.view.equals(write.copy), 'what the socket holds has been overwritten');
    this.written.push(write.copy);
    write.done(error);
  }
}

interface Subject {
  readonly socket: FakeSocket;
  readonly outbox: Outbox;
  writable: number;
  overflows: number;
}

function make(): Subject {
  const socket = new FakeSocket({ writableHighWaterMark: 16 * 1024 });
  socket.on('error', () => {
    // Sockets are broken in these tests.
  });
  const subject = { socket, writable: 0, overflows: 0 };
  const outbox = new Outbox(socket, {
    onWritable: () => subject.writable++,
    onSent: () => {},
    onOverflow: () => subject.overflows++,
  });
  return Object.assign(subject, { outbox });
}

const length = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 1, max: 200 }) },
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 33_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: SLAB - 2, max: SLAB + 5_000 }) },
);
const action = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('packet' as const), length }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('foreign' as const), length }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('unused' as const), length }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('flush', 'turn', 'slow', 'quick') }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('take' as const) }) },
);

describe('Outbox', () => {
  it('sends what it was given, in order, and overwrites nothing that is still in the socket', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.array(action, { maxLength: 120 }),
        async (slow, actions) => {
          const { socket, outbox } = make();
          socket.slow = slow;
          const expected: Buffer[] = [];
          let next = 0;
          const fill = (packet: Buffer): Buffer => {
            // Each packet has a pattern of its own.
            packet.fill(Buffer.from([next & 0xff, (next >> 8) & 0xff, 0x5a]));
            next++;
            expected.push(Buffer.from(packet));
            return packet;
          };
          for (const each of actions) {
            if (each.kind === 'packet' && 'length' in each) {
              const packet = outbox.alloc(each.length);
              assert.equal(packet.length, each.length);
              outbox.take(fill(packet));
            } else if (each.kind === 'foreign' && 'length' in each) {
              const packet = fill(Buffer.alloc(each.length));
              outbox.take(packet);
            } else if (each.kind === 'unused' && 'length' in each) {
              // A cipher that is gone takes space and gives nothing back.
              outbox.alloc(each.length);
            } else if (each.kind === 'flush') outbox.flush();
            else if (each.kind === 'turn') await turn();
            else if (each.kind === 'take') socket.takeOne();
            else socket.slow = each.kind === 'slow';
          }
          await turn();
          socket.slow = false;
          while (socket.holding) {
            socket.takeOne();
            await turn();
          }
          assert.ok(Buffer.concat(socket.written).equals(Buffer.concat(expected)));
          assert.equal(outbox.writable, true);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('is not writable while data wait in the socket, and reports once when it is again', async () => {
    const subject = make();
    const { socket, outbox } = subject;
    socket.slow = true;
    outbox.take(outbox.alloc(100));
    assert.equal(outbox.writable, true, 'nothing is written before the end of the turn');
    await turn();
    assert.equal(outbox.writable, false);
    // Control messages go on.
    outbox.take(outbox.alloc(50));
    await turn();
    socket.takeOne();
    await turn();
    assert.equal(outbox.writable, false, 'the second is still held');
    assert.equal(subject.writable, 0);
    socket.takeOne();
    await turn();
    assert.equal(outbox.writable, true);
    assert.equal(subject.writable, 1);
  });

  it('control messages to a server that reads nothing take no more memory than their bytes, and are limited', async () => {
    const subject = make();
    const { socket, outbox } = subject;
    socket.slow = true;
    outbox.take(outbox.alloc(60_000));
    await turn();
    const slabs = new Set<ArrayBufferLike>();
    for (let message = 0; message < 2_000; message++) {
      const packet = outbox.alloc(48);
      slabs.add(packet.buffer);
      outbox.take(packet);
      outbox.flush();
    }
    assert.ok(slabs.size <= 2, `${slabs.size} slabs for 96 KB in turns of their own`);
    assert.equal(subject.overflows, 0);
    for (let sent = 0; sent <= MAX_BACKLOG; sent += 30_000) outbox.take(outbox.alloc(30_000));
    outbox.flush();
    assert.equal(subject.overflows, 1);
    outbox.take(outbox.alloc(30_000));
    outbox.flush();
    assert.equal(subject.overflows, 1, 'said once');
  });

  it('a socket that fails while data wait in it: nothing is writable, and nothing is thrown', async () => {
    for (const fail of [
      (socket: FakeSocket) => socket.takeOne(new Error('EPIPE')),
      (socket: FakeSocket) => void socket.destroy(),
    ]) {
      const subject = make();
      const { socket, outbox } = subject;
      socket.slow = true;
      outbox.take(outbox.alloc(40_000));
      outbox.take(outbox.alloc(40_000));
      await turn();
      outbox.take(outbox.alloc(40_000));
      await turn();
      fail(socket);
      await turn();
      assert.equal(outbox.writable, false);
      assert.equal(subject.writable, 0);
      for (let packet = 0; packet < 50; packet++) outbox.take(outbox.alloc(33_000));
      outbox.flush();
      await turn();
      assert.equal(outbox.writable, false);
    }
  });

  it('a socket that is closed while nothing waits is not writable either', () => {
    const { socket, outbox } = make();
    assert.equal(outbox.writable, true);
    socket.destroy();
    assert.equal(outbox.writable, false);
  });

  it('bulk data through a fast socket uses one slab', async () => {
    const { outbox } = make();
    const slabs = new Set<ArrayBufferLike>();
    for (let packet = 0; packet < 1_000; packet++) {
      const space = outbox.alloc(32_830);
      slabs.add(space.buffer);
      outbox.take(space);
      if (packet % 7 === 0) await turn();
    }
    assert.equal(slabs.size, 1);
  });

  it('fills padding with bytes that differ', () => {
    const { outbox } = make();
    const seen = new Set<string>();
    for (let packet = 0; packet < 5_000; packet++) {
      const padding = Buffer.alloc(4 + (packet % 16));
      outbox.pad(padding);
      seen.add(padding.toString('hex', 0, 4));
    }
    assert.ok(seen.size > 4_990, `${seen.size} of 5000`);
  });
});
