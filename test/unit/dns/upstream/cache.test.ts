import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Packet } from 'dns-packet';
import { CachingResolver, MAX_ENTRIES } from '../../../../src/dns/upstream/cache.ts';
import { relayAnswer } from '../../../../src/dns/wire/compose.ts';
import type { Query } from '../../../../src/dns/wire/query.ts';
import {
  a,
  CountingObserver,
  FakeResolver,
  question,
  read,
  soa,
  upstreamAnswer,
} from '../server/support.ts';

function setUp(packet: (n: number) => Packet & { readonly rcode?: number }) {
  const clock = { now: 0 };
  let count = 0;
  const observer = new CountingObserver();
  const upstream = new FakeResolver((asked) => upstreamAnswer(asked, packet(count++)));
  const cache = new CachingResolver({ upstream, observer, now: () => clock.now });
  /** What a client that asks now sees: the TTLs of the answers, and the rcode. */
  const ask = async (name: string, type = 1) => {
    const asked = question(name, type);
    const query: Query = { id: 1, flags: 0x0100, question: asked, edns: undefined };
    const { answers = [], rcode } = read(relayAnswer(query, await cache.resolve(asked)));
    return { ttls: answers.map((answer) => ('ttl' in answer ? answer.ttl : undefined)), rcode };
  };
  return { clock, upstream, cache, observer, ask };
}

describe('the cache', () => {
  it('keeps an answer for its shortest TTL, and counts down', async () => {
    const { clock, upstream, ask } = setUp(() => ({
      answers: [
        { type: 'CNAME', name: 'a.example', ttl: 300, data: 'b.example' },
        a('b.example', '10.0.0.1', 60),
      ],
    }));
    assert.deepEqual(await ask('a.example'), { ttls: [300, 60], rcode: 0 });
    clock.now = 59_999;
    assert.deepEqual(await ask('A.example'), { ttls: [241, 1], rcode: 0 });
    assert.equal(upstream.asked.length, 1);
    clock.now = 60_000;
    assert.deepEqual(await ask('a.example'), { ttls: [300, 60], rcode: 0 });
    assert.equal(upstream.asked.length, 2);
  });

  for (const [what, rcode, type] of [
    ['a name that does not exist', 3, 1],
    ['a name without such records', 0, 28],
  ] as const) {
    it(`keeps ${what} for the smaller of the SOA's TTL and its minimum`, async () => {
      const { clock, upstream, ask } = setUp(() => ({
        rcode,
        authorities: [soa('example', 120, 20)],
      }));
      assert.equal((await ask('a.example', type)).rcode, rcode);
      clock.now = 19_999;
      await ask('a.example', type);
      assert.equal(upstream.asked.length, 1);
      clock.now = 20_000;
      await ask('a.example', type);
      assert.equal(upstream.asked.length, 2);
    });
  }

  it('keeps no negative answer without SOA, none with TTL 0, and no referral', async () => {
    const packets: Packet[] = [
      {},
      { answers: [a('a.example', '10.0.0.1', 0)] },
      { authorities: [{ type: 'NS', name: 'example', ttl: 60, data: 'ns.example' }] },
      {},
    ];
    const { upstream, ask } = setUp((n) => packets[n] ?? {});
    for (let i = 0; i < 4; i++) await ask('a.example');
    assert.equal(upstream.asked.length, 4);
  });

  it('reads a TTL with its highest bit set as 0, and none as more than a day', async () => {
    const { clock, upstream, ask } = setUp((n) => ({
      answers: [a('a.example', '10.0.0.1', n === 0 ? 0x8000_0001 : 0x7fff_ffff)],
    }));
    assert.deepEqual((await ask('a.example')).ttls, [0]);
    assert.deepEqual((await ask('a.example')).ttls, [86_400]);
    clock.now = 86_400_000;
    await ask('a.example');
    assert.equal(upstream.asked.length, 3);
  });

  it('makes one question of equal ones, whatever their case; DNSSEC and types are different ones', async () => {
    const { upstream, cache } = setUp(() => ({ answers: [a('a.example', '10.0.0.1')] }));
    await Promise.all([
      ...['a.example', 'A.example', 'a.EXAMPLE'].map((name) => cache.resolve(question(name))),
      cache.resolve(question('a.example', 28)),
      cache.resolve(question('a.example', 1, { dnssecOk: true })),
    ]);
    assert.equal(upstream.asked.length, 3);
  });

  it('remembers a failure for a second', async () => {
    const clock = { now: 0 };
    const upstream = new FakeResolver(() => Promise.reject(new Error('down')));
    const cache = new CachingResolver({
      upstream,
      observer: new CountingObserver(),
      now: () => clock.now,
    });
    for (const now of [0, 999, 1000]) {
      clock.now = now;
      await assert.rejects(cache.resolve(question('a.example')), /down/);
    }
    assert.equal(upstream.asked.length, 2);
  });

  it('is bounded in entries and in octets; what was used longest ago goes', async () => {
    const { cache, observer, upstream } = setUp(() => ({ answers: [a('x', '10.0.0.1')] }));
    for (let i = 0; i < MAX_ENTRIES + 500; i++) {
      await cache.resolve(question(`n${i}.example`));
      if (i % 1000 === 0) await cache.resolve(question('n0.example'));
    }
    assert.equal(observer.of('tunnel_dns_cache_evictions_total'), 500);
    const before = upstream.asked.length;
    await cache.resolve(question('n0.example'));
    assert.equal(upstream.asked.length, before);

    const big = setUp(() => ({
      answers: [{ type: 'TXT', name: 'x', ttl: 60, data: Array(200).fill('t'.repeat(250)) }],
    }));
    for (let i = 0; i < 400; i++) await big.cache.resolve(question(`n${i}.example`, 16));
    const kept = 400 - big.observer.of('tunnel_dns_cache_evictions_total');
    assert.ok(kept < 200 && kept > 100, `${kept} answers of 50 KB`);
  });
});
