/** The endpoint on the event loop: batches, timers, datagrams, the end. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { systemClock } from '../../../../src/base/clock.ts';
import { HEADER_BYTES, type PacketDevice } from '../../../../src/capture/tun/device.ts';
import { PacketStack, type PacketStackOptions } from '../../../../src/capture/tun/stack.ts';
import type { TcpFlow } from '../../../../src/capture/tun/tcpflow.ts';
import { nextFlowId } from '../../../../src/flow/request.ts';
import {
  type ReadFrame,
  readFrame,
  type TcpFields,
  tcpFrame,
  udpFrame,
} from '../../../support/tcpframes.ts';
import { joined } from '../../../support/testconduit.ts';

const ENDS = { source: '10.77.0.11', destination: '10.0.0.1' } as const;
const SIX = { source: 'fd77::11', destination: 'fd00::1' } as const;

/** A device in memory, in the hands of a test. */
class MemoryDevice implements PacketDevice {
  readonly mtu = 65_520;
  readonly header = Buffer.alloc(HEADER_BYTES);
  readonly waiting: Buffer[] = [];
  readonly written: ReadFrame[] = [];
  closed = 0;
  reads = 0;
  onReadable: (errno: number) => void = () => {};

  start(onReadable: (errno: number) => void): void {
    this.onReadable = onReadable;
  }

  read(into: Buffer): number {
    this.reads++;
    return this.waiting.shift()?.copy(into) ?? 0;
  }

  write(length: number, ...parts: (Buffer | undefined)[]): void {
    assert.equal(this.closed, 0, 'nothing is written after the end');
    const rest = parts.filter((part) => part !== undefined);
    this.written.push(readFrame(Buffer.concat([this.header.subarray(0, length), ...rest])));
  }

  close(): void {
    this.closed++;
  }

  give(...frames: Buffer[]): void {
    this.waiting.push(...frames);
    this.onReadable(0);
  }
}

function start(options: Partial<PacketStackOptions> = {}) {
  const device = new MemoryDevice();
  const flows: TcpFlow[] = [];
  const stack = new PacketStack({
    device,
    onFlow: (flow) => flows.push(flow),
    onDatagram: undefined,
    onGone: () => assert.fail('it is not gone'),
    families: new Set([4, 6] as const),
    clock: systemClock,
    router4: '198.18.0.2',
    router6: '2001:2::2',
    ...options,
  });
  return { device, stack, flows };
}

function segment(flags: string, fields: Partial<TcpFields> = {}): Buffer {
  return tcpFrame({
    ...ENDS,
    sourcePort: 5000,
    destinationPort: 80,
    flags,
    seq: 1,
    ack: 0,
    mss: flags === 'S' ? 1460 : undefined,
    ...fields,
  });
}

/** An open connection; `seq` and `ack` are what comes next. */
function connect(options: Partial<PacketStackOptions> = {}) {
  const all = start(options);
  const { device, flows } = all;
  device.give(segment('S'));
  const [flow] = flows;
  const conduit = flow?.open();
  assert.ok(flow !== undefined && conduit !== undefined);
  const far = joined(conduit);
  const answer = device.written.shift();
  assert.ok(answer?.kind === 'tcp' && answer.flags === 'S.');
  const ack = answer.seq + 1;
  device.give(segment('.', { seq: 2, ack }));
  return { ...all, flow, far, ack };
}

describe('PacketStack', () => {
  it('numbers flows in one sequence with all others of the run', () => {
    const [first, second] = [connect(), connect()];
    const between = nextFlowId();
    const third = connect();
    assert.deepEqual(
      [second.flow.id - first.flow.id, between - second.flow.id, third.flow.id - between],
      [1, 1, 1],
    );
  });

  it('reads so many frames a turn, and acknowledges once', () => {
    const { device, far, ack } = connect();
    for (let n = 0; n < 100; n++) device.waiting.push(segment('.', { seq: 2 + n, ack, data: 'x' }));
    device.onReadable(0);
    assert.equal(device.waiting.length, 36);
    assert.equal(far.text, 'x'.repeat(64));
    assert.equal(device.written.length, 1);
    device.onReadable(0);
    assert.equal(far.text, 'x'.repeat(100));
    const acks = device.written.map((frame) => (frame.kind === 'tcp' ? frame.ack : 0));
    assert.deepEqual(acks, [66, 102]);
  });

  it('keeps frames of which somebody holds a part', () => {
    const { device, far, flow, ack } = connect();
    // An echo keeps what it was given until the application has acknowledged it.
    far.send = (data, memory) => {
      flow.taken(data.length);
      far.outstanding += data.length;
      flow.send(data, memory);
    };
    device.give(
      ...['one', 'two', 'three'].map((data, n) => segment('.', { seq: 2 + 3 * n, ack, data })),
    );
    const echoed = device.written.map((frame) =>
      frame.kind === 'tcp' ? frame.data.toString() : '',
    );
    assert.deepEqual(echoed, ['one', 'two', 'three']);
    device.written.length = 0;
    device.give(...Array.from({ length: 3 }, () => segment('.', { seq: 13, ack, data: '' })));
    const [again] = device.written;
    assert.ok(again?.kind === 'tcp');
    assert.equal(again.data.toString(), 'onetwothree', 'sent again from where it lies');
  });

  it('flushes what is due outside of a batch, at the end of the turn', async () => {
    const { device, flow, far, ack } = connect();
    far.send = () => {};
    for (let n = 0; n < 4; n++)
      device.give(segment('.', { seq: 2 + n * 32_768, ack, data: Buffer.alloc(32_768) }));
    device.written.length = 0;
    flow.taken(65_536);
    flow.taken(65_536);
    assert.equal(device.written.length, 0);
    await turn();
    await turn();
    assert.equal(device.written.length, 1);
  });

  it('keeps the timers', async () => {
    const { device, far } = connect();
    far.give('data');
    const seen = () =>
      device.written.filter((frame) => frame.kind === 'tcp' && frame.data.length > 0).length;
    assert.equal(seen(), 1);
    for (let n = 0; n < 40 && seen() < 2; n++) await delay(50);
    assert.equal(seen(), 2);
  });

  it('hands datagrams over as copies, answers them, and sends others', () => {
    const datagrams: Parameters<NonNullable<PacketStackOptions['onDatagram']>>[0][] = [];
    const { device, stack } = start({ onDatagram: (datagram) => datagrams.push(datagram) });
    for (const ends of [ENDS, SIX])
      device.give(udpFrame({ ...ends, sourcePort: 5353, destinationPort: 53, data: 'question' }));
    device.give(segment('S'));
    const texts = datagrams.map(({ payload }) => Buffer.from(payload).toString());
    assert.deepEqual(texts, ['question', 'question']);
    for (const datagram of datagrams) {
      const { source, destination } = datagram;
      stack.sendDatagram({
        source: destination,
        destination: source,
        payload: Buffer.from('answer'),
      });
      const answer = device.written.shift();
      assert.ok(answer?.kind === 'udp');
      assert.deepEqual([answer.destination, answer.destinationPort], [source.host, source.port]);
      assert.equal(answer.data.toString(), 'answer');
      const four = answer.family === 4;
      for (const [refusal, type, code] of [
        ['refused', four ? 3 : 1, four ? 3 : 4],
        ['unreachable', four ? 3 : 1, four ? 1 : 3],
        ['no-network', four ? 3 : 1, 0],
        ['prohibited', four ? 3 : 1, four ? 13 : 1],
      ] as const) {
        stack.refuseDatagram(datagram, refusal);
        const error = device.written.shift();
        assert.ok(error?.kind === 'icmp');
        assert.deepEqual([error.type, error.code, error.destination], [type, code, source.host]);
        const udp = four ? 20 : 40;
        assert.equal(error.quoted.toString('latin1', udp + 8), 'question');
        assert.equal(error.quoted.readUInt16BE(udp), source.port);
      }
      stack.refuseDatagram(datagram, 'timeout');
      assert.equal(device.written.length, 0);
    }
  });

  it('answers what still waits when it is closed, and then nothing', async () => {
    const { device, stack, flow, far } = connect();
    device.waiting.push(segment('.', { ...SIX, seq: 1, ack: 9 }));
    stack.reset(new Error('over'));
    assert.deepEqual(far.said, ['abort over']);
    stack.close();
    stack.close();
    const flags = device.written.map((frame) => (frame.kind === 'tcp' ? frame.flags : frame.kind));
    assert.deepEqual(flags, ['R.', 'R']);
    device.give(segment('S'));
    flow.taken(0);
    stack.sendDatagram({
      source: { host: '10.0.0.1', port: 1 },
      destination: { host: '10.0.0.2', port: 2 },
      payload: Buffer.alloc(1),
    });
    await turn();
    assert.equal(device.written.length, 2);
    assert.equal(device.waiting.length, 1, 'it reads no more');
  });

  it('says that its device is gone', () => {
    const errnos: number[] = [];
    const { device } = start({ onGone: (errno) => errnos.push(errno) });
    device.onReadable(19);
    assert.deepEqual(errnos, [19]);
  });
});
