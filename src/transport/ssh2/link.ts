/**
 * An established SSH connection as a Transport: opens channels, keeps count of them, and ends all of them together.
 *
 *   connect() -> CHANNEL_OPEN direct-tcpip -> confirmed: ChannelStream | failed: ConnectError
 *
 * States: up -> closing (close() was called) -> ended, or up -> ended (lost). `ended` resolves once the socket has closed,
 * after every flow has been destroyed and every waiting connect() has been rejected.
 *
 * The link is lost with an error, with the server's DISCONNECT, and with the end of what it sends: whichever is first
 * destroys the socket, since nobody may be left there who would read what we have still to write. close() gives the server
 * CLOSE_TIMEOUT_MS for that.
 *
 * A channel counts from CHANNEL_OPEN until the server has said CHANNEL_CLOSE or refused it: as long as it takes a
 * slot there. An aborted connect() can't take back its CHANNEL_OPEN; it goes on counting, and is closed when it opens.
 *
 * ssh2 writes without regard to the socket's buffer. So a flow's write is called back only when that buffer is below
 * SOCKET_BUFFER: that bounds memory and lets the flows take turns. Packets of one turn of the event loop are
 * gathered into one write; ssh2 alone makes two or three of each packet.
 */
import type { Socket } from 'node:net';
import type { Client } from 'ssh2';
import { TunnelError } from '../../errors.ts';
import type { Observer } from '../../observe/observer.ts';
import { ConnectError, type ConnectOptions, type Destination, type Transport } from '../transport.ts';
import { type ChannelOwner, ChannelStream } from './channelstream.ts';
import { linkLostError, openError, type SshError } from './errors.ts';
import { channelOf } from './internals.ts';

/** Well below the 16k or so at which OpenSSH's sshd drops the connection. */
export const MAX_CHANNELS = 8192;
/** How long close() waits for the server to take leave. */
export const CLOSE_TIMEOUT_MS = 2_000;
/** Unsent bytes above which flows wait. */
const SOCKET_BUFFER = 512 * 1024;
/** As ssh -W says it: an address is wanted, and there may be none that means anything there. */
const NO_ORIGINATOR: Destination = { host: '127.0.0.1', port: 65535 };

export interface LinkOptions {
  readonly client: Client;
  readonly socket: Socket;
  /** `host:port`, for messages. */
  readonly at: string;
  readonly observer: Observer;
}

export class Ssh2Link implements Transport, ChannelOwner {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #client: Client;
  readonly #socket: Socket;
  readonly #at: string;
  readonly #observer: Observer;
  readonly #streams = new Set<ChannelStream>();
  #channels = 0;
  #waiting: (() => void)[] = [];
  #gathering = false;
  #closing = false;
  #cause: SshError | undefined;
  #end: { readonly error: TunnelError | undefined } | undefined;

  /** `client` has just authenticated over `socket`. */
  constructor(options: LinkOptions) {
    this.#client = options.client;
    this.#socket = options.socket;
    this.#at = options.at;
    this.#observer = options.observer;
    this.#client.on('error', (error: SshError) => this.#failed(error));
    this.#socket.on('drain', () => this.#drained());
    this.#socket.prependListener('data', () => this.gather());
    // Behind ssh2's own listener. At a DISCONNECT it only ends our half, without an event, and stops its keepalives.
    this.#socket.on('data', () => {
      if (this.#socket.writableEnded) this.#left();
    });
    this.#socket.once('end', () => this.#left());
    this.ended = new Promise((resolve) => {
      this.#client.once('close', () => resolve(this.#closed()));
    });
  }

  connect(destination: Destination, options: ConnectOptions = {}): Promise<ChannelStream> {
    const { signal, originator = NO_ORIGINATOR } = options;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      this.#admit(destination);
      let waiting = true;
      const abort = (): void => {
        waiting = false;
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#open(destination, originator, (result) => {
        signal?.removeEventListener('abort', abort);
        if (result instanceof Error) reject(result);
        else if (waiting) resolve(result);
        else result.destroy();
      });
    });
  }

  async close(): Promise<void> {
    if (!this.#closing && this.#end === undefined) {
      this.#closing = true;
      this.#destroyStreams(new TunnelError('link-closed', `the connection to ${this.#at} was closed`));
      this.#client.end();
      const timer = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT_MS);
      this.#client.once('close', () => clearTimeout(timer));
    }
    await this.ended;
  }

  gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    this.#socket.cork();
    process.nextTick(() => {
      this.#gathering = false;
      this.#socket.uncork();
    });
  }

  whenWritable(callback: () => void): void {
    if (this.#socket.writableLength < SOCKET_BUFFER) callback();
    else this.#waiting.push(callback);
  }

  released(stream: ChannelStream): void {
    this.#streams.delete(stream);
    this.#channels--;
  }

  windowExceeded(): void {
    this.#observer.count('tunnel_window_violations_total');
  }

  /** Throws ConnectError when no channel can be opened now. */
  #admit({ host, port }: Destination): void {
    if (this.#closing || this.#end !== undefined) throw this.#gone();
    if (this.#channels < MAX_CHANNELS) return;
    this.#observer.count('tunnel_channel_limit_total');
    throw new ConnectError(
      'refused',
      `${host}:${port}: ${MAX_CHANNELS} channels are open, which is the limit`,
      {
        hint: 'close some connections first',
      },
    );
  }

  #open(
    destination: Destination,
    originator: Destination,
    callback: (result: ChannelStream | ConnectError) => void,
  ): void {
    this.gather();
    this.#channels++;
    try {
      this.#client.forwardOut(
        originator.host,
        originator.port,
        destination.host,
        destination.port,
        (error: SshError | undefined, channel) => {
          if (error !== undefined) {
            this.#channels--;
            callback(this.#end === undefined ? openError(destination, error) : this.#gone());
            return;
          }
          const stream = new ChannelStream(channelOf(channel), this);
          this.#streams.add(stream);
          callback(stream);
        },
      );
    } catch {
      // ssh2 throws when the socket has begun to close and 'close' is still to come.
      this.#channels--;
      callback(this.#gone());
    }
  }

  #gone(): ConnectError {
    const cause = this.#end?.error ?? (this.#cause && linkLostError(this.#at, this.#cause));
    return new ConnectError('unreachable', `the connection to ${this.#at} is gone`, { cause });
  }

  #drained(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const callback of waiting) callback();
  }

  #failed(error: SshError): void {
    this.#cause ??= error;
    // ssh2 only half-closes after an error; what is left of the connection is of no use.
    this.#socket.destroy();
  }

  /** The server says nothing more. */
  #left(): void {
    if (!this.#closing) this.#socket.destroy();
  }

  /** ssh2 calls the waiting forwardOut callbacks right after this. */
  #closed(): TunnelError | undefined {
    const error = this.#closing ? undefined : linkLostError(this.#at, this.#cause);
    this.#end = { error };
    this.#waiting = [];
    this.#destroyStreams(error);
    return error;
  }

  #destroyStreams(error: TunnelError | undefined): void {
    for (const stream of this.#streams) stream.destroy(error);
  }
}
