/**
 * One flow: a conduit that is one channel of the connection (RFC 4254 §5).
 *
 *   receiving  CHANNEL_DATA -> other.send at once, as a view of the connection's memory; when the
 *              other end has taken the data, the window is granted again. Before the channel is
 *              joined, data are kept here; the receive window limits them
 *   sending    send -> queue -> the scheduler's turn -> as many packets as the window and the
 *              connection admit -> other.taken
 *   finish()   CHANNEL_EOF after the queue; receiving goes on
 *   shut()     drops what is received, and grants no more; CHANNEL_CLOSE once the queue and EOF
 *              have been sent
 *   abort()    CHANNEL_CLOSE; the queue is dropped
 *
 * When the server sends CHANNEL_CLOSE, with or without EOF before it (many servers never send EOF),
 * the data before it are delivered, then the end (RFC 4254 §5.3). Unless we have sent EOF, the
 * other end is also shut, because nobody takes what it still sends. A reset at the far side doesn't
 * cross SSH as a reset: OpenSSH's sshd (read and tried in 9.2) sends EOF when its read() fails, and
 * CLOSE once a write has failed too or we have sent EOF.
 *
 * A server that sends more than the window admits would fill our memory while a reader doesn't
 * read, so its flow ends with `window-exceeded`. So does one with a packet above MAX_PACKET.
 * Extended data has no meaning here (RFC 4254 §7.2). It is dropped, but counts towards the window.
 */
import { TunnelError } from '../../../errors/errors.ts';
import { both, type Conduit, connectionReset, type OverListener } from '../../../flow/conduit.ts';
import type { Slab } from '../../../flow/memory.ts';
import { PieceQueue } from '../../../flow/piecequeue.ts';
import type { ReceiveWindow } from './receivewindow.ts';
import type { Sender, Turn } from './scheduler.ts';

/** RFC 4254 §5.2: a window never exceeds it. */
const MAX_SEND_WINDOW = 2 ** 32 - 1;
/** The largest packet that is accepted: what sshd sends, and what ssh2 can decrypt. */
export const MAX_PACKET = 32 * 1024;
/**
 * Data smaller than this that can't be sent at once are copied. Otherwise they would keep a slab in
 * use that is many times larger. PieceQueue decides about data that come after them.
 */
const SMALL_BYTES = 16 * 1024;

/** What a channel needs of its connection. `remote` is the server's number of the channel. */
export interface ChannelOwner {
  /** The channel has something to send: from now on its `transmit` is called in turn. */
  activate(channel: Channel): void;
  deactivate(channel: Channel): void;
  sendData(remote: number, data: Buffer): void;
  grant(remote: number, bytes: number): void;
  sendEof(remote: number): void;
  sendClose(remote: number): void;
  /** The server has broken a rule of the protocol; `what` says how. */
  violated(what: string): void;
}

export interface ChannelOptions {
  readonly remote: number;
  readonly sendWindow: number;
  /** The largest packet that the server accepts. */
  readonly maxPacket: number;
  readonly receiveWindow: ReceiveWindow;
  readonly owner: ChannelOwner;
}

export class Channel implements Conduit, Sender {
  received = 0;
  turn: Turn | undefined;
  /** The server's number of the channel. */
  readonly remote: number;
  readonly #owner: ChannelOwner;
  readonly #maxPacket: number;
  readonly #receiveWindow: ReceiveWindow;
  #sendWindow: number;
  #other: Conduit | undefined;
  #onOver: OverListener | undefined;
  /** Data received before the channel was joined. */
  #early: PieceQueue | undefined;
  #queue: PieceQueue | undefined;
  #finished = false;
  /** The other end takes nothing more: received data are dropped, and the queue is still sent. */
  #discarding = false;
  #eofSent = false;
  #eofReceived = false;
  #closeSent = false;
  #closeReceived = false;
  /** The channel was aborted or lost, with `#error`. */
  #failed = false;
  #error: Error | undefined;
  /** The flow is over, in order or not. */
  #done = false;

  constructor(options: ChannelOptions) {
    this.remote = options.remote;
    this.#owner = options.owner;
    this.#maxPacket = options.maxPacket;
    this.#receiveWindow = options.receiveWindow;
    this.#sendWindow = options.sendWindow;
  }

  /** CHANNEL_CLOSE has been sent: nothing more may be sent. */
  get closing(): boolean {
    return this.#closeSent;
  }

  // Conduit

  join(other: Conduit): void {
    this.#other = other;
    const early = this.#early;
    this.#early = undefined;
    for (let data = early?.first; early !== undefined && data !== undefined; data = early.first) {
      early.drop(data.length);
      other.send(data, undefined);
    }
    if (this.#failed) {
      other.abort(this.#error);
      return;
    }
    if (this.#eofReceived) other.finish();
    if (this.#closeReceived) this.#closedByPeer();
  }

  whenOver(listener: OverListener): void {
    if (this.#done) listener(this.#outcome);
    else this.#onOver = both(this.#onOver, listener);
  }

  send(data: Buffer, memory: Slab | undefined): void {
    if (data.length === 0) return;
    if (this.#closeSent || this.#finished) {
      this.#other?.taken(data.length);
      return;
    }
    this.#queue ??= new PieceQueue();
    const queue = this.#queue;
    const waits = queue.bytes > 0;
    queue.push(data, memory);
    if (waits) return;
    this.#owner.activate(this);
    // Not all of it was sent at once, and the rest is small.
    if (queue.bytes > 0 && queue.bytes < SMALL_BYTES) queue.settle();
  }

  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    if (this.#queuedBytes === 0) this.#sendEof();
  }

  taken(bytes: number): void {
    const credit = this.#receiveWindow.consume(bytes);
    if (credit > 0 && !this.#closeSent) this.#owner.grant(this.remote, credit);
  }

  shut(): void {
    if (this.#done || this.#discarding) return;
    this.#discarding = true;
    this.#receiveWindow.close();
    this.#closeIfOver();
  }

  abort(error: Error | undefined): void {
    if (this.#done) this.#receiveWindow.close();
    else this.#fail(error);
  }

  // For the scheduler.

  transmit(limit: number): number {
    const queue = this.#queue;
    const data = queue?.first;
    if (queue === undefined || data === undefined) return 0;
    const length = Math.min(data.length, this.#sendWindow, this.#maxPacket, limit);
    if (length === 0) return 0;
    this.#sendWindow -= length;
    this.#owner.sendData(this.remote, length === data.length ? data : data.subarray(0, length));
    queue.drop(length);
    if (queue.bytes === 0 && this.#finished) this.#sendEof();
    this.#other?.taken(length);
    return length;
  }

  // The server's messages.

  /** `memory`: the slab that `data` is a view of; undefined: `data` may be kept. */
  receive(data: Buffer, memory: Slab | undefined): void {
    if (!this.#admit(data.length) || data.length === 0) return;
    this.received += data.length;
    if (this.#other !== undefined) {
      this.#other.send(data, memory);
      return;
    }
    this.#early ??= new PieceQueue();
    this.#early.push(Buffer.from(data), undefined);
  }

  /** Extended data: dropped, and granted again at once. */
  discard(bytes: number): void {
    if (this.#admit(bytes)) this.taken(bytes);
  }

  adjust(bytes: number): void {
    if (this.#sendWindow + bytes > MAX_SEND_WINDOW) this.#owner.violated('a window above 2^32 - 1');
    this.#sendWindow = Math.min(this.#sendWindow + bytes, MAX_SEND_WINDOW);
    if (this.#queuedBytes > 0) this.#owner.activate(this);
  }

  endOfInput(): void {
    if (this.#eofReceived || this.#done) return;
    this.#eofReceived = true;
    this.#receiveWindow.end();
    this.#other?.finish();
    this.#closeIfOver();
  }

  /** The server has closed the channel. */
  closed(): void {
    this.#closeReceived = true;
    this.#owner.deactivate(this);
    this.#sendClose();
    if (this.#done) return;
    this.#receiveWindow.end();
    if (this.#other !== undefined) this.#closedByPeer();
  }

  /** The connection is gone. */
  lost(error: Error | undefined): void {
    if (this.#done) return;
    this.#other?.abort(error);
    if (!this.#done) this.#fail(error);
  }

  #closedByPeer(): void {
    const other = this.#other;
    this.#queue?.clear();
    if (!this.#eofReceived) {
      this.#eofReceived = true;
      other?.finish();
    }
    if (!this.#eofSent) other?.shut();
    this.#ended();
  }

  #fail(error: Error | undefined): void {
    this.#failed = true;
    this.#error = error;
    this.#sendClose();
    this.#owner.deactivate(this);
    this.#queue?.clear();
    this.#early = undefined;
    this.#receiveWindow.close();
    this.#ended();
  }

  /**
   * Counts received data. False: they must be dropped, because the flow is over or shut, or because
   * the server may not send them.
   */
  #admit(bytes: number): boolean {
    if (this.#done || this.#discarding) return false;
    if (this.#eofReceived) {
      this.#owner.violated('data after EOF');
      return false;
    }
    const tooLarge = bytes > MAX_PACKET;
    if (!tooLarge && this.#receiveWindow.receive(bytes)) return true;
    this.#owner.violated(
      tooLarge ? 'a packet larger than was agreed' : 'more data than the window admits',
    );
    const error = windowExceeded();
    this.#other?.abort(error);
    this.#fail(error);
    return false;
  }

  #sendEof(): void {
    if (this.#closeSent || this.#eofSent) return;
    this.#eofSent = true;
    this.#owner.sendEof(this.remote);
    this.#closeIfOver();
  }

  /** Both directions have ended: the channel is given back (RFC 4254 §5.3). */
  #closeIfOver(): void {
    if (!this.#eofSent || !(this.#eofReceived || this.#discarding)) return;
    this.#sendClose();
    this.#ended();
  }

  #sendClose(): void {
    if (this.#closeSent) return;
    this.#closeSent = true;
    this.#owner.sendClose(this.remote);
  }

  get #queuedBytes(): number {
    return this.#queue?.bytes ?? 0;
  }

  #ended(): void {
    this.#done = true;
    const over = this.#onOver;
    this.#onOver = undefined;
    over?.(this.#outcome);
  }

  get #outcome(): Error | undefined {
    return this.#failed ? (this.#error ?? connectionReset()) : undefined;
  }
}

function windowExceeded(): TunnelError {
  return new TunnelError('window-exceeded', 'the jump host sent more than it was allowed to', {
    hint: 'its SSH server is faulty or hostile',
  });
}
