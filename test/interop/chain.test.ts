/**
 * Chains of real sshds: ProxyJump through three hops, failures at each hop, and how chains end.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { TunnelError, UsageError } from '../../src/errors/errors.ts';
import type { Access } from '../../src/ssh/embedded/handshake/attempt.ts';
import type { HopChain } from '../../src/ssh/embedded/handshake/chain.ts';
import { MAX_HOPS } from '../../src/ssh/hops.ts';
import type { SshSettings } from '../../src/ssh/settings.ts';
import { pseudoRandomBytes } from '../support/bytes.ts';
import { connectStream } from '../support/connectstream.ts';
import { accessTo, dialEmbedded, LogLines, settingsFor } from '../support/embedded.ts';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { AT_ONCE_MS } from '../support/until.ts';

const MEGABYTE = 1024 * 1024;
const TRANSFER = 64 * MEGABYTE;
/** Windows of 2 MiB, the kernel's socket buffers and our own, for each of three hops. */
const IN_FLIGHT = 48 * MEGABYTE;

describe('a chain of three hops', { skip: sshdMissing, timeout: 60_000 }, () => {
  let sshds: readonly LoopbackSshd[];
  let a: LoopbackSshd;
  let b: LoopbackSshd;
  let c: LoopbackSshd;
  let echo: Server;
  let stalled: Server;
  const sockets = new Set<Socket>();

  before(async () => {
    [a, b, c] = await Promise.all([
      LoopbackSshd.start(),
      LoopbackSshd.start(),
      LoopbackSshd.start(),
    ]);
    sshds = [a, b, c];
    const listen = async (handler: (socket: Socket) => void): Promise<Server> => {
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        sockets.add(socket);
        socket.on('error', () => {
          // These tests cut flows.
        });
        handler(socket);
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    };
    echo = await listen((socket) => socket.pipe(socket));
    stalled = await listen((socket) => socket.pause());
  });
  after(async () => {
    for (const server of [echo, stalled]) server?.close();
    for (const socket of sockets) socket.destroy();
    await Promise.all(sshds.map((sshd) => sshd.stop()));
  });

  const at = (server: Server) => ({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
  });

  async function access(hop: SshSettings): Promise<Access> {
    const sshd = sshds.find(({ port }) => port === hop.port);
    return accessTo(sshd ?? a);
  }

  function settings(hops: readonly SshSettings[], last = settingsFor(c, 'c')): SshSettings {
    return { ...last, proxy: { kind: 'jump', hops } };
  }

  const chain = (): Promise<HopChain> =>
    dialEmbedded([settings([settingsFor(a, 'a'), settingsFor(b, 'b')])], { access });

  async function rejected(
    wanted: SshSettings,
    accessOf: (hop: SshSettings) => Promise<Access> = access,
  ): Promise<TunnelError> {
    try {
      await (await dialEmbedded([wanted], { access: accessOf })).close();
    } catch (error) {
      if (error instanceof TunnelError) return error;
      throw error;
    }
    throw new Error('it connected');
  }

  it('carries 64 MiB both ways, and reports the dialled address', async () => {
    const transport = await chain();
    assert.deepEqual(transport.dialled, { host: '127.0.0.1', port: a.port });
    const stream = await connectStream(transport, at(echo));
    const block = pseudoRandomBytes(MEGABYTE, 'chain');
    const sent = createHash('sha256');
    const received = createHash('sha256');
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      received.update(chunk);
      bytes += chunk.length;
    });
    for (let i = 0; i < TRANSFER / MEGABYTE; i++) {
      block.writeUInt32BE(i);
      sent.update(block);
      if (!stream.write(Buffer.from(block))) await once(stream, 'drain');
    }
    stream.end();
    await once(stream, 'end');
    assert.equal(bytes, TRANSFER);
    assert.equal(received.digest('hex'), sent.digest('hex'));
    await transport.close();
    assert.equal(await transport.ended, undefined);
  });

  it('waits for a far side that does not read, through all hops', async () => {
    const transport = await chain();
    const stream = await connectStream(transport, at(stalled));
    const block = Buffer.alloc(256 * 1024);
    let takenBytes = 0;
    while (takenBytes < 4 * IN_FLIGHT) {
      takenBytes += block.length;
      if (stream.write(block)) continue;
      const drained = once(stream, 'drain').then(() => true);
      if (!(await Promise.race([drained, delay(700, false)]))) break;
    }
    assert.ok(takenBytes < IN_FLIGHT, `${takenBytes} bytes were taken`);
    // It doesn't delay the others.
    const other = await connectStream(transport, at(echo));
    other.end('hello');
    const [chunk] = (await once(other, 'data')) as [Buffer];
    assert.equal(chunk.toString(), 'hello');
    await transport.close();
  });

  it('close() disconnects from every hop in order, from the innermost outwards', async () => {
    const logs = await Promise.all(sshds.map(async (sshd) => (await sshd.log()).length));
    const transport = await chain();
    await transport.close();
    await delay(300);
    for (const [i, sshd] of sshds.entries())
      assert.match(
        (await sshd.log()).slice(logs[i]),
        /Received disconnect from 127\.0\.0\.1 .*11:/,
      );
  });

  it('a hop in the middle with another key is refused before authentication there', async () => {
    const logs = await Promise.all(sshds.map(async (sshd) => (await sshd.log()).length));
    const error = await rejected(
      settings([settingsFor(a, 'a'), settingsFor(b, 'b')]),
      async (hop) => (hop.port === b.port ? accessTo(b, c) : access(hop)),
    );
    assert.equal(error.code, 'host-key-changed');
    assert.match(error.message, /^via a: /);
    await delay(300);
    const [, middle = '', last] = await Promise.all(
      sshds.map(async (sshd, i) => (await sshd.log()).slice(logs[i])),
    );
    assert.match(middle, /kex: algorithm/);
    assert.doesNotMatch(middle, /userauth|service.request|Failed|for user/i);
    assert.equal(last, '', 'nobody came to the last hop');
  });

  it('a login that fails at the last hop names that hop', async () => {
    const error = await rejected(
      settings([settingsFor(a, 'a'), settingsFor(b, 'b')]),
      async (hop) =>
        hop.port === c.port
          ? { ...(await accessTo(c)), authenticator: (await accessTo(a)).authenticator }
          : access(hop),
    );
    assert.equal(error.code, 'auth-failed');
    assert.match(error.message, /^via a, b: the jump host does not let/);
  });

  const prohibiting = [
    ['AllowTcpForwarding no', []],
    ['PermitOpen 127.0.0.1:1', []],
    ['LogLevel INFO', ['restrict']],
  ] as const;
  for (const [line, [option]] of prohibiting)
    it(`a hop that does not forward (${option ?? line}): says what must be permitted`, async () => {
      const key = await readFile(`${a.userKey}.pub`, 'utf8');
      const sshd = await LoopbackSshd.start({
        config: [line],
        authorizedKeys: { lines: [option === undefined ? key : `${option} ${key}`], only: true },
      });
      try {
        const error = await rejected(settings([settingsFor(sshd, 'strict')]), async (hop) =>
          hop.port === sshd.port
            ? { ...(await accessTo(sshd)), authenticator: (await accessTo(a)).authenticator }
            : access(hop),
        );
        assert.equal(error.code, 'jumphost-forwarding-prohibited');
        assert.equal(
          error.message,
          `via strict: passing on to 127.0.0.1:${c.port} is prohibited there`,
        );
        assert.match(error.hint ?? '', new RegExp(`PermitOpen 127\\.0\\.0\\.1:${c.port}`));
      } finally {
        await sshd.stop();
      }
    });

  it('a hop that cannot be reached from the one before it', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = at(closed);
    closed.close();
    const through = [settingsFor(a, 'a')];
    const refused = await rejected(settings(through, settingsFor(c, 'c', { port })));
    assert.equal(refused.code, 'jumphost-refused');
    assert.match(refused.message, /^via a: 127\.0\.0\.1:\d+: Connection refused/);
    const unknown = await rejected(
      settings(through, settingsFor(c, 'c', { hostName: 'no-such-host.invalid' })),
    );
    assert.equal(unknown.code, 'jumphost-dns');
    assert.match(
      unknown.message,
      /^via a: the name can't be resolved there \(no-such-host\.invalid:\d+: /,
    );
    const silent = await rejected(
      settings(through, settingsFor(c, 'c', { ...at(stalled), connectTimeout: 0.5 })),
    );
    assert.equal(silent.code, 'jumphost-slow');
    assert.match(
      silent.message,
      /^via a: 127\.0\.0\.1:\d+ accepted the connection, .* no identification within 0\.5 s/,
    );
  });

  for (const [index, via] of [
    [0, ''],
    [1, 'via a: '],
    [2, 'via a, b: '],
  ] as const)
    it(`when hop ${index + 1} is lost, the whole chain ends with its error`, async () => {
      const transport = await chain();
      const stream = await connectStream(transport, at(echo));
      await sshds[index]?.killConnections();
      const error = await transport.ended;
      assert.equal(error?.code, 'link-lost');
      assert.ok(
        error.message.startsWith(`${via}the connection to 127.0.0.1:${sshds[index]?.port} is lost`),
        error.message,
      );
      assert.ok(stream.destroyed, 'the flows have ended before the chain says so');
      assert.equal(stream.errored instanceof TunnelError && stream.errored.code, 'link-lost');
      await assert.rejects(transport.connect(at(echo)), { code: 'connect-unreachable' });
    });

  it('a jump host that closes an unused chain has closed it in order', async () => {
    const unused = await LoopbackSshd.start({ config: ['UnusedConnectionTimeout 1'] });
    try {
      const transport = await dialEmbedded(
        [settings([settingsFor(a, 'a')], settingsFor(unused, 'c'))],
        {
          access: (hop) => accessTo(hop.port === unused.port ? unused : a),
        },
      );
      const error = await transport.ended;
      assert.equal(error?.code, 'link-lost');
      assert.match(error.message, /^via a: /);
      assert.equal(error.cause, undefined, 'it is dialled again only when it is needed');
    } finally {
      await unused.stop();
    }
  });

  it('when the first hop falls silent, its keepalives end the chain', async () => {
    const keepalive = { interval: 0.2, count: 2 };
    const transport = await dialEmbedded([settings([settingsFor(a, 'a', { keepalive })])], {
      access,
    });
    const before = performance.now();
    await a.stopConnections();
    const error = await transport.ended;
    assert.match(
      error?.message ?? '',
      new RegExp(`^the connection to 127.0.0.1:${a.port} is lost: .*keepalives`),
    );
    assert.ok(performance.now() - before < AT_ONCE_MS);
  });

  it('an abort during the dial ends it at once, and leaves nothing open', async () => {
    const controller = new AbortController();
    const reason = new Error('stop');
    const observer = new LogLines();
    const attempt = dialEmbedded([settings([settingsFor(a, 'a'), settingsFor(b, 'b')])], {
      access,
      observer,
      signal: controller.signal,
    });
    while (!observer.lines.some((line) => /passing on to c/.test(line))) await delay(1);
    controller.abort(reason);
    const before = performance.now();
    await assert.rejects(attempt, reason);
    assert.ok(performance.now() - before < AT_ONCE_MS);
  });

  it(`more than ${MAX_HOPS} hops are refused before anything is dialled`, async () => {
    const hops = Array.from({ length: MAX_HOPS }, (_, i) => settingsFor(a, `hop${i}`));
    const error = await rejected(settings(hops));
    assert.ok(error instanceof UsageError);
    assert.match(error.message, /through more than 8 other hosts/);
  });
});
