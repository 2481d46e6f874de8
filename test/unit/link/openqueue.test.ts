import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { BusyError, ConnectError, ServerShortError } from '../../../src/flow/connector.ts';
import { StreamConduit } from '../../../src/flow/streamconduit.ts';
import {
  ASSUMED_DESCRIPTORS,
  MAX_OPENS_BY_NAME,
  MAX_OPENS_OF_A_NAME,
  MAX_SILENT,
  SILENT_MS,
  UNTRIED_SHARE,
} from '../../../src/link/openplaces.ts';
import {
  MARKER,
  MAX_PROHIBITED,
  MAX_WAITING_OPENS,
  PROHIBITED_MS,
  WAIT_MS,
} from '../../../src/link/openqueue.ts';
import { RESERVED } from '../../../src/link/openshares.ts';
import { turns } from '../../support/manualclock.ts';
import { HERE, heldQueue, type Owners } from '../../support/opens.ts';

/** Places for destinations that have not answered lately, with no connection open. */
const UNTRIED = UNTRIED_SHARE * ASSUMED_DESCRIPTORS;
/** Of these, what one who asks alone gets for one host. */
const ONE_HOST = Math.ceil((UNTRIED * (1 - RESERVED)) / 2);

function make() {
  const { held, opens, observer, clock } = heldQueue();
  const ask = (host: string, port = 443, signal?: AbortSignal): Promise<unknown> =>
    opens
      .connect({ host, port }, signal === undefined ? {} : { signal })
      .catch((error: unknown) => error);
  /** Asks, and leaves the answer to nobody: a refusal is an answer, too. */
  const askAside = (...what: Parameters<typeof ask>): void => void ask(...what);
  return { held, opens, observer, clock, ask, askAside };
}

describe('OpenQueue', () => {
  it('asks for as many at a time as have a share, the others in order', async () => {
    const { held, opens, ask, observer } = make();
    const share = ONE_HOST;
    const results = Array.from({ length: share + 3 }, (_, i) => ask('192.0.2.1', i));
    await turn();
    assert.equal(held.asked.length, share);
    assert.equal(observer.counters.get('tunnel_opens_delayed_total'), 3);
    assert.deepEqual(opens.view, { waiting: 3, unanswered: share });
    held.asked[7]?.answer(new ConnectError('refused', 'no'));
    await turn();
    held.asked[3]?.answer(new ConnectError('refused', 'no'));
    await turn();
    assert.deepEqual(
      held.asked.slice(share).map(({ destination }) => destination.port),
      [share, share + 1],
    );
    for (const { answer } of held.asked) answer();
    await turn();
    for (const { answer } of held.asked) answer();
    assert.equal((await Promise.all(results)).length, share + 3);
    assert.equal(held.asked.length, share + 3);
    assert.deepEqual(opens.view, { waiting: 0, unanswered: 0 });
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
    setMaxListeners(0, abort.signal);
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
    setMaxListeners(0, abort.signal);
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

  it(`has ${MAX_WAITING_OPENS} wait: the one that has waited longest makes room`, async () => {
    const { ask, askAside, observer } = make();
    const oldest = Array.from({ length: ONE_HOST + 1 }, (_, i) => ask('192.0.2.1', i)).at(-1);
    for (let i = 1; i < MAX_WAITING_OPENS; i++) askAside('192.0.2.1', 1000 + i);
    await turn();
    assert.equal(observer.counters.get('tunnel_opens_delayed_total'), MAX_WAITING_OPENS);
    askAside('192.0.2.1');
    const error = await oldest;
    assert.ok(
      error instanceof ConnectError &&
        error.refusal === 'refused' &&
        /is the limit/.test(error.message),
    );
    assert.equal(observer.counters.get('tunnel_opens_over_limit_total'), 1);
  });

  it('does not ask again for a prohibited destination for a while', async () => {
    const { held, ask, askAside, clock, observer } = make();
    const first = ask('192.0.2.1');
    await turn();
    const no = new ConnectError('prohibited', 'not permitted');
    held.asked[0]?.answer(no);
    assert.equal(await first, no);
    await clock.advance(PROHIBITED_MS - 1);
    assert.equal(await ask('192.0.2.1'), no);
    assert.equal(observer.counters.get('tunnel_opens_known_prohibited_total'), 1);
    askAside('192.0.2.1', 80);
    await turn();
    assert.equal(held.asked.length, 2, 'another port is another destination');
    await clock.advance(1);
    askAside('192.0.2.1');
    await turn();
    assert.equal(held.asked.length, 3);
  });

  it('remembers no other refusals, and a limited number of prohibitions', async () => {
    const { held, ask, askAside, observer } = make();
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
    assert.equal(observer.counters.get('tunnel_opens_prohibited_forgotten_total'), 1);
  });
});

/** Places are asked for by users; `owners` says by the port of a socket whose it is. */
function shared(owners: Owners) {
  const parts = heldQueue(owners);
  const { opens, held } = parts;
  const GOOD = '10.77.0.1';
  held.good = ({ host, port }) => host === GOOD || port === 0;
  const connect = (host: string, port: number, from: number, signal?: AbortSignal) =>
    opens.connect(
      { host, port },
      { originator: { host: HERE, port: from }, ...(signal === undefined ? {} : { signal }) },
    );
  /** Asks for as much as an attacker does, and gives all of it up after 10 ms. */
  const attack = async (
    count: number,
    destination: (i: number) => { readonly host: string; readonly port: number },
    from: (i: number) => number = () => ATTACKER,
  ) => {
    const given = new AbortController();
    setMaxListeners(0, given.signal);
    for (let i = 0; i < count; i++) {
      const { host, port } = destination(i);
      connect(host, port, from(i), given.signal).catch(() => {});
    }
    await parts.clock.advance(10);
    given.abort(new Error('given up'));
    await turns();
  };
  /** How long a connect takes, in ms; undefined: more than 1 s. */
  const time = async (host: string, port: number, from: number): Promise<number | undefined> => {
    const began = parts.clock.now();
    let took: number | undefined;
    connect(host, port, from).then(
      () => {
        took = parts.clock.now() - began;
      },
      () => {},
    );
    for (let i = 0; i < 100 && took === undefined; i++) await parts.clock.advance(10);
    return took;
  };
  return { ...parts, connect, attack, time, GOOD };
}

const ATTACKER = 1;
const PAGE = 2;
const TERMINAL = 3;
const OTHER = 4;
const OWNERS: Owners = (port) =>
  ({
    [ATTACKER]: { user: 1001, process: undefined },
    [PAGE]: { user: 1000, process: Promise.resolve('4711 (browser)') },
    [TERMINAL]: { user: 1000, process: Promise.resolve('815 (ssh)') },
    [OTHER]: { user: 1002, process: undefined },
  })[port];

const SPREADS = {
  'one silent address': () => ({ host: '10.77.5.1', port: 443 }),
  'the ports of one address': (i: number) => ({ host: '10.77.5.1', port: 1 + i }),
  '2,400 silent addresses': (i: number) => ({
    host: `10.78.${i >> 8}.${i & 255}`,
    port: 443,
  }),
  'addresses beside the good one': (i: number) => ({
    host: `10.77.0.${2 + (i % 250)}`,
    port: 1 + i,
  }),
  names: (i: number) => ({ host: `h${i}.example`, port: 443 }),
} as const;

describe('OpenQueue, where most destinations are silent', () => {
  for (const [what, spread] of Object.entries(SPREADS))
    it(`another user, and another process of the same user, connect at once: ${what}`, async () => {
      const { attack, time, GOOD, held } = shared(OWNERS);
      await attack(2400, spread);
      assert.ok(held.asked.length <= UNTRIED);
      assert.ok((await time(GOOD, 443, OTHER)) !== undefined, 'another user');
      await attack(2400, spread, () => PAGE);
      assert.ok(held.asked.length <= UNTRIED);
      assert.ok((await time(GOOD, 444, TERMINAL)) !== undefined, 'a terminal beside a browser');
      assert.ok((await time('another.example', 444, TERMINAL)) === undefined, 'not answered');
    });

  it('after eight others have taken their shares', async () => {
    const { attack, time, GOOD } = shared((port) =>
      port >= 100 ? { user: port, process: undefined } : OWNERS(port),
    );
    await attack(1000, SPREADS['2,400 silent addresses'], () => PAGE);
    for (let user = 100; user < 108; user++)
      await attack(1000, SPREADS['2,400 silent addresses'], () => user);
    assert.ok((await time(GOOD, 444, TERMINAL)) !== undefined);
    assert.ok((await time(GOOD, 443, OTHER)) !== undefined);
  });

  it('also while the attacker goes on, for as long as sshd waits and longer', async () => {
    const { attack, time, clock, held, GOOD } = shared(OWNERS);
    for (let second = 0; second < 300; second += 30) {
      for (const { answer } of held.asked.splice(0, second < 130 ? 0 : 200))
        answer(new ConnectError('timeout', 'Connection timed out'));
      await attack(600, SPREADS['2,400 silent addresses'], () => PAGE);
      await attack(600, SPREADS['the ports of one address']);
      assert.ok((await time(GOOD, 1000 + second, TERMINAL)) !== undefined, `after ${second} s`);
      assert.ok((await time(GOOD, 2000 + second, OTHER)) !== undefined, `after ${second} s`);
      await clock.advance(10_000);
    }
  });

  it('what has answered lately goes on, even for the one that asks for what is silent', async () => {
    const { connect, attack, time, GOOD } = shared(() => ({ user: 1000, process: undefined }));
    await connect(GOOD, 443, ATTACKER);
    await attack(2400, SPREADS['2,400 silent addresses']);
    await attack(2400, SPREADS['addresses beside the good one']);
    for (let i = 0; i < 20; i++) assert.ok((await time(GOOD, 443, ATTACKER)) !== undefined);
  });

  it('a destination that has answered and then is silent takes no more than its trust', async () => {
    const { connect, attack, time, held, clock, GOOD } = shared(OWNERS);
    for (let i = 0; i < 300; i++) {
      const opened = connect('10.77.5.1', 80, ATTACKER);
      await turns(1);
      held.asked.at(-1)?.answer();
      await opened;
    }
    await connect(GOOD, 443, TERMINAL);
    held.asked.length = 0;
    await attack(2400, () => ({ host: '10.77.5.1', port: 80 }));
    assert.ok(held.asked.length <= UNTRIED, `${held.asked.length}`);
    for (const port of [443, 444]) assert.ok((await time(GOOD, port, TERMINAL)) !== undefined);
    await clock.advance(SILENT_MS);
    const before = held.asked.length;
    await attack(2400, () => ({ host: '10.77.5.1', port: 80 }));
    assert.equal(held.asked.length, before, 'it is known to be silent');
  });

  it('destinations that accept after 20 s are not trusted for it', async () => {
    const { attack, time, held, clock, GOOD } = shared(OWNERS);
    const slow = (i: number) => ({ host: '10.77.5.1', port: 1 + i });
    for (let round = 0; round < 10; round++) {
      await attack(1200, slow, () => PAGE);
      assert.ok(held.asked.length <= UNTRIED);
      assert.ok((await time(GOOD, 1000 + round, TERMINAL)) !== undefined);
      await clock.advance(20_000);
      for (const { answer } of held.asked.splice(0)) answer();
      await turns();
    }
  });

  it('one open to a silent destination after the other: no more than some of them', async () => {
    const { attack, held, clock } = shared(OWNERS);
    for (let i = 0; i < 3 * MAX_SILENT; i++) {
      await attack(1, SPREADS['one silent address']);
      await clock.advance(SILENT_MS);
    }
    assert.equal(held.asked.length, MAX_SILENT);
    held.asked[0]?.answer();
    await turns();
  });

  it('says once who holds the places, and answers those who wait after a time', async () => {
    const { attack, connect, observer, clock, held } = shared(OWNERS);
    await attack(2400, SPREADS['2,400 silent addresses'], () => PAGE);
    await clock.advance(SILENT_MS);
    await attack(2400, SPREADS['2,400 silent addresses'], () => PAGE);
    const waits = connect('10.78.0.1', 80, PAGE).catch((error: unknown) => error);
    await clock.advance(WAIT_MS - 1_000);
    const warnings = observer.lines.filter(({ level }) => level === 'warning');
    assert.deepEqual(
      warnings.map(({ message }) => message),
      [
        'a connection waits to be opened: 600 opens that the jump host has not answered hold the places, 450 of them for this machine, 256 to 10.78.0.0/24; others and destinations that have answered lately go on',
      ],
    );
    assert.equal(observer.counters.get('tunnel_opens_stalls_total'), 1);
    await clock.advance(2_000);
    const error = await waits;
    assert.ok(error instanceof ConnectError && error.refusal === 'timeout');
    assert.match(
      error.message,
      /no place to open it within 60 s: \d+ opens that the jump host has not/,
    );
    assert.equal(observer.counters.get('tunnel_opens_wait_timeouts_total'), 1);
    for (const { answer } of held.asked) answer(new ConnectError('timeout', 'timed out'));
    await clock.advance(1_000);
    assert.equal(clock.timers, 0);
  });

  it('names that hang in connect(2) keep no lookups from others', async () => {
    const { attack, time, held, observer } = shared(OWNERS);
    held.good = ({ host, port }) => host === 'good.example' || port === 0;
    await attack(200, SPREADS.names, () => PAGE);
    assert.ok((await time('good.example', 443, OTHER)) !== undefined);
    assert.ok((observer.counters.get('tunnel_opens_markers_total') ?? 0) > 0);
  });

  it('while the name server is dead, no more names are asked for', async () => {
    const { attack, connect, held, clock } = shared(OWNERS);
    held.good = () => false;
    await attack(200, SPREADS.names, () => PAGE);
    connect('waits.example', 443, OTHER).catch(() => {});
    await clock.advance(20_000);
    const names = held.asked.filter(({ destination }) => destination.port !== MARKER.port);
    assert.equal(names.length, MAX_OPENS_BY_NAME);
    assert.equal(held.asked.length, MAX_OPENS_BY_NAME + 1, 'one marker');
  });

  it('a server without descriptors: put off, and asked for less', async () => {
    const { attack, connect, held, clock } = shared(OWNERS);
    const limit = 300;
    await attack(limit, SPREADS['2,400 silent addresses']);
    await clock.advance(SILENT_MS);
    const short = new ServerShortError('unreachable', 'no descriptors left');
    const result = connect('10.77.9.9', 80, OTHER).catch((error: unknown) => error);
    await turns();
    held.asked.pop()?.answer(short);
    const error = await result;
    assert.ok(error instanceof BusyError, 'asked again by the kernel of whoever asks');
    assert.match(
      error.message,
      /seems to have no descriptors left; 300 opens that the jump host has not/,
    );
    await attack(2400, SPREADS['2,400 silent addresses']);
    assert.equal(held.asked.length, limit);
  });

  it('a burst to what is good needs no more than three round trips, for 1,000 connections', async () => {
    const { connect, held } = shared(() => ({
      user: 1000,
      process: Promise.resolve('1 (browser)'),
    }));
    held.good = () => false;
    let opened = 0;
    for (let i = 0; i < 1000; i++) void connect('10.77.0.1', 443, i).then(() => opened++);
    for (let trip = 1; trip <= 3; trip++) {
      await turns();
      for (const { answer } of held.asked.splice(0)) answer();
    }
    await turns();
    assert.equal(opened, 1000);
  });
});
