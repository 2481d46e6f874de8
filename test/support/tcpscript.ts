/**
 * Scripts for the TCP endpoint, like packetdrill's: an application's kernel that sends exactly what
 * the script says, an endpoint, and a clock that stands still unless the script waits.
 *
 *   const lab = new TcpLab();
 *   const app = lab.app();                    one pair of addresses and ports
 *   app.send('S', { mss: 1460, scale: 7 });   the kernel sends its SYN
 *   const far = app.open();                   the far side has connected: the flow's other end
 *   app.expect('S.', { mss: 65480 });         the endpoint's very next frame
 *   lab.wait(1000); lab.silent();
 *
 * Numbers are relative to each side's first. Defaults: `seq` continues the last segment, `ack`
 * acknowledges everything received. tcpframes.ts checks each of the endpoint's frames.
 */
import assert from 'node:assert/strict';
import { addressWords } from '../../src/capture/tun/addresses.ts';
import { HEADER_BYTES, type PacketDevice } from '../../src/capture/tun/device.ts';
import { Endpoint, type EndpointOptions } from '../../src/capture/tun/endpoint.ts';
import { FRAME_BYTES } from '../../src/capture/tun/frame.ts';
import type { TcpFlow } from '../../src/capture/tun/tcpflow.ts';
import { CountingPool } from './countingpool.ts';
import {
  type ReadFrame,
  type ReadIcmp,
  type ReadTcp,
  readFrame,
  type TcpFields,
  tcpFrame,
} from './tcpframes.ts';
import { joined, type TestConduit } from './testconduit.ts';

export const ROUTER = { 4: '198.18.0.1', 6: '2001:2::1' } as const;
export const APPLICATION = { 4: '10.77.0.11', 6: 'fd77::11' } as const;
export const SERVER = { 4: '10.0.0.1', 6: 'fd00::1' } as const;
const MTU = 65_520;
/** More steps than this mean an endless loop. */
const MAX_STEPS = 100_000;

export interface LabOptions {
  readonly mtu?: number;
  readonly families?: ReadonlySet<4 | 6>;
  readonly routers?: boolean;
  readonly onDatagram?: EndpointOptions['onDatagram'];
  /** Called for every flow; without it flows wait in `flows`. */
  readonly onFlow?: (flow: TcpFlow) => void;
  /**
   * Called for every frame of the endpoint; without it frames are kept. The receiver owns the
   * memory.
   */
  readonly onFrame?: (bytes: Buffer) => void;
}

export class TcpLab {
  readonly endpoint: Endpoint;
  /** Milliseconds. */
  now = 1_000_000;
  readonly flows: TcpFlow[] = [];
  /** The endpoint's frames that no script has checked yet. */
  readonly frames: ReadFrame[] = [];
  readonly slabs = new CountingPool(FRAME_BYTES, 4);
  expirations = 0;
  #slab = this.slabs.take();
  #deadline = Number.POSITIVE_INFINITY;
  #pending = false;
  #batch = false;
  #ports = 5000;

  constructor({
    mtu = MTU,
    families,
    routers = true,
    onDatagram,
    onFlow,
    onFrame,
  }: LabOptions = {}) {
    const device: PacketDevice = {
      mtu,
      header: Buffer.alloc(HEADER_BYTES),
      start() {},
      read: () => 0,
      write: (length, ...parts) => {
        const bytes = Buffer.concat([
          device.header.subarray(0, length),
          ...parts.filter((part) => part !== undefined),
        ]);
        assert.ok(bytes.length - 10 <= Math.max(mtu, 65_535));
        if (onFrame !== undefined) onFrame(bytes);
        else this.frames.push(readFrame(bytes));
      },
      close() {},
    };
    this.endpoint = new Endpoint({
      device,
      onFlow: onFlow ?? ((flow) => this.flows.push(flow)),
      onDatagram: onDatagram ?? (() => false),
      onPending: () => {
        this.#pending = true;
      },
      onDeadline: (at) => {
        assert.ok(at < this.#deadline, 'a deadline that is later than the last');
        this.#deadline = at;
      },
      clock: () => this.now,
      families: families ?? new Set([4, 6]),
      router4: routers ? addressWords(ROUTER[4]) : undefined,
      router6: routers ? addressWords(ROUTER[6]) : undefined,
    });
  }

  get counters(): Endpoint['counters'] {
    return this.endpoint.counters;
  }

  /** When to call `expire`; Infinity: never. */
  get deadline(): number {
    return this.#deadline;
  }

  app(options: Partial<AppOptions> = {}): TcpApp {
    return new TcpApp(this, { port: ++this.#ports, ...options });
  }

  /** Delivers one frame from an application, as a separate batch unless within `batch`. */
  input(frame: Buffer): void {
    if (!this.#batch) this.endpoint.begin();
    frame.copy(this.#slab.bytes);
    this.endpoint.input(this.#slab, frame.length);
    if (this.#slab.shared) {
      this.#slab.release();
      this.#slab = this.slabs.take();
    }
    if (!this.#batch) this.endpoint.flush();
  }

  /** Delivers everything that `act` sends as one batch. */
  batch(act: () => void): void {
    this.endpoint.begin();
    this.#batch = true;
    act();
    this.#batch = false;
    this.endpoint.flush();
  }

  /** Sends what the endpoint has to send outside of a batch. */
  settle(): void {
    if (!this.#pending) return;
    this.#pending = false;
    this.endpoint.begin();
    this.endpoint.flush();
  }

  /** Lets time pass, and runs each timer at its time. */
  wait(milliseconds: number): void {
    this.settle();
    const end = this.now + milliseconds;
    for (let steps = 0; this.#deadline <= end; steps++) {
      assert.ok(steps < MAX_STEPS, 'deadlines without an end');
      this.now = Math.max(this.now, Math.ceil(this.#deadline));
      this.expire();
    }
    this.now = end;
  }

  /**
   * As `wait`, until the endpoint sends something, but at most that long. Returns how long it took.
   */
  waitForFrame(most: number): number {
    this.silent();
    const from = this.now;
    while (this.frames.length === 0 && this.#deadline <= from + most)
      this.wait(Math.max(0, Math.ceil(this.#deadline) - this.now));
    assert.ok(this.frames.length > 0, `nothing in ${most} ms`);
    return this.now - from;
  }

  expire(): void {
    this.#deadline = Number.POSITIVE_INFINITY;
    this.expirations++;
    this.endpoint.expire();
    this.settle();
  }

  /** Returns the endpoint's very next frame. */
  next(): ReadFrame {
    this.settle();
    const frame = this.frames.shift();
    assert.ok(frame !== undefined, 'the endpoint has sent nothing');
    return frame;
  }

  /** Checks that no frame of the endpoint is unchecked. */
  silent(): void {
    this.settle();
    const summary = this.frames.map((frame) =>
      frame.kind === 'tcp' ? summaryOf(frame) : frame.kind,
    );
    assert.deepEqual(summary, [], 'the endpoint is silent');
  }

  /** Forgets the frames so far. */
  ignore(): void {
    this.settle();
    this.frames.length = 0;
  }

  /** Checks that nothing is left of any flow. */
  idle(): void {
    const { flowsHeld, flowsLive } = this.counters;
    assert.deepEqual({ flowsHeld, flowsLive }, { flowsHeld: 0, flowsLive: 0 });
    assert.equal(this.slabs.live, 1, 'nobody holds a slab but the lab');
  }
}

function summaryOf({ flags, data, window }: ReadTcp): string {
  return `${flags} ${data.length} bytes, window ${window}`;
}

export interface AppOptions {
  readonly family: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly destinationPort: number;
  /** Its first sequence number. */
  readonly isn: number;
  /** The timestamps of its segments; false: it has none. */
  readonly timestamps: boolean;
}

export interface SendFields extends Partial<Omit<TcpFields, 'flags' | 'ts'>> {
  /** A timestamp instead of the clock's value, or false for none. */
  readonly ts?: number | false;
}

export interface Expected {
  readonly seq?: number;
  readonly ack?: number;
  readonly win?: number;
  /** The bytes, or how many. */
  readonly data?: string | Buffer | number;
  readonly mss?: number | undefined;
  readonly scale?: number | undefined;
  readonly ts?: boolean;
  readonly gso?: number;
}

/** An application's kernel for one connection. */
export class TcpApp {
  readonly lab: TcpLab;
  readonly family: 4 | 6;
  readonly tuple: Pick<TcpFields, 'source' | 'destination' | 'sourcePort' | 'destinationPort'>;
  isn: number;
  /** The endpoint's first number, once its SYN-ACK has arrived. */
  theirs = 0;
  /** Relative numbers: the next to send, and the next expected. */
  nextSeq = 0;
  nextAck = 0;
  timestamps: boolean;
  echo = 0;
  #flow: TcpFlow | undefined;

  constructor(lab: TcpLab, options: Partial<AppOptions> & { readonly port: number }) {
    const { family = 4, isn = 100_000, timestamps = true, destinationPort = 80 } = options;
    this.lab = lab;
    this.family = family;
    const { source = APPLICATION[family], destination = SERVER[family] } = options;
    this.tuple = { source, destination, sourcePort: options.port, destinationPort };
    this.isn = isn;
    this.timestamps = timestamps;
  }

  /** The flow of its last SYN. */
  get flow(): TcpFlow {
    if (this.#flow === undefined) throw new Error('no flow has come');
    return this.#flow;
  }

  frame(
    flags: string,
    { ts, seq = this.nextSeq, ack = this.nextAck, ...fields }: SendFields = {},
  ): Buffer {
    const value = ts ?? (this.timestamps ? this.lab.now : false);
    const hasAck = flags.includes('.');
    return tcpFrame({
      ...this.tuple,
      flags,
      seq: this.isn + seq,
      ack: hasAck ? this.theirs + ack : 0,
      ts: value === false ? undefined : [value, hasAck ? this.echo : 0],
      ...fields,
    });
  }

  /** Sends a segment. */
  send(flags: string, fields: SendFields = {}): this {
    const before = this.lab.flows.length;
    const { seq = this.nextSeq } = fields;
    this.lab.input(this.frame(flags, fields));
    const ends = (flags.includes('S') ? 1 : 0) + (flags.includes('F') ? 1 : 0);
    const after = seq + Buffer.from(fields.data ?? '').length + ends;
    if (after > this.nextSeq) this.nextSeq = after;
    if (this.lab.flows.length > before) this.#flow = this.lab.flows.at(-1);
    return this;
  }

  /** Starts a new connection with the same ports. */
  again(isn: number): this {
    this.isn = isn;
    this.nextSeq = 0;
    this.nextAck = 0;
    this.echo = 0;
    return this;
  }

  /** Tells the endpoint that the far side has connected. */
  open(options: { readonly automatic?: boolean } = {}): TestConduit {
    const conduit = this.flow.open();
    assert.ok(conduit !== undefined, 'the flow can be opened');
    return joined(conduit, options);
  }

  /** Connects: sends the SYN, checks the SYN-ACK and acknowledges it. */
  connect(
    syn: SendFields = {},
    options: { readonly automatic?: boolean; readonly win?: number } = {},
  ): TestConduit {
    this.send('S', { mss: 65_480, scale: 7, window: 0xffff, ...syn });
    const far = this.open(options);
    this.expect('S.', { seq: 0, ack: 1 });
    this.send('.', { window: options.win ?? 0xffff });
    this.lab.silent();
    return far;
  }

  /** Checks that the endpoint's very next frame is this one. PSH only counts if it is named. */
  expect(flags: string, expected: Expected = {}): ReadTcp {
    const frame = this.lab.next();
    assert.equal(
      frame.kind,
      'tcp',
      `a segment, not ${frame.kind} ${frame.kind === 'icmp' ? frame.code : ''}`,
    );
    const segment = frame as ReadTcp;
    const { source, destination, sourcePort, destinationPort } = this.tuple;
    assert.deepEqual(
      [segment.source, segment.destination, segment.sourcePort, segment.destinationPort],
      [destination, source, destinationPort, sourcePort],
      'the addresses and ports',
    );
    const push = flags.includes('P');
    const seen = push ? segment.flags : segment.flags.replace('P', '');
    assert.equal(seen, flags, `flags, of ${summaryOf(segment)}`);
    if (flags === 'S.') this.theirs = segment.seq;
    const seq = (segment.seq - this.theirs) | 0;
    const ack = (segment.ack - this.isn) | 0;
    const { data, ts } = expected;
    if (expected.seq !== undefined) assert.equal(seq, expected.seq, 'seq');
    if (expected.ack !== undefined) assert.equal(ack, expected.ack, 'ack');
    if (expected.win !== undefined) assert.equal(segment.window, expected.win, 'win');
    if (typeof data === 'number') assert.equal(segment.data.length, data, 'bytes of data');
    else
      assert.deepEqual(
        segment.data.toString('latin1'),
        Buffer.from(data ?? '').toString('latin1'),
        'data',
      );
    if ('mss' in expected) assert.equal(segment.mss, expected.mss, 'mss');
    if ('scale' in expected) assert.equal(segment.scale, expected.scale, 'scale');
    if (ts !== undefined) assert.equal(segment.ts !== undefined, ts, 'timestamps');
    if (expected.gso !== undefined) assert.equal(segment.gso, expected.gso, 'gso');
    if (segment.ts !== undefined) this.echo = segment.ts[0];
    const ends = (flags.includes('S') ? 1 : 0) + (flags.includes('F') ? 1 : 0);
    if (seq <= this.nextAck)
      this.nextAck = Math.max(this.nextAck, seq + segment.data.length + ends);
    return segment;
  }

  /**
   * Checks that the endpoint's very next frame is an ICMP error about a packet of this connection.
   */
  expectIcmp(type: number, code: number, source: string = ROUTER[this.family]): ReadIcmp {
    const frame = this.lab.next();
    assert.equal(frame.kind, 'icmp');
    const icmp = frame as ReadIcmp;
    assert.deepEqual([icmp.type, icmp.code, icmp.source], [type, code, source]);
    assert.equal(icmp.destination, this.tuple.source);
    return icmp;
  }
}
