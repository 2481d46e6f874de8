/**
 * Tests of what every Transport promises (src/ssh/transport.ts). Each implementation supplies a
 * fixture.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { TunnelError } from '../../src/errors/errors.ts';
import { streamOf } from '../../src/flow/conduitstream.ts';
import { ConnectError } from '../../src/flow/connector.ts';
import type { Destination } from '../../src/net/destination.ts';
import type { Transport } from '../../src/ssh/transport.ts';
import { connectStream } from '../support/connectstream.ts';
import { joined } from '../support/testconduit.ts';
import { AT_ONCE_MS } from '../support/until.ts';

export interface TransportFixture {
  readonly transport: Transport;
  /** A destination whose far side is handled by `handler`: a half-open byte stream. */
  serve(handler: (far: Duplex) => void): Promise<Destination>;
  /** Aborts the far side's end, as a crashing program's kernel does. */
  reset(far: Duplex): void;
  refused(): Promise<Destination>;
  prohibited(): Promise<Destination>;
  /**
   * Doesn't answer until `answer` is called. `closed` resolves when all connections accepted by
   * then are closed again.
   */
  silent(): Promise<{ destination: Destination; answer(): void; closed: Promise<void> }>;
  /** The link drops without warning. */
  lose(): Promise<void>;
  stop(): Promise<void>;
}

const MIB = 1024 * 1024;
/**
 * A transport may buffer this much for a reader that doesn't read: SSH's window of 2 MiB and a
 * buffer.
 */
const MAX_HELD_BYTES = 2.5 * MIB;

export function transportContract(
  name: string,
  makeFixture: () => Promise<TransportFixture>,
  skip: string | false = false,
): void {
  const test = (title: string, body: (fixture: TransportFixture) => Promise<void>): void => {
    it(title, { timeout: 60_000 }, async () => {
      const fixture = await makeFixture();
      try {
        await body(fixture);
      } finally {
        await fixture.stop();
      }
    });
  };

  describe(`transport contract: ${name}`, { skip }, () => {
    test('carries bytes both ways', async ({ transport, serve }) => {
      const stream = await connectStream(transport, await serve((far) => far.pipe(far)));
      stream.write('one ');
      stream.end('two');
      assert.equal((await readAll(stream)).toString(), 'one two');
      await closed(stream);
    });

    test('carries 32 MiB each way at the same time, unchanged', async ({ transport, serve }) => {
      const down = randomBytes(32 * MIB);
      const up = randomBytes(32 * MIB);
      let received: Promise<Buffer> | undefined;
      const stream = await connectStream(
        transport,
        await serve((far) => {
          received = readAll(far);
          far.end(down);
        }),
      );
      stream.end(up);
      assert.equal(digest(await readAll(stream)), digest(down));
      assert.equal(digest((await received) ?? Buffer.alloc(0)), digest(up));
    });

    test('half-close: after end() the answer can still be read', async ({ transport, serve }) => {
      const destination = await serve((far) => {
        readAll(far).then(
          (request) => far.end(`answer to ${request}`),
          (error: Error) => far.destroy(error),
        );
      });
      const stream = await connectStream(transport, destination);
      stream.end('question');
      assert.equal((await readAll(stream)).toString(), 'answer to question');
    });

    test('half-close: after the far side has ended, it can still be written to', async ({
      transport,
      serve,
    }) => {
      let received: Promise<Buffer> | undefined;
      const destination = await serve((far) => {
        received = readAll(far);
        far.end('that is all from here');
      });
      const stream = await connectStream(transport, destination);
      assert.equal((await readAll(stream)).toString(), 'that is all from here');
      assert.ok(stream.writable);
      await new Promise((resolve) => stream.write(Buffer.alloc(3 * MIB, 'x'), resolve));
      stream.end('end');
      assert.equal((await received)?.length, 3 * MIB + 3);
      await closed(stream);
    });

    test('a reset at the far side destroys a stream that is written to', async ({
      transport,
      serve,
      reset,
    }) => {
      const stream = await connectStream(
        transport,
        await serve((far) => {
          far.resume();
          far.once('data', () => reset(far));
        }),
      );
      const outcome = closed(stream);
      stream.resume();
      stream.write('die');
      let called = 0;
      let written = 0;
      while (!stream.destroyed) {
        written++;
        stream.write('more', () => called++);
        await delay(20);
      }
      assert.equal(((await outcome) as NodeJS.ErrnoException | undefined)?.code, 'ECONNRESET');
      await delay(20);
      assert.equal(called, written);
    });

    test('a reset before anybody listens is not an uncaught exception', async ({
      transport,
      serve,
      reset,
    }) => {
      await withoutUncaught(async () => {
        // After the first data: the server's connect() may see an earlier reset, and then fails.
        const stream = await connectStream(
          transport,
          await serve((far) => far.once('data', () => reset(far))),
        );
        stream.resume();
        while (!stream.destroyed) {
          stream.write('more');
          await delay(20);
        }
        await delay(20);
        assert.equal((stream.errored as NodeJS.ErrnoException | null)?.code, 'ECONNRESET');
        assert.ok(stream.closed);
      });
    });

    test('close() before anybody listens is not an uncaught exception', async ({
      transport,
      serve,
    }) => {
      await withoutUncaught(async () => {
        const stream = await connectStream(transport, await serve((far) => far.resume()));
        await transport.close();
        await delay(20);
        assert.equal((stream.errored as TunnelError | null)?.code, 'link-closed');
        assert.ok(stream.closed);
      });
    });

    test('a link that is lost before anybody listens is not an uncaught exception', async (fixture) => {
      await withoutUncaught(async () => {
        const stream = await connectStream(
          fixture.transport,
          await fixture.serve((far) => far.resume()),
        );
        await fixture.lose();
        await fixture.transport.ended;
        await delay(20);
        assert.equal((stream.errored as TunnelError | null)?.code, 'link-lost');
        assert.ok(stream.closed);
      });
    });

    test('data that arrive before a flow is joined are kept, and so is the loss of the link', async (fixture) => {
      const { transport, serve } = fixture;
      const greeting = await transport.connect(await serve((far) => far.end('a greeting')));
      const lost = await transport.connect(await serve((far) => far.resume()));
      await delay(100);
      assert.equal((await readAll(streamOf(greeting))).toString(), 'a greeting');
      await fixture.lose();
      await transport.ended;
      const outcomes: unknown[] = [];
      lost.whenOver((error) => outcomes.push((error as TunnelError | undefined)?.code));
      const end = joined(lost);
      await delay(20);
      assert.deepEqual([end.said, end.wrong, outcomes], [['abort link-lost'], [], ['link-lost']]);
    });

    test('a far side that dies while a write waits: the write is called back', async ({
      transport,
      serve,
      reset,
    }) => {
      let far: Duplex | undefined;
      const stream = await connectStream(
        transport,
        await serve((end) => {
          far = end;
          end.pause();
        }),
      );
      const outcome = closed(stream);
      stream.resume();
      const results: unknown[] = [];
      for (let i = 0; i < 16; i++) stream.write(Buffer.alloc(MIB), (error) => results.push(error));
      await delay(300);
      assert.ok(results.length < 16, 'some writes wait');
      if (far !== undefined) reset(far);
      assert.equal(((await outcome) as NodeJS.ErrnoException | undefined)?.code, 'ECONNRESET');
      await delay(20);
      assert.equal(results.length, 16);
    });

    test('destroy() frees the far side and calls waiting writes back', async ({
      transport,
      serve,
    }) => {
      let far: Duplex | undefined;
      let sawEnd: Promise<unknown> | undefined;
      const stream = await connectStream(
        transport,
        await serve((end) => {
          far = end;
          sawEnd = closed(end);
          end.pause();
        }),
      );
      const results: unknown[] = [];
      for (let i = 0; i < 16; i++) stream.write(Buffer.alloc(MIB), (error) => results.push(error));
      await delay(200);
      stream.destroy();
      far?.resume();
      far?.on('end', () => far?.end());
      await closed(stream);
      await sawEnd;
      assert.equal(results.length, 16);
      assert.ok(results.some((error) => error instanceof Error));
    });

    test('a refused connection is refused', async ({ transport, refused }) => {
      await assert.rejects(
        transport.connect(await refused()),
        (error) =>
          error instanceof ConnectError &&
          error.refusal === 'refused' &&
          error.code === 'connect-refused',
      );
    });

    test('what the server prohibits is prohibited', async ({ transport, prohibited }) => {
      await assert.rejects(
        transport.connect(await prohibited()),
        (error) => error instanceof ConnectError && error.refusal === 'prohibited',
      );
    });

    test('an aborted signal rejects before anything is sent', async ({ transport, serve }) => {
      let asked = 0;
      const destination = await serve(() => asked++);
      const reason = new Error('nobody waits');
      await assert.rejects(
        transport.connect(destination, { signal: AbortSignal.abort(reason) }),
        reason,
      );
      await delay(100);
      assert.equal(asked, 0);
    });

    test('an abort while it opens rejects at once; a channel that opens later is closed', async ({
      transport,
      silent,
    }) => {
      const { destination, answer, closed: freed } = await silent();
      const controller = new AbortController();
      const reason = new Error('nobody waits any more');
      const pending = transport.connect(destination, { signal: controller.signal });
      await delay(100);
      const before = performance.now();
      controller.abort(reason);
      await assert.rejects(pending, reason);
      assert.ok(performance.now() - before < AT_ONCE_MS);
      answer();
      await freed;
    });

    test('an abort after it has opened changes nothing', async ({ transport, serve }) => {
      const controller = new AbortController();
      const stream = await connectStream(transport, await serve((far) => far.pipe(far)), {
        signal: controller.signal,
      });
      controller.abort();
      stream.end('still here');
      assert.equal((await readAll(stream)).toString(), 'still here');
    });

    test('a connection that never answers ends with the transport', async ({
      transport,
      silent,
    }) => {
      const { destination } = await silent();
      const rejected = assert.rejects(transport.connect(destination), ConnectError);
      await delay(50);
      await transport.close();
      await rejected;
    });

    test('a reader that does not read holds the far side back', async ({ transport, serve }) => {
      let sent = 0;
      const total = 64 * MIB;
      const destination = await serve((far) => {
        const chunk = Buffer.alloc(64 * 1024);
        const more = (): void => {
          while (sent < total) {
            sent += chunk.length;
            if (!far.write(chunk)) return void far.once('drain', more);
          }
          far.end();
        };
        more();
      });
      const stream = await connectStream(transport, destination);
      const outcome = closed(stream);
      stream.pause();
      let stuck = -1;
      while (stuck !== sent) {
        stuck = sent;
        await delay(300);
      }
      assert.ok(sent < total, `all ${total} bytes were taken`);
      assert.ok(stream.readableLength <= MAX_HELD_BYTES, `${stream.readableLength} bytes are held`);
      let received = 0;
      stream.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      stream.resume();
      await once(stream, 'end');
      assert.equal(received, total);
      stream.end();
      assert.equal(await outcome, undefined);
    });

    test('200 flows of 300 kB at once do not mix', async ({ transport, serve }) => {
      const destination = await serve((far) => far.pipe(far));
      await Promise.all(
        Array.from({ length: 200 }, async (_, flow) => {
          const stream = await connectStream(transport, destination);
          const pattern = Buffer.alloc(300_000, `flow ${flow} `);
          stream.end(pattern);
          assert.ok(pattern.equals(await readAll(stream)), `flow ${flow}`);
        }),
      );
    });

    test('close() ends all flows and resolves `ended` with nothing', async ({
      transport,
      serve,
    }) => {
      const destination = await serve((far) => far.resume());
      const streams = await Promise.all([1, 2, 3].map(() => connectStream(transport, destination)));
      const outcomes = streams.map(closed);
      await Promise.all([transport.close(), transport.close()]);
      for (const stream of streams) assert.ok(stream.destroyed);
      await Promise.all(outcomes);
      assert.equal(await transport.ended, undefined);
      await assert.rejects(transport.connect(destination), ConnectError);
    });

    test('a lost link destroys all flows, calls back all writes and resolves `ended`', async (fixture) => {
      const { transport, serve } = fixture;
      const destination = await serve((far) => far.pause());
      const streams = await Promise.all([1, 2, 3].map(() => connectStream(transport, destination)));
      const outcomes = streams.map(closed);
      let called = 0;
      for (const stream of streams) {
        for (let i = 0; i < 16; i++) stream.write(Buffer.alloc(MIB), () => called++);
      }
      await delay(300);
      assert.ok(called < 48, 'some writes wait');
      await fixture.lose();
      const ended = await transport.ended;
      assert.ok(ended instanceof TunnelError);
      assert.equal(ended.code, 'link-lost');
      for (const outcome of await Promise.all(outcomes))
        assert.equal((outcome as TunnelError).code, 'link-lost');
      await delay(20);
      assert.equal(called, 48);
      await assert.rejects(transport.connect(destination), ConnectError);
      await transport.close();
    });
  });
}

/**
 * Fails on any uncaught exception meanwhile, such as an 'error' event without a listener.
 */
async function withoutUncaught(body: () => Promise<void>): Promise<void> {
  const uncaught: unknown[] = [];
  const guard = (error: unknown): void => void uncaught.push(error);
  process.on('uncaughtException', guard);
  try {
    await body();
  } finally {
    process.off('uncaughtException', guard);
  }
  assert.deepEqual(uncaught, []);
}

async function readAll(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream.iterator({ destroyOnReturn: false }))
    chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** The stream's error, or undefined, once it is closed. */
function closed(stream: Duplex): Promise<Error | undefined> {
  return new Promise((resolve) => {
    let failure: Error | undefined;
    stream.on('error', (error) => {
      failure = error;
    });
    if (stream.closed) resolve(undefined);
    else stream.once('close', () => resolve(failure));
  });
}

function digest(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
