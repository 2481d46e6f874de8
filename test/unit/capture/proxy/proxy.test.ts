/** Listeners, protocols and limits of the proxies. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { CLIENT_KEEPALIVE_MS } from '../../../../src/capture/proxy/clientoptions.ts';
import { MAX_GUESSES } from '../../../../src/capture/proxy/guesses.ts';
import { type OwnUserCheck, ProxyCapture } from '../../../../src/capture/proxy/proxy.ts';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { silentObserver } from '../../../../src/observe/observer.ts';
import {
  type Client,
  GUESS_MS,
  startProxy,
  type TestProxy,
  type TestProxyOptions,
} from '../../../support/proxy.ts';
import { until } from '../../../support/until.ts';

const CONNECT = 'CONNECT any.example:80 HTTP/1.1\r\nHost: any.example:80\r\n\r\n';
const SOCKS5 = Buffer.of(5, 1, 0);

/** Once with the sockets of the native part, and once with Node's. */
async function withProxy(
  options: TestProxyOptions,
  work: (proxy: TestProxy) => Promise<void>,
): Promise<void> {
  for (const nativeSockets of [true, false]) {
    const proxy = await startProxy({ ...options, nativeSockets });
    proxy.twin.serve('*', () => {});
    try {
      await work(proxy);
    } finally {
      await proxy.close();
    }
  }
}

/** A connection that is idle behind an answered request. */
async function openFlow(proxy: TestProxy): Promise<Client> {
  const client = await proxy.open();
  client.send(CONNECT);
  assert.match(await client.takeThrough('\r\n\r\n'), / 200 /);
  return client;
}

describe('proxy listeners', { timeout: 20_000 }, () => {
  it('speak both protocols on one port, or the one that was asked for', async () => {
    for (const [protocols, socks, http] of [
      ['both', '0500', 'HTTP/1.1 200 '],
      ['socks', '0500', 'HTTP/1.1 400 '],
      ['http', '05ff', 'HTTP/1.1 200 '],
    ] as const) {
      await withProxy({ protocols }, async (proxy) => {
        const first = await proxy.open();
        first.send(SOCKS5);
        assert.equal((await first.take(2)).toString('hex'), socks, protocols);
        const second = await proxy.open();
        second.send(CONNECT);
        assert.equal((await second.take(http.length)).toString(), http, protocols);
        if (protocols === 'socks') assert.match(await second.rest(), /speaks SOCKS only/);
      });
    }
  });

  it('number their requests, whatever the protocol', async () => {
    await withProxy({}, async (proxy) => {
      await openFlow(proxy);
      const socks = await proxy.open();
      socks.send(SOCKS5);
      await socks.take(2);
      socks.send(Buffer.of(5, 1, 0, 1, 10, 0, 0, 1, 0, 80));
      await socks.take(10);
      const plain = await proxy.open();
      plain.send('GET http://any.example/ HTTP/1.1\r\nHost: any.example\r\n\r\n');
      while (proxy.ids.length < 3) await delay(5);
      const [first = 0] = proxy.ids;
      assert.deepEqual(proxy.ids, [first, first + 1, first + 2]);
    });
  });

  it('have the kernel look after silent clients', async () => {
    await withProxy({}, async (proxy) => {
      const client = await openFlow(proxy);
      const { localPort = 0, remotePort = 0 } = client.socket;
      const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');
      const line = readFileSync('/proc/net/tcp', 'utf8')
        .split('\n')
        .map((text) => text.trim().split(/\s+/))
        .find(
          ([, here = '', there = '']) =>
            here.endsWith(`:${hex(remotePort)}`) && there.endsWith(`:${hex(localPort)}`),
        );
      // proc_net_tcp(5): 02 is the timer of keepalives, and when it fires, in 1/100 s.
      const [timer, due = ''] = (line?.[5] ?? '').split(':');
      assert.equal(timer, '02');
      assert.ok(Math.abs(Number.parseInt(due, 16) * 10 - CLIENT_KEEPALIVE_MS) < 20_000, due);
    });
  });

  it('share a port between addresses, also one that the system chooses', async () => {
    await withProxy({ hosts: ['127.0.0.1', '::1', '127.0.0.2'] }, async (proxy) => {
      assert.deepEqual(
        proxy.addresses.filter((address) => !address.startsWith('[')),
        [`127.0.0.1:${proxy.port}`, `127.0.0.2:${proxy.port}`],
      );
      const socket = connect(proxy.port, '127.0.0.2');
      socket.write(SOCKS5);
      assert.deepEqual(await once(socket, 'data'), [Buffer.of(5, 0)]);
      socket.destroy();
    });
  });

  for (const nativeSockets of [true, false])
    it(`say why they can not listen, and leave nothing listening (${nativeSockets ? 'native' : 'Node'})`, async () => {
      const other = createServer().listen(0, '127.0.0.1');
      await once(other, 'listening');
      const address = other.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      const capture = (hosts: readonly [string, ...string[]], at: number) =>
        new ProxyCapture({
          listens: [
            { hosts: ['127.0.0.3'], port: 0, protocols: 'both', ownUserOnly: false },
            { hosts, port: at, protocols: 'both', ownUserOnly: false },
          ],
          credentials: undefined,
          isOwnUser: async () => true,
          observer: silentObserver,
          descriptors: 100,
          nativeSockets,
        });
      for (const [hosts, at, why, todo] of [
        [['127.0.0.1'], port, /127\.0\.0\.1:\d+: the port is in use/, /"--listen 1081"/],
        [['203.0.113.1'], 0, /203\.0\.113\.1:0: this machine has no such address/, /ip address/],
        [['203.0.113.1', '203.0.113.2'], 0, /no such address/, /ip address/],
      ] as const) {
        const proxy = capture(hosts, at);
        await assert.rejects(
          proxy.start({ accept() {} }, new AbortController().signal),
          (error) =>
            error instanceof TunnelError &&
            error.code === 'capture-listen' &&
            why.test(error.message) &&
            todo.test(error.hint ?? ''),
        );
        await proxy.close();
        assert.equal(await proxy.ended, undefined);
      }
      other.close();
    });

  it('do not listen any more when they are closed while they start', async () => {
    const proxy = new ProxyCapture({
      listens: [1, 2].map(() => ({
        hosts: ['127.0.0.1'] as const,
        port: 0,
        protocols: 'both' as const,
        ownUserOnly: false,
      })),
      credentials: undefined,
      isOwnUser: async () => true,
      observer: silentObserver,
      descriptors: 100,
    });
    const started = proxy.start({ accept() {} }, new AbortController().signal);
    const rejected = assert.rejects(started, { code: 'capture-closed' });
    await proxy.close();
    await rejected;
    for (const at of proxy.addresses) {
      const port = Number(at.split(':').at(-1));
      await assert.rejects(once(connect(port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' });
    }
    assert.deepEqual(proxy.addresses, []);
  });

  for (const nativeSockets of [true, false])
    it(`reset what is open when they are closed (${nativeSockets ? 'native' : 'Node'})`, async () => {
      const proxy = await startProxy({ nativeSockets });
      proxy.twin.serve('*', () => {});
      const clients = [await proxy.open(), await openFlow(proxy)];
      const resets = Promise.all(clients.map(({ socket }) => once(socket, 'error')));
      await proxy.close();
      for (const [error] of await resets) assert.equal(error.code, 'ECONNRESET');
      await assert.rejects(proxy.open(), { code: 'ECONNREFUSED' });
    });
});

describe('proxies for their own user', { timeout: 20_000 }, () => {
  it('turn other users away, in the protocol that they speak', async () => {
    const asked: string[] = [];
    const isOwnUser: OwnUserCheck = async (client, proxy, user = process.getuid?.()) => {
      assert.equal(user, process.getuid?.());
      asked.push(`${client.host} ${proxy.host}:${proxy.port}`);
      return false;
    };
    await withProxy({ isOwnUser }, async (proxy) => {
      asked.length = 0;
      for (const [request, answer] of [
        [SOCKS5, '05ff'],
        [Buffer.of(4, 1, 0, 80, 10, 0, 0, 1, 0), '005b000000000000'],
      ] as const) {
        const client = await proxy.open();
        client.send(request);
        assert.equal(Buffer.from(await client.rest(), 'latin1').toString('hex'), answer);
      }
      const client = await proxy.open();
      client.send(CONNECT);
      assert.match(await client.rest(), /^HTTP\/1\.1 403 [\s\S]*--proxy-shared/);
      assert.deepEqual(asked, Array(3).fill(`127.0.0.1 127.0.0.1:${proxy.port}`));
      assert.equal(proxy.counters.get('tunnel_proxy_other_users_total'), 3);
      assert.deepEqual(proxy.ids, []);
    });
  });

  it('serve their own, with all that it has sent meanwhile', async () => {
    const asked: ((own: boolean) => void)[] = [];
    const isOwnUser = () => new Promise<boolean>((resolve) => void asked.push(resolve));
    const isAsked = () => until(() => asked.length > 0, 'nobody asks whose it is');
    await withProxy({ isOwnUser }, async (proxy) => {
      for (const pieces of [
        ['CONN', 'ECT any.example:80 HTTP/1.1\r\nHost: any.example:80\r\n\r\n'],
        ['\x05', '\x01\x00', '\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50'],
      ]) {
        const client = await proxy.open();
        for (const piece of pieces) {
          client.send(Buffer.from(piece, 'latin1'));
          await delay(30);
        }
        assert.equal(proxy.ids.length, pieces.length === 2 ? 0 : 1);
        await isAsked();
        asked.shift()?.(true);
        const [first] = await client.take(1);
        assert.ok(first === 5 || first === 0x48, String(first));
      }
      // One that leaves before the answer.
      const client = await proxy.open();
      client.send(SOCKS5);
      await isAsked();
      client.close();
      await delay(30);
      asked.shift()?.(true);
    });
  });
});

describe('proxy passwords', { timeout: 20_000 }, () => {
  const credentials = [{ user: 'ann', password: 'secret' }];
  const http = (password: string) =>
    `CONNECT any.example:80 HTTP/1.1\r\nHost: any.example:80\r\nProxy-Authorization: Basic ${Buffer.from(`ann:${password}`).toString('base64')}\r\n\r\n`;
  const plain = (password: string) =>
    http(password)
      .replace('CONNECT any.example:80', 'GET http://any.example/')
      .replace('Host: any.example:80', 'Host: any.example');
  const socks = (password: string) =>
    Buffer.from(`\x05\x01\x02\x01\x03ann${String.fromCharCode(password.length)}${password}`);
  const WRONG = { http: /^HTTP\/1\.1 407/, plain: /^HTTP\/1\.1 407/, socks: /^\x05\x02\x01\x01/ };

  for (const [name, request] of [
    ['http', http],
    ['plain', plain],
    ['socks', socks],
  ] as const)
    it(`are slowed when they are wrong, for all connections of a host together (${name})`, async () => {
      await withProxy({ credentials }, async (proxy) => {
        const begin = performance.now();
        const answers = await Promise.all(
          Array.from({ length: MAX_GUESSES + 4 }, async () => {
            const client = await proxy.open();
            client.send(request('guess'));
            const answer = (await client.take(13)).toString('latin1');
            return { answer, ms: performance.now() - begin };
          }),
        );
        assert.equal(proxy.counters.get('tunnel_proxy_guesses_over_limit_total'), 4);
        // Those over the limit are answered at once.
        for (const { answer, ms } of answers.toSorted((a, b) => a.ms - b.ms).slice(4)) {
          assert.match(answer, WRONG[name]);
          assert.ok(ms >= GUESS_MS - 5, `${ms} ms`);
        }
        // A right one overtakes a wrong one once these have been answered.
        const [wrong, right] = [await proxy.open(), await proxy.open()];
        const done: string[] = [];
        wrong.send(request('guess'));
        const refused = wrong.take(13).then(() => done.push('wrong'));
        right.send(http('secret'));
        assert.match((await right.take(13)).toString(), / 200/);
        done.push('right');
        await refused;
        assert.deepEqual(done, ['right', 'wrong']);
      });
    });

  it('are not looked at while their host guesses, also when clients give up', async () => {
    await withProxy({ credentials }, async (proxy) => {
      for (let guess = 0; guess < MAX_GUESSES; guess++) {
        const client = await proxy.open();
        client.send(socks('guess'));
        await client.take(2);
        client.close();
      }
      await delay(20);
      const client = await proxy.open();
      client.send(http('secret'));
      assert.match((await client.take(13)).toString(), / 429/);
    });
  });
});

describe('proxy limits', { timeout: 20_000 }, () => {
  const TIMEOUT = 600;

  it('end dialogues that take too long, however busy they look', async () => {
    await withProxy({ negotiationTimeout: TIMEOUT }, async (proxy) => {
      const begin = performance.now();
      const drip = async (head: Buffer): Promise<string> => {
        const client = await proxy.open();
        for (const byte of head) {
          if (client.socket.destroyed || client.socket.readableEnded) break;
          client.send(Buffer.of(byte));
          await delay(20);
        }
        return client.rest();
      };
      const [silent, socks, http] = await Promise.all([
        proxy.open().then((client) => client.rest()),
        drip(Buffer.concat([Buffer.of(4, 1, 0, 80, 10, 0, 0, 1), Buffer.alloc(200, 'u')])),
        drip(Buffer.from(`GET http://a.example/ HTTP/1.1\r\nX: ${'y'.repeat(200)}`)),
      ]);
      assert.equal(silent, '');
      assert.equal(socks, '');
      assert.match(http, /^HTTP\/1\.1 408 /);
      assert.ok(performance.now() - begin < 5 * TIMEOUT);
      assert.equal(proxy.counters.get('tunnel_proxy_negotiation_timeouts_total'), 3);
    });
  });

  it('leave flows and idle clients alone, whatever their age', async () => {
    await withProxy({ negotiationTimeout: TIMEOUT }, async (proxy) => {
      proxy.twin.serve('web.example:80', (far) =>
        far.on('data', () => far.write('HTTP/1.1 204 No Content\r\n\r\n')),
      );
      const flow = await openFlow(proxy);
      const web = await proxy.open();
      const request = 'GET http://web.example/ HTTP/1.1\r\nHost: web.example\r\n\r\n';
      web.send(request);
      await web.takeThrough('\r\n\r\n');
      await delay(2 * TIMEOUT);
      web.send(request);
      assert.match(await web.takeThrough('\r\n\r\n'), / 204 /);
      assert.equal(flow.socket.closed, false);
    });
  });

  it('make room for newcomers at the cost of who has waited longest, never of a flow', async () => {
    const room = 4;
    await withProxy({ descriptors: 2 * room }, async (proxy) => {
      const flow = await openFlow(proxy);
      const waiting: Client[] = [];
      for (let n = 1; n < room; n++) waiting.push(await proxy.open());
      const flows = [flow];
      for (const client of waiting) {
        const closed = client.rest();
        flows.push(await openFlow(proxy));
        assert.equal(await closed, '');
      }
      assert.equal(proxy.counters.get('tunnel_proxy_over_limit_total'), waiting.length);
      // All are flows now: there is nobody to make room.
      // The reset may come before or after its connect has completed.
      await proxy.open().then(
        async (late) => assert.equal(await late.rest(), ''),
        (error) => assert.equal(error.code, 'ECONNRESET'),
      );
      for (const client of flows) assert.equal(client.socket.closed, false);
      flow.socket.resetAndDestroy();
      await delay(50);
      await openFlow(proxy);
    });
  });
});
