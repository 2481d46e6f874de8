/** Sockets before the server: real UDP and TCP on loopback. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createNaming } from '../../../../src/dns/naming.ts';
import { answerDatagram, MAX_PIPELINED, STREAM_IDLE_MS } from '../../../../src/dns/server/front.ts';
import { DnsServer } from '../../../../src/dns/server/server.ts';
import { translateRequests } from '../../../../src/dns/server/translate.ts';
import { MIN_AGE_MS, VirtualAddresses, virtualBlocks } from '../../../../src/dns/server/virtual.ts';
import { CachingResolver } from '../../../../src/dns/upstream/cache.ts';
import { MAX_IN_FLIGHT } from '../../../../src/dns/upstream/stream.ts';
import { StreamConduit } from '../../../../src/flow/streamconduit.ts';
import { parseNamePattern } from '../../../../src/net/name.ts';
import type { Refusal } from '../../../../src/net/refusal.ts';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { DnsListener } from '../../../support/dnslistener.ts';
import type { LoadResult } from '../../../support/dnsload.ts';
import { mustRun } from '../../../support/process.ts';
import { TwinStream } from '../../../support/twin.ts';
import {
  a,
  CountingObserver,
  FakeResolver,
  placesLeft,
  queryBytes,
  read,
  upstreamAnswer,
} from './support.ts';

const LOAD = fileURLToPath(new URL('../../../support/dnsload.js', import.meta.url));

const blocks = virtualBlocks({ address4: '198.18.0.1', address6: '2001:2::1' });
if (blocks === undefined) throw new Error('no blocks');

const upstream = new FakeResolver(async (asked) => {
  if (asked.name.startsWith('slow')) await sleep(50);
  const big = asked.name.startsWith('big') ? 200 : 1;
  return upstreamAnswer(asked, {
    answers: Array.from({ length: big }, (_, i) => a(asked.name, `10.0.0.${i}`)),
  });
});
const server = new DnsServer({
  naming: createNaming({
    nameTargets: [parseNamePattern('api.example.com')],
    nameExclusions: [],
    domains: [],
    beyond: 'tunnel',
  }),
  virtual: new VirtualAddresses({ blocks, observer: silentObserver }),
  tunnel: new CachingResolver({ upstream, observer: silentObserver }),
  local: undefined,
  observer: silentObserver,
});
const listener = new DnsListener({ server, host: '127.0.0.1', port: 0 });
before(() => listener.start());
after(() => listener.close());

function framed(...messages: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    messages.flatMap((message) => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(message.length);
      return [length, message];
    }),
  );
}

/** The messages that come until `count` are there or the stream has ended. */
async function receive(socket: ReturnType<typeof connect>, count: number): Promise<Buffer[]> {
  const messages: Buffer[] = [];
  let received = Buffer.alloc(0);
  for await (const chunk of socket) {
    received = Buffer.concat([received, chunk as Buffer]);
    while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
      const end = 2 + received.readUInt16BE(0);
      messages.push(received.subarray(2, end));
      received = received.subarray(end);
    }
    if (messages.length >= count) break;
  }
  return messages;
}

describe('streams', () => {
  it('carry many queries, answered as the answers come', async () => {
    const socket = connect(listener.port, '127.0.0.1');
    socket.write(
      framed(queryBytes('slow.example', 1, { id: 1 }), queryBytes('api.example.com', 1, { id: 2 })),
    );
    const ids = (await receive(socket, 2)).map((bytes) => read(bytes).id);
    assert.deepEqual(ids, [2, 1]);
    socket.destroy();
  });

  it('may bring a query octet by octet, and end their side before the answer', async () => {
    const socket = connect({
      port: listener.port,
      host: '127.0.0.1',
      allowHalfOpen: true,
      noDelay: true,
    });
    for (const octet of framed(queryBytes('slow2.example', 1))) {
      socket.write(Buffer.of(octet));
      await new Promise(setImmediate);
    }
    const before = performance.now();
    socket.end();
    const messages = await receive(socket, 2);
    assert.equal(messages.length, 1);
    assert.ok(
      performance.now() - before < STREAM_IDLE_MS / 2,
      'the server ends its side behind the answer',
    );
  });

  it('carry answers that no datagram holds', async () => {
    const socket = connect(listener.port, '127.0.0.1');
    socket.write(framed(queryBytes('big.example', 1)));
    const [answer] = await receive(socket, 1);
    assert.equal(read(answer).answers?.length, 200);
  });

  it('with more queries than may wait get all their answers', async () => {
    const socket = connect(listener.port, '127.0.0.1');
    const count = 3 * MAX_PIPELINED;
    socket.write(
      framed(
        ...Array.from({ length: count }, (_, i) => queryBytes(`slow${i}.example`, 1, { id: i })),
      ),
    );
    const ids = (await receive(socket, count)).map((bytes) => read(bytes).id ?? -1);
    assert.equal(new Set(ids).size, count);
  });

  it('that are cut off hurt nobody', async () => {
    const socket = connect(listener.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write(framed(queryBytes('slow.example.cut', 1)));
    socket.resetAndDestroy();
    await sleep(100);
    const client = { key: '127.0.0.1', stream: true };
    assert.equal(await placesLeft(server, client), MAX_IN_FLIGHT / 2);
  });
});

// Half relayed from the cache, half virtual.
const NAMES = Array.from({ length: 50 }, (_, i) =>
  i % 2 === 0 ? `host${i}.example` : 'api.example.com',
);

describe('datagrams', () => {
  it('5,000 queries take a second of processor time at most, and 99 % of them 5 ms', async () => {
    const round = async () => {
      const times: number[] = [];
      const before = process.cpuUsage();
      for (let id = 0; id < 5000; id++) {
        const query = queryBytes(NAMES[id % NAMES.length] ?? '', 1, { id, payload: 1232 });
        const arrived = performance.now();
        await answerDatagram(server, query, '127.0.0.1');
        times.push(performance.now() - arrived);
      }
      const { user, system } = process.cpuUsage(before);
      times.sort((x, y) => x - y);
      return { p99: times[Math.floor(times.length * 0.99)] ?? Number.NaN, cpu: user + system };
    };
    // Other programs on the machine only ever add to it, so the best of some rounds counts.
    const rounds = [];
    for (let i = 0; i < 5; i++) rounds.push(await round());
    const p99 = Math.min(...rounds.map((one) => one.p99));
    const cpu = Math.min(...rounds.map((one) => one.cpu));
    assert.ok(p99 < 5, `99 % within ${p99.toFixed(2)} ms`);
    assert.ok(cpu < 1_000_000, `${cpu} us`);
  });

  it('5,000 queries a second from another process are answered', { timeout: 20_000 }, async (t) => {
    const output = await mustRun([
      process.execPath,
      LOAD,
      '127.0.0.1',
      String(listener.port),
      '5000',
      '1',
      ...NAMES,
    ]);
    const { sent, answered, p99 } = JSON.parse(output) as LoadResult;
    // How long it takes is also the other programs' doing; what is lost, that of small socket
    // buffers meanwhile.
    t.diagnostic(`${answered} of ${sent} queries answered, 99 % within ${p99.toFixed(2)} ms`);
    assert.ok(answered >= sent / 10, `${answered} of ${sent}`);
  });
});

describe('connections to virtual addresses', () => {
  function setUp() {
    const clock = { now: 0 };
    const observer = new CountingObserver();
    if (blocks === undefined) throw new Error('no blocks');
    const virtual = new VirtualAddresses({ blocks, observer, now: () => clock.now, slots: 1 });
    const abort = new AbortController();
    const refusals: Refusal[] = [];
    const [near, far] = TwinStream.pair();
    const request = (host: string) => ({
      id: 1,
      source: { host: '198.18.0.1', port: 40_000 },
      destination: { host, port: 443 },
      signal: abort.signal,
      open: () => new StreamConduit(near),
      refuse: (refusal: Refusal) => void refusals.push(refusal),
    });
    far.on('error', () => {}); // the near end is destroyed
    /** Whether the one address can go to another name `ms` later. */
    const freeAfter = (ms: number) => {
      clock.now += ms;
      return virtual.lease('other.example') !== undefined;
    };
    return { virtual, observer, abort, refusals, near, request, freeAfter };
  }
  const accepting = (setup: ReturnType<typeof setUp>, host: string) => {
    const accepted: Parameters<Parameters<typeof translateRequests>[2]>[0][] = [];
    translateRequests(setup.virtual, setup.observer, (request) => accepted.push(request))(
      setup.request(host),
    );
    return accepted[0];
  };

  it('are connections to names, and hold them until they close', async () => {
    const setup = setUp();
    const address = setup.virtual.lease('api.example.com')?.ipv4 ?? '';
    const request = accepting(setup, address);
    assert.deepEqual(request?.destination, { host: 'api.example.com', port: 443 });
    assert.equal(request?.id, 1);
    const conduit = request?.open();
    assert.ok(!setup.freeAfter(2 * MIN_AGE_MS));
    conduit?.abort(undefined);
    await once(setup.near, 'close');
    assert.ok(!setup.freeAfter(MIN_AGE_MS - 1), 'programs may still have the address');
    assert.ok(setup.freeAfter(1));
  });

  for (const end of ['refuse', 'give up'] as const) {
    it(`that are not made do not hold them (${end})`, () => {
      const setup = setUp();
      const request = accepting(setup, setup.virtual.lease('api.example.com')?.ipv6 ?? '');
      if (end === 'refuse') request?.refuse('timeout');
      else setup.abort.abort();
      assert.ok(!setup.freeAfter(MIN_AGE_MS - 1));
      assert.ok(setup.freeAfter(1));
    });
  }

  it('that stand for no name are unreachable; others pass', () => {
    const setup = setUp();
    assert.equal(accepting(setup, '198.18.64.7'), undefined);
    assert.deepEqual(setup.refusals, ['unreachable']);
    assert.equal(accepting(setup, '10.0.0.1')?.destination.host, '10.0.0.1');
  });
});
