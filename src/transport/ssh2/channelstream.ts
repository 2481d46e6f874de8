/**
 * One flow: a Duplex over one of ssh2's channels, with the semantics that ssh2's own Channel lacks. Only one layer of
 * buffering and no copy: incoming chunks are taken where ssh2 hands them to its Channel, outgoing ones are given to
 * the channel's window logic directly.
 *
 *   reading   CHANNEL_DATA -> push; once READ_BUFFER bytes wait for the reader, the window is held back, so that at most
 *             READ_BUFFER and one window (2 MiB) are in memory
 *   writing   _write -> window -> socket; called back when the socket's buffer has room, so a flow never has more than one
 *             chunk beyond it; a write that waits for the window is called back also when the channel ends
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
import type { SshChannel } from './internals.ts';

/** What waits for the reader before the window is held back. */
const READ_BUFFER = 256 * 1024;
/** One chunk of the usual size on the way and one waiting. */
const WRITE_BUFFER = 64 * 1024;
/**
 * Stands for a window of 0 that is held back: at 0 ssh2 would drop what a server sends beyond it, and the flow would go on
 * with a hole. No count of bytes comes to this value, and _read() takes it away before ssh2 grants a new window.
 */
const EXHAUSTED = -0.5;

/** What a flow needs of the connection that it is a channel of. */
export interface ChannelOwner {
  /** Packets that are sent from here to the end of this turn of the event loop go out in one write. */
  gather(): void;
  /** Calls back at once, or when the socket's buffer has been written out. */
  whenWritable(callback: () => void): void;
  /** The channel no longer exists at either end. Called once. */
  released(stream: ChannelStream): void;
  /** The server sent more than it was allowed to. Called once. */
  windowExceeded(): void;
}

export class ChannelStream extends Duplex {
  readonly #channel: SshChannel;
  readonly #owner: ChannelOwner;
  #pendingWrite: ((error?: Error | null) => void) | undefined;
  #eofReceived = false;
  #peerClosed = false;

  constructor(channel: SshChannel, owner: ChannelOwner) {
    super({ allowHalfOpen: true, readableHighWaterMark: READ_BUFFER, writableHighWaterMark: WRITE_BUFFER });
    this.#channel = channel;
    this.#owner = owner;
    channel.push = (chunk) => this.#receive(chunk);
    channel.stderr.push = (chunk) => chunk !== null && this.#discard();
    // Its user may not listen yet when it fails (Connector.connect); the stream keeps the error.
    this.on('error', () => {
      // Nothing to do.
    });
  }

  override _read(size: number): void {
    const { incoming } = this.#channel;
    if (incoming.window === EXHAUSTED) incoming.window = 0;
    this.#channel._read(size);
  }

  override _write(chunk: Buffer, encoding: string, callback: (error?: Error | null) => void): void {
    if (this.#peerClosed) {
      callback();
      return;
    }
    this.#pendingWrite = callback;
    this.#owner.gather();
    this.#channel._write(chunk, encoding, this.#handedOver);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#owner.gather();
    this.#channel.eof();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#peerClosed) {
      this.#owner.gather();
      this.#channel.close();
    }
    this.#endWrite(error ?? connectionReset());
    callback(error);
  }

  readonly #handedOver = (): void => this.#owner.whenWritable(this.#written);
  readonly #written = (): void => this.#endWrite();

  #endWrite(error?: Error): void {
    const callback = this.#pendingWrite;
    this.#pendingWrite = undefined;
    callback?.(error);
  }

  /** In the place of ssh2's `Channel.push`; see internals.ts for what it is called with. */
  #receive(chunk: Buffer | null): boolean {
    if (chunk === null) {
      if (this.#channel.incoming.state === 'closed') this.#closedByPeer();
      else this.#endOfInput();
      return false;
    }
    return this.#admit() && this.#grant(this.push(chunk));
  }

  /** For extended data. More is asked for as if it had been read, but not past a reader that doesn't read. */
  #discard(): boolean {
    return this.#admit() && this.#grant(this.readableLength < this.readableHighWaterMark);
  }

  /** After destroy() the rest of the window is let go, and no more is asked for. */
  #admit(): boolean {
    if (this.destroyed) return false;
    const { window } = this.#channel.incoming;
    if (window >= 0 || window === EXHAUSTED) return true;
    this.#owner.windowExceeded();
    this.destroy(
      new TunnelError('window-exceeded', "the jump host sent more than the flow's window admits", {
        hint: 'have the SSH server on the jump host replaced: it ignores flow control (RFC 4254 §5.2)',
      }),
    );
    return false;
  }

  #grant(more: boolean): boolean {
    const { incoming } = this.#channel;
    if (!more && incoming.window === 0) incoming.window = EXHAUSTED;
    return more;
  }

  #endOfInput(): void {
    this.#eofReceived = true;
    if (!this.destroyed) this.push(null);
  }

  #closedByPeer(): void {
    if (this.#peerClosed) return;
    this.#peerClosed = true;
    this.#owner.released(this);
    if (this.destroyed) return;
    const eofSent = this.#channel.outgoing.state !== 'open';
    if (!this.#eofReceived || (!eofSent && this.readableEnded)) {
      this.destroy(connectionReset());
    } else if (!eofSent) {
      this.once('end', () => this.destroy(connectionReset()));
      this.#endWrite();
    }
  }
}

function connectionReset(): Error {
  return Object.assign(new Error('the far side closed the connection'), { code: 'ECONNRESET' });
}
