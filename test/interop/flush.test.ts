/**
 * Flushes with a real sshd behind a proxy that adds delay: they are requested, answered, and
 * disturb nothing.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { leavesNagleOn } from '../../src/ssh/embedded/channels/flushtiming.ts';
import type { SshSettings } from '../../src/ssh/settings.ts';
import { pseudoRandomBytes } from '../support/bytes.ts';
import { connectStream } from '../support/connectstream.ts';
import { accessTo, dialEmbedded, LogLines, settingsFor } from '../support/embedded.ts';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';

const MEGABYTE = 1024 * 1024;
const ONE_WAY_MS = 10;
const UPLOAD = 24 * MEGABYTE;

describe('an upload to a distant sshd', { skip: sshdMissing, timeout: 60_000 }, () => {
  let sshd: LoopbackSshd;
  let distant: Server;
  let sink: Server;
  let holdsBack: boolean;
  const sockets = new Set<Socket>();

  async function listen(handler: (socket: Socket) => void): Promise<Server> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      handler(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return server;
  }
  const portOf = (server: Server): number => (server.address() as AddressInfo).port;

  before(async () => {
    sshd = await LoopbackSshd.start({
      config: ['MaxSessions 0', 'ClientAliveInterval 1', 'ClientAliveCountMax 2', 'RekeyLimit 4M'],
    });
    const hello = connect(sshd.port, '127.0.0.1');
    const [line] = (await once(hello, 'data')) as [Buffer];
    hello.destroy();
    holdsBack = leavesNagleOn(
      String(line)
        .replace(/^SSH-2\.0-/, '')
        .trim(),
    );
    distant = await listen((near) => {
      const far = connect(sshd.port, '127.0.0.1');
      sockets.add(far);
      far.on('error', () => near.destroy());
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        from.on('data', (chunk) => void setTimeout(() => to.write(chunk), ONE_WAY_MS));
        from.on('end', () => void setTimeout(() => to.end(), ONE_WAY_MS));
      }
    });
    sink = await listen((socket) => {
      const digest = createHash('sha256');
      socket.on('data', (chunk) => digest.update(chunk));
      socket.on('end', () => socket.end(digest.digest('hex')));
    });
  });
  after(async () => {
    for (const server of [distant, sink]) server?.close();
    for (const socket of sockets) socket.destroy();
    await sshd?.stop();
  });

  async function upload(settings: Partial<SshSettings> = {}) {
    const observer = new LogLines();
    const link = await dialEmbedded(
      [settingsFor(sshd, 'distant', { ...settings, port: portOf(distant) })],
      {
        access: () => accessTo(sshd),
        observer,
      },
    );
    try {
      const stream = await connectStream(link, { host: '127.0.0.1', port: portOf(sink) });
      const digest = createHash('sha256');
      for (let sent = 0; sent < UPLOAD; sent += MEGABYTE) {
        const data = pseudoRandomBytes(MEGABYTE, String(sent));
        digest.update(data);
        if (!stream.write(data)) await once(stream, 'drain');
      }
      stream.end();
      let answer = '';
      for await (const chunk of stream) answer += String(chunk);
      assert.equal(answer, digest.digest('hex'));
      // Silence, during which both sides ask for signs of life.
      assert.equal(await Promise.race([link.ended, delay(3_500, 'up')]), 'up');
    } finally {
      await link.close();
    }
    const flushes = observer.counted.filter((name) => name === 'tunnel_flushes_total').length;
    const said = observer.lines.filter((line) => line.includes("Nagle's algorithm")).length;
    assert.ok(!observer.counted.includes('tunnel_flush_limit_total'));
    return { flushes, said, log: await sshd.log() };
  }

  it('is flushed, across the server’s key exchanges, and the link survives', async () => {
    const { flushes, said, log } = await upload({ keepalive: { interval: 1, count: 2 } });
    if (holdsBack) {
      assert.ok(flushes >= 4, String(flushes));
      assert.equal(said, 1);
    } else {
      assert.equal(flushes, 0);
    }
    assert.ok((log.match(/rekeying/g)?.length ?? 0) > 0, 'keys were exchanged');
    assert.ok(
      !/session/.test(log.match(/ctype \S+/g)?.join(' ') ?? ''),
      'no session was asked for',
    );
  });

  it('is not flushed with --no-flush', async () => {
    const { flushes, said } = await upload({ flush: false });
    assert.deepEqual({ flushes, said }, { flushes: 0, said: 0 });
  });
});
