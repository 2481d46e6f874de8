import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelError } from '../../../src/errors/errors.ts';
import type { Observer } from '../../../src/observe/observer.ts';
import { inSession, Session } from '../../../src/session/session.ts';

function setUp(closeLimit = 50) {
  const messages: string[] = [];
  const observer: Observer = {
    // How much of the limit was left for a part depends on those before it.
    log: (level, message) =>
      void (level === 'error' && messages.push(message.replace(/[\d.]+ s$/, 'the limit'))),
    count() {},
  };
  const stop = new AbortController();
  return { messages, stop, options: { observer, stop: stop.signal, closeLimit } };
}

describe('Session', () => {
  it('closes its parts in reverse order, each when the one before has closed', async () => {
    const { options } = setUp(10_000);
    const session = new Session(options);
    const order: string[] = [];
    for (const name of ['first', 'second', 'third']) {
      session.own(name, name, async (part) => {
        order.push(`${part} begins`);
        await new Promise(setImmediate);
        order.push(`${part} ends`);
      });
    }
    assert.deepEqual(await session.close(), []);
    assert.deepEqual(
      order,
      ['third', 'second', 'first'].flatMap((name) => [`${name} begins`, `${name} ends`]),
    );
  });

  it('closes the others when one throws, rejects, or never returns, and names these', async () => {
    const { options, messages } = setUp();
    const session = new Session(options);
    const closed: string[] = [];
    const close = (name: string) => closed.push(name);
    session.own('a', 'a', close);
    session.own('the one that hangs', undefined, () => new Promise(() => {}));
    session.own('b', 'b', close);
    session.own('the one that rejects', undefined, () => Promise.reject(new Error('no luck')));
    session.own('the one that throws', undefined, () => {
      throw new Error('no luck either');
    });
    session.own('c', 'c', close);
    const failures = await session.close();
    assert.deepEqual(closed, ['c', 'b', 'a']);
    assert.deepEqual(
      failures.map(({ name }) => name),
      ['the one that throws', 'the one that rejects', 'the one that hangs'],
    );
    assert.deepEqual(messages, [
      'the one that throws could not be closed: no luck either',
      'the one that rejects could not be closed: no luck',
      'the one that hangs could not be closed: it has not ended within the limit',
    ]);
    assert.equal(await session.close(), failures);
  });

  it('closes any number of parts that hang within one limit for all, and each is tried', async () => {
    const { options } = setUp();
    const session = new Session({ ...options, closeLimit: 100 });
    let tried = 0;
    for (let i = 0; i < 200; i++) {
      session.own(`part ${i}`, undefined, () => {
        tried++;
        return new Promise(() => {});
      });
    }
    const began = performance.now();
    assert.equal((await session.close()).length, 200);
    assert.equal(tried, 200);
    // 20 s without the limit; 200 ms and 198 times 5 ms with it.
    assert.ok(performance.now() - began < 10_000);
  });

  it('ends with the first part that is lost, not with one that was closed', async () => {
    const { options } = setUp();
    const session = new Session(options);
    session.endsWith(Promise.resolve(undefined));
    await new Promise(setImmediate);
    assert.equal(session.signal.aborted, false);
    const lost = new TunnelError('link-lost', 'lost');
    session.endsWith(Promise.resolve(lost));
    session.endsWith(Promise.resolve(new TunnelError('helper-lost', 'later')));
    await assert.rejects(session.within(new Promise(() => {})), lost);
    await assert.rejects(session.untilEnd(), lost);
  });

  it('takes no part once it is closed', async () => {
    const { options } = setUp();
    const session = new Session(options);
    await session.close();
    assert.throws(() => session.own('late', 1, () => {}), TypeError);
  });

  it('ends at once when it was stopped before it began', async () => {
    const { options, stop } = setUp();
    stop.abort();
    await assert.rejects(new Session(options).untilEnd(), (error) => error === stop.signal.reason);
  });
});

describe('inSession', () => {
  it('gives what the body gives, when all is closed', async () => {
    const { options } = setUp();
    let closed = false;
    const result = await inSession(options, async (session) => {
      session.own('a part', 1, () => {
        closed = true;
      });
      return 'done';
    });
    assert.equal(result, 'done');
    assert.ok(closed);
  });

  it('rejects with the reason of the stop after an orderly one', async () => {
    const { options, stop } = setUp();
    const run = inSession(options, (session) => session.untilEnd());
    stop.abort();
    await assert.rejects(run, (error) => error === stop.signal.reason);
  });

  it('takes what Node makes of the reason for it', async () => {
    const { options, stop } = setUp();
    const run = inSession(options, async ({ signal }) => {
      await new Promise((_resolve, reject) => signal.addEventListener('abort', reject));
    }).catch(() => {});
    const wrapped = inSession(options, async (session) => {
      await session.untilEnd().catch((cause: unknown) => {
        throw new Error('The operation was aborted', { cause });
      });
    });
    stop.abort();
    await run;
    await assert.rejects(wrapped, (error) => error === stop.signal.reason);
  });

  it('reports an error that is not the reason of the stop, also after it', async () => {
    const { options, stop } = setUp();
    const failure = new TunnelError('journal', 'it can not be written');
    const run = inSession(options, async (session) => {
      await session.untilEnd().catch(() => {});
      throw failure;
    });
    stop.abort();
    await assert.rejects(run, failure);
  });

  it('may keep its result when a part could not be closed', async () => {
    const { options } = setUp();
    const result = await inSession(
      options,
      async (session) => {
        session.own('a part', 1, () => Promise.reject(new Error('no luck')));
        return 7;
      },
      (_error, status) => status,
    );
    assert.equal(result, 7);
  });

  it('reports what could not be closed, after a stop and after a result', async () => {
    const { options, stop } = setUp();
    const bad = (session: Session) =>
      session.own('a part', 1, () => Promise.reject(new Error('no luck')));
    await assert.rejects(
      inSession(options, async (session) => bad(session)),
      { code: 'unclean', message: /a part/ },
    );
    const run = inSession(options, (session) => {
      bad(session);
      return session.untilEnd();
    });
    stop.abort();
    await assert.rejects(run, { code: 'unclean' });
  });
});
