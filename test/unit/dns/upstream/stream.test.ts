/** The resolvers behind the jump host: real streams, with servers that do what the test says. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { after, describe, it } from 'node:test';
import { MAX_BAD_ANSWERS } from '../../../../src/dns/upstream/connection.ts';
import { DatagramUpstream, socketOf } from '../../../../src/dns/upstream/datagram.ts';
import { MAX_IN_FLIGHT, StreamUpstream } from '../../../../src/dns/upstream/stream.ts';
import { parseQuery, type Question } from '../../../../src/dns/wire/query.ts';
import { addon } from '../../../../src/native/addon.ts';
import type { Destination } from '../../../../src/net/destination.ts';
import { a, answerBytes, CountingObserver, question, read, soa } from '../server/support.ts';

interface Asked {
  readonly bytes: Buffer;
  readonly id: number;
  readonly question: Question;
  /** Sends octets as a message. */
  send(message: Uint8Array): void;
  readonly socket: Socket;
  /** Of the connection, from 0. */
  readonly connection: number;
}

const closers: (() => void)[] = [];
after(() => {
  for (const close of closers) close();
});

/** A DNS server on a loopback port. */
async function serve(
  onQuery: (asked: Asked) => void,
): Promise<{ destination: Destination; connections: () => number }> {
  let connections = 0;
  const server: Server = createServer((socket) => {
    const connection = connections++;
    let received = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const bytes = received.subarray(2, 2 + received.readUInt16BE(0));
        received = received.subarray(2 + bytes.length);
        const parsed = parseQuery(bytes);
        if (parsed.kind !== 'query') throw new Error(`not a query: ${parsed.kind}`);
        const send = (message: Uint8Array) => {
          const length = Buffer.alloc(2);
          length.writeUInt16BE(message.length);
          socket.write(Buffer.concat([length, message]));
        };
        onQuery({
          bytes,
          id: parsed.query.id,
          question: parsed.query.question,
          send,
          socket,
          connection,
        });
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('no port');
  return { destination: { host: '127.0.0.1', port: bound.port }, connections: () => connections };
}

function upstream(
  servers: readonly Destination[],
  { attemptTimeoutMs = 10_000, totalTimeoutMs = 30_000 } = {},
) {
  const observer = new CountingObserver();
  const resolver = new StreamUpstream({
    servers,
    connect: async ({ host, port }, { signal }) => {
      const socket = connect({ host, port, noDelay: true });
      signal.addEventListener('abort', () => socket.destroy(new Error('given up')), { once: true });
      await once(socket, 'connect');
      return socket;
    },
    observer,
    attemptTimeoutMs,
    totalTimeoutMs,
  });
  closers.push(() => resolver.close());
  return { resolver, observer };
}

const good = (asked: Asked) =>
  asked.send(
    answerBytes(asked.question, asked.id, { answers: [a(asked.question.name, '10.0.0.1')] }),
  );

describe('resolvers over streams', () => {
  it('are asked for many names on one connection, and may answer in any order', async () => {
    const held: Asked[] = [];
    const { destination, connections } = await serve((asked) => {
      held.push(asked);
      if (held.length < 500) return;
      for (const one of held.reverse())
        one.send(
          answerBytes(one.question, one.id, {
            answers: [a(one.question.name, `10.0.0.${one.question.name.length}`)],
          }),
        );
    });
    const { resolver } = upstream([destination]);
    const names = Array.from({ length: 500 }, (_, i) => `host${i}.corp.example`);
    const answers = await Promise.all(names.map((name) => resolver.resolve(question(name))));
    for (const [i, { message }] of answers.entries())
      assert.equal(read(message).answers?.[0]?.name, names[i]);
    assert.equal(connections(), 1);
    assert.equal(new Set(held.map(({ id }) => id)).size, 500);
  });

  it('are asked nothing but the question: RD, EDNS, no options', async () => {
    let seen: Buffer | undefined;
    const { destination } = await serve((asked) => {
      seen = asked.bytes;
      good(asked);
    });
    await upstream([destination]).resolver.resolve(question('A.example', 1, { dnssecOk: true }));
    const packet = read(seen);
    const [option] = packet.additionals ?? [];
    assert.ok(
      packet.flag_rd && option?.type === 'OPT' && option.flag_do && option.options.length === 0,
    );
  });

  it('may close whenever they like: what they had not answered is asked again', async () => {
    // As dnsmasq does: some answers, then the end, with queries on their way.
    const answered = new Map<number, number>();
    const { destination, connections } = await serve((asked) => {
      const count = answered.get(asked.connection) ?? 0;
      answered.set(asked.connection, count + 1);
      if (count < 10) good(asked);
      else asked.socket.end();
    });
    const { resolver, observer } = upstream([destination]);
    const answers = await Promise.all(
      Array.from({ length: 55 }, (_, i) => resolver.resolve(question(`n${i}.example`))),
    );
    assert.equal(answers.length, 55);
    assert.equal(connections(), 6);
    assert.ok(observer.of('tunnel_dns_upstream_retries_total') > 0);
  });

  it('that close without an answer are tried twice, no more', async () => {
    const { destination, connections } = await serve((asked) => asked.socket.destroy());
    await assert.rejects(upstream([destination]).resolver.resolve(question('a.example')), {
      code: 'dns-closed',
    });
    assert.equal(connections(), 2);
  });

  it('are asked in turn: no connection, silence, SERVFAIL; a failed one comes last from then on', async () => {
    const closed = { host: '127.0.0.1', port: 1 };
    let silences = 0;
    const silent = await serve(() => silences++);
    const failing = await serve((asked) =>
      asked.send(answerBytes(asked.question, asked.id, { rcode: 2 })),
    );
    const working = await serve(good);
    const servers = [closed, silent.destination, failing.destination, working.destination];
    const { resolver } = upstream(servers, { attemptTimeoutMs: 300 });
    assert.equal((await resolver.resolve(question('a.example'))).rcode, 0);
    assert.equal(silences, 1);
    assert.equal((await resolver.resolve(question('b.example'))).rcode, 0);
    assert.equal(silences, 1);
  });

  it('SERVFAIL of all is the answer', async () => {
    const { destination } = await serve((asked) =>
      asked.send(answerBytes(asked.question, asked.id, { rcode: 2 })),
    );
    assert.equal((await upstream([destination]).resolver.resolve(question('a.example'))).rcode, 2);
  });

  it('that do not know EDNS are asked without it from then on', async () => {
    const sizes: number[] = [];
    const { destination } = await serve((asked) => {
      sizes.push(asked.bytes.length);
      if (asked.bytes.readUInt16BE(10) > 0)
        asked.send(answerBytes(asked.question, asked.id, { rcode: 1 }));
      else good(asked);
    });
    const { resolver } = upstream([destination]);
    await resolver.resolve(question('a.example'));
    await resolver.resolve(question('b.example'));
    assert.deepEqual(sizes, [38, 27, 27]);
  });

  it("can't pass on wrong ids, other questions, malformed messages; the right answer counts", async () => {
    const { destination } = await serve((asked) => {
      const other = question('evil.example');
      asked.send(
        answerBytes(asked.question, (asked.id + 1) & 0xffff, {
          answers: [a(asked.question.name, '10.6.6.6')],
        }),
      );
      asked.send(answerBytes(other, asked.id, { answers: [a('evil.example', '10.6.6.6')] }));
      asked.send(asked.bytes); // a query is no answer
      asked.send(Buffer.of(1, 2, 3));
      good(asked);
    });
    const { resolver, observer } = upstream([destination]);
    const answer = read((await resolver.resolve(question('a.example'))).message);
    assert.ok(answer.answers?.[0]?.type === 'A' && answer.answers[0].data === '10.0.0.1');
    assert.equal(observer.of('tunnel_dns_bad_answers_total'), 4);
  });

  it('that send a compression loop make the query fail at once', async () => {
    const { destination } = await serve((asked) => {
      const looped = answerBytes(asked.question, asked.id, { answers: [a('', '10.0.0.1')] });
      const at = 12 + asked.question.wire.length + 4;
      asked.send(
        Buffer.concat([looped.subarray(0, at), Buffer.of(0xc0, at), looped.subarray(at + 1)]),
      );
    });
    const before = performance.now();
    await assert.rejects(upstream([destination]).resolver.resolve(question('a.example')), {
      code: 'dns-malformed',
    });
    assert.ok(performance.now() - before < 5000, 'before the time is up');
  });

  it('that flood are cut off', async () => {
    const { destination, connections } = await serve((asked) => {
      for (let i = 0; i < 2 * MAX_BAD_ANSWERS; i++) asked.send(Buffer.alloc(40, 0xff));
    });
    const { resolver, observer } = upstream([destination]);
    await assert.rejects(resolver.resolve(question('a.example')), { code: 'dns-malformed' });
    assert.ok(observer.of('tunnel_dns_bad_answers_total') <= 2 * MAX_BAD_ANSWERS + 2);
    assert.ok(connections() <= 2);
  });

  it('keep nothing of the memory that their answers came in', async () => {
    const { destination } = await serve((asked) => {
      const { name } = asked.question;
      const message = answerBytes(asked.question, asked.id, { answers: [a(name, '10.0.0.1')] });
      const framed = Buffer.concat([Buffer.of(0, message.length), message]);
      asked.socket.write(framed.subarray(0, 20));
      setTimeout(() => asked.socket.write(framed.subarray(20)), 50);
    });
    const { host, port } = destination;
    const resolver = new StreamUpstream({
      servers: [destination],
      connect: async () => {
        const socket = connect({ host, port });
        await once(socket, 'connect');
        // Memory that is used again: what has been handed over is overwritten.
        socket.on('data', (chunk) => queueMicrotask(() => chunk.fill(0xff)));
        return socket;
      },
      observer: new CountingObserver(),
    });
    closers.push(() => resolver.close());
    const { message } = await resolver.resolve(question('a.example'));
    assert.equal(message.byteLength, message.buffer.byteLength, 'nothing else is kept with it');
    assert.equal(read(message).answers?.[0]?.name, 'a.example');
  });

  it('are named once where they fail', async () => {
    for (const reason of ['192.0.2.53:53: Connection refused', 'Connection refused']) {
      const said: string[] = [];
      const log = (_level: string, message: string) => void said.push(message);
      const observer = Object.assign(new CountingObserver(), { log });
      const resolver = new StreamUpstream({
        servers: [{ host: '192.0.2.53', port: 53 }],
        connect: () => Promise.reject(new Error(reason)),
        observer,
      });
      closers.push(() => resolver.close());
      await assert.rejects(resolver.resolve(question('a.example')));
      assert.deepEqual(said, ['resolver 192.0.2.53:53: Connection refused']);
    }
  });

  it('may send an answer of 64 KiB, in pieces of any size', async () => {
    const chain = Array.from({ length: 1000 }, (_, i) => ({
      type: 'CNAME' as const,
      name: `n${i}.loop.example`,
      ttl: 60,
      data: `n${(i + 1) % 1000}.loop.example`,
    }));
    const { destination } = await serve((asked) => {
      const message = answerBytes(asked.question, asked.id, { answers: chain });
      const length = Buffer.alloc(2);
      length.writeUInt16BE(message.length);
      const framed = Buffer.concat([length, message]);
      for (let at = 0; at < framed.length; at += 1001)
        asked.socket.write(framed.subarray(at, at + 1001));
    });
    const answer = await upstream([destination]).resolver.resolve(question('n0.loop.example'));
    assert.equal(read(answer.message).answers?.length, 1000);
  });

  it('that are silent are given up in time, and more than are bounded are not asked', async () => {
    const { destination } = await serve(() => {});
    const { resolver, observer } = upstream([destination], { attemptTimeoutMs: 150 });
    const before = performance.now();
    const waiting = Array.from({ length: MAX_IN_FLIGHT }, (_, i) =>
      resolver.resolve(question(`n${i}.example`)),
    );
    await assert.rejects(resolver.resolve(question('more.example')), { code: 'dns-busy' });
    assert.equal(observer.of('tunnel_dns_upstream_over_limit_total'), 1);
    for (const result of await Promise.allSettled(waiting)) assert.equal(result.status, 'rejected');
    assert.ok(performance.now() - before < 10_000);
  });

  it('are not asked any more after close, and what waits is rejected', async () => {
    const { destination } = await serve(() => {});
    const { resolver } = upstream([destination]);
    const waiting = assert.rejects(resolver.resolve(question('a.example')));
    await new Promise((resolve) => setTimeout(resolve, 50));
    resolver.close();
    await waiting;
    await assert.rejects(resolver.resolve(question('b.example')), { code: 'dns-closed' });
  });
});

describe('resolvers over datagrams', () => {
  async function serveDatagrams(
    onQuery: (bytes: Buffer, send: (message: Uint8Array) => void) => void,
  ) {
    const socket = createSocket('udp4');
    socket.on('message', (bytes, from) =>
      onQuery(bytes, (message) => socket.send(message, from.port, from.address)),
    );
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    closers.push(() => socket.close());
    return { host: '127.0.0.1', port: socket.address().port };
  }
  const parse = (bytes: Buffer) => {
    const parsed = parseQuery(bytes);
    if (parsed.kind !== 'query') throw new Error('not a query');
    return parsed.query;
  };
  const datagrams = (servers: readonly Destination[], stream?: Destination, timeoutMs = 5000) => {
    const observer = new CountingObserver();
    const overStream = (server: Destination) => upstream([stream ?? server]).resolver;
    const resolver = new DatagramUpstream({ servers, overStream, observer, timeoutMs });
    closers.push(() => resolver.close());
    return { resolver, observer };
  };

  it('answer; forged ids and questions are passed over', async () => {
    const server = await serveDatagrams((bytes, send) => {
      const { id, question: asked } = parse(bytes);
      send(answerBytes(asked, id ^ 1, { answers: [a(asked.name, '10.6.6.6')] }));
      send(answerBytes(question('evil.example'), id, { answers: [a('evil.example', '10.6.6.6')] }));
      send(Buffer.from('junk'));
      send(answerBytes(asked, id, { answers: [a(asked.name, '10.0.0.1')] }));
    });
    const { resolver, observer } = datagrams([server]);
    const answer = read((await resolver.resolve(question('a.example'))).message);
    assert.ok(answer.answers?.[0]?.type === 'A' && answer.answers[0].data === '10.0.0.1');
    assert.equal(observer.of('tunnel_dns_bad_answers_total'), 3);
  });

  it('are asked from sockets that are bound to a device', async () => {
    const server = await serveDatagrams((bytes, send) => {
      const { id, question: asked } = parse(bytes);
      send(answerBytes(asked, id, { answers: [a(asked.name, '10.0.0.1')] }));
    });
    const resolver = new DatagramUpstream({
      servers: [server],
      overStream: (destination) => upstream([destination]).resolver,
      observer: new CountingObserver(),
      socketFor: (destination) => socketOf(addon().datagramSocketOnDevice(4, 'lo'), destination),
    });
    assert.equal(read((await resolver.resolve(question('a.example'))).message).answers?.length, 1);
    resolver.close();
    assert.throws(() => addon().datagramSocketOnDevice(4, 'nosuchdevice'), { errno: 19 });
  });

  it('are not asked any more after close, and what waits is rejected', async () => {
    const { resolver } = datagrams([await serveDatagrams(() => {})]);
    const waiting = assert.rejects(resolver.resolve(question('a.example')), { code: 'dns-closed' });
    await new Promise((resolve) => setTimeout(resolve, 50));
    resolver.close();
    await waiting;
    await assert.rejects(resolver.resolve(question('b.example')), { code: 'dns-closed' });
  });

  it("fail as such where no socket is to be had: nothing leads past the tunnel's routes", async () => {
    const resolver = new DatagramUpstream({
      servers: [{ host: '127.0.0.1', port: 53 }],
      overStream: (destination) => upstream([destination]).resolver,
      observer: new CountingObserver(),
      socketFor: () => {
        throw new Error('no route');
      },
    });
    await assert.rejects(resolver.resolve(question('a.example')), { code: 'dns-unreachable' });
  });

  it('are asked by stream when the answer is cut', async () => {
    const server = await serveDatagrams((bytes, send) => {
      const { id, question: asked } = parse(bytes);
      send(answerBytes(asked, id, { flags: 0x0200 }));
    });
    const { destination } = await serve(good);
    const answer = await datagrams([server], destination).resolver.resolve(question('a.example'));
    assert.equal(read(answer.message).answers?.length, 1);
  });

  it('that are silent or closed are passed over for the next', async () => {
    const silent = await serveDatagrams(() => {});
    const working = await serveDatagrams((bytes, send) => {
      const { id, question: asked } = parse(bytes);
      send(answerBytes(asked, id, { rcode: 3, authorities: [soa('example')] }));
    });
    const closed = { host: '127.0.0.1', port: 1 };
    const { resolver } = datagrams([closed, silent, working], undefined, 300);
    assert.equal((await resolver.resolve(question('a.example'))).rcode, 3);
    await assert.rejects(datagrams([closed]).resolver.resolve(question('a.example')), {
      code: 'dns-unreachable',
    });
    await assert.rejects(
      datagrams([silent], undefined, 150).resolver.resolve(question('a.example')),
      {
        code: 'dns-timeout',
      },
    );
  });
});
