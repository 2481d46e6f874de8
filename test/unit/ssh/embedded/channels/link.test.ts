/** The link's limits and error words, against an SSH server that behaves as no sshd would. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Connection, Server } from 'ssh2';
import { TunnelError } from '../../../../../src/errors/errors.ts';
import { ConnectError } from '../../../../../src/flow/connector.ts';
import { type Observer, silentObserver } from '../../../../../src/observe/observer.ts';
import { openError } from '../../../../../src/ssh/embedded/channels/errors.ts';
import { CLOSE_TIMEOUT_MS, Ssh2Link } from '../../../../../src/ssh/embedded/channels/link.ts';
import { INITIAL_WINDOW } from '../../../../../src/ssh/embedded/channels/receivewindow.ts';
import { MAX_CHANNELS } from '../../../../../src/ssh/limits.ts';
import { serverText } from '../../../../../src/ssh/servertext.ts';
import { connectStream } from '../../../../support/connectstream.ts';
import ssh2 from '../../../../support/ssh2.ts';
import { AT_ONCE_MS, until } from '../../../../support/until.ts';

/** What is used of the peer's ssh2 to break the rules with. */
interface PeerInternals {
  readonly _sock: Socket;
  readonly _protocol: {
    channelData(id: number, data: Buffer): void;
    channelExtData(id: number, data: Buffer, type: number): void;
    channelEOF(id: number): void;
    channelClose(id: number): void;
    disconnect(reason: number): void;
  };
}

/** What a channel is granted at first. */
const WINDOW = INITIAL_WINDOW;
/** How much a peer's ssh2 takes of one channel without reading. */
const PEER_WINDOW = 2 * 1024 * 1024;
const STDERR = 1;
const BY_APPLICATION = 11;
const DESTINATION = { host: '192.0.2.1', port: 80 };

describe('Ssh2Link', { timeout: 30_000 }, () => {
  let server: Server;
  let port: number;
  let peer: Connection;
  /** Refusals of the opens that wait, in order. */
  const waiting: (() => void)[] = [];
  /**
   * If set, takes opens: is called with the channel's id right after the confirmation, which it
   * shares a packet with.
   */
  let onOpen: ((id: number) => void) | undefined;
  /** Of the link that was made last. */
  let socket: Socket;

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
        connection.on('tcpip', (accept, reject) => {
          if (onOpen === undefined) {
            waiting.push(() => reject?.());
            return;
          }
          const { _sock: wire } = peer as unknown as PeerInternals;
          wire.cork();
          const { outgoing } = accept() as unknown as { outgoing: { id: number } };
          onOpen(outgoing.id);
          wire.uncork();
        });
      },
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  });
  after(() => server.close());

  async function link(observer: Observer = silentObserver): Promise<Ssh2Link> {
    socket = connect(port, '127.0.0.1');
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
        error instanceof ConnectError &&
        error.refusal === 'refused' &&
        /is the limit/.test(error.message)
      );
    };
    assert.ok(await refused());
    assert.equal(counted.filter((name) => name === 'tunnel_channel_limit_total').length, 1);
    assert.ok(
      counted.includes('tunnel_window_budget_total'),
      'so many begin with less than others',
    );
    abort.abort();
    const results = await Promise.allSettled(opens);
    assert.ok(
      results.every(
        (result) => result.status === 'rejected' && result.reason === abort.signal.reason,
      ),
    );
    assert.ok(await refused());
    while (waiting.length < MAX_CHANNELS) await new Promise((resolve) => setTimeout(resolve, 10));
    waiting[0]?.();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const last = transport.connect(DESTINATION);
    while (waiting.length < MAX_CHANNELS + 1)
      await new Promise((resolve) => setTimeout(resolve, 10));
    waiting.at(-1)?.();
    await assert.rejects(last, ConnectError);
    await transport.close();
  });

  it('close() takes a limited time when the server does not close the connection', async () => {
    const transport = await link();
    // Deaf: what the server would answer to is no longer read.
    const { _sock: deaf } = peer as unknown as PeerInternals;
    deaf.pause();
    const before = performance.now();
    await transport.close();
    assert.ok(performance.now() - before < CLOSE_TIMEOUT_MS + AT_ONCE_MS);
    assert.equal(await transport.ended, undefined);
    assert.ok(socket.closed);
    deaf.destroy();
  });

  it('close() takes a limited time when the server reads nothing', async () => {
    const transport = await link();
    const { _sock: deaf } = peer as unknown as PeerInternals;
    await clog(transport, deaf);
    const before = performance.now();
    await transport.close();
    assert.ok(performance.now() - before < CLOSE_TIMEOUT_MS + AT_ONCE_MS);
    assert.ok(socket.closed);
    deaf.destroy();
  });

  const leaves: readonly [title: string, leave: (peer: PeerInternals) => void][] = [
    ['ends its half', ({ _sock }) => void _sock.end()],
    ['says DISCONNECT and stays', ({ _protocol }) => _protocol.disconnect(BY_APPLICATION)],
  ];
  for (const [title, leave] of leaves) {
    it(`a deaf server that ${title}: link-lost, and the socket is closed`, async () => {
      const transport = await link();
      const internals = peer as unknown as PeerInternals;
      await clog(transport, internals._sock);
      leave(internals);
      const ended = await Promise.race([transport.ended, delay(2_000, 'up' as const)]);
      assert.ok(ended instanceof TunnelError, String(ended));
      assert.equal(ended.code, 'link-lost');
      assert.ok(socket.closed);
      internals._sock.destroy();
    });
  }

  it('a CHANNEL_CLOSE right after the confirmation: an error before anybody listens', async () => {
    const transport = await link();
    const uncaught: unknown[] = [];
    const guard = (error: unknown): void => void uncaught.push(error);
    process.on('uncaughtException', guard);
    try {
      for (const eof of [false, true]) {
        onOpen = (id) => {
          const { _protocol: protocol } = peer as unknown as PeerInternals;
          if (eof) protocol.channelEOF(id);
          protocol.channelClose(id);
        };
        const stream = await connectStream(transport, DESTINATION);
        stream.resume();
        await delay(50);
        assert.equal((stream.errored as NodeJS.ErrnoException | null)?.code, 'ECONNRESET');
        assert.ok(stream.closed);
      }
    } finally {
      process.off('uncaughtException', guard);
      onOpen = undefined;
      await transport.close();
    }
    assert.deepEqual(uncaught, []);
  });

  describe('a server that ignores the window', () => {
    type Send = (protocol: PeerInternals['_protocol'], id: number, bytes: number) => void;
    const chunk = Buffer.alloc(32 * 1024);
    const data: Send = (protocol, id, bytes) => {
      for (let left = bytes; left > 0; left -= chunk.length)
        protocol.channelData(id, chunk.subarray(0, Math.min(left, chunk.length)));
    };
    const extended: Send = (protocol, id, bytes) => {
      for (let left = bytes; left > 0; left -= chunk.length)
        protocol.channelExtData(id, chunk.subarray(0, Math.min(left, chunk.length)), STDERR);
    };
    const cases: readonly [title: string, violates: boolean, send: Send][] = [
      ['exactly the window', false, (...to) => data(to[0], to[1], WINDOW)],
      [
        'exactly the window, and empty data',
        false,
        (protocol, id) => {
          data(protocol, id, WINDOW);
          protocol.channelData(id, Buffer.alloc(0));
        },
      ],
      ['a byte beyond the window', true, (protocol, id) => data(protocol, id, WINDOW + 1)],
      [
        'a packet across the end of the window',
        true,
        (protocol, id) => {
          data(protocol, id, WINDOW - 1);
          protocol.channelData(id, chunk);
        },
      ],
      ['four windows', true, (protocol, id) => data(protocol, id, 4 * WINDOW)],
      [
        'extended data to have the window granted again',
        true,
        (protocol, id) => {
          data(protocol, id, WINDOW - 1);
          extended(protocol, id, 1);
          data(protocol, id, WINDOW);
        },
      ],
    ];
    for (const [title, violates, send] of cases) {
      it(`${title}, to a reader that does not read, ${violates ? 'ends the flow' : 'is kept'}`, async () => {
        const counted: string[] = [];
        const transport = await link({ log() {}, count: (name) => void counted.push(name) });
        const { _protocol: protocol } = peer as unknown as PeerInternals;
        onOpen = (id) => send(protocol, id, 0);
        const stream = await connectStream(transport, DESTINATION);
        if (violates) await until(() => stream.errored !== null, 'the flow goes on');
        else await delay(300);
        assert.equal(
          (stream.errored as TunnelError | null)?.code,
          violates ? 'window-exceeded' : undefined,
        );
        assert.deepEqual(counted, violates ? ['tunnel_ssh_violations_total'] : []);
        assert.ok(stream.readableLength <= WINDOW);
        if (!violates) {
          let received = 0;
          stream.on('data', (bytes: Buffer) => {
            received += bytes.length;
          });
          await until(() => received === WINDOW, 'not all has come');
          await delay(50);
          // The window was granted again, and to the byte: another one goes through, and no more.
          onOpen = undefined;
          data(protocol, 0, WINDOW);
          await until(() => received === 2 * WINDOW, `${received} octets`);
        }
        // The others are none the worse for it.
        onOpen = (id) => protocol.channelData(id, Buffer.from('fine'));
        const other = await connectStream(transport, DESTINATION);
        assert.equal(String((await once(other, 'data'))[0]), 'fine');
        onOpen = undefined;
        await transport.close();
      });
    }

    it('extended data for a reader that reads is dropped, and its window granted again', async () => {
      const transport = await link();
      const { _protocol: protocol } = peer as unknown as PeerInternals;
      onOpen = (id) => {
        for (let half = 0; half < 8; half++)
          setTimeout(() => extended(protocol, id, WINDOW / 2), 30 * half);
        setTimeout(() => protocol.channelData(id, Buffer.from('fine')), 30 * 8);
      };
      const stream = await connectStream(transport, DESTINATION);
      assert.equal(String((await once(stream, 'data'))[0]), 'fine');
      onOpen = undefined;
      await transport.close();
    });
  });

  /** Leaves more unsent in the link's socket than the kernel takes. */
  async function clog(transport: Ssh2Link, deaf: Socket): Promise<void> {
    onOpen = () => {};
    const streams = await Promise.all(
      Array.from({ length: 8 }, () => connectStream(transport, DESTINATION)),
    );
    onOpen = undefined;
    deaf.pause();
    for (const stream of streams) stream.write(Buffer.alloc(PEER_WINDOW));
    await delay(100);
    assert.ok(socket.writableLength > 0, 'the socket is full');
  }

  it('a server that closes the connection: link-lost', async () => {
    const transport = await link();
    peer.end();
    const ended = await transport.ended;
    assert.equal(ended?.code, 'link-lost');
    assert.match(ended.message, /the jump host closed the connection/);
  });
});

describe('channel open failures', () => {
  const cases: readonly [reason: number, text: string, refusal: string][] = [
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
    [2, '', 'refused'],
    [3, 'unknown channel type', 'prohibited'],
    [4, 'out of channels', 'refused'],
    [0, 'the server closed the channel', 'refused'],
  ];
  for (const [reason, text, refusal] of cases) {
    it(`reason ${reason} "${text}" is ${refusal}`, () => {
      const error = openError({ host: '2001:db8::1', port: 443 }, { reason, text });
      assert.equal(error.refusal, refusal);
      assert.ok(error.message.includes('[2001:db8::1]:443'));
      if (text !== 'open failed') assert.ok(error.message.includes(text));
    });
  }

  it('the server’s text is made harmless and short', () => {
    const text = `\u001b[2J\u202eevil\n${'x'.repeat(5000)}`;
    const error = openError(DESTINATION, { reason: 2, text });
    assert.doesNotMatch(error.message, /[\u0000-\u001f\u202e]/);
    assert.ok(error.message.length < 400);
    assert.equal(serverText('plain'), 'plain');
  });
});
