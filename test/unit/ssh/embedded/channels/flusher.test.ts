/**
 * Flushes as a server of ssh2's own sees them, which says what sshd would say. Its answers are
 * late, as if it were distant.
 */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { after, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Connection } from 'ssh2';
import {
  MAX_UNANSWERED,
  SEGMENT_BYTES,
} from '../../../../../src/ssh/embedded/channels/flushtiming.ts';
import { Ssh2Link } from '../../../../../src/ssh/embedded/channels/link.ts';
import { messageHandlers as handlers } from '../../../../../src/ssh/embedded/ssh2/library.ts';
import { pseudoRandomBytes } from '../../../../support/bytes.ts';
import { connectStream } from '../../../../support/connectstream.ts';
import { LogLines } from '../../../../support/embedded.ts';
import ssh2 from '../../../../support/ssh2.ts';

const DESTINATION = { host: '192.0.2.1', port: 80 };
const LATE_MS = 15;
/** What one answer has with AES-GCM, which ssh2 prefers where it has its own binding. */
const GCM = 'aes128-gcm@openssh.com';
const REQUESTS = Math.ceil(SEGMENT_BYTES / 36);
const EXT_INFO = 7;
const PING = 192;
const PONG = 193;
const MEGABYTE = 1024 * 1024;

interface PeerProtocol {
  readonly _cipher: { allocPacket(length: number): Buffer; encrypt(packet: Buffer): void };
  readonly _kexinit: unknown;
  readonly _handlers: Record<string, unknown>;
  requestFailure(): void;
  rekey(): void;
}

interface ServerOptions {
  readonly ident: string;
  /** Whether the answer to this global request is given. */
  readonly answers?: (number: number) => boolean;
  /** EXT_INFO announces ping@openssh.com in this version. */
  readonly ping?: string;
  /** Of so many pings one is answered. */
  readonly pongs?: number;
  /** The client exchanges keys after so many bytes. */
  readonly rekeyBytes?: number;
}

const hostKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
  type: 'pkcs1',
  format: 'pem',
});
const closers: (() => void)[] = [];
after(() => {
  delete handlers[PING];
  for (const close of closers) close();
});

function sendPayload(protocol: PeerProtocol, payload: Buffer): void {
  const packet = protocol._cipher.allocPacket(payload.length);
  payload.copy(packet, 5);
  protocol._cipher.encrypt(packet);
}

const text = (value: string): Buffer => {
  const bytes = Buffer.from(`\0\0\0\0${value}`);
  bytes.writeUInt32BE(value.length);
  return bytes;
};

async function pair(options: ServerOptions, flush = true) {
  const { ident, answers = () => true, ping, pongs = 1, rekeyBytes } = options;
  const observer = new LogLines();
  const seen = {
    requests: 0,
    pings: [] as number[],
    inExchange: 0,
    digest: createHash('sha256'),
    bytes: 0,
  };
  let peer: PeerProtocol | undefined;
  const server = new ssh2.Server({ hostKeys: [hostKey], ident }, (connection: Connection) => {
    const { _protocol: protocol } = connection as unknown as { readonly _protocol: PeerProtocol };
    peer = protocol;
    connection.on('authentication', (context) => context.accept());
    connection.on('error', () => {
      // Links are cut in these tests.
    });
    connection.on('tcpip', (accept) => {
      const stream = accept() as Duplex;
      stream.on('data', (data: Buffer) => {
        seen.bytes += data.length;
        seen.digest.update(data);
      });
      stream.on('error', () => {});
    });
    protocol._handlers['GLOBAL_REQUEST'] = () => {
      const number = ++seen.requests;
      if (answers(number)) setTimeout(() => protocol.requestFailure(), LATE_MS);
    };
    handlers[PING] = (self, payload) => {
      seen.pings.push(payload.length);
      const { _kexinit: exchanging } = self as PeerProtocol;
      // As sshd does.
      if (exchanging !== undefined) seen.inExchange++;
      if (exchanging !== undefined || seen.pings.length % pongs !== 0) return;
      const answer = Buffer.from(payload);
      answer[0] = PONG;
      sendPayload(self as PeerProtocol, answer);
    };
    connection.on('ready', () => {
      if (ping === undefined) return;
      const head = Buffer.from([EXT_INFO, 0, 0, 0, 2]);
      sendPayload(
        protocol,
        Buffer.concat([head, ...['other@openssh.com', '', 'ping@openssh.com', ping].map(text)]),
      );
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
  const client = new ssh2.Client();
  client.connect({ sock: socket, username: 'test', algorithms: { cipher: [GCM] } });
  await once(client, 'ready');
  client.removeAllListeners();
  const link = new Ssh2Link({
    ...{ client, socket, at: 'the server', flush, observer },
    rekey: { bytes: rekeyBytes, seconds: undefined },
  });
  const close = (): void => {
    socket.destroy();
    server.close();
  };
  closers.push(close);
  // The first round trip.
  await delay(5 * LATE_MS);
  const stream = await connectStream(link, DESTINATION);
  const sent = createHash('sha256');
  /** All of it has arrived when it resolves. */
  const upload = async (bytes: number) => {
    const goal = seen.bytes + bytes;
    for (let left = bytes; left > 0; left -= MEGABYTE) {
      const data = pseudoRandomBytes(MEGABYTE, String(left));
      sent.update(data);
      if (!stream.write(data)) await once(stream, 'drain');
    }
    while (seen.bytes < goal) await delay(LATE_MS);
    await delay(5 * LATE_MS);
  };
  const counted = (name: string) => observer.counted.filter((each) => each === name).length;
  if (peer === undefined) throw new Error('nobody has connected');
  return { link, observer, seen, upload, counted, sent, peer, client, close };
}

describe('Flusher', { timeout: 60_000 }, () => {
  it('global requests that fill a segment follow an upload; this is logged once and counted', async () => {
    const { observer, seen, upload, counted, close } = await pair({ ident: 'OpenSSH_9.2p1' });
    assert.equal(seen.requests, 1);
    await upload(8 * MEGABYTE);
    const flushes = counted('tunnel_flushes_total');
    assert.ok(flushes >= 2, String(flushes));
    // The rest is measurement of the round trip.
    const others = seen.requests - flushes * REQUESTS;
    assert.ok(others >= 1 && others < REQUESTS, String(others));
    assert.deepEqual(seen.pings, []);
    assert.equal(observer.lines.filter((line) => /^info: .*Nagle.*requests/.test(line)).length, 1);
    const before = seen.requests;
    await delay(20 * LATE_MS);
    assert.equal(seen.requests, before, 'nothing more when the upload is over');
    close();
  });

  it('a server that has announced ping@openssh.com is sent one of a segment’s size instead', async () => {
    const { observer, seen, upload, counted, close } = await pair({
      ident: 'OpenSSH_9.9p2',
      ping: '0',
    });
    await upload(8 * MEGABYTE);
    const flushes = counted('tunnel_flushes_total');
    assert.ok(flushes >= 2, String(flushes));
    assert.equal(seen.pings.length, flushes);
    assert.ok(seen.pings.every((length) => length === 5 + SEGMENT_BYTES));
    assert.ok(seen.requests < REQUESTS);
    assert.equal(observer.lines.filter((line) => /^info: .*Nagle.*pings/.test(line)).length, 1);
    close();
  });

  const silent: readonly [title: string, options: ServerOptions, flush?: boolean][] = [
    ['--no-flush', { ident: 'OpenSSH_9.2p1', ping: '0' }, false],
    ['a later OpenSSH', { ident: 'OpenSSH_10.1p1', ping: '0' }],
    ['another server', { ident: 'Go' }],
    ['one that answers nothing', { ident: 'OpenSSH_9.2p1', ping: '0', answers: () => false }],
  ];
  for (const [title, options, flush] of silent) {
    it(`${title}: nothing is asked`, async () => {
      const { observer, seen, upload, close } = await pair(options, flush);
      await upload(8 * MEGABYTE);
      assert.deepEqual(observer.counted, []);
      assert.deepEqual(observer.lines, []);
      assert.deepEqual(seen.pings, []);
      assert.ok(seen.requests < REQUESTS, String(seen.requests));
      close();
    });
  }

  it('pings of an unknown version are not sent', async () => {
    const { seen, upload, counted, close } = await pair({ ident: 'OpenSSH_9.9p2', ping: '1' });
    await upload(4 * MEGABYTE);
    assert.deepEqual(seen.pings, []);
    assert.ok(counted('tunnel_flushes_total') > 0);
    close();
  });

  it('pings that are not answered don’t add up', async () => {
    const { seen, upload, counted, close } = await pair({
      ident: 'OpenSSH_9.9p2',
      ping: '0',
      pongs: 4,
    });
    for (let round = 0; round < 20 && seen.pings.length < 3 * MAX_UNANSWERED; round++)
      await upload(8 * MEGABYTE);
    assert.ok(seen.pings.length >= 3 * MAX_UNANSWERED, String(seen.pings.length));
    assert.equal(counted('tunnel_flush_limit_total'), 0);
    close();
  });

  it('a server that stops answering is asked a limited number of times', async () => {
    const { seen, upload, counted, link, close } = await pair({
      ident: 'OpenSSH_9.2p1',
      answers: (number) => number === 1,
    });
    for (let round = 0; round < 20 && counted('tunnel_flush_limit_total') === 0; round++)
      await upload(8 * MEGABYTE);
    assert.ok(counted('tunnel_flush_limit_total') > 0);
    assert.equal(counted('tunnel_flushes_total'), MAX_UNANSWERED);
    const before = seen.requests;
    await upload(4 * MEGABYTE);
    assert.equal(seen.requests, before);
    assert.equal(await Promise.race([link.ended, delay(LATE_MS, 'up')]), 'up');
    close();
  });

  it('nothing is asked during a key exchange that we began (RFC 4253 §7.1)', async () => {
    const all = await pair({ ident: 'OpenSSH_9.9p2', ping: '0', rekeyBytes: MEGABYTE / 2 });
    const { seen, upload, counted, sent, client, close } = all;
    let exchanges = 0;
    client.on('handshake', () => exchanges++);
    await upload(32 * MEGABYTE);
    assert.ok(exchanges > 10, String(exchanges));
    assert.ok(counted('tunnel_flushes_total') > 10);
    assert.equal(seen.inExchange, 0);
    assert.equal(seen.digest.digest('hex'), sent.digest('hex'));
    close();
  });

  for (const ping of [undefined, '0']) {
    it(`keys are exchanged meanwhile: all data arrive, and flushes go on (${ping ? 'pings' : 'requests'})`, async () => {
      const all = await pair({ ident: 'OpenSSH_9.9p2', ...(ping ? { ping } : {}) });
      const { seen, upload, counted, sent, peer, client, close } = all;
      let exchanges = 0;
      client.on('handshake', () => exchanges++);
      const rekeying = setInterval(() => peer.rekey(), 2 * LATE_MS);
      await upload(8 * MEGABYTE);
      clearInterval(rekeying);
      assert.ok(exchanges > 0);
      const before = counted('tunnel_flushes_total');
      await upload(16 * MEGABYTE);
      assert.ok(counted('tunnel_flushes_total') > before);
      assert.equal(counted('tunnel_flush_limit_total'), 0);
      assert.equal(seen.digest.digest('hex'), sent.digest('hex'));
      close();
    });
  }
});
