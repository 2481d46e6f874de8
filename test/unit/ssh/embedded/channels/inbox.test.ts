/**
 * The inbox: packets come out whole and unharmed however the stream is cut, and whatever is held of
 * them.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Slab } from '../../../../../src/flow/memory.ts';
import { Inbox } from '../../../../../src/ssh/embedded/channels/inbox.ts';
import type { AESGCMDecipher } from '../../../../../src/ssh/embedded/ssh2/gcm.ts';
import type { SshProtocol } from '../../../../../src/ssh/embedded/ssh2/internals.ts';
import { decipher, Sealer } from '../../../../support/sealed.ts';

const BLOCK = 16;
/** Of a packet's whole blocks: the length of its padding, and the least of that. */
const FRAMING = 5;

class OtherDecipher {
  readonly #bytes: (bytes: Buffer) => void;

  constructor(bytes: (bytes: Buffer) => void) {
    this.#bytes = bytes;
  }

  decrypt(data: Buffer, start: number, end: number): void {
    this.#bytes(data.subarray(start, end));
  }
}

function open(
  inbox: Inbox,
  decipher: AESGCMDecipher | OtherDecipher,
  kex = (): boolean => false,
): void {
  const protocol = {
    _decipher: decipher,
    get _kexinit(): unknown {
      return kex() ? {} : undefined;
    },
  };
  inbox.open(protocol as unknown as SshProtocol, (chunk, start, end) => {
    assert.equal(chunk.length, end, 'ssh2 reads to the end of the chunk');
    decipher.decrypt(chunk, start, end);
  });
}

/** A read of the socket. Returns how many bytes it had room for. */
function read(inbox: Inbox, bytes: Buffer): number {
  const space = inbox.space();
  assert.ok(space.length > 0, 'room to read into');
  const length = bytes.copy(space);
  inbox.received(length);
  return length;
}

/** Its payload begins with its number, and takes so many blocks with what frames it. */
function packet(sealer: Sealer, number: number, blocks: number): Buffer {
  const payload = Buffer.alloc(blocks * BLOCK - FRAMING, number & 0xff);
  payload.writeUInt32BE(number, 0);
  return sealer.seal(payload);
}

function packets(count: number, blocks: number): Buffer {
  const sealer = new Sealer();
  return Buffer.concat(
    Array.from({ length: count }, (_, number) => packet(sealer, number, blocks)),
  );
}

const sizes = fc.array(
  fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 2_050 })),
  {
    minLength: 1,
    maxLength: 60,
  },
);
const cuts = fc.array(
  fc.oneof(
    fc.integer({ min: 1, max: 60 }),
    fc.integer({ min: 1, max: 300_000 }),
    fc.constant(65_536),
  ),
  { minLength: 1, maxLength: 30 },
);

describe('Inbox', () => {
  it('any cut of the stream gives the same packets; a view whose memory is retained is never overwritten', () => {
    fc.assert(
      fc.property(sizes, cuts, fc.infiniteStream(fc.nat(5)), (blocks, pieces, choices) => {
        const inbox = new Inbox();
        const held: { readonly view: Buffer; readonly copy: Buffer }[] = [];
        let count = 0;
        let exchanging = 0;
        const own = decipher((payload) => {
          if (count === blocks.length) return;
          assert.equal(payload.readUInt32BE(0), count);
          assert.equal(payload.length, (blocks[count] ?? 0) * BLOCK - FRAMING);
          assert.equal(payload[payload.length - 1], count & 0xff);
          count++;
          const choice = choices.next().value;
          if (choice === 0) {
            // Passed on, and kept for good.
            inbox.memory?.retain();
            held.push({ view: payload, copy: Buffer.from(payload) });
          } else if (choice === 1) {
            inbox.memory?.retain();
            inbox.memory?.release();
          } else if (choice === 2) {
            // Kept by ssh2 until the key exchange is over, which nobody says.
            exchanging = 3;
            held.push({ view: payload, copy: Buffer.from(payload) });
          }
        });
        open(inbox, own, () => exchanging-- > 0);
        const sealer = new Sealer();
        const stream = Buffer.concat(blocks.map((size, number) => packet(sealer, number, size)));
        for (let at = 0, cut = 0; at < stream.length; cut++) {
          at += read(inbox, stream.subarray(at, at + (pieces[cut % pieces.length] ?? 1)));
          assert.equal(own.missing, 0, 'only whole packets are handed over');
        }
        assert.equal(count, blocks.length);
        // What comes afterwards would be written over what is held.
        for (let more = 0; more < 20; more++) read(inbox, packet(sealer, count, 2_000));
        for (const { view, copy } of held) assert.ok(view.equals(copy));
      }),
      { numRuns: 150 },
    );
  });

  it('a buffer that nobody retains is used again', () => {
    const inbox = new Inbox();
    const buffers = new Set<ArrayBufferLike>();
    open(
      inbox,
      decipher((payload) => {
        buffers.add(payload.buffer);
        inbox.memory?.retain();
        inbox.memory?.release();
      }),
    );
    const stream = packets(200, 2_048);
    for (let at = 0; at < stream.length; ) at += read(inbox, stream.subarray(at, at + 70_001));
    assert.equal(buffers.size, 1);
  });

  it('a retained buffer is used again once it is released, so a window needs few', () => {
    const inbox = new Inbox();
    const buffers = new Set<ArrayBufferLike>();
    const held: Slab[] = [];
    open(
      inbox,
      decipher((payload) => {
        buffers.add(payload.buffer);
        const { memory } = inbox;
        assert.ok(memory !== undefined);
        assert.equal(memory.bytes.buffer, payload.buffer, 'the view is one of it');
        memory.retain();
        held.push(memory);
        // A window's worth waits; what came before it has been taken.
        if (held.length > 20) held.shift()?.release();
      }),
    );
    const stream = packets(400, 2_048);
    for (let at = 0; at < stream.length; ) at += read(inbox, stream.subarray(at, at + 70_001));
    assert.ok(buffers.size <= 8, `${buffers.size} buffers for 640 KiB that wait`);
    assert.equal(inbox.memory, undefined, 'between packets there is nothing to hold');
  });

  it('with other ciphers everything is passed on as it comes', () => {
    const inbox = new Inbox();
    const got: Buffer[] = [];
    open(inbox, new OtherDecipher((bytes) => void got.push(Buffer.from(bytes))));
    const stream = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index & 0xff));
    for (let at = 0; at < stream.length; ) at += read(inbox, stream.subarray(at, at + 777));
    assert.ok(Buffer.concat(got).equals(stream));
  });

  it('a packet that began before it took over is completed', () => {
    for (const cut of [1, 3, 4, 5, 1_000, -17, -16, -1]) {
      const inbox = new Inbox();
      const got: number[] = [];
      const own = decipher((payload) => void got.push(payload.length));
      const sealer = new Sealer();
      const first = packet(sealer, 0, 100);
      own.decrypt(first, 0, first.subarray(0, cut).length);
      open(inbox, own);
      const rest = Buffer.concat([first.subarray(cut), packet(sealer, 1, 7)]);
      for (let at = 0; at < rest.length; ) at += read(inbox, rest.subarray(at, at + 311));
      assert.deepEqual(got, [1_600 - FRAMING, 112 - FRAMING], `cut at ${cut}`);
    }
  });

  it('an impossible packet length is passed on, for ssh2 to refuse', () => {
    const inbox = new Inbox();
    open(
      inbox,
      decipher(() => assert.fail('a packet')),
    );
    assert.throws(() => read(inbox, Buffer.alloc(100, 0xff)), /Bad packet length: 4294967295/);
  });

  it('before it is opened, the socket emits copies of what comes', () => {
    const inbox = new Inbox();
    const socket = new Duplex({ read() {} });
    const got: Buffer[] = [];
    inbox.openEarly(socket);
    socket.on('data', (bytes: Buffer) => void got.push(bytes));
    read(inbox, Buffer.from('SSH-2.0-'));
    read(inbox, Buffer.from('x\r\n'));
    assert.equal(Buffer.concat(got).toString(), 'SSH-2.0-x\r\n');
  });

  it('keeps what comes before the socket is read from', async () => {
    const inbox = new Inbox();
    const socket = new Duplex({ read() {} });
    const got: Buffer[] = [];
    // As a socket does it: the space for the next bytes is taken when some have come.
    let space = inbox.space();
    const receive = (text: string, readsOn: boolean) => {
      const length = Buffer.from(text).copy(space);
      assert.equal(inbox.received(length), readsOn);
      space = inbox.space();
    };
    receive('SSH-', false);
    inbox.openEarly(socket);
    socket.pause();
    receive('2.0-', false);
    socket.on('data', (bytes: Buffer) => void got.push(bytes));
    assert.deepEqual(got, []);
    socket.resume();
    await once(socket, 'resume');
    receive('x\r\n', true);
    receive('y', true);
    assert.equal(Buffer.concat(got).toString(), 'SSH-2.0-x\r\ny');
  });

  it('gives a cipher that keeps its input nothing that is overwritten later', () => {
    const inbox = new Inbox();
    const kept: { readonly view: Buffer; readonly copy: Buffer }[] = [];
    // As ssh2's ChaCha20 and AES-CTR: a view of the text waits for the tag to come.
    const protocol = { _decipher: {}, _kexinit: undefined } as unknown as SshProtocol;
    inbox.open(protocol, (chunk, start, end) => {
      const view = chunk.subarray(start, end);
      kept.push({ view, copy: Buffer.from(view) });
    });
    for (let read = 0; read < 100; read++) {
      const space = inbox.space();
      const length = Math.min(space.length, 1 + ((read * 7919) % 60_000));
      space.fill(read, 0, length);
      inbox.received(length);
    }
    assert.equal(kept.length, 100);
    for (const { view, copy } of kept) assert.ok(view.equals(copy));
  });
});
