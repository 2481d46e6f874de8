/** AES-GCM of SSH packets: against Node's own, and against everything that isn't a packet. */
import assert from 'node:assert/strict';
import { type CipherGCMTypes, createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { addon } from '../../../../../src/native/addon.ts';
import {
  AESGCMCipher,
  AESGCMDecipher,
  dataPacketBytes,
  packetBytes,
} from '../../../../../src/ssh/embedded/ssh2/gcm.ts';
import { run } from '../../../../support/process.ts';
import { decipher, gcm, Sealer } from '../../../../support/sealed.ts';

const CHECK = fileURLToPath(new URL('../../../../../native-test/gcmcheck', import.meta.url));
const TAG = 16;
const CHANNEL_DATA = 94;
const KEYS = [16, 32];

/** RFC 5647 §7.1: the last eight bytes count packets. */
function nonceOf(first: Buffer, packet: number): Buffer {
  const nonce = Buffer.from(first);
  nonce.writeBigUInt64BE(BigInt.asUintN(64, nonce.readBigUInt64BE(4) + BigInt(packet)), 4);
  return nonce;
}

const named = (key: Buffer): CipherGCMTypes => (key.length === 16 ? 'aes-128-gcm' : 'aes-256-gcm');

/** The payload of a packet, opened by Node. */
function openedByNode(key: Buffer, nonce: Buffer, packet: Buffer): Buffer {
  const reference = createDecipheriv(named(key), key, nonce);
  reference.setAAD(packet.subarray(0, 4));
  reference.setAuthTag(packet.subarray(-TAG));
  const text = Buffer.concat([reference.update(packet.subarray(4, -TAG)), reference.final()]);
  assert.equal(packet.readUInt32BE(0), text.length);
  const padding = text[0] ?? 0;
  assert.ok(padding >= 4 && padding < 20, `padding of ${padding}`);
  return text.subarray(1, text.length - padding);
}

/** A packet sealed by Node, of `text` as it is. */
function sealedByNode(key: Buffer, nonce: Buffer, text: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  const reference = createCipheriv(named(key), key, nonce);
  reference.setAAD(length);
  return Buffer.concat([length, reference.update(text), reference.final(), reference.getAuthTag()]);
}

function padded(payload: Buffer): Buffer {
  const padding = packetBytes(payload.length) - TAG - 5 - payload.length;
  return Buffer.concat([Buffer.from([padding]), payload, Buffer.alloc(padding)]);
}

describe('AES-GCM of outgoing packets', () => {
  for (const bytes of KEYS) {
    it(`key of ${bytes} bytes: Node opens packets of any length, one after the other`, () => {
      const key = randomBytes(bytes);
      // The counter overflows on the way, into no byte that is fixed.
      const first = Buffer.concat([randomBytes(4), Buffer.alloc(8, 0xff)]);
      const packets: Buffer[] = [];
      const cipher = new AESGCMCipher(
        gcm(true, key, first),
        0,
        (packet) => void packets.push(packet),
      );
      const payloads = [0, 1, 10, 11, 12, 26, 27, 28, 300, 32_777].map((length) =>
        randomBytes(length),
      );
      for (const payload of payloads) {
        const packet = cipher.allocPacket(payload.length);
        payload.copy(packet, 5);
        cipher.encrypt(packet);
      }
      assert.equal(cipher.outSeqno, payloads.length);
      for (const [index, packet] of packets.entries())
        assert.deepEqual(openedByNode(key, nonceOf(first, index), packet), payloads[index]);
    });
  }

  it('channel data are laid out as in RFC 4254 §5.2, with their own padding, and nothing around them is touched', () => {
    const key = randomBytes(16);
    const nonce = randomBytes(12);
    const cipher = new AESGCMCipher(gcm(true, key, nonce), 0xffff_ffff, () => {});
    let count = 0;
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 33_000 }),
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 0, max: 0xffff_ffff }),
        (length, from, channel) => {
          const data = randomBytes(length);
          const total = dataPacketBytes(length);
          const memory = Buffer.alloc(from + total + 8, 0xaa);
          cipher.sealData(memory, from, from + total, channel, data);
          assert.ok(memory.subarray(0, from).equals(Buffer.alloc(from, 0xaa)));
          assert.ok(memory.subarray(from + total).equals(Buffer.alloc(8, 0xaa)));
          const payload = openedByNode(
            key,
            nonceOf(nonce, count++),
            memory.subarray(from, from + total),
          );
          assert.equal(payload[0], CHANNEL_DATA);
          assert.equal(payload.readUInt32BE(1), channel);
          assert.equal(payload.readUInt32BE(5), length);
          assert.ok(payload.subarray(9).equals(data));
        },
      ),
      { numRuns: 300 },
    );
    assert.equal(cipher.outSeqno, count - 1, 'the sequence number wraps');
  });

  it('refuses a packet without enough space, and sealing with the key of the other direction', () => {
    const cipher = new AESGCMCipher(gcm(true), 0, () => {});
    const whole = dataPacketBytes(100);
    for (const room of [whole - 1, whole - 16, whole + 1, whole + 256, 100, 0])
      assert.throws(() => cipher.sealData(Buffer.alloc(1000), 0, room, 1, Buffer.alloc(100)));
    cipher.sealData(Buffer.alloc(1000), 0, whole, 1, Buffer.alloc(100));
    const wrong = new AESGCMCipher(gcm(false), 0, () => {});
    assert.throws(() => wrong.sealData(Buffer.alloc(1000), 0, whole, 1, Buffer.alloc(100)));
    assert.throws(() => wrong.encrypt(wrong.allocPacket(100)));
  });
});

describe('AES-GCM of incoming packets', () => {
  for (const bytes of KEYS) {
    it(`key of ${bytes} bytes: opens what Node has sealed, however it is cut`, () => {
      fc.assert(
        fc.property(
          fc.array(fc.integer({ min: 0, max: 3_000 }), { minLength: 1, maxLength: 12 }),
          fc.array(fc.integer({ min: 1, max: 4_000 }), { minLength: 1, maxLength: 12 }),
          (lengths, cuts) => {
            const key = randomBytes(bytes);
            const nonce = randomBytes(12);
            const payloads = lengths.map((length) => randomBytes(length));
            const stream = Buffer.concat(
              payloads.map((payload, index) =>
                sealedByNode(key, nonceOf(nonce, index), padded(payload)),
              ),
            );
            const got: Buffer[] = [];
            const own = new AESGCMDecipher(gcm(false, key, nonce), 0, (payload) => {
              got.push(payload);
              return undefined;
            });
            for (let at = 0, cut = 0; at < stream.length; cut++) {
              const end = Math.min(stream.length, at + (cuts[cut % cuts.length] ?? 1));
              // A chunk of its own: a packet in one chunk is opened where it lies.
              const chunk = Buffer.from(stream.subarray(at, end));
              own.decrypt(chunk, 0, chunk.length);
              at = end;
            }
            assert.equal(own.missing, 0);
            assert.equal(own.inSeqno, payloads.length);
            assert.deepEqual(got, payloads);
          },
        ),
        { numRuns: 100 },
      );
    });
  }

  it('refuses a packet with any bit changed', () => {
    const payload = randomBytes(40);
    const whole = new Sealer().seal(payload);
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const packet = Buffer.from(whole);
      packet[bit >> 3] = (packet[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      let opened = 0;
      const own = decipher(() => opened++);
      // A length that is changed may also ask for more than has come.
      const rest = Buffer.concat([packet, Buffer.alloc(35_000)]);
      assert.throws(
        () => own.decrypt(rest, 0, rest.length),
        /not authentic|Bad packet length/,
        `bit ${bit}`,
      );
      assert.equal(opened, 0);
    }
  });

  it('refuses a packet that comes twice or in the wrong order', () => {
    const sealer = new Sealer();
    const [first, second] = [sealer.seal(Buffer.alloc(20)), sealer.seal(Buffer.alloc(20))];
    const own = decipher(() => {});
    own.decrypt(Buffer.from(first), 0, first.length);
    assert.throws(() => own.decrypt(Buffer.from(first), 0, first.length), /not authentic/);
    const other = decipher(() => {});
    assert.throws(() => other.decrypt(Buffer.from(second), 0, second.length), /not authentic/);
  });

  it('refuses padding and lengths that RFC 4253 §6 forbids, even if they are authentic', () => {
    const key = Buffer.alloc(16, 7);
    const nonce = Buffer.alloc(12, 9);
    for (const padding of [0, 3, 16, 17, 255]) {
      const packet = sealedByNode(key, nonce, Buffer.alloc(16, padding));
      const own = decipher(() => assert.fail('a payload'));
      assert.throws(
        () => own.decrypt(packet, 0, packet.length),
        /not authentic/,
        `padding of ${padding}`,
      );
    }
    const own = decipher(() => {});
    for (const length of [0, 8, 15, 17, 34_992, 2 ** 31, 2 ** 32 - 1]) {
      const head = Buffer.alloc(64);
      head.writeUInt32BE(length);
      assert.throws(() => own.decrypt(head, 0, head.length), /Bad packet length/, String(length));
    }
  });

  it('channel data go past ssh2, except while keys are exchanged, and unless they are malformed', () => {
    const data = Buffer.from('data');
    const head = Buffer.from([CHANNEL_DATA, 0, 0, 0, 5, 0, 0, 0, data.length]);
    const whole = Buffer.concat([head, data]);
    const cut = Buffer.concat([head, data.subarray(1)]);
    const sealer = new Sealer();
    const got: string[] = [];
    const own = decipher(() => got.push('ssh2'));
    const take = (payload: Buffer): void => {
      const packet = sealer.seal(payload);
      own.decrypt(packet, 0, packet.length);
    };
    take(whole);
    own.onData = (channel, bytes) => got.push(`${channel}: ${bytes.toString()}`);
    take(whole);
    for (const payload of [cut, whole.subarray(0, 8), Buffer.from([CHANNEL_DATA]), Buffer.alloc(0)])
      take(payload);
    own._onPayload = () => void got.push('key exchange');
    take(whole);
    assert.deepEqual(got, ['ssh2', '5: data', 'ssh2', 'ssh2', 'ssh2', 'ssh2', 'key exchange']);
  });

  it('stops where ssh2 says so: what follows is for another cipher', () => {
    const sealer = new Sealer();
    const stream = Buffer.concat([sealer.seal(Buffer.alloc(3)), sealer.seal(Buffer.alloc(3))]);
    const own = new AESGCMDecipher(gcm(false), 0, () => false);
    assert.equal(own.decrypt(stream, 0, stream.length), stream.length / 2);
    const other = new AESGCMDecipher(gcm(false), 0, () => 5);
    assert.equal(
      other.decrypt(Buffer.concat([new Sealer().seal(Buffer.alloc(3))]), 0, stream.length / 2),
      5,
    );
  });
});

it('the addon refuses arguments of the wrong kind', () => {
  const native = addon();
  const handle = gcm(true);
  const bytes = Buffer.alloc(64);
  assert.throws(() => native.gcmCreate(Buffer.alloc(15), Buffer.alloc(12), true), { errno: 22 });
  assert.throws(() => native.gcmCreate(Buffer.alloc(16), Buffer.alloc(11), true), TypeError);
  for (const [from, to] of [
    [0, 65],
    [10, 9],
    [-1, 64],
  ] as const) {
    assert.throws(() => native.gcmSeal(handle, bytes, from, to), TypeError, `${from} to ${to}`);
    assert.throws(() => native.gcmOpen(handle, bytes, from, to), TypeError, `${from} to ${to}`);
  }
  assert.throws(() => native.gcmSeal({} as never, bytes, 0, 64), TypeError);
  for (const length of [0, 35]) assert.equal(native.gcmSeal(handle, bytes, 0, length), false);
  assert.equal(native.gcmOpen(handle, bytes, 0, 64) < 0, true, 'a key that seals opens nothing');
});

it('the native part stays within the memory that it is given', {
  skip: existsSync(CHECK) ? false : 'native-test/gcmcheck has not been built (make -C native lab)',
}, async () => {
  const { status, stdout, stderr } = await run([CHECK, '1', '2000']);
  assert.equal(status, 0, stderr);
  assert.equal(stdout, '8200 packets\n');
});
