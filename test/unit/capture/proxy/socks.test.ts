/** The SOCKS front, octet by octet (RFC 1928, RFC 1929, SOCKS 4A). */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, afterEach, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { REFUSALS } from '../../../../src/net/refusal.ts';
import { type Client, startProxy, type TestProxy } from '../../../support/proxy.ts';

const octets = (...parts: (number | string)[]): Buffer =>
  Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.of(part))),
  );
const HELLO = octets(5, 1, 0);
const nameRequest = (name: string, port = 80, command = 1) =>
  octets(5, command, 0, 3, Buffer.byteLength(name), name, port >> 8, port & 0xff);
const reply5 = (code: number) => octets(5, code, 0, 1, 0, 0, 0, 0, 0, 0);
const reply4 = (code: number) => octets(0, code, 0, 0, 0, 0, 0, 0);

for (const nativeSockets of [true, false])
  describe(`SOCKS, sockets of ${nativeSockets ? 'the native part' : 'Node'}`, {
    timeout: 20_000,
  }, () => {
    let proxy: TestProxy;
    const clients: Client[] = [];
    const open = async (): Promise<Client> => {
      const client = await proxy.open();
      clients.push(client);
      return client;
    };
    before(async () => {
      proxy = await startProxy({ nativeSockets });
      proxy.twin.serve('echo.example:80', (far) => {
        far.on('data', (chunk: Buffer) => far.write(chunk));
        far.on('end', () => far.end('bye'));
      });
      for (const refusal of REFUSALS) proxy.twin.refuse(`${refusal}.example:80`, refusal);
    });
    afterEach(() => {
      for (const client of clients.splice(0)) client.close();
    });
    after(() => proxy.close());

    const last = () => {
      const { destination } = proxy.twin.requested.at(-1) ?? {};
      return destination && `${destination.host} ${destination.port}`;
    };

    it('5 carries a flow, with its half-close', async () => {
      const client = await open();
      client.send(HELLO);
      assert.deepEqual(await client.take(2), octets(5, 0));
      client.send(nameRequest('echo.example'));
      assert.deepEqual(await client.take(10), reply5(0));
      client.send('question');
      assert.equal((await client.take(8)).toString(), 'question');
      client.socket.end('more');
      assert.equal(await client.rest(), 'morebye');
    });

    it('takes a dialogue in one segment or byte by byte, with data behind it', async () => {
      const dialogue = Buffer.concat([HELLO, nameRequest('echo.example'), Buffer.from('early')]);
      const whole = await open();
      whole.send(dialogue);
      const dripped = await open();
      dripped.socket.setNoDelay(true);
      for (const byte of dialogue) {
        dripped.send(Buffer.of(byte));
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      for (const client of [whole, dripped]) {
        assert.deepEqual(await client.take(12), Buffer.concat([octets(5, 0), reply5(0)]));
        assert.equal((await client.take(5)).toString(), 'early');
      }
    });

    it('hands addresses and names on in canonical form', async () => {
      const table: readonly (readonly [Buffer, string])[] = [
        [octets(5, 1, 0, 1, 10, 0, 0, 1, 0x1f, 0x90), '10.0.0.1 8080'],
        [
          octets(5, 1, 0, 4, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80),
          '2001:db8::1 80',
        ],
        [
          octets(5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2, 0, 80),
          '10.0.0.2 80',
        ],
        [nameRequest('API.Example.COM.'), 'api.example.com 80'],
        [nameRequest('10.0.0.3'), '10.0.0.3 80'],
        [nameRequest('2001:DB8:0::5'), '2001:db8::5 80'],
        [nameRequest('bücher.example'), 'xn--bcher-kva.example 80'],
        [octets(4, 1, 0, 80, 10, 0, 0, 4, 'user', 0), '10.0.0.4 80'],
        [octets(4, 1, 0, 80, 0, 0, 0, 9, 0, 'Name.example', 0), 'name.example 80'],
      ];
      for (const [request, expected] of table) {
        const client = await open();
        client.send(request[0] === 5 ? Buffer.concat([HELLO, request]) : request);
        await client.rest();
        assert.equal(last(), expected);
      }
    });

    it('answers each refusal with its code, then closes', async () => {
      const codes = { refused: 5, unreachable: 4, 'no-network': 3, prohibited: 2, timeout: 6 };
      for (const refusal of REFUSALS) {
        const five = await open();
        five.send(
          Buffer.concat([HELLO, nameRequest(`${refusal}.example`), Buffer.from('early data')]),
        );
        assert.deepEqual(
          await five.take(99),
          Buffer.concat([octets(5, 0), reply5(codes[refusal])]),
          refusal,
        );
        const four = await open();
        four.send(octets(4, 1, 0, 80, 0, 0, 0, 1, 'u', 0, `${refusal}.example`, 0));
        assert.deepEqual(await four.take(99), reply4(91), refusal);
      }
    });

    it('answers what it does not carry, and what is no request', async () => {
      const table: readonly (readonly [Buffer, Buffer])[] = [
        [nameRequest('echo.example', 80, 2), reply5(7)],
        [nameRequest('0.0.0.0', 0, 3), reply5(7)],
        [octets(5, 1, 0, 2), reply5(8)],
        [nameRequest('echo.example', 0), reply5(1)],
        [nameRequest(''), reply5(1)],
        [nameRequest('a b'), reply5(1)],
        [nameRequest('127.1'), reply5(1)],
        [nameRequest('2130706433'), reply5(1)],
        [nameRequest('x'.repeat(64)), reply5(1)],
      ];
      const before = proxy.twin.requested.length;
      for (const [request, expected] of table) {
        const client = await open();
        client.send(Buffer.concat([HELLO, request]));
        assert.deepEqual(
          await client.take(99),
          Buffer.concat([octets(5, 0), expected]),
          request.toString('hex'),
        );
      }
      for (const request of [
        octets(4, 2, 0, 80, 10, 0, 0, 1, 0),
        octets(4, 1, 0, 0, 10, 0, 0, 1, 0),
        octets(4, 1, 0, 80, 10, 0, 0, 1, 'u'.repeat(256), 0),
      ]) {
        const client = await open();
        client.send(request);
        assert.deepEqual(await client.take(99), reply4(91));
      }
      const noMethod = await open();
      noMethod.send(octets(5, 1, 2));
      assert.deepEqual(await noMethod.take(99), octets(5, 0xff));
      assert.equal(proxy.twin.requested.length, before);
    });

    it('answers success only when the far side is connected', async () => {
      const letThrough = proxy.twin.hang('slow.example:80');
      const client = await open();
      client.send(Buffer.concat([HELLO, nameRequest('slow.example')]));
      await client.take(2);
      const early = await Promise.race([
        client.take(1),
        new Promise((resolve) => setTimeout(resolve, 100, 'nothing')),
      ]);
      assert.equal(early, 'nothing');
      letThrough();
      await once(client.socket, 'data');
    });

    it('gives the flow up when the client leaves while it is dialled', async () => {
      proxy.twin.hang('never.example:80');
      const before = proxy.counters.get('tunnel_flows_given_up_total') ?? 0;
      for (const leave of ['end', 'destroy', 'resetAndDestroy'] as const) {
        const client = await open();
        client.send(Buffer.concat([HELLO, nameRequest('never.example')]));
        await client.take(2);
        await new Promise((resolve) => setTimeout(resolve, 20));
        client.socket[leave]();
        await once(client.socket, 'close');
      }
      const until = performance.now() + 5000;
      while ((proxy.counters.get('tunnel_flows_given_up_total') ?? 0) < before + 3) {
        assert.ok(performance.now() < until, 'the flow is still being dialled');
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    });

    it('passes a reset on to the client', async () => {
      proxy.twin.serve('reset.example:80', (far) => far.once('data', () => far.reset()));
      const client = await open();
      client.send(Buffer.concat([HELLO, nameRequest('reset.example')]));
      await client.take(12);
      const failed = once(client.socket, 'error');
      client.send('x');
      const [error] = (await failed) as [NodeJS.ErrnoException];
      assert.equal(error.code, 'ECONNRESET');
    });

    it('survives garbage: every dialogue ends, and the next one is served', async () => {
      const before = proxy.twin.requested.length;
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(4, 5),
          fc.uint8Array({ maxLength: 300 }),
          async (version, bytes) => {
            const client = await open();
            client.socket.end(Buffer.concat([Buffer.of(version), bytes]));
            await client.rest();
          },
        ),
        { numRuns: 150 },
      );
      assert.ok(proxy.twin.requested.length - before < 150);
      const client = await open();
      client.send(Buffer.concat([HELLO, nameRequest('echo.example')]));
      assert.deepEqual(await client.take(12), Buffer.concat([octets(5, 0), reply5(0)]));
    });
  });

for (const nativeSockets of [true, false])
  describe(`SOCKS with credentials, sockets of ${nativeSockets ? 'the native part' : 'Node'}`, {
    timeout: 20_000,
  }, () => {
    let proxy: TestProxy;
    before(async () => {
      proxy = await startProxy({
        nativeSockets,
        credentials: [
          { user: 'ann', password: 'päss' },
          { user: 'bob', password: 'x' },
        ],
      });
      proxy.twin.serve('*', (far) => far.end());
    });
    after(() => proxy.close());

    async function dialogue(...parts: Buffer[]): Promise<string> {
      const client = await proxy.open();
      client.socket.end(Buffer.concat(parts));
      return Buffer.from(await client.rest(), 'latin1').toString('hex');
    }
    const login = (user: string, password: string) =>
      octets(1, Buffer.byteLength(user), user, Buffer.byteLength(password), password);
    const OFFER = octets(5, 2, 0, 2);

    it('lets in who knows them', async () => {
      const success = Buffer.concat([octets(5, 2, 1, 0), reply5(0)]).toString('hex');
      assert.equal(await dialogue(OFFER, login('ann', 'päss'), nameRequest('a.example')), success);
      assert.equal(await dialogue(OFFER, login('bob', 'x'), nameRequest('a.example')), success);
    });

    it('turns everybody else away before a request is read', async () => {
      const before = proxy.twin.requested.length;
      for (const [user, password] of [
        ['ann', 'x'],
        ['bob', 'päss'],
        ['annp', 'äss'],
        ['', ''],
        ['ann', 'pass'],
      ] as const) {
        assert.equal(
          await dialogue(OFFER, login(user, password), nameRequest('a.example')),
          '05020101',
          user,
        );
      }
      assert.equal(await dialogue(HELLO, nameRequest('a.example')), '05ff');
      assert.equal(
        await dialogue(octets(4, 1, 0, 80, 10, 0, 0, 1, 'ann', 0)),
        reply4(91).toString('hex'),
      );
      assert.equal(proxy.twin.requested.length, before);
      assert.ok((proxy.counters.get('tunnel_proxy_authentication_failures_total') ?? 0) >= 7);
    });
  });
