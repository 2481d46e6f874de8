import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex, PassThrough } from 'node:stream';
import { afterEach, describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { type FlowResult, join } from '../../../src/flow/join.ts';
import { StreamConduit } from '../../../src/flow/streamconduit.ts';
import { closeSockets, socketPair } from '../../support/socketpair.ts';
import { TestConduit } from '../../support/testconduit.ts';

afterEach(closeSockets);

/** Resolves when it is over. */
function carry(near: Duplex, far: Duplex): Promise<FlowResult> {
  for (const stream of [near, far]) {
    stream.on('error', () => {
      // As whoever makes a conduit of a stream has it.
    });
  }
  return new Promise((resolve) => join(new StreamConduit(near), new StreamConduit(far), resolve));
}

/** application <-> near | joined | far <-> server */
async function carried() {
  const [application, near] = await socketPair();
  const [far, server] = await socketPair();
  return { application, near, far, server, result: carry(near, far) };
}

/** Unlike `for await`, leaves the stream's writable side alone. */
async function readAll(stream: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(stream, 'end');
  return Buffer.concat(chunks).toString();
}

describe('join, of two streams', () => {
  it('copies both ways and counts', async () => {
    const { application, server, result } = await carried();
    application.end('question');
    assert.equal(await readAll(server), 'question');
    server.end('a longer answer');
    assert.equal(await readAll(application), 'a longer answer');
    assert.deepEqual(await result, { sent: 8, received: 15, error: undefined });
  });

  it('keeps the other direction open after a half-close', async () => {
    const { application, server, result } = await carried();
    server.end();
    assert.equal(await readAll(application), '');
    application.write('still ');
    application.end('here');
    assert.equal(await readAll(server), 'still here');
    assert.equal((await result).error, undefined);
  });

  it('loses nothing that is still to be written when both sides have ended', async () => {
    const [application, near] = await socketPair();
    const far = new Duplex({ read() {}, write: (_chunk, _encoding, callback) => callback() });
    const result = carry(near, far);
    application.pause();
    application.end();
    await once(near, 'end');
    let sent = 0;
    // Until the kernel takes no more of it, and the socket holds less than what would stop the
    // other.
    for (; near.writableLength === 0; await new Promise(setImmediate)) {
      far.push(Buffer.alloc(8_000, 'x'));
      sent += 8_000;
    }
    far.push(null);
    await once(far, 'end');
    const received = readAll(application);
    application.resume();
    assert.equal((await received).length, sent);
    assert.deepEqual(await result, { sent: 0, received: sent, error: undefined });
  });

  it('loses nothing that the far side has yet to take when the near side is closed outright', async () => {
    const [application, near] = await socketPair();
    const taken: Buffer[] = [];
    let take = () => {};
    const far = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, callback) {
        taken.push(chunk);
        take = callback;
      },
    });
    const result = carry(near, far);
    application.end('question');
    await once(near, 'end');
    far.push(null);
    await once(near, 'close');
    assert.ok(!far.destroyed);
    take();
    assert.deepEqual(await result, { sent: 8, received: 0, error: undefined });
    assert.ok(far.writableFinished);
    assert.equal(String(Buffer.concat(taken)), 'question');
    application.destroy();
  });

  it('turns a reset of the far side into a reset of the near side', async () => {
    const { application, server, result } = await carried();
    server.resetAndDestroy();
    const [error] = (await once(application, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    assert.notEqual((await result).error, undefined);
  });

  it('turns a reset of the near side into a reset of the far side', async () => {
    const { application, server, result } = await carried();
    application.resetAndDestroy();
    const [error] = (await once(server, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    await result;
  });

  it('resets the near side when the far stream is destroyed without an error', async () => {
    const { application, far, result } = await carried();
    far.destroy();
    const [error] = (await once(application, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    await result;
  });

  it('refuses what comes for a far side that has ended and then gone, while the near side is being ended', async () => {
    // In one of these turns of the event loop the FIN is on its way, and libuv refuses to reset the
    // socket.
    for (let turns = 0; turns < 6; turns++) {
      const [application, near] = await socketPair();
      application.on('error', () => {}); // whether it sees the reset depends on the turn
      const far = new Duplex({
        allowHalfOpen: true,
        read() {},
        write: (_chunk, _encoding, callback) => callback(),
      });
      const result = carry(near, far);
      const later = (left: number): void => {
        if (left === 0) far.destroy();
        else process.nextTick(later, left - 1);
      };
      far.on('end', () => later(turns));
      far.push('last words');
      far.push(null);
      assert.equal(await readAll(application), 'last words');
      await turn();
      assert.ok(far.closed && !near.destroyed, 'it may have nothing more to say');
      application.write('who hears this?');
      await result;
      assert.ok(near.closed);
    }
  });

  it('ends in order when the far side has ended and gone, and the application only ends', async () => {
    const { application, far, result } = await carried();
    far.push(null);
    assert.equal(await readAll(application), '');
    far.destroy();
    application.end();
    assert.deepEqual(await result, { sent: 0, received: 0, error: undefined });
    assert.ok(far.closed);
  });

  it('resets the near side when the far stream was closed before they were joined', async () => {
    const [application, near] = await socketPair();
    const far = new PassThrough();
    far.destroy();
    await once(far, 'close');
    const result = carry(near, far);
    const [error] = (await once(application, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    await result;
  });

  it('reads no more than the buffers hold while the other side does not take it', async () => {
    const [application, near] = await socketPair();
    let produced = 0;
    const far = new Duplex({
      allowHalfOpen: true,
      read() {},
      write(chunk, _encoding, _callback) {
        produced += chunk.length; // never calls back: a stalled reader
      },
    });
    const result = carry(near, far);
    application.on('error', () => {}); // it is reset at the end
    application.write(Buffer.alloc(32 << 20));
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.ok(produced > 0);
    assert.ok(
      near.bytesRead < 1 << 20,
      `${near.bytesRead} bytes were read for a reader that takes nothing`,
    );
    far.destroy();
    await result;
  });
});

describe('join', () => {
  it('is over when both ends are, and says what came in at each and the first error', () => {
    const [near, far] = [new TestConduit(), new TestConduit()];
    const results: FlowResult[] = [];
    join(near, far, (result) => results.push(result));
    near.give('question');
    far.give('a longer answer');
    assert.deepEqual([far.text, near.text], ['question', 'a longer answer']);
    const first = new Error('the first');
    far.end(first);
    assert.deepEqual(results, []);
    near.end(new Error('what came of it'));
    assert.deepEqual(results, [{ sent: 8, received: 15, error: first }]);
  });

  it('hears of an end that is over before, or by being joined', async () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ] as const) {
      const stream = new PassThrough();
      stream.on('error', () => {});
      stream.destroy(new Error('lost'));
      await turn();
      assert.ok(stream.closed);
      const other = new TestConduit();
      const ends = [new StreamConduit(stream), other] as const;
      let results = 0;
      join(ends[order[0]], ends[order[1]], ({ error }) => {
        results++;
        assert.equal(error?.message, 'lost');
      });
      assert.deepEqual(other.said, ['abort lost']);
      other.end(new Error('reset'));
      assert.equal(results, 1);
    }
  });
});
