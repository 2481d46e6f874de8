import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { ConnectError, type Connector } from '../../../src/flow/connector.ts';
import { StreamConduit } from '../../../src/flow/streamconduit.ts';
import {
  MAX_OPENS,
  MAX_OPENS_BY_NAME,
  MAX_OPENS_OF_A_NAME,
  MAX_PROHIBITED,
  MAX_WAITING_OPENS,
  OpenQueue,
  PROHIBITED_MS,
} from '../../../src/link/openqueue.ts';
import type { Destination } from '../../../src/net/destination.ts';

/** Answers when it is told to. */
class Held implements Connector {
  readonly asked: { readonly destination: Destination; answer(result?: Error | Duplex): void }[] =
    [];

  connect(destination: Destination): Promise<StreamConduit> {
    return new Promise((resolve, reject) => {
      const answer = (result: Error | Duplex = new Duplex({ read() {}, write() {} })): void =>
        result instanceof Error ? reject(result) : resolve(new StreamConduit(result));
      this.asked.push({ destination, answer });
    });
  }
}

function make() {
  const held = new Held();
  const counted = new Map<string, number>();
  const time = { now: 0 };
  const opens = new OpenQueue({
    connector: held,
    observer: { log() {}, count: (name) => void counted.set(name, (counted.get(name) ?? 0) + 1) },
    clock: () => time.now,
  });
  const ask = (host: string, port = 443, signal?: AbortSignal): Promise<unknown> =>
    opens
      .connect({ host, port }, signal === undefined ? {} : { signal })
      .catch((error: unknown) => error);
  /** Asks, and leaves the answer to nobody: a refusal is an answer, too. */
  const askAside = (...what: Parameters<typeof ask>): void => void ask(...what);
  return { held, counted, time, ask, askAside };
}

describe('OpenQueue', () => {
  it(`asks for ${MAX_OPENS} at a time, the others in order`, async () => {
    const { held, ask, counted } = make();
    const results = Array.from({ length: MAX_OPENS + 3 }, (_, i) => ask('192.0.2.1', i));
    await turn();
    assert.equal(held.asked.length, MAX_OPENS);
    assert.equal(counted.get('tunnel_opens_delayed_total'), 3);
    held.asked[7]?.answer();
    await turn();
    held.asked[3]?.answer(new ConnectError('refused', 'no'));
    await turn();
    assert.deepEqual(
      held.asked.slice(MAX_OPENS).map(({ destination }) => destination.port),
      [MAX_OPENS, MAX_OPENS + 1],
    );
    for (const { answer } of held.asked) answer();
    await turn();
    for (const { answer } of held.asked) answer();
    assert.equal((await Promise.all(results)).length, MAX_OPENS + 3);
    assert.equal(held.asked.length, MAX_OPENS + 3);
  });

  it('opens few by name, fewer by one name, and addresses without waiting behind them', async () => {
    const { held, askAside } = make();
    for (let i = 0; i < MAX_OPENS_OF_A_NAME + 5; i++) askAside('dead.example');
    await turn();
    assert.equal(held.asked.length, MAX_OPENS_OF_A_NAME);
    for (let i = 0; i < 2 * MAX_OPENS_BY_NAME; i++) askAside(`n${i}.example`);
    await turn();
    assert.equal(held.asked.length, MAX_OPENS_BY_NAME);
    askAside('192.0.2.1');
    askAside('2001:db8::1');
    askAside('fe80::1%eth0');
    await turn();
    assert.equal(held.asked.length, MAX_OPENS_BY_NAME + 3);
    // The place of another name isn't for the one that has had its share.
    held.asked.at(-4)?.answer();
    await turn();
    assert.match(held.asked.at(-1)?.destination.host ?? '', /^n\d+/);
  });

  it('a caller that gives up while waiting leaves, and its destination is not asked for', async () => {
    const { held, ask, askAside } = make();
    for (let i = 0; i < MAX_OPENS_OF_A_NAME; i++) askAside('dead.example');
    const abort = new AbortController();
    const given = ask('dead.example', 443, abort.signal);
    const patient = ask('dead.example', 8443);
    await turn();
    abort.abort(new Error('gave up'));
    assert.equal(((await given) as Error).message, 'gave up');
    held.asked[0]?.answer();
    await turn();
    assert.equal(held.asked.length, MAX_OPENS_OF_A_NAME + 1);
    assert.equal(held.asked.at(-1)?.destination.port, 8443);
    held.asked.at(-1)?.answer();
    assert.ok((await patient) instanceof StreamConduit);
  });

  it('an open that is given up keeps its place until it is answered; if it opens it is closed', async () => {
    const { held, ask } = make();
    const abort = new AbortController();
    const given = Array.from({ length: MAX_OPENS_OF_A_NAME }, () =>
      ask('dead.example', 443, abort.signal),
    );
    const next = ask('dead.example', 8443);
    await turn();
    abort.abort(new Error('gave up'));
    for (const result of given) assert.equal(((await result) as Error).message, 'gave up');
    await turn();
    assert.equal(held.asked.length, MAX_OPENS_OF_A_NAME, 'the server still looks the name up');
    const late = new Duplex({ read() {}, write() {} });
    held.asked[0]?.answer(late);
    await turn();
    assert.ok(late.destroyed);
    assert.equal(held.asked.at(-1)?.destination.port, 8443);
    held.asked.at(-1)?.answer();
    assert.ok((await next) instanceof StreamConduit);
    held.asked[1]?.answer(new ConnectError('refused', 'no'));
    await turn();
  });

  it(`refuses beyond ${MAX_WAITING_OPENS} waiting`, async () => {
    const { ask, askAside, counted } = make();
    for (let i = 0; i < MAX_OPENS + MAX_WAITING_OPENS; i++) askAside('192.0.2.1', i % 65536);
    await turn();
    assert.equal(counted.get('tunnel_opens_delayed_total'), MAX_WAITING_OPENS);
    const error = await ask('192.0.2.1');
    assert.ok(
      error instanceof ConnectError &&
        error.refusal === 'refused' &&
        /is the limit/.test(error.message),
    );
    assert.equal(counted.get('tunnel_opens_over_limit_total'), 1);
  });

  it('does not ask again for a prohibited destination for a while', async () => {
    const { held, ask, askAside, time, counted } = make();
    const first = ask('192.0.2.1');
    await turn();
    const no = new ConnectError('prohibited', 'not permitted');
    held.asked[0]?.answer(no);
    assert.equal(await first, no);
    time.now += PROHIBITED_MS - 1;
    assert.equal(await ask('192.0.2.1'), no);
    assert.equal(counted.get('tunnel_opens_known_prohibited_total'), 1);
    askAside('192.0.2.1', 80);
    await turn();
    assert.equal(held.asked.length, 2, 'another port is another destination');
    time.now += 1;
    askAside('192.0.2.1');
    await turn();
    assert.equal(held.asked.length, 3);
  });

  it('remembers no other refusals, and a limited number of prohibitions', async () => {
    const { held, ask, askAside, counted } = make();
    for (const refusal of ['refused', 'unreachable', 'timeout'] as const) {
      const result = ask('192.0.2.9');
      await turn();
      held.asked.at(-1)?.answer(new ConnectError(refusal, refusal));
      await result;
    }
    assert.equal(held.asked.length, 3);
    for (let i = 0; i <= MAX_PROHIBITED; i++) {
      const result = ask('192.0.2.1', i);
      await turn();
      held.asked.at(-1)?.answer(new ConnectError('prohibited', 'no'));
      await result;
    }
    const asked = held.asked.length;
    askAside('192.0.2.1', 1);
    await turn();
    assert.equal(held.asked.length, asked);
    askAside('192.0.2.1', 0);
    await turn();
    assert.equal(held.asked.length, asked + 1, 'the oldest is forgotten');
    assert.equal(counted.get('tunnel_opens_prohibited_forgotten_total'), 1);
  });
});
