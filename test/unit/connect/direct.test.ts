/** Dials past the tunnel, on loopback. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { DirectConnector } from '../../../src/connect/direct.ts';
import { lookupName } from '../../../src/connect/lookup.ts';
import { ConnectError } from '../../../src/flow/connector.ts';

/** RFC 6761 §6.4: no resolver knows it. */
const UNKNOWN = 'unknown.invalid';

describe('DirectConnector', { timeout: 60_000 }, () => {
  let server: Server;
  let port: number;
  /** The addresses at which connections have arrived. */
  const seen: (string | undefined)[] = [];
  before(async () => {
    server = createServer((socket) => {
      seen.push(socket.localAddress);
      socket.on('error', () => {}); // the other end is reset
      socket.end();
    }).listen(0, '127.0.0.2');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  });
  after(() => server.close());

  const refusedWith = (refusal: string, message: RegExp) => (error: unknown) =>
    error instanceof ConnectError && error.refusal === refusal && message.test(error.message);

  it('dials the addresses that a name is known to have, and asks no resolver', async () => {
    const connector = new DirectConnector();
    const addresses = ['127.0.0.3', '127.0.0.2'];
    const conduit = await connector.connect({ host: UNKNOWN, port }, { addresses });
    conduit.abort(undefined);
    assert.equal(seen.at(-1), '127.0.0.2');
    await assert.rejects(
      connector.connect({ host: UNKNOWN, port }, { addresses: ['127.0.0.3', '127.0.0.4'] }),
      refusedWith(
        'refused',
        /unknown\.invalid:\d+: dialled directly: connect ECONNREFUSED 127\.0\.0\.3/,
      ),
    );
  });

  it('resolves names itself where nobody has', async () => {
    await assert.rejects(
      new DirectConnector().connect({ host: 'localhost', port }),
      refusedWith('refused', /^localhost:\d+: dialled directly/),
    );
    await assert.rejects(
      new DirectConnector().connect({ host: UNKNOWN, port }),
      refusedWith('unreachable', /^the name unknown\.invalid can't be resolved here: /),
    );
  });

  it('tries one address after the other where the routes of a tunnel are in the way of some', async () => {
    const connector = new DirectConnector({
      uplinkFor: ({ host }) => (host === '127.0.0.3' ? null : undefined),
      socketOnDevice: () => assert.fail('no device'),
    });
    const conduit = await connector.connect(
      { host: UNKNOWN, port },
      { addresses: ['127.0.0.3', '127.0.0.2'] },
    );
    conduit.abort(undefined);
    await assert.rejects(
      connector.connect({ host: '127.0.0.3', port }),
      refusedWith('no-network', /no route except the tunnel/),
    );
  });

  it('takes an address with a zone for one, and binds it to no other device', async () => {
    // It is nobody's, so the kernel refuses it at once, or the network does.
    const connector = new DirectConnector({
      lookup: () => assert.fail('it is no name'),
      socketOnDevice: () => assert.fail('the zone names the device'),
    });
    await assert.rejects(
      connector.connect({ host: 'fe80::1%lo', port }),
      /^ConnectError: \[fe80::1%lo\]:\d+: dialled directly: /,
    );
  });

  it('gives up when nobody waits any more', async () => {
    for (const host of ['192.0.2.1', UNKNOWN]) {
      const abort = new AbortController();
      const dialled = new DirectConnector().connect({ host, port: 1 }, { signal: abort.signal });
      abort.abort(new Error('enough'));
      await assert.rejects(dialled, /enough/);
    }
  });
});

describe('lookupName', () => {
  it('gives canonical addresses, each once', async () => {
    const addresses = await lookupName('localhost');
    assert.ok(addresses.length > 0);
    for (const address of addresses) assert.ok(['127.0.0.1', '::1'].includes(address), address);
    assert.equal(new Set(addresses).size, addresses.length);
  });
});
