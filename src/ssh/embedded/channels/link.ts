/**
 * An established SSH connection as a Transport: opens channels, keeps count of them, and ends all
 * of them together.
 *
 *   connect() -> Multiplexer.open() -> Channel | ConnectError
 *   socket -> Inbox -> ssh2 (decrypts) -> Multiplexer -> Channel -> the other end
 *   the other end -> Channel -> Scheduler -> ssh2 (encrypts) -> Outbox -> socket
 *
 * States: up -> closing (close() was called) -> ended, or up -> ended (lost). `ended` resolves once
 * the socket has closed, after every flow has been aborted and every waiting connect() has been
 * rejected.
 *
 * The link is lost with an error, with the server's DISCONNECT, with the end of what it sends, and
 * with its silence (livenessprobe.ts): whichever is first destroys the socket, since nobody may be
 * left there who would read what we have still to write. close() gives the server CLOSE_TIMEOUT_MS
 * for that.
 *
 * A channel counts from CHANNEL_OPEN until the server has said CHANNEL_CLOSE or refused it: as long
 * as it takes a slot there. An aborted connect() can't take back its CHANNEL_OPEN; it goes on
 * counting, and is closed when it opens.
 */
import type { Duplex } from 'node:stream';
import type { Client } from 'ssh2';
import { TunnelError } from '../../../errors/errors.ts';
import { BusyError, type ConnectOptions, LinkGoneError } from '../../../flow/connector.ts';
import type { Destination } from '../../../net/destination.ts';
import type { Observer } from '../../../observe/observer.ts';
import { acknowledge, limitUnsent } from '../../dial/tcpoptions.ts';
import { MAX_CHANNELS } from '../../limits.ts';
import type { Probing, Transport } from '../../transport.ts';
import {
  protocolOf,
  receiveThrough,
  type SshProtocol,
  sendThrough,
  serverSoftwareOf,
} from '../ssh2/internals.ts';
import { Acknowledger } from './acknowledger.ts';
import { Channel } from './channel.ts';
import { linkLostError, openError, type SshError } from './errors.ts';
import { Flusher } from './flusher.ts';
import { leavesNagleOn } from './flushtiming.ts';
import type { Inbox } from './inbox.ts';
import { KEEPALIVE, type Keepalive, LivenessProbe } from './livenessprobe.ts';
import { Multiplexer } from './multiplexer.ts';
import { Outbox } from './outbox.ts';
import { type ReceiveWindowLimits, ReceiveWindows } from './receivewindow.ts';
import { EXCHANGE_SECONDS, Rekeying, type RekeyLimits, type Stuck } from './rekey.ts';
import { UnsentLimit } from './unsentlimit.ts';

/** How long close() waits for the server to take leave. */
export const CLOSE_TIMEOUT_MS = 2_000;
/** As ssh -W says it: an address is wanted, and there may be none that means anything there. */
const NO_ORIGINATOR: Destination = { host: '127.0.0.1', port: 65535 };
/**
 * After so many bytes it is time to measure the round trip, unless that has just been done:
 * keystrokes don't ask for it.
 */
const BULK_BYTES = 16 * 1024;
const EXCHANGE_STUCK: Readonly<Record<Stuck, string>> = {
  time: `the jump host has not finished exchanging keys within ${EXCHANGE_SECONDS} s`,
  queue: 'the jump host wants too many answers while it exchanges keys',
};
/** RFC 4253 §11.1 */
const DISCONNECT_BY_APPLICATION = 11;

/** What is counted when a key exchange is given up. */
const EXCHANGE_LIMITS = {
  time: 'tunnel_ssh_exchange_time_limit_total',
  queue: 'tunnel_ssh_exchange_queue_limit_total',
} as const;

export interface LinkOptions {
  /** Has just authenticated over `socket`. */
  readonly client: Client;
  readonly socket: Duplex;
  /** Reads for `socket`, if that is a TCP socket; undefined: it emits what it reads. */
  readonly inbox?: Inbox | undefined;
  /** `host:port`, for messages. */
  readonly at: string;
  /** Default: KEEPALIVE. */
  readonly keepalive?: Keepalive | undefined;
  /** Default: what the cipher allows. */
  readonly rekey?: RekeyLimits | undefined;
  readonly windows?: ReceiveWindowLimits | undefined;
  /** Default: true. See flushtiming.ts. */
  readonly flush?: boolean;
  readonly observer: Observer;
}

export class Ssh2Link implements Transport, Probing {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #socket: Duplex;
  readonly #at: string;
  readonly #observer: Observer;
  readonly #protocol: SshProtocol;
  readonly #outbox: Outbox;
  readonly #multiplexer: Multiplexer;
  readonly #windows: ReceiveWindows;
  readonly #rekeying: Rekeying;
  readonly #pulse: LivenessProbe;
  /** undefined: the server holds nothing back. */
  readonly #flusher: Flusher | undefined;
  readonly #acknowledger: Acknowledger;
  #closing = false;
  /** Bytes that have come since the round trip was last to be measured. */
  #unmeasured = 0;
  #cause: SshError | undefined;
  #end: { readonly error: TunnelError | undefined } | undefined;

  constructor(options: LinkOptions) {
    const { client, socket, inbox, observer } = options;
    this.#socket = socket;
    this.#at = options.at;
    this.#observer = observer;
    this.#protocol = protocolOf(client);
    this.#windows = new ReceiveWindows({
      ...options.windows,
      onLimited: () => observer.count('tunnel_window_budget_total'),
    });
    this.#rekeying = new Rekeying(
      this.#protocol,
      options.rekey ?? { bytes: undefined, seconds: undefined },
      (why) => {
        observer.count(EXCHANGE_LIMITS[why]);
        this.#failed(new Error(EXCHANGE_STUCK[why]));
      },
    );
    this.#acknowledger = new Acknowledger(() => acknowledge(socket));
    const unsent = new UnsentLimit((bytes) => limitUnsent(socket, bytes));
    this.#outbox = new Outbox(socket, {
      onWritable: () => this.#multiplexer.run(),
      onSent: (bytes, held) => {
        this.#rekeying.count(bytes);
        unsent.sent(bytes, held);
        this.#flusher?.sent(bytes);
        this.#acknowledger.sent();
      },
      onOverflow: () => {
        observer.count('tunnel_ssh_backlog_limit_total');
        this.#failed(new Error('it reads nothing of what it is told'));
      },
    });
    sendThrough(this.#protocol, this.#outbox);
    this.#multiplexer = new Multiplexer({
      protocol: this.#protocol,
      outbox: this.#outbox,
      inbox,
      windows: this.#windows,
      observer,
    });
    receiveThrough(this.#protocol, this.#multiplexer.received);
    this.#pulse = new LivenessProbe({
      keepalive: options.keepalive ?? KEEPALIVE,
      ask: () => this.#protocol.ping(),
      lost: () => this.#failed(keepaliveTimeout()),
      measured: (milliseconds) => {
        this.#windows.roundTrip(milliseconds);
        this.#flusher?.roundTrip(milliseconds);
      },
    });
    if ((options.flush ?? true) && leavesNagleOn(serverSoftwareOf(client)))
      this.#flusher = new Flusher({
        protocol: this.#protocol,
        pulse: this.#pulse,
        at: this.#at,
        observer,
      });
    Object.assign(this.#protocol._handlers, {
      REQUEST_SUCCESS: () => this.#answered(),
      REQUEST_FAILURE: () => this.#answered(),
    });
    client.on('error', (error: SshError) => this.#failed(error));
    client.on('handshake', () => {
      // After a key exchange: there is another cipher, and what waited may go.
      this.#rekeying.renewed();
      sendThrough(this.#protocol, this.#outbox);
      receiveThrough(this.#protocol, this.#multiplexer.received);
      this.#multiplexer.run();
    });
    // From here on ssh2 gets what comes from us, within its own 'data' listener for what is left of
    // the present chunk.
    socket.removeAllListeners('data');
    if (inbox === undefined)
      socket.on('data', (chunk: Buffer) => this.#received(chunk, 0, chunk.length));
    else inbox.open(this.#protocol, (chunk, start, end) => this.#received(chunk, start, end));
    socket.once('end', () => this.#left());
    this.ended = new Promise((resolve) => {
      client.once('close', () => resolve(this.#closed()));
    });
  }

  connect(destination: Destination, options: ConnectOptions = {}): Promise<Channel> {
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
      this.#multiplexer.open(
        {
          srcIP: originator.host,
          srcPort: originator.port,
          dstIP: destination.host,
          dstPort: destination.port,
        },
        (result) => {
          signal?.removeEventListener('abort', abort);
          if (!(result instanceof Channel))
            reject(this.#end === undefined ? openError(destination, result) : this.#gone());
          else if (waiting) resolve(result);
          else result.abort(undefined);
        },
      );
    });
  }

  /** Whether the server says anything within `milliseconds`, when it is asked. */
  probe(milliseconds: number): Promise<boolean> {
    return this.#end === undefined ? this.#pulse.probe(milliseconds) : Promise.resolve(false);
  }

  async close(): Promise<void> {
    if (!this.#closing && this.#end === undefined) {
      this.#closing = true;
      this.#flusher?.stop();
      this.#endChannels(new TunnelError('link-closed', `the connection to ${this.#at} was closed`));
      this.#protocol.disconnect(DISCONNECT_BY_APPLICATION);
      this.#outbox.flush();
      this.#socket.end();
      const timer = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT_MS);
      this.#socket.once('close', () => clearTimeout(timer));
    }
    await this.ended;
  }

  /** Throws ConnectError when no channel can be opened now. */
  #admit({ host, port }: Destination): void {
    if (this.#closing || this.#end !== undefined || this.#socket.destroyed) throw this.#gone();
    if (this.#multiplexer.channels < MAX_CHANNELS) return;
    this.#observer.count('tunnel_channel_limit_total');
    throw new BusyError(`${host}:${port}: ${MAX_CHANNELS} channels are open, which is the limit`, {
      hint: 'close some connections first',
    });
  }

  #gone(): LinkGoneError {
    const cause = this.#end?.error ?? (this.#cause && linkLostError(this.#at, this.#cause));
    return new LinkGoneError(`the connection to ${this.#at} is gone`, { cause });
  }

  #received(chunk: Buffer, start: number, end: number): void {
    this.#pulse.heard();
    this.#unmeasured += end - start;
    this.#flusher?.received(end - start);
    if (this.#unmeasured >= BULK_BYTES) {
      this.#unmeasured = 0;
      this.#pulse.measure();
    }
    if (this.#cause !== undefined || this.#socket.destroyed) return;
    try {
      this.#protocol.parse(chunk, start, end);
      this.#rekeying.count(end - start);
    } catch (error) {
      this.#failed(error instanceof Error ? error : new Error(String(error)));
    }
    // At a DISCONNECT ssh2 only ends our half, without an event.
    if (this.#socket.writableEnded) this.#left();
    // Nothing but answers to keepalives comes while there is no channel.
    if (this.#multiplexer.channels > 0) this.#acknowledger.received(end - start);
  }

  #answered(): void {
    this.#pulse.answered();
    this.#flusher?.answered();
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

  #closed(): TunnelError | undefined {
    const error = this.#closing ? undefined : linkLostError(this.#at, this.#cause);
    this.#end = { error };
    this.#pulse.stop();
    this.#rekeying.stop();
    this.#flusher?.stop();
    this.#multiplexer.end({ reason: 0, text: 'the connection is gone' });
    this.#endChannels(error);
    return error;
  }

  #endChannels(error: TunnelError | undefined): void {
    for (const channel of [...this.#multiplexer.standing]) channel.lost(error);
  }
}

function keepaliveTimeout(): SshError {
  return Object.assign(new Error('Keepalive timeout'), { level: 'client-timeout' });
}
