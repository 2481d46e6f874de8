/**
 * The folder's parts as a tunnel puts them together: queries out of a capture, connections to what
 * they were answered with.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { NameService, type NameServiceOptions } from '../../../../src/dns/server/nameservice.ts';
import { CapturedQueries, MAX_QUERY_STREAMS } from '../../../../src/dns/server/queries.ts';
import { NameBook } from '../../../../src/dns/upstream/known.ts';
import { StreamUpstream } from '../../../../src/dns/upstream/stream.ts';
import { parseQuery } from '../../../../src/dns/wire/query.ts';
import type { Datagram } from '../../../../src/flow/datagram.ts';
import type { FlowRequest } from '../../../../src/flow/request.ts';
import { StreamConduit } from '../../../../src/flow/streamconduit.ts';
import type { Destination } from '../../../../src/net/destination.ts';
import { parseNamePattern } from '../../../../src/net/name.ts';
import { formatPrefix, parsePrefix } from '../../../../src/net/prefix.ts';
import type { Refusal } from '../../../../src/net/refusal.ts';
import { connectStream } from '../../../support/connectstream.ts';
import { TwinStream, TwinTransport } from '../../../support/twin.ts';
import { a, answerBytes, CountingObserver, queryBytes, read } from './support.ts';

const PROGRAM = { host: '192.168.1.7', port: 40_000 };

/** A resolver behind the jump host: answers each query on a stream with one address. */
function serveNames(stream: TwinStream): void {
  let received = Buffer.alloc(0);
  stream.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
      const parsed = parseQuery(received.subarray(2, 2 + received.readUInt16BE(0)));
      received = received.subarray(2 + received.readUInt16BE(0));
      if (parsed.kind !== 'query') throw new Error('not a query');
      const { id, question } = parsed.query;
      const address = question.name.startsWith('evil') ? '198.18.128.9' : '10.1.2.3';
      const answer = answerBytes(question, id, { answers: [a(question.name, address)] });
      const length = Buffer.alloc(2);
      length.writeUInt16BE(answer.length);
      stream.write(Buffer.concat([length, answer]));
    }
  });
  stream.on('error', () => {}); // it is closed at the end
}

function setUp(
  given: Partial<NameServiceOptions> = {},
  naming: Partial<NameServiceOptions['naming']> = {},
) {
  const observer = new CountingObserver();
  const transport = new TwinTransport();
  transport.serve('10.0.0.53:53', serveNames);
  const book = new NameBook({ observer });
  const names = new NameService({
    naming: {
      nameTargets: [parseNamePattern('api.example.com')],
      nameExclusions: [],
      domains: [],
      beyond: 'tunnel',
      ...naming,
    },
    device: { address4: '198.18.1.1', address6: '2001:2:0:1::1' },
    behind: new StreamUpstream({
      servers: [{ host: '10.0.0.53', port: 53 }],
      connect: (destination, options) => connectStream(transport, destination, options),
      observer,
    }),
    local: [],
    connectDirectly: () => Promise.reject(new Error('nothing goes directly here')),
    book,
    observer,
    ...given,
  });
  const sent: Datagram[] = [];
  const refused: Refusal[] = [];
  const queries = new CapturedQueries({
    server: names.server,
    own: names.addresses,
    resolvers: new Set(['192.168.1.1']),
    capture: {
      sendDatagram: (datagram) => void sent.push(datagram),
      refuseDatagram: (_, refusal) => void refused.push(refusal),
    },
    observer,
  });
  const ask = async (host: string, name: string, port = 53) => {
    const payload = queryBytes(name, 1);
    const before = sent.length + refused.length;
    queries.acceptDatagram({ source: PROGRAM, destination: { host, port }, payload });
    while (sent.length + refused.length === before) await new Promise(setImmediate);
    return sent.at(-1);
  };
  const request = (host: string, port: number) => {
    const [near, far] = TwinStream.pair();
    const refusals: Refusal[] = [];
    const made: FlowRequest = {
      id: 1,
      source: PROGRAM,
      destination: { host, port },
      signal: new AbortController().signal,
      open: () => new StreamConduit(near),
      refuse: (refusal) => void refusals.push(refusal),
    };
    return { made, near, far, refusals };
  };
  return { names, book, queries, transport, observer, refused, ask, request };
}

describe('the names of a tunnel', () => {
  it("have routes and a server address beside the device's own", () => {
    const { names } = setUp();
    assert.deepEqual(names.prefixes.map(formatPrefix), ['198.18.128.0/18', '2001:2:0:8001::/96']);
    assert.deepEqual([...names.addresses], ['198.18.1.53', '2001:2:0:1::35']);
  });

  it("are not answered with the tunnel's own addresses by a resolver, nor recorded", async () => {
    const { names, book, ask, observer } = setUp();
    const answer = await ask('198.18.1.53', 'evil.example');
    assert.deepEqual(read(answer?.payload).answers, []);
    assert.deepEqual(await names.lookup('evil.example'), []);
    assert.deepEqual(book.namesOf('198.18.128.9'), []);
    assert.ok(observer.of('tunnel_dns_rebinding_refused_total') > 0);
    names.close();
    const permitted = setUp({ rebindDomains: ['evil.example'] });
    assert.deepEqual(await permitted.names.lookup('evil.example'), ['198.18.128.9']);
    permitted.names.close();
  });

  it('are elsewhere with ranges that are given, and the former may be answered', async () => {
    const { names } = setUp({}, { virtualRanges: [parsePrefix('100.127.0.0/18').prefix] });
    assert.deepEqual(names.prefixes.map(formatPrefix), ['100.127.0.0/18', '2001:2:0:8001::/96']);
    assert.deepEqual(await names.lookup('evil.example'), ['198.18.128.9']);
    names.close();
  });

  it('that are written out have a lease before anybody asks', () => {
    const { names, observer } = setUp();
    assert.ok(names.virtual?.lease('api.example.com'));
    assert.equal(observer.of('tunnel_dns_leases_total'), 0);
    names.close();
  });

  it('are not to be had for one tunnel too many', () => {
    const device = { address4: '198.18.200.1', address6: undefined };
    const observer = new CountingObserver();
    const book = new NameBook({ observer });
    const options = { device, behind: undefined, local: [], book, observer };
    const connect = () => Promise.reject(new Error('none'));
    const naming = { nameTargets: [], nameExclusions: [], domains: [], beyond: 'local' } as const;
    assert.doesNotThrow(() => new NameService({ ...options, naming, connectDirectly: connect }));
    const named = { ...naming, nameTargets: [parseNamePattern('a.example')] };
    assert.throws(() => new NameService({ ...options, naming: named, connectDirectly: connect }), {
      code: 'dns-no-block',
    });
  });

  it('are answered from the address that was asked, and lead to the name', async () => {
    const { names, ask, request, transport } = setUp();
    for (const resolver of ['192.168.1.1', '198.18.1.53']) {
      const answer = await ask(resolver, 'api.example.com');
      assert.deepEqual(answer?.source, { host: resolver, port: 53 });
      assert.deepEqual(answer?.destination, PROGRAM);
      const [record] = read(answer?.payload).answers ?? [];
      assert.ok(record?.type === 'A');
      const accepted: FlowRequest[] = [];
      names.translate((made) => accepted.push(made))(request(record.data, 443).made);
      assert.deepEqual(accepted[0]?.destination, { host: 'api.example.com', port: 443 });
    }
    assert.equal(transport.requested.length, 0);
    const relayed = await ask('192.168.1.1', 'www.example.org');
    assert.equal(read(relayed?.payload).answers?.length, 1);
    assert.deepEqual(transport.requested[0]?.destination, { host: '10.0.0.53', port: 53 });
    names.close();
  });

  it('are told by TCP, too', async () => {
    const { names, queries, request } = setUp();
    const { made, near, far } = request('198.18.1.53', 53);
    near.pause(); // as captures do
    assert.ok(queries.accept(made));
    const query = queryBytes('www.example.org', 1);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    far.write(Buffer.concat([length, query]));
    const [answer] = (await once(far, 'data')) as [Buffer];
    assert.equal(read(answer.subarray(2)).answers?.length, 1);
    far.end();
    await once(far.resume(), 'end');
    names.close();
  });

  it('leave other traffic alone, but for ports of their own address', async () => {
    const { queries, refused, ask, request } = setUp();
    const datagram = (host: string, port: number) =>
      queries.acceptDatagram({
        source: PROGRAM,
        destination: { host, port },
        payload: queryBytes('x', 1),
      });
    assert.equal(datagram('10.0.0.7', 53), false);
    assert.equal(datagram('192.168.1.1', 443), false);
    await ask('198.18.1.53', 'x', 443);
    assert.deepEqual(refused, ['refused']);
    assert.equal(queries.accept(request('192.168.1.1', 443).made), false);
    assert.equal(queries.accept(request('10.0.0.7', 53).made), false);
    const own = request('198.18.1.53', 443);
    assert.equal(queries.accept(own.made), true);
    assert.deepEqual(own.refusals, ['refused']);
  });

  it('are not told over more connections than are bounded', async () => {
    const { queries, observer, request } = setUp();
    const share = MAX_QUERY_STREAMS / 2;
    for (let i = 0; i < share; i++) queries.accept(request('198.18.1.53', 53).made);
    await new Promise(setImmediate);
    const { made, refusals } = request('198.18.1.53', 53);
    assert.ok(queries.accept(made));
    await new Promise(setImmediate);
    assert.deepEqual(refusals, ['refused']);
    assert.equal(observer.of('tunnel_dns_streams_over_limit_total'), 1);
  });

  it('leave connections for other users of the same machine', async () => {
    const peers = new Set<unknown>();
    const userOf = async ({ port }: Destination, peer: Destination | undefined) => {
      peers.add(peer?.port);
      return port;
    };
    const { queries, request, observer } = setUp({ userOf });
    const from = (port: number) => {
      const { made, refusals } = request('198.18.1.53', 53);
      queries.accept({ ...made, source: { host: '198.18.1.1', port } });
      return refusals;
    };
    for (let i = 0; i < 2 * MAX_QUERY_STREAMS; i++) from(1000);
    await new Promise(setImmediate);
    assert.ok(observer.of('tunnel_dns_streams_over_limit_total') > 0);
    const others = [1001, 1002, 1003].map(from);
    await new Promise(setImmediate);
    assert.deepEqual(others, [[], [], []]);
    assert.deepEqual([...peers], [53], 'both ends are known');
  });
});
