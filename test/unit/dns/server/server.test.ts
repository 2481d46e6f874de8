/** The DNS server: octets in, octets out, read back by dns-packet. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createNaming, type NamingOptions } from '../../../../src/dns/naming.ts';
import { reverseName } from '../../../../src/dns/reverse.ts';
import {
  DnsServer,
  MAX_QUERIES_OF_CLIENT,
  type UserOf,
} from '../../../../src/dns/server/server.ts';
import { VirtualAddresses, virtualBlocks } from '../../../../src/dns/server/virtual.ts';
import { CachingResolver } from '../../../../src/dns/upstream/cache.ts';
import type { Resolver } from '../../../../src/dns/upstream/resolver.ts';
import type { Question } from '../../../../src/dns/wire/query.ts';
import { parseNamePattern } from '../../../../src/net/name.ts';
import {
  a,
  CountingObserver,
  FakeResolver,
  optionBytes,
  placesLeft,
  queryBytes,
  read,
  soa,
  upstreamAnswer,
  wireName,
} from './support.ts';

const UDP = { key: '192.0.2.2', stream: false };
const TCP = { key: '192.0.2.2', stream: true };
const T = {
  A: 1,
  SOA: 6,
  PTR: 12,
  MX: 15,
  AAAA: 28,
  SRV: 33,
  SVCB: 64,
  HTTPS: 65,
  AXFR: 252,
  ANY: 255,
};

function knows(names: readonly string[]) {
  return new FakeResolver((asked: Question) =>
    names.includes(asked.name)
      ? upstreamAnswer(asked, {
          answers: asked.type === T.A ? [a(asked.name, '10.1.2.3')] : [],
          authorities: [soa('example')],
        })
      : upstreamAnswer(asked, { rcode: 3, authorities: [soa('example')] }),
  );
}

function setUp({
  tunnel,
  local,
  naming = {},
  slots,
  userOf,
}: {
  tunnel?: Resolver;
  local?: Resolver;
  naming?: Partial<NamingOptions>;
  slots?: number;
  userOf?: UserOf;
} = {}) {
  const observer = new CountingObserver();
  const blocks = virtualBlocks({ address4: '198.18.0.1', address6: '2001:2::1' });
  if (blocks === undefined) throw new Error('no blocks');
  const virtual = new VirtualAddresses({
    blocks,
    observer,
    ...(slots === undefined ? {} : { slots }),
  });
  const server = new DnsServer({
    naming: createNaming({
      nameTargets: ['api.example.com', '*.corp.example'].map(parseNamePattern),
      nameExclusions: [],
      domains: ['tunnelled.example'],
      beyond: 'local',
      ...naming,
    }),
    virtual,
    tunnel,
    local,
    userOf,
    observer,
  });
  const ask = async (name: string, type: number, options: Parameters<typeof queryBytes>[2] = {}) =>
    read(await server.answer(queryBytes(name, type, options), UDP));
  return { server, virtual, observer, ask };
}

describe('name targets', () => {
  it('get the addresses of one lease, and their names back', async () => {
    const { ask, virtual } = setUp();
    const [v4] = (await ask('api.example.com', T.A)).answers ?? [];
    const [v6] = (await ask('api.example.com', T.AAAA)).answers ?? [];
    assert.ok(v4?.type === 'A' && v6?.type === 'AAAA');
    assert.ok((v4.ttl ?? 0) <= 10 && (v4.ttl ?? 0) > 0);
    assert.equal(virtual.nameOf(v4.data), 'api.example.com');
    assert.equal(virtual.nameOf(v6.data), 'api.example.com');
    for (const address of [v4.data, v6.data]) {
      const [ptr] = (await ask(reverseName(address), T.PTR)).answers ?? [];
      assert.ok(ptr?.type === 'PTR');
      assert.equal(ptr.data, 'api.example.com');
    }
    const both = await ask('api.example.com', T.ANY);
    assert.deepEqual(
      both.answers?.map(({ type }) => type),
      ['A', 'AAAA'],
    );
  });

  it('are found in whatever case, and the answer repeats it', async () => {
    const { ask } = setUp();
    const plain = await ask('api.example.com', T.A);
    const mixed = await ask('aPi.ExAmple.cOM', T.A);
    assert.equal(mixed.questions?.[0]?.name, 'aPi.ExAmple.cOM');
    assert.deepEqual(mixed.answers?.[0], plain.answers?.[0]);
  });

  it('that no host can have get no address, and keep their other records', async () => {
    const asked: string[] = [];
    const tunnel: Resolver = {
      async resolve(question) {
        asked.push(`${question.name} ${question.type}`);
        return upstreamAnswer(question, { answers: [] });
      },
      close() {},
    };
    const { ask, observer } = setUp({ tunnel });
    for (const name of ['my printer.corp.example', 'a/b.corp.example', 'a$(id).corp.example']) {
      for (const type of [T.A, T.AAAA, T.ANY]) {
        const { rcode, answers, authorities } = await ask(name, type);
        assert.deepEqual([rcode, answers?.length, authorities?.[0]?.type], [0, 0, 'SOA'], name);
      }
    }
    assert.deepEqual(asked, []);
    await ask('my printer.corp.example', T.SRV);
    assert.deepEqual(asked, ['my\\032printer.corp.example 33']);
    assert.equal(observer.counts.get('tunnel_dns_leases_total'), undefined);
  });

  it('are found as A-labels', async () => {
    const { ask } = setUp({ naming: { nameTargets: [parseNamePattern('bücher.example')] } });
    assert.equal((await ask('xn--bcher-kva.example', T.A)).answers?.length, 1);
  });

  for (const [name, type] of Object.entries({ HTTPS: T.HTTPS, SVCB: T.SVCB, MX: T.MX })) {
    it(`have no ${name} records: an empty answer with SOA`, async () => {
      const answer = await setUp().ask('api.example.com', type);
      assert.equal(answer.rcode, 0);
      assert.equal(answer.answers?.length, 0);
      assert.equal(answer.authorities?.[0]?.type, 'SOA');
      assert.equal(answer.authorities?.[0]?.name, 'api.example.com');
    });
  }

  it('never have HTTPS records, even if the resolver behind the jump host knows some', async () => {
    const tunnel = knows(['www.corp.example']);
    const answer = await setUp({ tunnel }).ask('www.corp.example', T.HTTPS);
    assert.equal(answer.answers?.length, 0);
    assert.equal(tunnel.asked.length, 0);
  });

  it('that a wildcard holds exist only if the resolver behind the jump host knows them', async () => {
    const tunnel = knows(['www.corp.example']);
    const { ask, observer } = setUp({ tunnel });
    assert.equal((await ask('www.corp.example', T.A)).answers?.length, 1);
    assert.equal(
      (await ask('www.corp.example', T.AAAA)).answers?.length,
      0,
      'it has no IPv6 address',
    );
    const missing = await ask('wwww.corp.example', T.A);
    assert.equal(missing.rcode, 3);
    assert.equal(missing.authorities?.[0]?.type, 'SOA');
    const any = await ask('wwww.corp.example', T.ANY);
    assert.deepEqual([any.rcode, any.questions?.[0]?.type], [3, 'ANY'], 'it repeats the question');
    assert.equal(observer.of('tunnel_dns_leases_total'), 1);
  });

  it('that a target writes out are not asked for', async () => {
    const tunnel = knows([]);
    assert.equal((await setUp({ tunnel }).ask('api.example.com', T.A)).answers?.length, 1);
    assert.equal(tunnel.asked.length, 0);
  });

  it('get their addresses also when that resolver fails', async () => {
    const tunnel = new FakeResolver(() => Promise.reject(new Error('down')));
    const { ask, observer } = setUp({ tunnel });
    assert.equal((await ask('www.corp.example', T.A)).answers?.length, 1);
    assert.equal(observer.of('tunnel_dns_unchecked_total'), 1);
  });

  it('are SERVFAIL when no address is left', async () => {
    const { ask } = setUp({ slots: 1 });
    assert.equal((await ask('api.example.com', T.A)).rcode, 0);
    assert.equal((await ask('www.corp.example', T.A)).rcode, 2);
    assert.equal((await ask('api.example.com', T.AAAA)).rcode, 0);
  });
});

describe('other names', () => {
  it('go to the resolver that is theirs, and never to the other', async () => {
    const tunnel = knows(['x.tunnelled.example']);
    const local = knows(['x.example.org']);
    const { ask } = setUp({ tunnel, local });
    assert.equal((await ask('X.tunnelled.example', T.A)).answers?.length, 1);
    assert.equal((await ask('x.example.org', T.A)).answers?.length, 1);
    assert.equal((await ask('y.tunnelled.example', T.A)).rcode, 3);
    assert.deepEqual(
      tunnel.asked.map(({ name }) => name),
      ['x.tunnelled.example', 'y.tunnelled.example'],
    );
    assert.deepEqual(
      local.asked.map(({ name }) => name),
      ['x.example.org'],
    );
  });

  it('that are kept are answered in the case of each query', async () => {
    const upstream = knows(['www.example.org']);
    const local = new CachingResolver({ upstream, observer: new CountingObserver() });
    const { ask } = setUp({ local });
    for (const name of ['www.example.org', 'wWw.EXAMPLE.oRg'])
      assert.equal((await ask(name, T.A)).questions?.[0]?.name, name);
    assert.equal(upstream.asked.length, 1);
  });

  it('of the tunnel are SERVFAIL when the tunnel fails', async () => {
    const local = knows(['x.tunnelled.example']);
    const { ask } = setUp({
      tunnel: new FakeResolver(() => Promise.reject(new Error('down'))),
      local,
    });
    assert.equal((await ask('x.tunnelled.example', T.A)).rcode, 2);
    assert.equal(local.asked.length, 0);
  });

  it('are refused when nobody is there to ask', async () => {
    assert.equal((await setUp().ask('x.example.org', T.A)).rcode, 5);
  });

  it('localhost is here; what finds other resolvers is nowhere', async () => {
    const local = knows([]);
    const { ask } = setUp({ local });
    const [loopback] = (await ask('localhost', T.A)).answers ?? [];
    assert.ok(loopback?.type === 'A' && loopback.data === '127.0.0.1');
    assert.equal((await ask('use-application-dns.net', T.A)).rcode, 3);
    const designated = await ask('_dns.resolver.arpa', T.SVCB);
    assert.deepEqual([designated.rcode, designated.answers?.length], [0, 0]);
    assert.equal(local.asked.length, 0);
  });

  it('is told SERVFAIL once the server is closed, also where it waits for a resolver', async () => {
    const rejections: ((error: Error) => void)[] = [];
    const tunnel: Resolver = {
      resolve: () => new Promise((_resolve, reject) => rejections.push(reject)),
      close: () => {
        for (const reject of rejections) reject(new Error('closed'));
      },
    };
    const { ask, server } = setUp({ tunnel });
    const waiting = ['www.corp.example', 'www.tunnelled.example'].map((name) => ask(name, T.A));
    assert.equal((await ask('api.example.com', T.A)).rcode, 0);
    server.close();
    tunnel.close();
    assert.equal((await ask('api.example.com', T.A)).rcode, 2);
    assert.deepEqual(
      (await Promise.all(waiting)).map(({ rcode }) => rcode),
      [2, 2],
    );
  });

  it('reverse names of virtual addresses without a name do not exist, those of others are asked for', async () => {
    const local = knows([]);
    const { ask } = setUp({ local });
    // The last two are another tunnel's, and a device's own.
    for (const address of ['198.18.64.9', '2001:2:0:8000::9', '198.19.1.1', '198.18.0.53'])
      assert.equal((await ask(reverseName(address), T.PTR)).rcode, 3);
    assert.equal(local.asked.length, 0);
    await ask(reverseName('10.0.0.1'), T.PTR);
    assert.equal(local.asked.length, 1);
  });

  it("keep id, case and flags of the query, and lose the resolver's EDNS", async () => {
    const local = new FakeResolver((asked) =>
      upstreamAnswer(asked, {
        flags: 0x0020,
        answers: [a(asked.name, '10.1.2.3', 77)],
        additionals: [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: 4096,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0,
            flag_do: false,
            options: [],
          },
        ],
      }),
    );
    const { ask } = setUp({ local });
    const bare = await ask('wWw.example.org', T.A, { id: 0xbeef });
    assert.equal(bare.id, 0xbeef);
    assert.equal(bare.questions?.[0]?.name, 'wWw.example.org');
    assert.equal(bare.additionals?.length, 0);
    assert.deepEqual(
      [bare.flag_ra, bare.flag_rd, bare.flag_ad, bare.flag_aa],
      [true, true, false, false],
    );
    const modern = await ask('www.example.org', T.A, { payload: 1400, flags: 0x0120 });
    assert.equal(modern.additionals?.[0]?.type, 'OPT');
    assert.equal(modern.flag_ad, true);
  });
});

describe('records that nobody asked for', () => {
  it('are not passed on: hints of SRV and MX are real addresses of names that have virtual ones', async () => {
    const tunnel = new FakeResolver((asked) =>
      upstreamAnswer(asked, {
        answers: [
          {
            type: 'SRV',
            name: asked.name,
            ttl: 60,
            data: { port: 389, target: 'dc1.corp.example' },
          },
        ],
        authorities: [soa('corp.example')],
        additionals: [a('dc1.corp.example', '10.0.0.1')],
      }),
    );
    const { ask } = setUp({ tunnel });
    for (const payload of [undefined, 1232]) {
      const answer = await ask(
        '_ldap._tcp.corp.example',
        T.SRV,
        payload === undefined ? {} : { payload },
      );
      assert.deepEqual([answer.answers?.length, answer.authorities?.length], [1, 1]);
      assert.deepEqual(
        answer.additionals?.map(({ type }) => type),
        payload === undefined ? [] : ['OPT'],
      );
    }
  });
});

describe("what a datagram can't hold", () => {
  const many = Array.from({ length: 100 }, (_, i) => a('big.example.org', `10.0.0.${i}`));
  const local = new FakeResolver((asked) => upstreamAnswer(asked, { answers: many }));

  it('is cut, and whole over TCP', async () => {
    const { server } = setUp({ local });
    for (const payload of [undefined, 512, 1232, 4096]) {
      const query = queryBytes('big.example.org', T.A, payload === undefined ? {} : { payload });
      const cut = await server.answer(query, UDP);
      const limit = Math.min(payload ?? 512, 1232);
      assert.ok((cut?.length ?? 9999) <= limit);
      const packet = read(cut);
      assert.equal(packet.flag_tc, true);
      // musl before 1.2.4 doesn't ask by TCP: it makes do with those that fit.
      const kept = packet.answers ?? [];
      assert.deepEqual(kept, read(await server.answer(query, TCP)).answers?.slice(0, kept.length));
      assert.ok(limit - (cut?.length ?? 0) < 35, 'another record would have fitted');
      assert.equal(packet.additionals?.length, payload === undefined ? 0 : 1);
      const whole = read(await server.answer(query, TCP));
      assert.deepEqual([whole.flag_tc, whole.answers?.length], [false, 100]);
    }
  });
});

describe('queries that are not as they should be', () => {
  const rcodeOf = async (bytes: Uint8Array) => {
    const answer = await setUp({ local: knows([]) }).server.answer(bytes, UDP);
    return answer === undefined ? undefined : (answer[3] ?? 0) & 0xf;
  };
  const altered = (change: (bytes: Buffer) => void) => {
    const bytes = queryBytes('www.example.org', T.A);
    change(bytes);
    return bytes;
  };
  const withOptions = (...options: readonly Buffer[]) => {
    const bytes = Buffer.concat([queryBytes('www.example.org', T.A), ...options]);
    bytes.writeUInt16BE(options.length, 10);
    return bytes;
  };

  for (const [name, bytes, rcode] of [
    ['shorter than a header', Buffer.alloc(11), undefined],
    ['an answer', altered((b) => b.writeUInt16BE(0x8180, 2)), undefined],
    ['opcode STATUS', altered((b) => b.writeUInt16BE(0x1000, 2)), 4],
    ['opcode UPDATE', altered((b) => b.writeUInt16BE(0x2800, 2)), 4],
    ['no question', queryBytes('', T.A).subarray(0, 12).fill(0, 4, 6), 1],
    ['two questions', altered((b) => b.writeUInt16BE(2, 4)), 1],
    ['a name that is cut off', queryBytes('www.example.org', T.A).subarray(0, 20), 1],
    ['octets behind it', Buffer.concat([queryBytes('www.example.org', T.A), Buffer.of(0)]), 1],
    ['two OPT records', withOptions(optionBytes(1232), optionBytes(1232)), 1],
    [
      'an OPT record with a name',
      withOptions(Buffer.concat([wireName('x').subarray(0, 2), optionBytes(1232)])),
      1,
    ],
    ['class CHAOS', queryBytes('version.bind', 16, { of: 3 }), 5],
    ['class ANY', queryBytes('www.example.org', T.A, { of: 255 }), 5],
    ['an unknown class', queryBytes('www.example.org', T.A, { of: 999 }), 5],
    ['a zone transfer', queryBytes('example.org', T.AXFR), 5],
    ['type OPT', queryBytes('example.org', 41), 4],
  ] as const) {
    it(`${name}: ${rcode === undefined ? 'nothing' : rcode}`, async () =>
      assert.equal(await rcodeOf(bytes), rcode));
  }

  it('a later version of EDNS: BADVERS, and the version that is known', async () => {
    const answer = read(
      await setUp().server.answer(withOptions(optionBytes(1232, { version: 1 })), UDP),
    );
    const [option] = answer.additionals ?? [];
    assert.ok(option?.type === 'OPT');
    assert.deepEqual([answer.rcode, option.extendedRcode, option.ednsVersion], [0, 1, 0]);
  });

  it('of any octets get an answer that can be read, or none', async () => {
    const { server } = setUp({ local: knows(['a']), tunnel: knows(['a']) });
    const base = queryBytes('api.example.com', T.A, { payload: 1232 });
    const octets = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc
        .array(fc.tuple(fc.nat(base.length - 1), fc.integer({ min: 0, max: 255 })), {
          maxLength: 4,
        })
        .map((changes) => {
          const bytes = Buffer.from(base);
          for (const [at, octet] of changes) bytes[at] = octet;
          return bytes;
        }),
    );
    await fc.assert(
      fc.asyncProperty(octets, async (bytes) => {
        const answer = await server.answer(bytes, UDP);
        if (answer === undefined) return;
        const packet = read(answer);
        assert.equal(packet.type, 'response');
        assert.deepEqual([...answer.subarray(0, 2)], [...bytes.subarray(0, 2)]);
      }),
      { numRuns: 2000 },
    );
    assert.equal(await placesLeft(server, UDP), MAX_QUERIES_OF_CLIENT);
  });

  it('are those of a user of this machine, not of the machine', async () => {
    const silent = new FakeResolver((asked) =>
      asked.name.startsWith('slow')
        ? new Promise(() => {})
        : upstreamAnswer(asked, { answers: [a(asked.name, '10.0.0.1')] }),
    );
    const userOf = async ({ port }: { port: number }) => (port < 30_000 ? port % 5 : 2000);
    const { server, observer } = setUp({ local: silent, userOf });
    const from = (port: number) => ({ key: '198.18.0.1', port, stream: false });
    for (let port = 1; port <= 5 * MAX_QUERIES_OF_CLIENT; port++)
      void server.answer(queryBytes(`slow${port}.example`, T.A), from(port));
    await new Promise(setImmediate);
    assert.ok(observer.of('tunnel_dns_over_limit_total') > 0);
    for (let port = 30_000; port < 30_050; port++) {
      const answer = await server.answer(queryBytes('www.example.org', T.A), from(port));
      assert.equal(read(answer).rcode, 0, 'five users that flood leave places for another one');
    }
  });
});

describe('limits', () => {
  it('beyond its share, a client is told SERVFAIL at once; others are served', async () => {
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const local = new FakeResolver(async (asked) => {
      await gate;
      return upstreamAnswer(asked, { answers: [a(asked.name, '10.0.0.1')] });
    });
    const { server, observer } = setUp({ local });
    const query = queryBytes('www.example.org', T.A);
    const waiting = Array.from({ length: MAX_QUERIES_OF_CLIENT }, () => server.answer(query, UDP));
    assert.equal(read(await server.answer(query, UDP)).rcode, 2);
    assert.equal(observer.of('tunnel_dns_over_limit_total'), 1);
    const other = server.answer(query, { key: '192.0.2.3', stream: false });
    await new Promise(setImmediate);
    release();
    assert.equal(read(await other).rcode, 0);
    for (const answer of await Promise.all(waiting)) assert.equal((answer?.[3] ?? 9) & 0xf, 0);
    assert.equal(await placesLeft(server, UDP), MAX_QUERIES_OF_CLIENT);
  });
});
