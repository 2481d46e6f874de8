/**
 * A small model of the TCP in an application's kernel, to test the endpoint against: it connects,
 * sends all of `upload`, reads everything from the other side, and ends. Slow and plain: cumulative
 * acknowledgements, go-back-N after a timer or three duplicates, PAWS, a receive buffer that `take`
 * empties.
 *
 * Frames arrive whole, as from a TUN, and each is checked: it stays within the window, its packets
 * fit the MSS, and repeated bytes are the same.
 */
import assert from 'node:assert/strict';
import { type ReadTcp, type TcpFields, tcpFrame } from './tcpframes.ts';

const FIRST_TIMEOUT_MS = 200;
const MOST_TIMEOUT_MS = 10_000;
const SYN_MS = 1000;
const DUPLICATES = 3;

export interface ClientOptions {
  readonly tuple: Pick<TcpFields, 'source' | 'destination' | 'sourcePort' | 'destinationPort'>;
  readonly isn: number;
  readonly clock: () => number;
  readonly transmit: (frame: Buffer) => void;
  readonly timestamps: boolean;
  /** Undefined: windows are not scaled. */
  readonly scale: number | undefined;
  readonly mss: number;
  /** Bytes of one frame, which may be several packets that the kernel leaves together. */
  readonly frameBytes: number;
  readonly upload: Buffer;
  /** The data that it expects. */
  readonly download: Buffer;
  /** The size of its receive buffer in bytes. */
  readonly buffer: number;
  /** Whether it keeps data that arrive out of order. */
  readonly reassembles: boolean;
  /** Whether it reads automatically; otherwise `read` makes it read. */
  readonly automatic: boolean;
  /** Whether it ends only after reading the other side's end. */
  readonly endsLast: boolean;
}

export class TcpClient {
  readonly options: ClientOptions;
  state: 'begin' | 'syn-sent' | 'open' = 'begin';
  /** Its timer; Infinity: none. */
  deadline = Number.POSITIVE_INFINITY;
  /** Relative to the first numbers. */
  una = 0;
  /** What is sent next, and the highest offset sent so far: they differ after a loss. */
  #cursor = 0;
  nxt = 0;
  /** The edge of the peer's window, and the segment that last set it. */
  #edge = 0;
  #updatedAt = { seq: 0, ack: 0 };
  #theirScale = 0;
  theirs = 0;
  rcvNxt = 0;
  /** Bytes that have been read. */
  read = 0;
  #finAt = Number.POSITIVE_INFINITY;
  finReceived = false;
  finAcknowledged = false;
  #ourEdge = 0;
  #recent = 0;
  #timestamps = false;
  #timeout = FIRST_TIMEOUT_MS;
  #duplicates = 0;
  #recover = 0;
  /** Data received out of order: offsets and ends. */
  #ahead: { readonly from: number; readonly to: number }[] = [];
  retransmissions = 0;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  /** Both directions have ended, and nothing of ours is unacknowledged. */
  get ended(): boolean {
    return this.finAcknowledged && this.finReceived;
  }

  /** And all has been read. */
  get finished(): boolean {
    return this.ended && this.read === this.options.download.length;
  }

  connect(): void {
    this.state = 'syn-sent';
    this.#cursor = 1;
    this.nxt = 1;
    this.#syn();
  }

  #syn(): void {
    const { mss, scale } = this.options;
    this.#send('S', { seq: 0, mss, scale });
    this.deadline = this.options.clock() + SYN_MS * (this.#timeout / FIRST_TIMEOUT_MS);
  }

  /** Its timer has fired. */
  expire(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    this.#timeout = Math.min(2 * this.#timeout, MOST_TIMEOUT_MS);
    if (this.state === 'syn-sent') {
      this.#syn();
    } else if (this.nxt > this.una) {
      this.#goBack();
    } else if (this.una <= this.options.upload.length) {
      this.#send('.', { seq: this.una - 1 });
    }
    this.#arm();
  }

  /** The application reads this many bytes. */
  take(bytes: number): void {
    const before = this.#window();
    this.read += Math.min(bytes, this.#unread);
    const { mss, buffer } = this.options;
    if (
      this.state === 'open' &&
      !this.finReceived &&
      this.#window() - before >= Math.min(mss, buffer / 2)
    )
      this.#send('.');
    this.output();
  }

  get #unread(): number {
    const received = this.rcvNxt - 1 - (this.finReceived ? 1 : 0);
    return Math.max(0, received - this.read);
  }

  input(frame: ReadTcp): void {
    const { flags } = frame;
    if (flags.includes('R')) {
      const ahead = (frame.seq - this.theirs - this.rcvNxt) | 0;
      const exact = this.state === 'open' && ahead >= 0 && ahead <= this.#window();
      // To late segments, of what is no longer known there, it may say so.
      assert.ok(!exact || this.ended, 'no reset');
      return;
    }
    if (this.state === 'syn-sent') this.#answered(frame);
    else if (this.state === 'open') this.#segment(frame);
  }

  #segment(frame: ReadTcp): void {
    const { flags } = frame;
    assert.equal(frame.ts !== undefined, this.#timestamps, 'timestamps as they were agreed on');
    if (flags.includes('S')) {
      this.#send('.');
      return;
    }
    const seq = (frame.seq - this.theirs) | 0;
    const ack = (frame.ack - this.options.isn) | 0;
    this.#checkData(frame, seq);
    assert.ok(ack <= this.nxt, `${ack} is acknowledged, ${this.nxt} was sent`);
    const isOld = frame.ts !== undefined && ((frame.ts[0] - this.#recent) | 0) < 0;
    const size = frame.data.length + (flags.includes('F') ? 1 : 0);
    const before = this.#window();
    const outside =
      size === 0 ? seq < this.rcvNxt || seq > this.rcvNxt + before : seq + size <= this.rcvNxt;
    if (isOld || outside) {
      this.#send('.');
      return;
    }
    if (frame.ts !== undefined && seq <= this.rcvNxt) this.#recent = frame.ts[0];
    this.#acknowledged(frame, seq, ack);
    if (size > 0) this.#take(frame, seq);
    this.output();
  }

  #answered(frame: ReadTcp): void {
    if (frame.flags !== 'S.' || ((frame.ack - this.options.isn) | 0) !== 1) return;
    const { scale, timestamps } = this.options;
    assert.equal(frame.scale !== undefined, scale !== undefined, 'scaling as it was offered');
    assert.equal(frame.ts !== undefined, timestamps, 'timestamps as they were offered');
    this.state = 'open';
    this.theirs = frame.seq;
    this.#theirScale = frame.scale ?? 0;
    this.#timestamps = timestamps;
    this.#recent = frame.ts?.[0] ?? 0;
    this.una = 1;
    this.rcvNxt = 1;
    this.#edge = 1 + frame.window;
    this.#timeout = FIRST_TIMEOUT_MS;
    this.deadline = Number.POSITIVE_INFINITY;
    this.#send('.');
    this.output();
  }

  /** Checks that each byte is the right one and within the granted window. */
  #checkData(frame: ReadTcp, seq: number): void {
    const { data } = frame;
    const { download, mss } = this.options;
    const space = mss - (this.#timestamps ? 12 : 0);
    assert.ok(
      (frame.gso === 0 ? data.length : frame.gso) <= Math.max(64, space),
      'packets fit the MSS',
    );
    if (data.length > 0) {
      assert.ok(seq >= 1, 'data begin behind the SYN');
      assert.ok(
        seq + data.length <= this.#ourEdge,
        `up to ${seq + data.length}, ${this.#ourEdge} is granted`,
      );
      assert.ok(data.equals(download.subarray(seq - 1, seq - 1 + data.length)), 'the very bytes');
    }
    if (frame.flags.includes('F'))
      assert.equal(seq + data.length, 1 + download.length, 'the end is at the end');
  }

  #acknowledged(frame: ReadTcp, seq: number, ack: number): void {
    const { seq: lastSeq, ack: lastAck } = this.#updatedAt;
    const before = this.#edge;
    if (seq > lastSeq || (seq === lastSeq && ack >= lastAck)) {
      this.#updatedAt = { seq, ack };
      this.#edge = ack + frame.window * 2 ** this.#theirScale;
    }
    if (ack > this.una) {
      this.una = ack;
      this.#duplicates = 0;
      this.#timeout = FIRST_TIMEOUT_MS;
      this.deadline = Number.POSITIVE_INFINITY;
      this.finAcknowledged = ack === this.options.upload.length + 2;
      this.#cursor = Math.max(this.#cursor, ack);
      this.#arm();
    } else if (
      ack === this.una &&
      this.nxt > ack &&
      frame.data.length === 0 &&
      this.#edge === before
    ) {
      if (++this.#duplicates === DUPLICATES && this.una >= this.#recover) this.#goBack();
    }
  }

  #take(frame: ReadTcp, seq: number): void {
    const { reassembles, automatic, download } = this.options;
    const end = seq + frame.data.length;
    if (frame.flags.includes('F')) this.#finAt = end;
    if (seq > this.rcvNxt) {
      if (reassembles) this.#ahead.push({ from: seq, to: end });
    } else {
      this.rcvNxt = Math.max(this.rcvNxt, end);
      let grown = true;
      while (grown) {
        grown = false;
        for (const { from, to } of this.#ahead)
          if (from <= this.rcvNxt && to > this.rcvNxt) {
            this.rcvNxt = to;
            grown = true;
          }
      }
      this.#ahead = this.#ahead.filter(({ to }) => to > this.rcvNxt);
    }
    if (this.rcvNxt === this.#finAt && !this.finReceived && this.rcvNxt === 1 + download.length) {
      this.finReceived = true;
      this.rcvNxt++;
    }
    if (automatic) this.read += this.#unread;
    this.#send('.');
  }

  /** Sends as much as it may. */
  output(): void {
    if (this.state !== 'open') return;
    const { upload, frameBytes, endsLast } = this.options;
    while (this.#cursor <= upload.length) {
      const from = this.#cursor;
      const length = Math.min(frameBytes, upload.length + 1 - from, this.#edge - from);
      if (length <= 0) break;
      this.#send('P.', { seq: from, data: upload.subarray(from - 1, from - 1 + length) });
      this.#advance(length);
    }
    if (this.#cursor === upload.length + 1 && (!endsLast || this.finReceived)) {
      this.#send('F.', { seq: this.#cursor });
      this.#advance(1);
    }
    this.#arm();
  }

  #advance(by: number): void {
    this.#cursor += by;
    this.nxt = Math.max(this.nxt, this.#cursor);
  }

  #arm(): void {
    const waits = this.nxt > this.una || this.nxt <= this.options.upload.length;
    if (waits && this.deadline === Number.POSITIVE_INFINITY)
      this.deadline = this.options.clock() + this.#timeout;
  }

  /** Sends all unacknowledged data again. */
  #goBack(): void {
    this.retransmissions++;
    this.#recover = this.nxt;
    this.#cursor = this.una;
    // The window may have closed meanwhile: it still sends one frame.
    if (this.#edge <= this.una) this.#edge = this.una + 1;
    this.output();
  }

  #window(): number {
    return Math.max(0, this.options.buffer - this.#unread, this.#ourEdge - this.rcvNxt);
  }

  #send(flags: string, fields: Partial<TcpFields> = {}): void {
    const { tuple, isn, clock, timestamps, scale = 0, transmit } = this.options;
    const { seq = this.nxt, ...rest } = fields;
    const shift = flags === 'S' ? 0 : scale;
    const window = Math.min(0xffff, this.#window() >> shift);
    if (flags !== 'S') this.#ourEdge = Math.max(this.#ourEdge, this.rcvNxt + (window << shift));
    else this.#ourEdge = 1 + window;
    const ts = flags === 'S' ? timestamps : this.#timestamps;
    transmit(
      tcpFrame({
        ...tuple,
        flags,
        seq: isn + seq,
        ack: flags === 'S' ? 0 : this.theirs + this.rcvNxt,
        window,
        ts: ts ? [Math.floor(clock()), this.#recent] : undefined,
        ...rest,
      }),
    );
  }
}
