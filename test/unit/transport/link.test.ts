/** The link's limits and error words, against an SSH server that behaves as no sshd would. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import ssh2, { type Connection } from 'ssh2';
import { type Observer, silentObserver } from '../../../src/observe/observer.ts';
import { openError, type SshError } from '../../../src/transport/ssh2/errors.ts';
import { CLOSE_TIMEOUT_MS, MAX_CHANNELS, Ssh2Link } from '../../../src/transport/ssh2/link.ts';
import { serverText } from '../../../src/transport/ssh2/servertext.ts';
import { ConnectError } from '../../../src/transport/transport.ts';

const DESTINATION = { host: '192.0.2.1', port: 80 };

describe('Ssh2Link', { timeout: 30_000 }, () => {
  let server: ssh2.Server;
  let port: number;
  let peer: Connection;
  /** Refusals of the opens that wait, in order. */
  const waiting: (() => void)[] = [];

  before(async () => {
    const hostKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    server = new ssh2.Server(
      { hostKeys: [hostKey.export({ type: 'pkcs1', format: 'pem' })] },
      (connection) => {
        peer = connection;
        connection.on('authentication', (context) => context.accept());
        connection.on('error', () => {
          // Links are cut in these tests.
        });
        connection.on('tcpip', (_accept, reject) => waiting.push(() => reject?.()));
      },
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  });
  after(() => server.close());

  async function link(observer: Observer = silentObserver): Promise<Ssh2Link> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const client = new ssh2.Client();
    client.connect({ sock: socket, username: 'test' });
    await once(client, 'ready');
    client.removeAllListeners();
    return new Ssh2Link({ client, socket, at: `127.0.0.1:${port}`, observer });
  }

  it(`opens at most ${MAX_CHANNELS} channels, aborted ones included until the server has answered`, async () => {
    const counted: string[] = [];
    const transport = await link({ log() {}, count: (name) => void counted.push(name) });
    waiting.length = 0;
    const abort = new AbortController();
    const opens = Array.from({ length: MAX_CHANNELS }, () =>
      transport.connect(DESTINATION, { signal: abort.signal }),
    );
    const refused = async (): Promise<boolean> => {
      const error: unknown = await transport.connect(DESTINATION).catch((cause: unknown) => cause);
      return (
        error instanceof ConnectError && error.refusal === 'refused' && /is the limit/.test(error.message)
      );
    };
    assert.ok(await refused());
    assert.deepEqual(counted, ['tunnel_channel_limit_total']);
    abort.abort();
    const results = await Promise.allSettled(opens);
    assert.ok(
      results.every((result) => result.status === 'rejected' && result.reason === abort.signal.reason),
    );
    assert.ok(await refused());
    while (waiting.length < MAX_CHANNELS) await new Promise((resolve) => setTimeout(resolve, 10));
    waiting[0]?.();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const last = transport.connect(DESTINATION);
    while (waiting.length < MAX_CHANNELS + 1) await new Promise((resolve) => setTimeout(resolve, 10));
    waiting.at(-1)?.();
    await assert.rejects(last, ConnectError);
    await transport.close();
  });

  it('close() takes a bounded time when the server does not take leave', async () => {
    const transport = await link();
    // Deaf: what the server would answer to is no longer read.
    const { _sock: deaf } = peer as unknown as { _sock: Socket };
    deaf.pause();
    const before = Date.now();
    await transport.close();
    assert.ok(Date.now() - before < CLOSE_TIMEOUT_MS + 500);
    assert.equal(await transport.ended, undefined);
    deaf.destroy();
  });

  it('a server that takes its leave: link-lost', async () => {
    const transport = await link();
    peer.end();
    const ended = await transport.ended;
    assert.equal(ended?.code, 'link-lost');
    assert.match(ended.message, /the jump host closed the connection/);
  });
});

describe('channel open failures', () => {
  const cases: readonly [reason: number | string, text: string, refusal: string][] = [
    [1, 'open failed', 'prohibited'],
    [1, 'administratively prohibited', 'prohibited'],
    [2, 'Connection refused', 'refused'],
    [2, 'No route to host', 'unreachable'],
    [2, 'Host is down', 'unreachable'],
    [2, 'Network is unreachable', 'no-network'],
    [2, 'Connection timed out', 'timeout'],
    [2, 'Name or service not known', 'unreachable'],
    [2, 'Temporary failure in name resolution', 'unreachable'],
    [2, 'open failed', 'unreachable'],
    [2, '', 'unreachable'],
    [3, 'unknown channel type', 'prohibited'],
    [4, 'out of channels', 'refused'],
    ['', 'server closed channel unexpectedly', 'refused'],
  ];
  for (const [reason, text, refusal] of cases) {
    it(`reason ${reason} "${text}" is ${refusal}`, () => {
      const error = openError(
        { host: '2001:db8::1', port: 443 },
        Object.assign(new Error(`(SSH) Channel open failure: ${text}`), { reason }) as SshError,
      );
      assert.equal(error.refusal, refusal);
      assert.ok(error.message.includes('[2001:db8::1]:443'));
      assert.ok(!error.message.includes('(SSH)'));
      if (text !== 'open failed') assert.ok(error.message.includes(text));
    });
  }

  it('the server’s text is made harmless and short', () => {
    const text = `\u001b[2J\u202eevil\n${'x'.repeat(5000)}`;
    const error = openError(
      DESTINATION,
      Object.assign(new Error(`(SSH) Channel open failure: ${text}`), { reason: 2 }),
    );
    assert.doesNotMatch(error.message, /[\u0000-\u001f\u202e]/);
    assert.ok(error.message.length < 400);
    assert.equal(serverText('plain'), 'plain');
  });
});
