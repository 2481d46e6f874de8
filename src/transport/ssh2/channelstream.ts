/**
 * One flow: a Duplex that is one channel of the connection (RFC 4254 §5).
 *
 *   reading   CHANNEL_DATA -> the reader at once, as a view of the connection's buffer; for a reader that doesn't read it is
 *             copied into a queue, which the receive window bounds. What is consumed is granted again.
 *   writing   _write -> the scheduler's turn -> as many packets as window and connection admit; called back when the last
 *             one has gone, so that a flow holds one chunk; called back also when the channel ends
 *   end()     CHANNEL_EOF; reading goes on
 *   destroy() CHANNEL_CLOSE; what waits is called back with an error
 *
 * The server's CHANNEL_CLOSE:
 *
 * | before it came           | means                                   | the stream                                              |
 * |--------------------------|-----------------------------------------|---------------------------------------------------------|
 * | EOF both ways            | the flow is over                        | ends                                                    |
 * | its EOF, not ours        | the far side is gone, writing is futile | what was received can be read, then ECONNRESET; writes  |
 * |                          |                                         | meanwhile are swallowed, as a kernel does after an RST  |
 * | no EOF                   | aborted                                 | ECONNRESET at once                                      |
 *
 * A server that sends more than the window admits would fill our memory for a reader that doesn't read: its flow ends with
 * `window-exceeded`. Extended data, which has no meaning here (RFC 4254 §7.2), is dropped, but counts.
 *
 * A reset at the far side doesn't cross SSH as such: OpenSSH's sshd (read in 9.2, tried) sends EOF when its read() fails, and
 * CLOSE once a write has failed too or we have sent EOF. So a reset reads as an end, and is an ECONNRESET only for
 * a flow that goes on writing.
 */
import { Duplex } from 'node:stream';
import { TunnelError } from '../../errors.ts';
import { ChunkQueue } from './chunkqueue.ts';
import type { ReceiveWindow } from './receivewindow.ts';
import type { Sender } from './scheduler.ts';
import type { Spares } from './spares.ts';

/** One chunk on the way: while it waits, the writer's data wait in its socket, where they take no memory of ours. */
const WRITE_BUFFER = 16 * 1024;
/** What waits for the reader is in the queue, where it is counted; Readable holds one chunk. */
const READ_BUFFER = 1;
/** RFC 4254 §5.2: a window never exceeds it. */
const MAX_SEND_WINDOW = 2 ** 32 - 1;

/** What a flow needs of the connection that it is a channel of. `remote` is the server's number of the channel. */
export interface ChannelOwner {
  /** For what can't be sent at once. */
  readonly spares: Spares;
  /** The stream has something to send: from now on its `transmit` is called in turn. */
  activate(stream: ChannelStream): void;
  deactivate(stream: ChannelStream): void;
  sendData(remote: number, data: Buffer): void;
  grant(remote: number, bytes: number): void;
  sendEof(remote: number): void;
  sendClose(remote: number): void;
  /** A view of the connection's buffer is passed on; and is no longer held. */
  lend(): void;
  giveBack(): void;
  /** The server has done what it must not. */
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

export class ChannelStream extends Duplex implements Sender {
  readonly copiesChunks = true;
  /** The server's number of the channel. */
  readonly remote: number;
  readonly #owner: ChannelOwner;
  readonly #maxPacket: number;
  readonly #receiveWindow: ReceiveWindow;
  readonly #queue = new ChunkQueue();
  #sendWindow: number;
  /** What of the present write has not been sent. */
  #unsent: Buffer | undefined;
  /** Our copy, of which `#unsent` is the rest. */
  #kept: Buffer | undefined;
  #pendingWrite: ((error?: Error | null) => void) | undefined;
  /** The reader has asked for more. */
  #wanted = false;
  /** Given to Readable, which holds it until the reader takes it and asks for more. */
  #lodged = 0;
  #delivering = false;
  #eofSent = false;
  #eofReceived = false;
  #closeSent = false;
  #peerClosed = false;

  constructor(options: ChannelOptions) {
    super({ allowHalfOpen: true, readableHighWaterMark: READ_BUFFER, writableHighWaterMark: WRITE_BUFFER });
    this.remote = options.remote;
    this.#owner = options.owner;
    this.#maxPacket = options.maxPacket;
    this.#receiveWindow = options.receiveWindow;
    this.#sendWindow = options.sendWindow;
    // Its user may not listen yet when it fails (Connector.connect); the stream keeps the error.
    this.on('error', kept);
  }

  /** CHANNEL_CLOSE has been sent: nothing more may be. */
  get closing(): boolean {
    return this.#closeSent;
  }

  /**
   * To be called by the listener of 'data' if it is done with the chunk that it was given, at the latest when it returns: then the
   * memory is used again. Whoever doesn't call it may keep the chunk.
   */
  giveBack(): void {
    if (!this.#delivering) return;
    this.#delivering = false;
    this.#owner.giveBack();
  }

  // For the scheduler.

  transmit(limit: number): number {
    const data = this.#unsent;
    if (data === undefined) return 0;
    const length = Math.min(data.length, this.#sendWindow, this.#maxPacket, limit);
    if (length === 0) return 0;
    this.#sendWindow -= length;
    if (length === data.length) {
      this.#unsent = undefined;
      this.#owner.sendData(this.remote, data);
      this.#endWrite();
    } else {
      this.#unsent = data.subarray(length);
      this.#owner.sendData(this.remote, data.subarray(0, length));
    }
    return length;
  }

  // The server's messages.

  receive(data: Buffer): void {
    if (!this.#admit(data.length) || data.length === 0) return;
    if (!this.#wanted || this.readableFlowing !== true) {
      this.#queue.append(data);
      this.#feed();
      return;
    }
    this.#delivering = true;
    this.#owner.lend();
    this.#wanted = this.push(data);
    this.#delivering = false;
    if (this.readableLength > 0) this.#lodged += data.length;
    else this.#consumed(data.length);
  }

  /** Extended data: as if it had been read. Nothing of it is kept, so it need not wait for the reader. */
  discard(bytes: number): void {
    if (this.#admit(bytes)) this.#consumed(bytes);
  }

  adjust(bytes: number): void {
    if (this.#sendWindow + bytes > MAX_SEND_WINDOW) this.#owner.violated('a window above 2^32 - 1');
    this.#sendWindow = Math.min(this.#sendWindow + bytes, MAX_SEND_WINDOW);
    if (this.#unsent !== undefined) this.#owner.activate(this);
  }

  endOfInput(): void {
    if (this.#eofReceived) return;
    this.#eofReceived = true;
    this.#receiveWindow.end();
    if (!this.destroyed && this.#queue.empty) this.push(null);
  }

  closedByPeer(): void {
    this.#peerClosed = true;
    this.#owner.deactivate(this);
    const { destroyed } = this;
    this.#sendClose();
    this.#receiveWindow.end();
    if (destroyed) return;
    if (!this.#eofReceived || (!this.#eofSent && this.readableEnded)) {
      this.destroy(connectionReset());
    } else if (!this.#eofSent) {
      this.once('end', () => this.destroy(connectionReset()));
      this.#endWrite();
    }
  }

  override _read(): void {
    this.#wanted = true;
    const taken = this.#lodged;
    this.#lodged = 0;
    if (taken > 0) this.#consumed(taken);
    this.#feed();
    if (this.#eofReceived && this.#queue.empty) this.push(null);
  }

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    if (this.#peerClosed || chunk.length === 0) {
      callback();
      return;
    }
    this.#unsent = chunk;
    this.#pendingWrite = callback;
    this.#owner.activate(this);
    // It has not gone in whole, and the writer may use its memory again.
    if (this.#unsent === undefined) return;
    this.#kept = this.#owner.spares.keep(this.#unsent);
    this.#unsent = this.#kept;
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#eofSent = true;
    if (!this.#closeSent) this.#owner.sendEof(this.remote);
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#sendClose();
    this.#owner.deactivate(this);
    this.#queue.clear();
    this.#receiveWindow.close();
    if (this.#pendingWrite !== undefined) this.#endWrite(error ?? connectionReset());
    callback(error);
  }

  /** Whether data may be taken: not after destroy(), when the rest of the window is let go and no more is asked for. */
  #admit(bytes: number): boolean {
    if (this.destroyed) return false;
    if (this.#eofReceived) {
      this.#owner.violated('data after EOF');
      return false;
    }
    if (!this.#receiveWindow.receive(bytes)) {
      this.#owner.violated('more data than the window admits');
      this.destroy(windowExceeded());
      return false;
    }
    return true;
  }

  /** To the reader, as far as it asks. */
  #feed(): void {
    while (this.#wanted) {
      const chunk = this.#queue.shift();
      if (chunk === undefined) return;
      this.#lodged += chunk.length;
      this.#wanted = this.push(chunk);
    }
  }

  #consumed(bytes: number): void {
    const credit = this.#receiveWindow.consume(bytes);
    if (credit > 0) this.#owner.grant(this.remote, credit);
  }

  #sendClose(): void {
    if (this.#closeSent) return;
    this.#closeSent = true;
    this.#owner.sendClose(this.remote);
  }

  #endWrite(error?: Error): void {
    const callback = this.#pendingWrite;
    this.#unsent = undefined;
    if (this.#kept !== undefined) this.#owner.spares.release(this.#kept);
    this.#kept = undefined;
    this.#pendingWrite = undefined;
    callback?.(error);
  }
}

function kept(): void {
  // Nothing to do.
}

function connectionReset(): Error {
  return Object.assign(new Error('the far side closed the connection'), { code: 'ECONNRESET' });
}

function windowExceeded(): TunnelError {
  return new TunnelError('window-exceeded', 'the jump host sent more than it was allowed to', {
    hint: 'its SSH server is faulty or hostile',
  });
}
