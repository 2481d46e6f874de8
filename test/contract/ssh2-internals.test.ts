/**
 * The parts of ssh2 that src/ssh/embedded relies on and that its documentation doesn't promise. If
 * this fails after an update, read the new version's lib/protocol and lib/client.js against
 * ssh/embedded/ssh2/internals.ts before anything else.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  answersPings,
  missingInbound,
  type SshProtocol,
  sendPing,
  shortAnswerBytes,
  writePacketsTo,
} from '../../src/ssh/embedded/ssh2/internals.ts';
import { messageHandlers as handlers } from '../../src/ssh/embedded/ssh2/library.ts';
import { connectPair, type Pair, type PeerProtocol } from '../support/ssh2pair.ts';
import { exchangeContract } from './ssh2-exchange.ts';

const require = createRequire(import.meta.url);
const GCM = 'aes128-gcm@openssh.com';
const EXT_INFO = 7;
const PING = 192;
const PONG = 193;

/** RFC 8308 §2.3: names and values in turn. */
function extInfo(...texts: readonly string[]): Buffer {
  const head = Buffer.from([EXT_INFO, 0, 0, 0, texts.length / 2]);
  const fields = texts.map((text) => {
    const bytes = Buffer.from(`\0\0\0\0${text}`);
    bytes.writeUInt32BE(text.length);
    return bytes;
  });
  return Buffer.concat([head, ...fields]);
}

function sendPayload({ _cipher: cipher }: PeerProtocol, payload: Buffer): void {
  const packet = cipher.allocPacket(payload.length);
  payload.copy(packet, 5);
  cipher.encrypt(packet);
}

it('the version is pinned, and is the one whose source was read', () => {
  const own = JSON.parse(
    readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
  ) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  const { version } = require('ssh2/package.json') as { readonly version: string };
  assert.equal(own.dependencies['ssh2'], version);
  assert.equal(version, '1.17.0');
});

it('its native ciphers were built (without them all but AES-GCM is much slower)', () => {
  const { bindingAvailable } = require('ssh2/lib/protocol/crypto.js') as {
    readonly bindingAvailable: boolean;
  };
  assert.equal(bindingAvailable, true);
});

describe('the protocol object', () => {
  let pair: Pair;
  before(async () => {
    pair = await connectPair(GCM, { inbox: false });
  });
  after(() => pair.close());

  it('has the methods, with the same number of parameters', () => {
    const arities: Partial<Record<keyof SshProtocol, number>> = {
      parse: 3,
      directTcpip: 4,
      channelOpenFail: 3,
      channelData: 2,
      channelWindowAdjust: 2,
      channelEOF: 1,
      channelClose: 1,
      channelFailure: 1,
      requestFailure: 0,
      ping: 0,
      disconnect: 1,
      rekey: 0,
    };
    for (const [name, arity] of Object.entries(arities)) {
      const method: unknown = pair.protocol[name as keyof SshProtocol];
      assert.ok(typeof method === 'function', name);
      assert.equal(method.length, arity, name);
    }
  });

  it('calls the handlers with these fields', async () => {
    const { protocol, peer } = pair;
    const got: [string, ...unknown[]][] = [];
    const names = [
      'CHANNEL_OPEN',
      'CHANNEL_OPEN_CONFIRMATION',
      'CHANNEL_OPEN_FAILURE',
      'CHANNEL_WINDOW_ADJUST',
      'CHANNEL_DATA',
      'CHANNEL_EXTENDED_DATA',
      'CHANNEL_EOF',
      'CHANNEL_CLOSE',
      'CHANNEL_REQUEST',
      'CHANNEL_SUCCESS',
      'CHANNEL_FAILURE',
      'GLOBAL_REQUEST',
      'REQUEST_SUCCESS',
      'REQUEST_FAILURE',
    ];
    for (const name of names) {
      assert.equal(typeof protocol._handlers[name], 'function', `ssh2 has a handler for ${name}`);
      protocol._handlers[name] = (first: unknown, ...fields: unknown[]) => {
        assert.equal(first, protocol);
        got.push([name, ...fields]);
      };
    }
    const addresses = { boundAddr: 'bound', boundPort: 1, remoteAddr: 'remote', remotePort: 2 };
    peer.forwardedTcpip(31, 32, 33, addresses);
    peer.channelOpenConfirm(1, 2, 3, 4);
    peer.channelOpenFail(5, 2, 'Connection refused');
    peer.channelWindowAdjust(6, 0xffffffff);
    peer.channelData(7, Buffer.from('data'));
    peer.channelData(7, Buffer.alloc(0));
    peer.channelExtData(8, Buffer.from('extended'), 1);
    peer.channelEOF(9);
    peer.channelClose(10);
    peer.exitStatus(11, 12);
    peer.channelSuccess(13);
    peer.channelFailure(14);
    peer.ping();
    peer.requestSuccess();
    peer.requestFailure();
    for (let waited = 0; got.length < 15 && waited < 100; waited++) await delay(10);
    assert.deepEqual(
      got.map((fields) => fields.map((field) => (Buffer.isBuffer(field) ? String(field) : field))),
      [
        [
          'CHANNEL_OPEN',
          {
            type: 'forwarded-tcpip',
            sender: 31,
            window: 32,
            packetSize: 33,
            data: { destIP: 'bound', destPort: 1, srcIP: 'remote', srcPort: 2 },
          },
        ],
        [
          'CHANNEL_OPEN_CONFIRMATION',
          { recipient: 1, sender: 2, window: 3, packetSize: 4, data: undefined },
        ],
        ['CHANNEL_OPEN_FAILURE', 5, 2, 'Connection refused'],
        ['CHANNEL_WINDOW_ADJUST', 6, 0xffffffff],
        ['CHANNEL_DATA', 7, 'data'],
        ['CHANNEL_DATA', 7, ''],
        ['CHANNEL_EXTENDED_DATA', 8, 'extended', 1],
        ['CHANNEL_EOF', 9],
        ['CHANNEL_CLOSE', 10],
        ['CHANNEL_REQUEST', 11, 'exit-status', false, 12],
        ['CHANNEL_SUCCESS', 13],
        ['CHANNEL_FAILURE', 14],
        ['GLOBAL_REQUEST', 'keepalive@openssh.com', true, ''],
        ['REQUEST_SUCCESS', null],
        ['REQUEST_FAILURE'],
      ],
    );
  });

  it('builds a direct-tcpip open as in RFC 4254 §7.2', async () => {
    const { protocol, peer } = pair;
    const opened = new Promise((resolve) => {
      peer._handlers['CHANNEL_OPEN'] = (_: never, info: never) => resolve(info);
    });
    protocol.directTcpip(71, 72, 73, { srcIP: 'from', srcPort: 74, dstIP: 'to', dstPort: 75 });
    assert.deepEqual(await opened, {
      type: 'direct-tcpip',
      sender: 71,
      window: 72,
      packetSize: 73,
      data: { destIP: 'to', destPort: 75, srcIP: 'from', srcPort: 74 },
    });
  });
});

describe('the layout of packets', () => {
  const kinds: Readonly<Record<string, string>> = {
    [GCM]: 'AESGCMCipher',
    'aes256-gcm@openssh.com': 'AESGCMCipher',
    'chacha20-poly1305@openssh.com': 'ChaChaPolyCipherBinding',
  };
  for (const [cipher, kind] of Object.entries(kinds)) {
    it(`${cipher}: ours equals ssh2’s own, byte for byte except the padding`, async () => {
      const pair = await connectPair(cipher, { inbox: false });
      const { protocol } = pair;
      assert.equal(protocol._cipher.constructor.name, kind);
      const lengths = [...Array.from({ length: 300 }, (_, index) => index), 32_768, 32_777, 34_000];
      const own = lengths.map((length) => protocol._cipher.allocPacket(length));
      let padded = 0;
      writePacketsTo(protocol, {
        alloc: (length) => Buffer.alloc(length, 0xaa),
        pad: (target) => {
          padded = target.length;
        },
        take: () => {},
      });
      for (const [index, length] of lengths.entries()) {
        const theirs = own[index];
        const ours = protocol._cipher.allocPacket(length);
        assert.ok(theirs !== undefined);
        assert.equal(ours.length, theirs.length, `payload of ${length}`);
        assert.deepEqual(ours.subarray(0, 5), theirs.subarray(0, 5), `payload of ${length}`);
        assert.equal(padded, theirs[4]);
      }
      pair.close();
    });
  }
});

describe('how much of a packet has arrived', () => {
  it('AES-GCM: the state says after each byte how many are missing, and 0 between packets', async () => {
    const pair = await connectPair(GCM, { inbox: false });
    const { protocol, peer, socket } = pair;
    assert.equal(protocol._decipher.constructor.name, 'AESGCMDecipher');
    socket.removeAllListeners('data');
    let received = 0;
    protocol._handlers['CHANNEL_DATA'] = (_: unknown, __: number, data: Buffer) => {
      received += data.length;
    };
    for (const length of [1, 0, 100, 3_000]) {
      peer.channelData(1, Buffer.alloc(length, 1));
      let packet = Buffer.alloc(0);
      while (packet.length < 4 || packet.length < 4 + packet.readUInt32BE(0) + 16)
        packet = Buffer.concat([packet, ((await once(socket, 'data')) as [Buffer])[0]]);
      assert.equal(packet.length, 4 + packet.readUInt32BE(0) + 16, 'the length is in clear');
      assert.equal(missingInbound(protocol), 0);
      for (let at = 0; at < packet.length; at++) {
        protocol.parse(packet, at, at + 1);
        const missing = at < 3 ? 3 - at : packet.length - at - 1;
        assert.equal(missingInbound(protocol), missing, `${at + 1} of ${packet.length} bytes`);
      }
    }
    assert.equal(received, 3_101);
    pair.close();
  });

  it('other ciphers: the state says nothing', async () => {
    const pair = await connectPair('aes128-ctr', { inbox: false });
    assert.equal(missingInbound(pair.protocol), undefined);
    pair.close();
  });
});

describe('the shortest answer', () => {
  const algorithms: readonly [cipher: string, mac?: string][] = [
    [GCM],
    ['aes256-gcm@openssh.com'],
    ['chacha20-poly1305@openssh.com'],
    ['aes128-ctr', 'hmac-sha2-256'],
    ['aes256-ctr', 'hmac-sha2-512-etm@openssh.com'],
  ];
  for (const [cipher, mac] of algorithms) {
    it(`${cipher}${mac ? ` with ${mac}` : ''}: has at least the stated number of bytes, and hardly more`, async () => {
      const pair = await connectPair(cipher, { inbox: false, ...(mac && { mac }) });
      const before = pair.socket.bytesRead;
      const answered = new Promise<void>((resolve) => {
        pair.protocol._handlers['REQUEST_FAILURE'] = () => resolve();
      });
      pair.peer.requestFailure();
      await answered;
      const bytes = pair.socket.bytesRead - before;
      const said = shortAnswerBytes(pair.protocol);
      assert.ok(said <= bytes && bytes <= said + 4, `${said} said, ${bytes} came`);
      pair.close();
    });
  }
});

describe('ping@openssh.com', () => {
  it('is known once it is announced in the version that we speak; a malformed announcement is ignored', async () => {
    const announcements: readonly [payload: Buffer, expected: boolean][] = [
      [extInfo('server-sig-algs', 'ssh-ed25519'), false],
      [extInfo('ping@openssh.com', '1'), false],
      [extInfo('other@openssh.com', 'ping@openssh.com'), false],
      [extInfo('server-sig-algs', 'ssh-ed25519', 'ping@openssh.com', '0'), true],
    ];
    for (const [payload, expected] of announcements) {
      const pair = await connectPair(GCM, { inbox: false });
      const told = new Promise<void>((resolve) => {
        pair.protocol._handlers.EXT_INFO = () => resolve();
      });
      sendPayload(pair.peer, payload);
      await told;
      assert.equal(answersPings(pair.protocol), expected, payload.toString('latin1'));
      pair.close();
    }
    const pair = await connectPair(GCM, { inbox: false });
    const failed = once(pair.client, 'error');
    const cut = extInfo('ping@openssh.com', '0').subarray(0, -1);
    cut.writeUInt32BE(2 ** 32 - 1, 1);
    sendPayload(pair.peer, cut);
    await failed;
    pair.close();
  });

  for (const cipher of [GCM, 'chacha20-poly1305@openssh.com', 'aes128-ctr']) {
    it(`${cipher}: arrives as OpenSSH’s PROTOCOL says, and the answer has its number`, async () => {
      const pair = await connectPair(cipher, { inbox: false });
      writePacketsTo(pair.protocol, {
        // Nothing of other connections' data may be left in it.
        alloc: (length) => Buffer.alloc(length, 0xaa),
        pad: (target) => void target.fill(0),
        take: (packet) => void pair.socket.write(packet),
      });
      const arrived = new Promise<Buffer>((resolve) => {
        handlers[PING] = (_, payload) => resolve(Buffer.from(payload));
      });
      sendPing(pair.protocol, 7, 100);
      const ping = await arrived;
      delete handlers[PING];
      assert.deepEqual(ping.subarray(0, 9), Buffer.from([PING, 0, 0, 0, 100, 0, 0, 0, 7]));
      assert.deepEqual(ping.subarray(9), Buffer.alloc(96));
      const answered = new Promise((resolve) => {
        pair.protocol._handlers.PONG = (_, number) => resolve(number);
      });
      // Too short to contain anything.
      sendPayload(pair.peer, Buffer.from([PONG, 0, 0, 0, 0]));
      const pong = Buffer.from(ping);
      pong[0] = PONG;
      sendPayload(pair.peer, pong);
      assert.equal(await answered, 7);
      pair.close();
    });
  }
});

it('after the end no method that we may still call throws', async () => {
  for (const cipher of [GCM, 'chacha20-poly1305@openssh.com', 'aes128-ctr']) {
    const pair = await connectPair(cipher, { inbox: false });
    const { protocol, socket } = pair;
    socket.destroy();
    await once(socket, 'close');
    writePacketsTo(protocol, { alloc: (length) => Buffer.alloc(length), pad() {}, take() {} });
    protocol.ping();
    sendPing(protocol, 1, 100);
    protocol.directTcpip(1, 2, 3, { srcIP: '', srcPort: 0, dstIP: '', dstPort: 0 });
    protocol.channelData(1, Buffer.from('late'));
    protocol.channelWindowAdjust(1, 1);
    protocol.channelEOF(1);
    protocol.channelFailure(1);
    protocol.requestFailure();
    protocol.channelClose(1);
    protocol.disconnect(11);
    // Only this one does; link.ts takes care of it.
    assert.throws(() => protocol.parse(Buffer.alloc(64), 0, 64), /unusable/);
    pair.close();
  }
});

exchangeContract('ssh2 with our AES-GCM, and its own native ciphers', {
  [GCM]: 'AESGCMCipher',
  'aes256-gcm@openssh.com': 'AESGCMCipher',
  'chacha20-poly1305@openssh.com': 'ChaChaPolyCipherBinding',
  'aes128-ctr': 'GenericCipherBinding',
});
