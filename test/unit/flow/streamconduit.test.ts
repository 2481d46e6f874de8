/** A stream as one end of a connection: what it says to the other end, and when. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { StreamConduit } from '../../../src/flow/streamconduit.ts';
import { CountingPool } from '../../support/countingpool.ts';
import { closeSockets, socketPair } from '../../support/socketpair.ts';
import { joined } from '../../support/testconduit.ts';

const KIB = 1024;
/** What may wait at the other end. */
const HIGH_WATER = 256 * KIB;
const LOW_WATER = 128 * KIB;

/** A stream whose writes wait for the test. */
class Held extends Duplex {
  readonly written: Buffer[] = [];
  readonly #callbacks: (() => void)[] = [];

  constructor() {
    super({ allowHalfOpen: true });
    this.on('error', () => {});
  }

  /** One write is done. */
  async done(): Promise<void> {
    this.#callbacks.shift()?.();
    await turn();
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.written.push(Buffer.from(chunk));
    this.#callbacks.push(callback);
  }

  get text(): string {
    return Buffer.concat(this.written).toString();
  }
}

afterEach(closeSockets);

async function until(condition: () => boolean): Promise<void> {
  for (let waited = 0; !condition() && waited < 2_000; waited += 5) await delay(5);
  assert.ok(condition(), condition.toString());
}

/**
 * Writes until it is told that nobody takes it: libuv watches no socket that has been read to its
 * end.
 */
async function refused(peer: Socket): Promise<string> {
  let code: string | undefined;
  peer.once('error', (error: NodeJS.ErrnoException) => {
    code = error.code;
  });
  for (let tries = 0; code === undefined && tries < 200; tries++) {
    peer.write('who hears this?');
    await delay(10);
  }
  return code ?? 'nothing';
}

async function ended(peer: Socket): Promise<string> {
  peer.resume();
  const error = once(peer, 'error').then(([cause]) => (cause as NodeJS.ErrnoException).code ?? '');
  return Promise.race([error, once(peer, 'end').then(() => 'end')]);
}

describe('StreamConduit', () => {
  it('passes on what comes and its end, and counts it', async () => {
    const stream = new Held();
    const conduit = new StreamConduit(stream);
    const other = joined(conduit);
    stream.push('one ');
    stream.push('two');
    stream.push(null);
    await turn();
    await turn();
    assert.equal(other.text, 'one two');
    assert.equal(conduit.received, 7);
    assert.deepEqual([other.said, other.wrong], [['finish'], []]);
  });

  it('writes what it is sent, which is taken when the stream has written it', async () => {
    const stream = new Held();
    const other = joined(new StreamConduit(stream));
    other.give('one ');
    other.give('two');
    other.other.finish();
    assert.equal(other.outstanding, 7);
    await stream.done();
    assert.equal(other.outstanding, 3);
    assert.ok(!stream.writableFinished);
    await stream.done();
    await turn();
    assert.equal(other.outstanding, 0);
    assert.equal(stream.text, 'one two');
    assert.ok(stream.writableFinished, 'the end goes behind it');
    stream.push('still ');
    stream.push('here');
    await turn();
    assert.equal(other.text, 'still here', 'and reading goes on');
  });

  it('holds memory that is used again until it is written', async () => {
    const pool = new CountingPool(100, 1);
    const stream = new Held();
    const other = joined(new StreamConduit(stream));
    const give = (text: string): void => {
      const slab = pool.take();
      slab.bytes.write(text);
      other.give(slab.bytes.subarray(0, text.length), slab);
      slab.release();
    };
    give('one');
    assert.equal(pool.live, 1);
    await stream.done();
    assert.equal(pool.live, 0);
    give('two');
    assert.equal(pool.live, 1);
    stream.destroy();
    await once(stream, 'close');
    assert.equal(pool.live, 0, 'or until the stream is closed');
  });

  it('holds no memory that is used again for what waits behind something else', async () => {
    const pool = new CountingPool(100, 1);
    const stream = new Held();
    const other = joined(new StreamConduit(stream), { automatic: false });
    other.give('first, ');
    const slab = pool.take();
    slab.bytes.write('second');
    other.give(slab.bytes.subarray(0, 6), slab);
    assert.ok(!slab.shared);
    slab.bytes.fill('x');
    await stream.done();
    await stream.done();
    assert.equal(stream.text, 'first, second');
  });

  it('stops reading while too much has not been taken, and goes on when half of it has', async () => {
    const stream = new Held();
    const other = joined(new StreamConduit(stream), { automatic: false });
    let given = 0;
    for (; given < 4 * HIGH_WATER; given += 64 * KIB) {
      stream.push(Buffer.alloc(64 * KIB));
      await turn();
    }
    assert.equal(other.untaken, HIGH_WATER);
    other.take(HIGH_WATER - LOW_WATER - 1);
    await turn();
    assert.equal(other.data.length, HIGH_WATER);
    other.take(1);
    await turn();
    assert.ok(
      other.untaken >= HIGH_WATER && other.untaken < HIGH_WATER + 64 * KIB,
      `${other.untaken}`,
    );
    while (other.data.length < given) {
      other.take();
      await turn();
    }
    assert.deepEqual(other.wrong, []);
  });

  it('shut: delivers what it has, and resets whoever sends more', async () => {
    const [socket, peer] = await socketPair();
    const other = joined(new StreamConduit(socket));
    other.give('last words');
    other.other.finish();
    other.other.shut();
    const [chunk] = (await once(peer, 'data')) as [Buffer];
    assert.equal(chunk.toString(), 'last words');
    await once(peer, 'end');
    assert.ok(!socket.destroyed, 'it may have nothing more to say');
    assert.match(await refused(peer), /^(ECONNRESET|EPIPE)$/);
    assert.equal(other.text, '', 'and passes nothing on');
  });

  it('shut: one that says nothing any more is reset after a minute', async (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const [socket, peer] = await socketPair();
    const other = joined(new StreamConduit(socket));
    other.other.finish();
    other.other.shut();
    await once(peer.resume(), 'end');
    context.mock.timers.tick(59_999);
    await turn();
    assert.ok(!socket.destroyed);
    context.mock.timers.tick(1);
    assert.ok(socket.destroyed);
  });

  it('shut: a reader that takes longer than that loses nothing', async (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const stream = new Held();
    const other = joined(new StreamConduit(stream));
    other.give('a long answer');
    other.other.finish();
    other.other.shut();
    context.mock.timers.tick(600_000);
    assert.ok(!stream.destroyed);
    await stream.done();
    assert.equal(stream.text, 'a long answer');
    context.mock.timers.tick(60_000);
    assert.ok(stream.destroyed);
  });

  it('shut: waits with the reset until all has been written', async () => {
    const stream = new Held();
    const other = joined(new StreamConduit(stream));
    other.give('last words');
    other.other.finish();
    other.other.shut();
    stream.push('who hears this?');
    await turn();
    assert.ok(!stream.destroyed);
    await stream.done();
    await turn();
    assert.ok(stream.destroyed);
  });

  it('shut: reads on where it had paused, so that a peer which sends hears of it', async () => {
    const stream = new Held();
    const other = joined(new StreamConduit(stream), { automatic: false });
    for (let given = 0; given < 2 * HIGH_WATER; given += 64 * KIB) {
      stream.push(Buffer.alloc(64 * KIB));
      await turn();
    }
    assert.ok(stream.isPaused());
    other.other.finish();
    other.other.shut();
    await turn();
    await turn();
    assert.ok(stream.destroyed);
  });

  it('shut: one that has only its end to say is closed in order', async () => {
    const [socket, peer] = await socketPair();
    const conduit = new StreamConduit(socket);
    const outcomes: unknown[] = [];
    conduit.whenOver((error) => outcomes.push(error));
    const other = joined(conduit);
    other.other.finish();
    other.other.shut();
    peer.resume();
    peer.end();
    await once(socket, 'close');
    assert.deepEqual(outcomes, [undefined]);
    assert.deepEqual(other.said, ['finish']);
  });

  it('abort resets a socket', async () => {
    const [socket, peer] = await socketPair();
    const other = joined(new StreamConduit(socket));
    other.other.abort(new Error('why'));
    assert.equal(await ended(peer), 'ECONNRESET');
  });

  it('abort destroys any other stream with the error', async () => {
    const stream = new Held();
    const conduit = new StreamConduit(stream);
    const other = joined(conduit);
    const outcomes: unknown[] = [];
    conduit.whenOver((error) => outcomes.push(error?.message));
    other.other.abort(new Error('why'));
    await once(stream, 'close').catch(() => {});
    assert.equal(stream.errored?.message, 'why');
    assert.deepEqual(outcomes, ['why']);
  });

  it('a socket that is reset is a reset for the other end', async () => {
    const [socket, peer] = await socketPair();
    const conduit = new StreamConduit(socket);
    let outcome: Error | undefined;
    conduit.whenOver((error) => {
      outcome = error;
    });
    const other = joined(conduit);
    peer.resetAndDestroy();
    await until(() => other.said.length > 0);
    assert.deepEqual(other.said, ['abort ECONNRESET']);
    assert.equal((outcome as NodeJS.ErrnoException | undefined)?.code, 'ECONNRESET');
  });

  it('a stream that is closed after its own end takes nothing more: the other end is shut', async () => {
    const stream = new Held();
    const other = joined(new StreamConduit(stream));
    stream.push('all');
    stream.push(null);
    other.give('never written');
    await turn();
    stream.destroy();
    await once(stream, 'close');
    assert.deepEqual([other.text, other.said], ['all', ['finish', 'shut']]);
    const before = other.outstanding;
    other.give('too late');
    assert.equal(other.outstanding, before, 'what comes later is taken, and dropped');
  });

  it('when both directions have ended, the socket is closed at once and nothing is lost', async () => {
    const [socket, peer] = await socketPair();
    const conduit = new StreamConduit(socket);
    const outcomes: unknown[] = [];
    conduit.whenOver((error) => outcomes.push(error));
    const other = joined(conduit);
    peer.end('question');
    await until(() => other.said.includes('finish'));
    other.give('answer');
    other.other.finish();
    let text = '';
    peer.on('data', (chunk: Buffer) => {
      text += chunk;
    });
    assert.equal(await ended(peer), 'end');
    assert.deepEqual([other.text, text], ['question', 'answer']);
    await until(() => outcomes.length > 0);
    assert.deepEqual(outcomes, [undefined]);
    assert.deepEqual([other.said, other.outstanding], [['finish'], 0]);
  });

  it('ignores what it is told when it is over', async () => {
    const stream = new Held();
    const conduit = new StreamConduit(stream);
    const other = joined(conduit);
    stream.destroy();
    await once(stream, 'close');
    assert.deepEqual(other.said, ['abort without an error']);
    conduit.finish();
    conduit.shut();
    conduit.abort(new Error('late'));
    conduit.taken(1);
    await turn();
    assert.deepEqual([other.said, other.wrong], [['abort without an error'], []]);
  });

  for (const [how, lose, said] of [
    ['with an error', (stream: Duplex) => void stream.destroy(new Error('lost')), 'abort lost'],
    ['without one', (stream: Duplex) => void stream.destroy(), 'abort without an error'],
  ] as const) {
    it(`lost ${how} before it is joined: says so when it is`, async () => {
      const closed = new Held();
      lose(closed);
      await once(closed, 'close').catch(() => {});
      const destroyed = new Held();
      lose(destroyed);
      for (const stream of [closed, destroyed]) {
        const conduit = new StreamConduit(stream);
        const outcomes: unknown[] = [];
        conduit.whenOver((error) => outcomes.push(error?.message));
        const other = joined(conduit);
        await turn();
        await turn();
        assert.deepEqual([other.said, other.wrong], [[said], []]);
        assert.equal(outcomes.length, 1);
      }
    });
  }

  it('what came before it is joined is passed on', async () => {
    const [socket, peer] = await socketPair();
    peer.end('a greeting');
    await delay(20);
    const other = joined(new StreamConduit(socket));
    await until(() => other.said.length > 0);
    assert.deepEqual([other.text, other.said], ['a greeting', ['finish']]);
  });
});
