/** The connection protocol with a server that may say anything in any order. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { streamOf } from '../../../../../src/flow/conduitstream.ts';
import { Slab } from '../../../../../src/flow/memory.ts';
import { Channel } from '../../../../../src/ssh/embedded/channels/channel.ts';
import { INITIAL_WINDOW } from '../../../../../src/ssh/embedded/channels/receivewindow.ts';
import { Bench, type Open } from '../../../../support/channelbench.ts';
import { joined, type TestConduit } from '../../../../support/testconduit.ts';

const MAX_SENT = 0xffffffff;
/** Channels at a time in the sequences. */
const SLOTS = 3;

const code = (stream: Duplex): unknown => (stream.errored as NodeJS.ErrnoException | null)?.code;

describe('Multiplexer', () => {
  const small = fc.nat(SLOTS);
  const size = fc.oneof(fc.constantFrom(0, 1, 32_768, 65_536), fc.nat(40_000));
  const action = fc.oneof(
    // Ours.
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('open' as const) }) },
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant('begin' as const), index: small, size }),
    },
    {
      weight: 6,
      arbitrary: fc.record({ kind: fc.constant('write' as const), index: small, size }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constantFrom('end', 'destroy', 'resume', 'pause', 'read', 'shut'),
        index: small,
      }),
    },
    {
      weight: 8,
      arbitrary: fc.record({ kind: fc.constantFrom('join', 'joinStream'), index: small }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('turn', 'kex', 'kexDone') }) },
    // The server's. `index` may be of a channel in any state, or of none.
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constant('confirm' as const),
        index: small,
        size: fc.oneof(fc.constantFrom(0, 1, 32_768, MAX_SENT), fc.nat(200_000)),
        packet: fc.oneof(
          fc.constantFrom(0, 1, 32_768, MAX_SENT),
          fc.integer({ min: 100, max: 40_000 }),
        ),
      }),
    },
    {
      weight: 10,
      arbitrary: fc.record({
        kind: fc.constantFrom('data', 'extended', 'adjust'),
        index: small,
        size,
      }),
    },
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constantFrom(
          'eof',
          'close',
          'failure',
          'request',
          'success',
          'stray',
          'foreign',
          'flood',
          'huge',
        ),
        index: small,
      }),
    },
  );

  it('keeps to RFC 4254 whatever the server sends, and settles everything', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 100, size: 'max' }), async (actions) => {
        const bench = new Bench();
        const { server, multiplexer } = bench;
        const slots: Slots = { now: [], all: [] };
        for (const each of actions) await apply(bench, slots, each);
        await finish(bench, slots.all);
        assert.deepEqual(server.wrong, []);
        assert.equal(multiplexer.channels, 0);
        assert.equal(bench.windows.used, 0, 'all windows were given back');
        for (const told of server.told.values()) assert.equal(told.closes, 1, 'exactly one CLOSE');
      }),
      { numRuns: 400 },
    );
  });

  it('reports each confirmation and each refusal once', () => {
    const bench = new Bench();
    const [first, second, third] = [bench.open(), bench.open(), bench.open()];
    assert.deepEqual([first.id, second.id, third.id], [0, 1, 2]);
    bench.server.confirm(1, 7, 100, 100);
    bench.server.say('CHANNEL_OPEN_FAILURE', 0, 2, 'Connection refused');
    bench.server.say('CHANNEL_OPEN_FAILURE', 0, 2, 'again');
    bench.server.say('CHANNEL_OPEN_FAILURE', 1, 2, 'after the confirmation');
    bench.server.confirm(1, 8, 100, 100);
    bench.server.say('CHANNEL_CLOSE', 2);
    assert.deepEqual(first.results, [{ reason: 2, text: 'Connection refused' }]);
    assert.ok(second.results[0] instanceof Channel);
    assert.deepEqual(third.results, [{ reason: 0, text: 'the server closed the channel' }]);
    assert.equal(second.results.length, 1);
    assert.equal(bench.counted.length, 4);
    assert.equal(bench.multiplexer.channels, 1);
  });

  it('a number is free only when the server has closed the channel', () => {
    const bench = new Bench();
    const { id, channel } = bench.confirmed();
    const stream = streamOf(channel);
    stream.destroy();
    assert.equal(bench.multiplexer.channels, 1);
    assert.equal(bench.windows.used, 0, 'but its window is given back at once');
    assert.equal(bench.open().id, id + 1);
    bench.server.say('CHANNEL_CLOSE', id);
    assert.equal(bench.multiplexer.channels, 1);
  });

  it('sends what window and packet size admit, and the rest when the window grows', async () => {
    const bench = new Bench();
    const { id, channel, told } = bench.confirmed(1_000, 300);
    const stream = streamOf(channel);
    let done = 0;
    stream.write(Buffer.alloc(2_500), () => done++);
    stream.end();
    assert.equal(told.data, 1_000);
    bench.server.say('CHANNEL_WINDOW_ADJUST', id, 0);
    assert.equal(told.data, 1_000);
    for (const bytes of [1, 999, 499]) {
      told.window += bytes;
      bench.server.say('CHANNEL_WINDOW_ADJUST', id, bytes);
      await turn();
    }
    assert.equal(told.data, 2_499);
    assert.deepEqual([done, told.eof], [0, false]);
    told.window++;
    bench.server.say('CHANNEL_WINDOW_ADJUST', id, 1);
    await turn();
    assert.deepEqual([told.data, done, told.eof, told.closes], [2_500, 1, true, 0]);
  });

  it('a server that takes packets of 0 bytes: the open fails, the channel is closed', () => {
    const bench = new Bench();
    const { id, results } = bench.open();
    bench.server.confirm(id, 5, 1_000, 0);
    assert.equal(results.length, 1);
    assert.ok(!(results[0] instanceof Channel));
    assert.equal(bench.server.told.get(5)?.closes, 1);
    assert.equal(bench.multiplexer.channels, 1, 'until the server has closed it');
    bench.server.say('CHANNEL_CLOSE', id);
    assert.equal(bench.multiplexer.channels, 0);
  });

  it('data wait while keys are exchanged, and go on afterwards', async () => {
    const bench = new Bench();
    const { channel, told } = bench.confirmed();
    const stream = streamOf(channel);
    bench.server._kexinit = {};
    stream.write(Buffer.alloc(1_000));
    await turn();
    assert.equal(told.data, 0);
    bench.server._kexinit = undefined;
    bench.multiplexer.run();
    assert.equal(told.data, 1_000);
  });

  it('data after EOF is dropped, EOF twice is one end', async () => {
    const bench = new Bench();
    const { id, channel } = bench.confirmed();
    const stream = streamOf(channel);
    const got: string[] = [];
    let ends = 0;
    stream.on('data', (data: Buffer) => void got.push(String(data)));
    stream.on('end', () => ends++);
    await turn();
    bench.server.say('CHANNEL_DATA', id, Buffer.from('a'));
    bench.server.say('CHANNEL_EOF', id);
    bench.server.say('CHANNEL_DATA', id, Buffer.from('b'));
    bench.server.say('CHANNEL_EOF', id);
    await turn();
    assert.deepEqual([got, ends, bench.counted.length], [['a'], 1, 1]);
    assert.equal(stream.errored, null);
  });

  it('for a paused reader its window is kept and not a byte more, wherever the bytes wait', async () => {
    const bench = new Bench();
    const { id, channel, told } = bench.confirmed();
    const stream = streamOf(channel);
    const window = told.granted;
    stream.on('data', () => stream.pause());
    await turn();
    let sent = 0;
    for (; sent + 1_000 <= told.granted; sent += 1_000) {
      bench.server.say('CHANNEL_DATA', id, Buffer.alloc(1_000));
      await turn();
    }
    // The first chunk was read; all the others wait.
    assert.ok(told.granted <= window + 1_000, `${told.granted - window} bytes more were granted`);
    assert.equal(code(stream), undefined);
    stream.removeAllListeners('data');
    let rest = 0;
    stream.on('data', (data: Buffer) => {
      rest += data.length;
    });
    stream.resume();
    await turn();
    assert.equal(rest, sent - 1_000);
    assert.ok(told.granted >= sent + window / 2, 'and is granted again when it has been read');
  });

  it('EOF and CLOSE before the reader reads: it gets all, its writes are swallowed, nothing more is sent', async () => {
    const bench = new Bench();
    const { id, channel, told } = bench.confirmed();
    const stream = streamOf(channel);
    bench.server.say('CHANNEL_DATA', id, Buffer.from('one'));
    bench.server.say('CHANNEL_DATA', id, Buffer.alloc(200_000));
    bench.server.say('CHANNEL_EOF', id);
    bench.server.say('CHANNEL_CLOSE', id);
    assert.equal(bench.multiplexer.channels, 0);
    let written = 0;
    for (let time = 0; time < 3; time++) stream.write('futile', () => written++);
    stream.end();
    await turn();
    assert.equal(written, 3);
    assert.ok(bench.windows.used >= 200_003, 'what waits is counted');
    let got = 0;
    stream.on('data', (data: Buffer) => {
      got += data.length;
    });
    await turn();
    await turn();
    assert.deepEqual([got, code(stream)], [200_003, 'ECONNRESET']);
    assert.deepEqual(
      [told.data, told.eof, told.closes, told.granted],
      [0, false, 1, INITIAL_WINDOW],
    );
    assert.deepEqual(bench.server.wrong, []);
    assert.equal(bench.windows.used, 0);
  });

  it('a stream gets copies: a small chunk does not keep the connection’s memory', async () => {
    const memory = new Slab(100);
    const bench = new Bench({ memory });
    const { id, channel } = bench.confirmed();
    const stream = streamOf(channel);
    memory.bytes.write('of all flows');
    bench.server.say('CHANNEL_DATA', id, memory.bytes.subarray(0, 12));
    memory.bytes.fill('x');
    assert.equal(memory.shared, false);
    const [chunk] = (await once(stream, 'data')) as [Buffer];
    assert.equal(String(chunk), 'of all flows');
  });

  it('no bytes of data take no memory and end nothing', async () => {
    const bench = new Bench();
    const { id, channel } = bench.confirmed();
    const stream = streamOf(channel);
    stream.resume();
    await turn();
    for (let time = 0; time < 1_000; time++) bench.server.say('CHANNEL_DATA', id, Buffer.alloc(0));
    assert.equal(stream.readableLength, 0);
    assert.equal(stream.errored, null);
  });

  it('answers requests on open channels, channels of the server and global requests with a refusal', () => {
    const bench = new Bench();
    const { id, channel, told } = bench.confirmed();
    const stream = streamOf(channel);
    bench.server.say('CHANNEL_REQUEST', id, 'keepalive@openssh.com', true, null);
    bench.server.say('CHANNEL_REQUEST', id, 'exit-status', false, 0);
    assert.equal(told.failures, 1);
    stream.destroy();
    bench.server.say('CHANNEL_REQUEST', id, 'keepalive@openssh.com', true, null);
    bench.server.say('CHANNEL_REQUEST', 99, 'keepalive@openssh.com', true, null);
    assert.equal(told.failures, 1);
    bench.server.say('CHANNEL_OPEN', {
      type: 'forwarded-tcpip',
      sender: 3,
      window: 1,
      packetSize: 1,
      data: {},
    });
    assert.deepEqual(bench.server.refused, [3]);
    assert.equal(bench.counted.filter((name) => name === 'tunnel_ssh_violations_total').length, 2);
    bench.server.say('GLOBAL_REQUEST', 'hostkeys-00@openssh.com', false, []);
    bench.server.say('GLOBAL_REQUEST', 'keepalive@openssh.com', true, null);
    assert.equal(bench.server.globalFailures, 1);
  });

  it('end(): all channels that are opening fail, and their windows are free', () => {
    const bench = new Bench();
    const opens = [bench.open(), bench.open()];
    bench.multiplexer.end({ reason: 0, text: 'gone' });
    for (const { results } of opens) assert.deepEqual(results, [{ reason: 0, text: 'gone' }]);
    assert.equal(bench.windows.used, 0);
  });
});

/** One channel, and what it is joined to: nothing, a test's end, or a stream. */
interface Slot {
  readonly open: Open;
  readonly remote: number;
  confirmed: boolean;
  /** The server has said FAILURE or CLOSE. */
  gone: boolean;
  /** The server has said EOF. */
  ended: boolean;
  /** Bytes that the server has sent and that it was allowed to send: each is its own number. */
  sent: number;
  end: TestConduit | undefined;
  stream: Duplex | undefined;
  /** We have reset or shut it. */
  aborted: boolean;
  writes: number;
  calledBack: number;
}

interface Slots {
  readonly now: Slot[];
  readonly all: Slot[];
}

type Action = {
  readonly kind: string;
  readonly index?: number;
  readonly size?: number;
  readonly packet?: number;
};

let nextRemote = 0;

function channelOf(slot: Slot | undefined): Channel | undefined {
  const result = slot?.open.results[0];
  return result instanceof Channel ? result : undefined;
}

function join(slot: Slot | undefined, asStream: boolean): void {
  const channel = channelOf(slot);
  if (
    slot === undefined ||
    channel === undefined ||
    slot.end !== undefined ||
    slot.stream !== undefined
  )
    return;
  if (asStream) slot.stream = streamOf(channel);
  else slot.end = joined(channel, { automatic: false });
}

/** `length` bytes from the `at`th on, each its own number. */
function numbered(at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let index = 0; index < length; index++) bytes[index] = (at + index) * 7;
  return bytes;
}

function serverSends(bench: Bench, slot: Slot | undefined, id: number, size: number): void {
  const at = slot?.sent ?? 0;
  if (slot?.confirmed && !slot.ended && !slot.gone) slot.sent += size;
  bench.server.say('CHANNEL_DATA', id, numbered(at, size));
}

async function apply(bench: Bench, slots: Slots, action: Action): Promise<void> {
  const { server } = bench;
  const { kind, index = 0, size = 0 } = action;
  const slot = slots.now[index];
  const id = slot?.open.id ?? 4_000 + index;
  const channel = channelOf(slot);
  switch (kind) {
    case 'open':
    case 'begin': {
      if (slot !== undefined && !slot.gone) break;
      const open = bench.open();
      const opened: Slot = {
        open,
        remote: nextRemote++,
        confirmed: kind === 'begin',
        gone: false,
        ended: false,
        sent: 0,
        end: undefined,
        stream: undefined,
        aborted: false,
        writes: 0,
        calledBack: 0,
      };
      slots.now[index] = opened;
      slots.all.push(opened);
      if (kind === 'begin') server.confirm(open.id, opened.remote, size, 32_768);
      break;
    }
    case 'join':
    case 'joinStream':
      join(slot, kind === 'joinStream');
      break;
    case 'write':
      if (slot?.stream?.writable) {
        slot.writes++;
        slot.stream.write(Buffer.alloc(size), () => slot.calledBack++);
      }
      if (slot?.end !== undefined && !slot.aborted) slot.end.give(Buffer.alloc(size));
      break;
    case 'end':
      slot?.stream?.end();
      if (slot?.end !== undefined) channel?.finish();
      break;
    case 'destroy':
    case 'shut':
      if (slot === undefined || channel === undefined) break;
      slot.aborted = true;
      if (slot.stream !== undefined) slot.stream.destroy();
      else if (kind === 'destroy') channel.abort(undefined);
      else if (slot.end !== undefined) channel.shut();
      else slot.aborted = false;
      break;
    case 'resume':
      slot?.stream?.resume();
      slot?.end?.take();
      break;
    case 'pause':
      slot?.stream?.pause();
      break;
    case 'read':
      slot?.stream?.read();
      slot?.end?.take(Math.floor(slot.end.untaken / 2));
      break;
    case 'turn':
      bench.now += 30;
      await turn();
      break;
    case 'kex':
      server._kexinit = {};
      break;
    case 'kexDone':
      server._kexinit = undefined;
      bench.multiplexer.run();
      break;
    case 'confirm':
      server.confirm(id, slot?.remote ?? 9_999, size, action.packet ?? 1);
      if (slot !== undefined) slot.confirmed = true;
      break;
    case 'data':
      serverSends(bench, slot, id, size);
      break;
    case 'extended':
      server.say('CHANNEL_EXTENDED_DATA', id, Buffer.alloc(size), 1);
      break;
    case 'adjust': {
      const told = slot && server.told.get(slot.remote);
      if (told !== undefined) told.window = Math.min(told.window + size, MAX_SENT);
      server.say('CHANNEL_WINDOW_ADJUST', id, size);
      break;
    }
    case 'huge': {
      const told = slot && server.told.get(slot.remote);
      if (told !== undefined) told.window = MAX_SENT;
      server.say('CHANNEL_WINDOW_ADJUST', id, MAX_SENT);
      break;
    }
    case 'flood':
      for (let bytes = 0; bytes < 1 << 20; bytes += 32_768) serverSends(bench, slot, id, 32_768);
      break;
    case 'eof':
      server.say('CHANNEL_EOF', id);
      if (slot?.confirmed) slot.ended = true;
      break;
    case 'close':
    case 'failure':
      if (kind === 'close') server.say('CHANNEL_CLOSE', id);
      else server.say('CHANNEL_OPEN_FAILURE', id, 2, 'Connection refused');
      if (slot !== undefined && !slot.gone && (kind === 'close' || !slot.confirmed)) {
        slot.gone = true;
        server.opens.delete(id);
      }
      break;
    case 'request':
      server.say('CHANNEL_REQUEST', id, 'keepalive@openssh.com', true, null);
      break;
    case 'success':
      server.say('CHANNEL_SUCCESS', id);
      server.say('CHANNEL_FAILURE', id);
      break;
    case 'stray':
      server.say('CHANNEL_EOF', 77_777);
      server.say('CHANNEL_CLOSE', 77_777);
      break;
    case 'foreign':
      server.say('CHANNEL_OPEN', {
        type: 'session',
        sender: index,
        window: 1,
        packetSize: 1,
        data: {},
      });
      break;
  }
}

/** The server ends all that it has not: then nobody may still wait for anything. */
async function finish(bench: Bench, slots: readonly Slot[]): Promise<void> {
  const { server } = bench;
  server._kexinit = undefined;
  bench.multiplexer.run();
  await turn();
  for (const id of [...server.opens.keys()]) {
    // Those whose place another took are the server's to end as well.
    server.say('CHANNEL_CLOSE', id);
  }
  for (const slot of slots) {
    assert.equal(slot.open.results.length, 1, 'the open was settled once');
    join(slot, false);
    slot.stream?.resume();
    slot.end?.take();
  }
  await turn();
  await turn();
  for (const slot of slots) {
    assert.equal(slot.calledBack, slot.writes, 'every write was called back');
    slot.stream?.destroy();
    if (slot.end !== undefined) checkEnd(slot, slot.end);
  }
  await turn();
}

function checkEnd({ sent, aborted }: Slot, { data, said, wrong }: TestConduit): void {
  assert.deepEqual(wrong, []);
  assert.ok(data.equals(numbered(0, data.length)), 'what has come is in order');
  const failed = said.some((word) => word.startsWith('abort'));
  // Whoever has reset it hears no more of it.
  assert.ok(failed || aborted || said.includes('finish'), 'it was told the end');
  if (said.includes('finish') && !aborted)
    assert.equal(data.length, sent, 'all that has come before the end');
}
