/** The HTTP front (RFC 9110, RFC 9112), with Node's own HTTP server at the far side. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MAX_HEADER_BYTES, MAX_PIPELINED } from '../../../../src/capture/proxy/http.ts';
import { MAX_IDLE_UPSTREAMS } from '../../../../src/capture/proxy/upstreamagent.ts';
import { REFUSALS } from '../../../../src/net/refusal.ts';
import { type Client, startProxy, type TestProxy } from '../../../support/proxy.ts';

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** More than the buffers between server and client hold. */
const LARGE = 16 << 20;

describe('HTTP', { timeout: 30_000 }, () => {
  let proxy: TestProxy;
  let web: Server;
  /** What reached the far side's server, in order. */
  const seen: Seen[] = [];
  const clients: Client[] = [];
  const open = async (): Promise<Client> => {
    const client = await proxy.open();
    clients.push(client);
    return client;
  };
  before(async () => {
    web = createServer({ keepAliveTimeout: 0 }, (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks).toString();
        seen.push({ method: request.method, url: request.url, headers: request.headers, body });
        response.setHeader('X-Test', ['one', 'two']);
        response.setHeader('Connection', 'X-Hop');
        response.setHeader('X-Hop', 'not for you');
        if (request.url === '/trailer' && request.method !== 'HEAD')
          response.setHeader('Trailer', 'X-Sum');
        if (request.url?.startsWith('/length') === true) response.setHeader('Content-Length', 6);
        if (request.url === '/cut') response.write('begin', () => request.socket.destroy());
        else {
          if (request.method !== 'HEAD') response.write(body || 'hello\n');
          response.end();
        }
      });
    });
    web.on('upgrade', (request, socket, head) => {
      if (request.url === '/no') {
        const head = `HTTP/1.1 426 Upgrade Required\r\nContent-Length: ${LARGE}\r\nConnection: close\r\n\r\n`;
        socket.write(head);
        for (let sent = 0; sent < LARGE; sent += 65536) socket.write(Buffer.alloc(65536, 'no '));
        socket.end();
        return;
      }
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst',
      );
      if (head.length > 0) socket.write(head);
      socket.on('data', (chunk) => socket.write(chunk));
      socket.on('end', () => socket.end('bye'));
    });
    proxy = await startProxy();
    proxy.twin.serve('*', (far) => web.emit('connection', far));
    proxy.twin.serve('raw.example:7', (far) => {
      far.on('data', (chunk: Buffer) => far.write(chunk));
      far.on('end', () => far.end('bye'));
    });
    for (const refusal of REFUSALS)
      proxy.twin.refuse(`${refusal}.example:80`, refusal, `it is "${refusal}"\u0007`);
  });
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
    seen.length = 0;
  });
  after(() => proxy.close());

  it('CONNECT carries a flow with its half-close, early data included', async () => {
    const client = await open();
    client.send('CONNECT raw.example:7 HTTP/1.1\r\nHost: raw.example:7\r\n\r\nearly');
    assert.equal(
      await client.takeThrough('\r\n\r\n'),
      'HTTP/1.1 200 Connection established\r\n\r\n',
    );
    assert.equal((await client.take(5)).toString(), 'early');
    client.socket.end('more');
    assert.equal(await client.rest(), 'morebye');
  });

  it('answers each refusal with its status, a reason and a hint', async () => {
    const statuses = {
      refused: 502,
      unreachable: 502,
      'no-network': 502,
      prohibited: 403,
      timeout: 504,
    };
    for (const refusal of REFUSALS) {
      for (const head of [`CONNECT ${refusal}.example:80`, `GET http://${refusal}.example/`]) {
        const client = await open();
        client.send(`${head} HTTP/1.1\r\nHost: ${refusal}.example\r\nConnection: close\r\n\r\n`);
        const answer = await client.rest();
        assert.ok(answer.startsWith(`HTTP/1.1 ${statuses[refusal]} `), answer);
        assert.match(answer, /\r\nProxy-Status: tunnel; error=[a-z_]+; details="it is \\"/);
        assert.match(answer, new RegExp(`\\r\\n\\r\\ntunnel: it is "${refusal}"\\n[A-Z].*\\.\\n$`));
        assert.doesNotMatch(answer, /\u0007/);
      }
    }
  });

  it('passes a plain request and its answer on, without what is between neighbours', async () => {
    const client = await open();
    client.send(
      'GET http://user@Web.Example:8080/a/../b%20c?q=%7e HTTP/1.1\r\nHost: other.example\r\nX-Test: 1\r\nX-Test: 2\r\n' +
        'Proxy-Connection: keep-alive\r\nConnection: X-Private, close\r\nX-Private: secret\r\nTE: trailers\r\n' +
        'Proxy-Authorization: Basic eDp5\r\nKeep-Alive: 5\r\n\r\n',
    );
    const answer = await client.rest();
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\nX-Test: one\r\nX-Test: two\r\n/);
    assert.doesNotMatch(answer, /X-Hop/);
    assert.match(answer, /\r\nVia: 1\.1 tunnel\r\n/);
    const [request] = seen;
    assert.equal(request?.url, '/a/../b%20c?q=%7e');
    assert.deepEqual(request?.headers, {
      host: 'Web.Example:8080',
      'x-test': '1, 2',
      via: '1.1 tunnel',
      connection: 'keep-alive',
    });
    assert.deepEqual(proxy.twin.requested.at(-1)?.destination, { host: 'web.example', port: 8080 });
  });

  it('counts how often OPTIONS may be passed on, and nothing else', async () => {
    const client = await open();
    client.send(
      'OPTIONS http://a.example HTTP/1.1\r\nHost: x\r\nMax-Forwards: 10\r\n\r\n' +
        'GET http://a.example/ HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n',
    );
    assert.match(await client.rest(), /^HTTP\/1\.1 200 [\s\S]*HTTP\/1\.1 200 /);
    const sent = seen.map(({ url, headers }) => [url, headers['max-forwards']]);
    assert.deepEqual(sent, [
      ['*', '9'],
      ['/', '0'],
    ]);
  });

  it('passes on a message that announces trailers and has no chunks', async () => {
    for (const method of ['GET', 'HEAD', 'OPTIONS']) {
      const client = await open();
      client.send(
        `${method} http://web.example/trailer HTTP/1.1\r\nHost: x\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n`,
      );
      assert.match(await client.rest(), /^HTTP\/1\.1 200 OK\r\n/);
    }
    assert.deepEqual(
      seen.map(({ method, headers }) => [method, headers['trailer']]),
      ['GET', 'HEAD', 'OPTIONS'].map((method) => [method, undefined]),
    );
  });

  it('keeps both connections for further requests, to one server or several', async () => {
    const client = await open();
    const before = proxy.twin.requested.length;
    const hosts = ['a', 'b', 'a', 'b', 'a'];
    for (const [index, host] of hosts.entries()) {
      client.send(
        `GET http://${host}.example/length${index} HTTP/1.1\r\nHost: ${host}.example\r\n\r\n`,
      );
      assert.match(await client.takeThrough('hello\n'), /^HTTP\/1\.1 200 OK\r\n/);
    }
    assert.deepEqual(
      seen.map(({ url }) => url),
      ['/length0', '/length1', '/length2', '/length3', '/length4'],
    );
    assert.equal(proxy.twin.requested.length - before, 2);
  });

  it('keeps a bounded number of idle connections to servers, and none behind a client that has left', async () => {
    const client = await open();
    for (let n = 0; n < MAX_IDLE_UPSTREAMS + 3; n++) {
      client.send(`GET http://host${n}.example/length HTTP/1.1\r\nHost: x\r\n\r\n`);
      await client.takeThrough('hello\n');
    }
    await settled(
      () => proxy.twin.flows === MAX_IDLE_UPSTREAMS,
      () => `${proxy.twin.flows} flows are open`,
    );
    client.close();
    await settled(
      () => proxy.twin.flows === 0,
      () => `${proxy.twin.flows} flows are left`,
    );
  });

  it('answers requests that come without waiting in their order, up to a number', async () => {
    const client = await open();
    const requests = Array.from(
      { length: MAX_PIPELINED },
      (_, n) => `GET http://h${n % 3}.example/length${n} HTTP/1.1\r\nHost: x\r\n\r\n`,
    );
    client.send(requests.join(''));
    for (const _ of requests) await client.takeThrough('hello\n');
    assert.deepEqual(
      seen.map(({ url }) => url),
      requests.map((_, n) => `/length${n}`),
    );
    const greedy = await open();
    proxy.twin.hang('stuck.example:80');
    greedy.send('GET http://stuck.example/ HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(MAX_PIPELINED + 1));
    await greedy.rest();
    assert.equal(proxy.counters.get('tunnel_proxy_pipeline_limit_total'), 1);
  });

  it('streams bodies in both framings, and methods that it does not know', async () => {
    const client = await open();
    client.send('POST http://a.example/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234');
    await delay(20);
    client.send('56789');
    assert.match(
      await client.takeThrough('0\r\n\r\n'),
      /\r\nTransfer-Encoding: chunked\r\n(.*\r\n)*0123456789\r\n/,
    );
    client.send(
      'PROPFIND http://a.example/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
    );
    assert.match(await client.takeThrough('0\r\n\r\n'), /\r\nabc\r\n/);
    client.send('POST http://a.example/ HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.takeThrough('0\r\n\r\n');
    client.send('HEAD http://a.example/length HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.match(await client.takeThrough('\r\n\r\n'), /\r\nContent-Length: 6\r\n/i);
    client.send('OPTIONS http://a.example HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.takeThrough('0\r\n\r\n');
    assert.deepEqual(
      seen.map(({ method, url, body, headers }) => [method, url, body, headers['content-length']]),
      [
        ['POST', '/', '0123456789', '10'],
        ['PROPFIND', '/', 'abc', undefined],
        ['POST', '/', '', '0'],
        ['HEAD', '/length', '', undefined],
        ['OPTIONS', '*', '', undefined],
      ],
    );
  });

  it('speaks HTTP/1.0 to a client that does', async () => {
    const client = await open();
    client.send('GET http://a.example/ HTTP/1.0\r\n\r\n');
    const answer = await client.rest();
    assert.match(answer, /\r\nConnection: close\r\n/);
    assert.doesNotMatch(answer, /chunked/);
    assert.ok(answer.endsWith('\r\n\r\nhello\n'));
  });

  it('leaves "100 Continue" to the server', async () => {
    const client = await open();
    client.send(
      'POST http://a.example/length HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n',
    );
    assert.equal(await client.takeThrough('\r\n\r\n'), 'HTTP/1.1 100 Continue\r\n\r\n');
    client.send('hello\n');
    assert.match(await client.takeThrough('hello\n'), /^HTTP\/1\.1 200 OK/);
    client.send(
      'POST http://refused.example/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n',
    );
    assert.match(await client.rest(), /^HTTP\/1\.1 502 Bad Gateway\r\n/);
  });

  it('holds a server back whose answer is not read', async () => {
    let sent = 0;
    proxy.twin.serve('big.example:80', (far) => {
      far.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n');
      const fill = () => {
        if (!far.writable) return;
        sent += 65536;
        if (far.write(Buffer.alloc(65536))) setImmediate(fill);
      };
      far.on('drain', () => setImmediate(fill));
      fill();
    });
    const client = await open();
    client.socket.pause();
    client.send('GET http://big.example/ HTTP/1.1\r\nHost: x\r\n\r\n');
    await delay(500);
    const held = sent;
    await delay(200);
    assert.ok(
      held > 0 && sent === held && sent < 32 << 20,
      `${sent} bytes for a reader that takes nothing`,
    );
  });

  it('cuts the answer where the server did', async () => {
    const client = await open();
    client.send('GET http://a.example/cut HTTP/1.1\r\nHost: x\r\n\r\n');
    const answer = await client.rest();
    assert.match(answer, /begin/);
    assert.doesNotMatch(answer, /\r\n0\r\n\r\n$/);
  });

  it('passes no answer on whose coding it would lose', async () => {
    proxy.twin.serve('coded.example:80', (far) =>
      far.on('data', () =>
        far.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n'),
      ),
    );
    const client = await open();
    client.send('GET http://coded.example/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    assert.match(await client.rest(), /^HTTP\/1\.1 502 [\s\S]*coding other than chunked/);
  });

  it('repeats a harmless request when a kept connection turns out closed, and only such a one', async () => {
    proxy.twin.serve('brief.example:80', (far) => {
      let requests = 0;
      far.on('data', () => {
        if (++requests === 1) far.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes');
        else far.reset();
      });
    });
    const client = await open();
    const before = proxy.twin.requested.length;
    for (let n = 0; n < 2; n++) {
      client.send('GET http://brief.example/ HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.match(await client.takeThrough('yes'), /^HTTP\/1\.1 200 OK/);
    }
    assert.equal(proxy.twin.requested.length - before, 2);
    client.send('POST http://brief.example/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx');
    assert.equal(await client.rest(), '');
    assert.equal(proxy.twin.requested.length - before, 2);
  });

  it('changes protocols with the server, both halves included', async () => {
    const client = await open();
    client.send(
      'GET http://a.example/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ',
    );
    assert.match(
      await client.takeThrough('\r\n\r\n'),
      /^HTTP\/1\.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n$/,
    );
    assert.equal((await client.take(11)).toString(), 'firstearly ');
    client.socket.end('more');
    assert.equal(await client.rest(), 'morebye');
  });

  it('answers an upgrade that the server or the proxy declines', async () => {
    for (const [url, status] of [
      ['http://a.example/no', 426],
      ['http://refused.example/', 502],
    ] as const) {
      const client = await open();
      client.send(`GET ${url} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`);
      // For as long as the buffers take to fill.
      client.socket.pause();
      await delay(100);
      client.socket.resume();
      const answer = await client.rest();
      assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), answer);
      assert.match(answer.slice(0, 1000), /\r\nConnection: close\r\n/i);
      if (status === 426) assert.ok(answer.length > LARGE);
    }
    const client = await open();
    client.send(
      'POST http://a.example/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx',
    );
    assert.match(await client.rest(), /^HTTP\/1\.1 501 /);
  });

  it('says what is wrong with a request that it can not carry', async () => {
    const before = proxy.twin.requested.length;
    const table: readonly (readonly [string, number, RegExp])[] = [
      ['GET / HTTP/1.1\r\nHost: x\r\n', 400, /this is a proxy, not a server/],
      ['GET https://a.example/ HTTP/1.1\r\nHost: x\r\n', 400, /CONNECT/],
      ['GET ftp://a.example/ HTTP/1.1\r\nHost: x\r\n', 400, /is not the address of a web server/],
      ['GET http://a.example:0/ HTTP/1.1\r\nHost: x\r\n', 400, /ports are 1 to 65535/],
      ['GET http://127.1/ HTTP/1.1\r\nHost: x\r\n', 400, /neither a name nor an address/],
      ['GET http://[::1/ HTTP/1.1\r\nHost: x\r\n', 400, /not host:port/],
      [
        'GET http://u@b.example@a.example/ HTTP/1.1\r\nHost: x\r\n',
        400,
        /is not the address of a web server/,
      ],
      ['GET http://a.example/ HTTP/1.1\r\n', 400, /no Host field/],
      ['GET http://a.example/ HTTP/1.1\r\nHost: x\r\nhost: x\r\n', 400, /several Host fields/],
      [
        'OPTIONS http://a.example/ HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n',
        501,
        /must not be passed on/,
      ],
      [
        'POST http://a.example/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n',
        400,
        /not an HTTP request/,
      ],
      [
        'POST http://a.example/ HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n',
        417,
        /has an expectation that this proxy does not know/,
      ],
      [
        'POST http://a.example/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n',
        501,
        /coding other than chunked/,
      ],
      ['CONNECT a.example HTTP/1.1\r\nHost: x\r\n', 400, /has no port/],
      [
        'CONNECT http://a.example/ HTTP/1.1\r\nHost: x\r\n',
        400,
        /not host:port|not an HTTP request/,
      ],
      ['\x16\x03\x01\x02', 400, /not an HTTP request/],
      ['SSH-2.0-OpenSSH_9.2\r\n', 400, /not an HTTP request/],
      [
        `GET http://a.example/ HTTP/1.1\r\nX: ${'y'.repeat(MAX_HEADER_BYTES)}\r\n`,
        431,
        /larger than 32 KiB/,
      ],
    ];
    for (const [head, status, why] of table) {
      const client = await open();
      client.send(Buffer.from(`${head}Connection: close\r\n\r\n`, 'latin1'));
      const answer = await client.rest();
      assert.ok(
        answer.startsWith(`HTTP/1.1 ${status} `),
        `${JSON.stringify(head.slice(0, 60))}: ${answer}`,
      );
      assert.match(answer, why);
    }
    assert.equal(proxy.twin.requested.length, before);
  });

  it('gives the flow up when the client leaves while it is dialled', async () => {
    proxy.twin.hang('never.example:80');
    const before = proxy.counters.get('tunnel_flows_given_up_total') ?? 0;
    for (const head of ['CONNECT never.example:80', 'GET http://never.example/']) {
      const client = await open();
      client.send(`${head} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await delay(20);
      client.close();
    }
    await settled(
      () => (proxy.counters.get('tunnel_flows_given_up_total') ?? 0) >= before + 2,
      () => 'a flow is still being dialled',
    );
  });
});

describe('HTTP with credentials', { timeout: 20_000 }, () => {
  let proxy: TestProxy;
  before(async () => {
    proxy = await startProxy({ credentials: [{ user: 'ann', password: 'p:ä' }] });
    proxy.twin.serve('*', (far) => far.end('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n'));
  });
  after(() => proxy.close());

  async function statusOf(head: string, authorization?: string): Promise<string> {
    const client = await proxy.open();
    const field = authorization === undefined ? '' : `Proxy-Authorization: ${authorization}\r\n`;
    client.send(`${head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${field}\r\n`);
    const answer = await client.rest();
    if (answer.startsWith('HTTP/1.1 407'))
      assert.match(answer, /\r\nProxy-Authenticate: Basic realm="tunnel"/);
    return answer.slice(9, 12);
  }
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

  it('lets in who knows them, and asks everybody else', async () => {
    for (const [head, success] of [
      ['CONNECT a.example:80', '200'],
      ['GET http://a.example/', '204'],
    ] as const) {
      assert.equal(await statusOf(head, basic('ann:p:ä')), success);
      assert.equal(
        await statusOf(head, `basic   ${Buffer.from('ann:p:ä').toString('base64')}`),
        success,
      );
      const before = proxy.twin.requested.length;
      for (const wrong of [
        undefined,
        basic('ann:x'),
        basic('ann'),
        basic(''),
        'Basic',
        'Bearer abc',
        basic('bob:p:ä'),
      ])
        assert.equal(await statusOf(head, wrong), '407', wrong);
      assert.equal(proxy.twin.requested.length, before);
    }
  });
});

async function settled(condition: () => boolean, what: () => string): Promise<void> {
  const until = performance.now() + 5000;
  while (!condition()) {
    assert.ok(performance.now() < until, what());
    await delay(10);
  }
}
