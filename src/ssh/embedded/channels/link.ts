/**
 * An established SSH connection as a Transport: opens channels, counts them, and ends them all
 * together.
 *
 *   connect() -> Multiplexer.open() -> Channel | ConnectError
 *   socket -> Inbox -> ssh2 (decrypts) -> Multiplexer -> Channel -> the other end
 *   the other end -> Channel -> Scheduler -> ssh2 (encrypts) -> Outbox -> socket
 *
 * States: up -> closing (close() was called) -> ended, or up -> ended (lost). `ended` resolves once
 * the socket has closed. By then every flow has been aborted and every waiting connect() has been
 * rejected.
 *
 * The link is lost by an error, by the server's DISCONNECT, by the end of what it sends, or by its
 * silence, if it has ever answered (livenessprobe.ts). Whichever comes first destroys the socket:
 * perhaps nobody is left to read what we still have to write. close() waits CLOSE_TIMEOUT_MS for
 * the server to read it.
 *
 * A channel counts from CHANNEL_OPEN until the server has sent CHANNEL_CLOSE or refused it: for
 * that time it takes a slot there. An aborted connect() can't take back its CHANNEL_OPEN. Its
 * channel still counts, and is closed when it opens.
 */
import type { Duplex } from 'node:stream';
import type { Client } from 'ssh2';
import { TunnelError } from '../../../errors/errors.ts';
import { BusyError, type ConnectOptions, LinkGoneError } from '../../../flow/connector.ts';
import type { Destination } from '../../../net/destination.ts';
import type { Observer } from '../../../observe/observer.ts';
import { knownToAnswer, noAnswersYet, type ServerAnswers, tellUnanswering } from '../../answers.ts';
import { acknowledge, acknowledgedBytes, limitUnsent } from '../../dial/tcpoptions.ts';
import type { Established } from '../../established.ts';
import { MAX_CHANNELS } from '../../limits.ts';
import type { Load, Loaded, Probing, Transport } from '../../transport.ts';
import {
  deliverChannelDataTo,
  isExchangingKeys,
  protocolOf,
  type SshProtocol,
  sendIgnore,
  serverSoftwareOf,
  writePacketsTo,
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

/** How long close() waits for the server to close the connection. */
export const CLOSE_TIMEOUT_MS = 2_000;
/** As ssh -W sends it: the protocol wants an address, but none may mean anything there. */
const NO_ORIGINATOR: Destination = { host: '127.0.0.1', port: 65535 };
/**
 * After this many bytes the round trip is measured, unless that has just been done. Keystrokes
 * don't need it.
 */
const BULK_BYTES = 16 * 1024;
const EXCHANGE_STUCK: Readonly<Record<Stuck, string>> = {
  time: `the jump host has not finished exchanging keys within ${EXCHANGE_SECONDS} s`,
  queue: 'the jump host wants too many answers while it exchanges keys',
  storm: 'the jump host exchanges keys again and again',
};
/** RFC 4253 §11.1 */
const DISCONNECT_BY_APPLICATION = 11;

/** The counters for key exchanges that are given up. */
const EXCHANGE_LIMITS = {
  time: 'tunnel_ssh_exchange_time_limit_total',
  queue: 'tunnel_ssh_exchange_queue_limit_total',
  storm: 'tunnel_ssh_exchange_storm_limit_total',
} as const;

export interface LinkOptions {
  /** A client that has just authenticated over `socket`. */
  readonly client: Client;
  readonly socket: Duplex;
  /** Reads for `socket`, if that is a TCP socket; undefined: it emits what it reads. */
  readonly inbox?: Inbox | undefined;
  /** `host:port`, for messages. */
  readonly at: string;
  /** Default: KEEPALIVE. */
  readonly keepalive?: Keepalive | undefined;
  /** What earlier links have shown about the server. Default: nothing. */
  readonly answers?: ServerAnswers | undefined;
  /** Default: what the cipher allows. */
  readonly rekey?: RekeyLimits | undefined;
  readonly windows?: ReceiveWindowLimits | undefined;
  /** Default: true. See flushtiming.ts. */
  readonly flush?: boolean;
  readonly observer: Observer;
}

export class Ssh2Link implements Transport, Probing, Loaded {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #socket: Duplex;
  readonly #at: string;
  readonly #observer: Observer;
  readonly #protocol: SshProtocol;
  readonly #outbox: Outbox;
  readonly #multiplexer: Multiplexer;
  readonly #windows: ReceiveWindows;
  readonly #rekeying: Rekeying;
  readonly #answers: ServerAnswers;
  readonly #liveness: LivenessProbe;
  /** undefined: the server doesn't delay what it sends, or --no-flush was given. */
  readonly #flusher: Flusher | undefined;
  readonly #acknowledger: Acknowledger;
  /** The method of the first key exchange; undefined: another has replaced it. */
  #kex: string | undefined;
  #closing = false;
  /** As Probing has it. */
  roundTripMs: number | undefined;
  /** Bytes received since the round trip was last measured. */
  #unmeasured = 0;
  #cause: SshError | undefined;
  #end: { readonly error: TunnelError | undefined } | undefined;

  constructor(options: LinkOptions) {
    const { client, socket, inbox, observer } = options;
    this.#socket = socket;
    this.#at = options.at;
    this.#observer = observer;
    this.#protocol = protocolOf(client);
    this.#kex = this.#protocol._kex?.negotiated.kex;
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
      onSent: (bytes, blocked) => {
        this.#rekeying.count(bytes);
        unsent.sent(bytes, blocked);
        this.#flusher?.sent(bytes);
        this.#acknowledger.sent();
      },
      onOverflow: () => {
        observer.count('tunnel_ssh_backlog_limit_total');
        this.#failed(new Error('it does not read what it is sent'));
      },
    });
    writePacketsTo(this.#protocol, this.#outbox);
    this.#multiplexer = new Multiplexer({
      protocol: this.#protocol,
      outbox: this.#outbox,
      inbox,
      windows: this.#windows,
      observer,
    });
    deliverChannelDataTo(this.#protocol, this.#multiplexer.received);
    const { keepalive = KEEPALIVE, answers = noAnswersYet() } = options;
    this.#answers = answers;
    this.#liveness = new LivenessProbe({
      keepalive,
      answers,
      expected: knownToAnswer(serverSoftwareOf(client)),
      ask: () => this.#protocol.ping(),
      limited: () => observer.count('tunnel_unanswered_limit_total'),
      nudge: () => {
        // Keys are exchanged within a limited time (rekey.ts), and that sends enough.
        if (!isExchangingKeys(this.#protocol)) sendIgnore(this.#protocol);
      },
      acknowledged: () => acknowledgedBytes(socket),
      unanswering: () => {
        const seconds =
          acknowledgedBytes(socket) === undefined
            ? undefined
            : keepalive.interval * keepalive.count;
        tellUnanswering({ at: this.#at, answers, seconds, observer });
      },
      lost: () => this.#failed(keepaliveTimeout()),
      measured: (milliseconds) => {
        this.roundTripMs = milliseconds;
        this.#windows.roundTrip(milliseconds);
        this.#flusher?.roundTrip(milliseconds);
      },
      unmeasured: () => this.#windows.roundPassed(),
    });
    if ((options.flush ?? true) && leavesNagleOn(serverSoftwareOf(client)))
      this.#flusher = new Flusher({
        protocol: this.#protocol,
        liveness: this.#liveness,
        at: this.#at,
        observer,
      });
    Object.assign(this.#protocol._handlers, {
      REQUEST_SUCCESS: () => this.#answered(),
      REQUEST_FAILURE: () => this.#answered(),
    });
    client.on('error', (error: SshError) => this.#failed(error));
    client.on('handshake', ({ kex }) => {
      this.#tellChange(kex);
      // After a key exchange there is a new cipher, and waiting data may be sent.
      this.#rekeying.renewed();
      writePacketsTo(this.#protocol, this.#outbox);
      deliverChannelDataTo(this.#protocol, this.#multiplexer.received);
      this.#multiplexer.run();
    });
    // From here on we pass to ssh2 what is received. Its own 'data' listener may still be running:
    // it handles the rest of the current chunk.
    socket.removeAllListeners('data');
    if (inbox === undefined)
      socket.on('data', (chunk: Buffer) => this.#received(chunk, 0, chunk.length));
    else inbox.open(this.#protocol, (chunk, start, end) => this.#received(chunk, start, end));
    socket.once('end', () => this.#inputEnded());
    this.ended = new Promise((resolve) => {
      client.once('close', () => resolve(this.#closed()));
    });
  }

  get channels(): number {
    return this.#end === undefined ? this.#multiplexer.channels : 0;
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
            reject(this.#end === undefined ? openError(destination, result) : this.#goneError());
          else if (waiting) resolve(result);
          else result.abort(undefined);
        },
      );
    });
  }

  /** What the connection has shown so far. */
  get observed(): Pick<Established, 'sendWindow' | 'receiveWindow' | 'answersRequests'> {
    return {
      sendWindow: this.#multiplexer.sendWindow,
      receiveWindow: this.#windows.maxWindow,
      answersRequests: this.#answers.seen,
    };
  }

  get load(): Load {
    return {
      windowBytes: this.#windows.taken,
      windowBudget: this.#windows.budget,
      unsentBytes: this.#outbox.unsent,
      sendingChannels: this.#multiplexer.sending,
    };
  }

  /**
   * Asks the server for an answer. Resolves to whether it sends anything within `milliseconds`; for
   * a server that answers nothing, as LivenessProbe.probe does.
   */
  probe(milliseconds: number, load = 0): Promise<boolean> {
    if (load > 0 && this.#end === undefined && !isExchangingKeys(this.#protocol))
      sendIgnore(this.#protocol, load);
    return this.#end === undefined ? this.#liveness.probe(milliseconds) : Promise.resolve(false);
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
    if (this.#closing || this.#end !== undefined || this.#socket.destroyed) throw this.#goneError();
    if (this.#multiplexer.channels < MAX_CHANNELS) return;
    this.#observer.count('tunnel_channel_limit_total');
    throw new BusyError(`${host}:${port}: ${MAX_CHANNELS} channels are open, which is the limit`, {
      hint: 'close some connections first',
    });
  }

  #goneError(): LinkGoneError {
    const cause = this.#end?.error ?? (this.#cause && linkLostError(this.#at, this.#cause));
    return new LinkGoneError(`the connection to ${this.#at} is gone`, { cause });
  }

  #received(chunk: Buffer, start: number, end: number): void {
    this.#liveness.received();
    this.#unmeasured += end - start;
    this.#flusher?.received(end - start);
    if (this.#unmeasured >= BULK_BYTES) {
      this.#unmeasured = 0;
      this.#liveness.measure();
    }
    if (this.#cause !== undefined || this.#socket.destroyed) return;
    try {
      this.#protocol.parse(chunk, start, end);
      this.#rekeying.count(end - start);
    } catch (error) {
      this.#failed(error instanceof Error ? error : new Error(String(error)));
    }
    // At a DISCONNECT ssh2 only ends our half of the connection, without an event.
    if (this.#socket.writableEnded) this.#inputEnded();
    // Without a channel only answers to keepalives come.
    if (this.#multiplexer.channels > 0) this.#acknowledger.received(end - start);
  }

  /** What was said to protect the link no longer does. Said once for each link. */
  #tellChange(kex: string): void {
    if (this.#kex === undefined || kex === this.#kex) return;
    this.#observer.log(
      'warning',
      `${this.#at} has exchanged keys again, by ${kex} instead of ${this.#kex}`,
    );
    this.#kex = undefined;
  }

  #answered(): void {
    this.#liveness.answered();
    this.#flusher?.answered();
  }

  #failed(error: SshError): void {
    this.#cause ??= error;
    // ssh2 only half-closes after an error, but the rest of the connection is of no use.
    this.#socket.destroy();
  }

  /** The server sends nothing more. */
  #inputEnded(): void {
    if (!this.#closing) this.#socket.destroy();
  }

  #closed(): TunnelError | undefined {
    const error = this.#closing ? undefined : linkLostError(this.#at, this.#cause);
    this.#end = { error };
    this.#liveness.stop();
    this.#rekeying.stop();
    this.#flusher?.stop();
    this.#multiplexer.end({ reason: 0, text: 'the connection is gone' });
    this.#endChannels(error);
    return error;
  }

  #endChannels(error: TunnelError | undefined): void {
    for (const channel of [...this.#multiplexer.confirmedChannels]) channel.lost(error);
  }
}

function keepaliveTimeout(): SshError {
  return Object.assign(new Error('Keepalive timeout'), { level: 'client-timeout' });
}
