/** One channel and its other end: what it says to either, in which order. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Slab } from '../../../../../src/flow/memory.ts';
import { MAX_PACKET } from '../../../../../src/ssh/embedded/channels/channel.ts';
import { EARLY_GRANT_BYTES } from '../../../../../src/ssh/embedded/channels/multiplexer.ts';
import { Bench } from '../../../../support/channelbench.ts';
import { CountingPool } from '../../../../support/countingpool.ts';
import { joined, TestConduit } from '../../../../support/testconduit.ts';

const KIB = 1024;
const text = (words: string): Buffer => Buffer.from(words);

/** A channel that is joined to a test's end; `over` gets the outcome. */
function open(options: { readonly window?: number; readonly automatic?: boolean } = {}) {
  const bench = new Bench();
  const { id, channel, told } = bench.confirmed(options.window);
  const over: unknown[] = [];
  channel.whenOver((error) => over.push((error as NodeJS.ErrnoException | undefined)?.code));
  const end = joined(channel, { automatic: options.automatic ?? true });
  const say = (message: string, ...fields: unknown[]): void =>
    bench.server.say(message, id, ...fields);
  return { bench, channel, told, over, end, say };
}

describe('Channel', () => {
  it('takes data when it has sent them, and sends EOF after them', () => {
    const { bench, told, end, say } = open({ window: 10 });
    end.give('question');
    assert.deepEqual([told.data, end.outstanding], [8, 0]);
    end.give('and more');
    end.other.finish();
    assert.deepEqual([told.data, end.outstanding, told.eof], [10, 6, false]);
    told.window += 6;
    say('CHANNEL_WINDOW_ADJUST', 6);
    assert.deepEqual([told.data, end.outstanding, told.eof, told.closes], [16, 0, true, 0]);
    assert.deepEqual([end.wrong, bench.server.wrong], [[], []]);
  });

  it('passes data on within the call, grants what was taken, and is closed when both directions have ended', () => {
    const { bench, told, end, over, say } = open({ automatic: false });
    const window = told.granted;
    say('CHANNEL_DATA', Buffer.alloc(window, 'x'));
    assert.equal(end.untaken, window);
    assert.equal(told.granted, window);
    end.take();
    assert.ok(told.granted >= 2 * window - window / 4);
    end.other.finish();
    say('CHANNEL_EOF');
    assert.deepEqual([end.said, told.closes, over], [['finish'], 1, [undefined]]);
    say('CHANNEL_CLOSE');
    assert.deepEqual([end.said, told.closes, over], [['finish'], 1, [undefined]]);
    assert.equal(bench.windows.used, 0);
    assert.deepEqual(bench.server.wrong, []);
  });

  it('grants go out within a turn that reads a whole window', async () => {
    const { bench, told, say } = open();
    const [window, packet] = [told.granted, 32 * KIB];
    const sentAfter = (): number[] => {
      const sent: number[] = [];
      for (let at = 0; at < window; at += packet) {
        const before = bench.written;
        say('CHANNEL_DATA', Buffer.alloc(packet));
        if (bench.written > before) sent.push(told.granted - window);
      }
      return sent;
    };
    const sent = sentAfter();
    assert.equal(sent.length, window / EARLY_GRANT_BYTES);
    sent.forEach((granted, at) => void assert.equal(granted, (at + 1) * EARLY_GRANT_BYTES));
    // What is sent at the end of a turn doesn't count for the next.
    say('CHANNEL_DATA', Buffer.alloc(EARLY_GRANT_BYTES - packet));
    await turn();
    const before = bench.written;
    say('CHANNEL_DATA', Buffer.alloc(EARLY_GRANT_BYTES / 2));
    assert.equal(bench.written, before);
    await turn();
    assert.ok(bench.written > before);
  });

  it('EOF is the end of one direction: the other goes on', () => {
    const { told, end, over, say } = open();
    say('CHANNEL_DATA', text('all'));
    say('CHANNEL_EOF');
    assert.deepEqual([end.text, end.said], ['all', ['finish']]);
    end.give('still here');
    end.other.finish();
    assert.deepEqual([told.data, told.eof, told.closes, over], [10, true, 1, [undefined]]);
  });

  for (const eof of [true, false]) {
    it(`CLOSE ${eof ? 'after' : 'without'} EOF: the data before it are delivered, then the end, then the other end is shut`, () => {
      const { bench, told, end, over, say } = open({ window: 4, automatic: false });
      end.give('this is never sent');
      say('CHANNEL_DATA', text('last '));
      say('CHANNEL_DATA', text('words'));
      if (eof) say('CHANNEL_EOF');
      say('CHANNEL_CLOSE');
      assert.deepEqual([end.text, end.said], ['last words', ['finish', 'shut']]);
      assert.deepEqual([told.data, told.eof, told.closes], [4, false, 1]);
      assert.deepEqual(over, [undefined]);
      assert.equal(bench.windows.used, 10, 'what has not been taken still counts');
      end.take();
      assert.equal(bench.windows.used, 0);
      const before = end.outstanding;
      end.give('too late');
      assert.equal(end.outstanding, before, 'what comes later is taken, and dropped');
      end.other.finish();
      assert.deepEqual([told.data, bench.server.wrong, end.wrong], [4, [], []]);
    });
  }

  it('CLOSE after our EOF: only the end is delivered', () => {
    const { end, told, over, say } = open();
    end.other.finish();
    say('CHANNEL_DATA', text('answer'));
    say('CHANNEL_CLOSE');
    assert.deepEqual(
      [end.text, end.said, told.closes, over],
      ['answer', ['finish'], 1, [undefined]],
    );
  });

  it('CLOSE while our EOF waits behind data that can not be sent: they are lost, so the other end is shut', () => {
    const { end, told, say } = open({ window: 4 });
    end.give('too much');
    end.other.finish();
    say('CHANNEL_CLOSE');
    assert.deepEqual([end.said, told.eof, told.closes], [['finish', 'shut'], false, 1]);
  });

  it('abort: the channel is closed, and queued and later data are dropped', () => {
    const { bench, end, told, over, say } = open({ window: 4, automatic: false });
    end.give('too much');
    say('CHANNEL_DATA', text('unread'));
    end.other.abort(undefined);
    assert.deepEqual([told.data, told.eof, told.closes], [4, false, 1]);
    assert.equal(bench.windows.used, 0);
    assert.deepEqual(over, ['ECONNRESET']);
    say('CHANNEL_WINDOW_ADJUST', 100);
    say('CHANNEL_DATA', text('what was under way'));
    say('CHANNEL_EOF');
    end.take();
    assert.equal(bench.multiplexer.channels, 1);
    say('CHANNEL_CLOSE');
    assert.equal(bench.multiplexer.channels, 0);
    assert.deepEqual([end.text, end.said, told.closes], ['unread', [], 1], 'and it hears no more');
    assert.deepEqual([bench.server.wrong, bench.counted], [[], []], 'which is no violation');
  });

  it('shut: received data are dropped, the queue is sent, then the channel is closed', () => {
    const { bench, end, told, over, say } = open({ window: 4, automatic: false });
    end.give('too much');
    say('CHANNEL_DATA', text('unread'));
    end.other.finish();
    end.other.shut();
    assert.equal(bench.windows.used, 0);
    say('CHANNEL_DATA', text('what was under way'));
    assert.deepEqual([told.data, told.eof, told.closes, over], [4, false, 0, []]);
    told.window += 100;
    say('CHANNEL_WINDOW_ADJUST', 100);
    assert.deepEqual([told.data, told.eof, told.closes, over], [8, true, 1, [undefined]]);
    say('CHANNEL_EOF');
    say('CHANNEL_CLOSE');
    assert.equal(bench.multiplexer.channels, 0);
    assert.deepEqual([end.text, bench.server.wrong, bench.counted], ['unread', [], []]);
  });

  it('abort with an error: that is the outcome', () => {
    const { end, over } = open();
    end.other.abort(Object.assign(new Error('why'), { code: 'why' }));
    end.other.abort(new Error('again'));
    assert.deepEqual(over, ['why']);
  });

  it('abort after the end in order: data that were not taken no longer count', () => {
    const { bench, end, say } = open({ automatic: false });
    say('CHANNEL_DATA', text('unread'));
    say('CHANNEL_CLOSE');
    assert.equal(bench.windows.used, 6);
    end.other.abort(undefined);
    assert.equal(bench.windows.used, 0);
  });

  it('lost: the other end is reset with the error', () => {
    const { channel, end, over } = open({ automatic: false });
    channel.lost(Object.assign(new Error('gone'), { code: 'link-lost' }));
    assert.deepEqual([end.said, over], [['abort link-lost'], ['link-lost']]);
    channel.lost(new Error('again'));
    assert.deepEqual([end.said, end.wrong], [['abort link-lost'], []]);
  });

  it('lost after the end in order changes nothing', () => {
    const { channel, end, over, say } = open();
    end.other.finish();
    say('CHANNEL_EOF');
    channel.lost(new Error('gone'));
    assert.deepEqual([end.said, over], [['finish'], [undefined]]);
  });

  it('more than the window admits: the flow ends with window-exceeded', () => {
    const { bench, end, told, over, say } = open({ automatic: false });
    say('CHANNEL_DATA', Buffer.alloc(told.granted));
    say('CHANNEL_DATA', text('x'));
    assert.deepEqual(
      [end.said, over, told.closes],
      [['abort window-exceeded'], ['window-exceeded'], 1],
    );
    assert.deepEqual(bench.counted, ['tunnel_ssh_violations_total']);
    assert.equal(bench.windows.used, 0);
  });

  it('ends with a packet that is larger than was agreed', () => {
    const { bench, end, told, over } = open();
    const { received } = bench.multiplexer;
    received(0, Buffer.alloc(MAX_PACKET));
    assert.deepEqual(over, []);
    received(0, Buffer.alloc(MAX_PACKET + 1));
    assert.deepEqual(
      [end.said, over, told.closes],
      [['abort window-exceeded'], ['window-exceeded'], 1],
    );
    assert.deepEqual(bench.counted, ['tunnel_ssh_violations_total']);
  });

  it('extended data is dropped, and its window granted again', () => {
    const { end, told, say } = open();
    const window = told.granted;
    for (let half = 0; half < 8; half++) say('CHANNEL_EXTENDED_DATA', Buffer.alloc(window / 2), 1);
    say('CHANNEL_DATA', text('fine'));
    assert.deepEqual([end.text, end.said], ['fine', []]);
  });

  it('tells every listener when it is over, also those that come later', () => {
    const { channel, end, over } = open();
    channel.whenOver(() => over.push('second'));
    end.other.abort(Object.assign(new Error('why'), { code: 'why' }));
    channel.whenOver((error) => over.push(error?.message));
    assert.deepEqual(over, ['why', 'second', 'why']);
  });

  describe('before it is joined', () => {
    it('keeps data as far as the window admits, and passes them on with the end', () => {
      const memory = new Slab(100);
      const bench = new Bench({ memory });
      const { id, channel } = bench.confirmed();
      memory.bytes.write('one two');
      bench.server.say('CHANNEL_DATA', id, memory.bytes.subarray(0, 4));
      bench.server.say('CHANNEL_DATA', id, memory.bytes.subarray(4, 7));
      memory.bytes.fill('x');
      assert.equal(memory.shared, false, 'in memory of its own');
      bench.server.say('CHANNEL_EOF', id);
      const end = joined(channel);
      assert.deepEqual([end.text, end.said, channel.received], ['one two', ['finish'], 7]);
      assert.equal(bench.windows.used, 0, 'nothing more comes, and all was taken');
    });

    it('a CLOSE is passed on when it is joined', () => {
      const bench = new Bench();
      const { id, channel, told } = bench.confirmed();
      bench.server.say('CHANNEL_DATA', id, text('a greeting'));
      bench.server.say('CHANNEL_CLOSE', id);
      assert.equal(told.closes, 1);
      const over: unknown[] = [];
      channel.whenOver((error) => over.push(error));
      const end = joined(channel);
      assert.deepEqual([end.text, end.said, end.wrong], ['a greeting', ['finish', 'shut'], []]);
      assert.deepEqual(over, [undefined]);
      assert.equal(bench.windows.used, 0);
    });

    it('the loss of the link is passed on when it is joined', () => {
      const bench = new Bench();
      const { id, channel } = bench.confirmed();
      bench.server.say('CHANNEL_DATA', id, text('lost with it'));
      channel.lost(Object.assign(new Error('gone'), { code: 'link-lost' }));
      assert.equal(bench.windows.used, 0);
      const over: unknown[] = [];
      channel.whenOver((error) => over.push((error as NodeJS.ErrnoException | undefined)?.code));
      const end = joined(channel);
      assert.deepEqual(
        [end.text, end.said, end.wrong, over],
        ['', ['abort link-lost'], [], ['link-lost']],
      );
    });

    it('may be reset', () => {
      const bench = new Bench();
      const { id, channel, told } = bench.confirmed();
      bench.server.say('CHANNEL_DATA', id, text('nobody wants it'));
      channel.abort(undefined);
      assert.deepEqual([told.closes, bench.windows.used], [1, 0]);
    });
  });

  describe('memory that is used again', () => {
    it('is passed on with received data', () => {
      const memory = new Slab(100);
      const bench = new Bench({ memory });
      const { id, channel } = bench.confirmed();
      const got: unknown[] = [];
      class Keeper extends TestConduit {
        override send(data: Buffer, slab?: Slab): void {
          got.push(data.buffer, slab);
          super.send(data);
        }
      }
      const end = new Keeper();
      end.join(channel);
      channel.join(end);
      bench.server.say('CHANNEL_DATA', id, memory.bytes.subarray(0, 4));
      assert.deepEqual(got, [memory.bytes.buffer, memory]);
    });

    it('is retained by queued data if they are large, not if they are small', () => {
      for (const [size, held] of [
        [16 * KIB, 1],
        [16 * KIB - 1, 0],
      ] as const) {
        const pool = new CountingPool(64 * KIB, 0);
        const { end, told, say } = open({ window: 1 });
        // The first tries to go at once; what is behind it only waits.
        for (let chunk = 0; chunk < 2; chunk++) {
          const slab = pool.take();
          end.give(slab.bytes.fill('x').subarray(0, size + (chunk === 0 ? 1 : 0)), slab);
          slab.bytes.fill(held === 1 ? 'x' : 'y');
          slab.release();
        }
        assert.equal(pool.live, 2 * held, `${size} bytes`);
        told.window += 1 << 20;
        say('CHANNEL_WINDOW_ADJUST', 1 << 20);
        assert.deepEqual([pool.live, told.data, end.outstanding], [0, 2 * size + 1, 0]);
      }
    });

    it('is released when the flow ends before the data were sent', () => {
      const ways: readonly ((setup: ReturnType<typeof open>) => void)[] = [
        ({ end }) => end.other.abort(undefined),
        ({ say }) => say('CHANNEL_CLOSE'),
        ({ channel }) => channel.lost(new Error('gone')),
      ];
      for (const finish of ways) {
        const pool = new CountingPool(64 * KIB, 0);
        const setup = open({ window: 1 });
        const slab = pool.take();
        setup.end.give(slab.bytes, slab);
        slab.release();
        assert.equal(pool.live, 1);
        finish(setup);
        assert.equal(pool.live, 0);
      }
    });
  });
});
