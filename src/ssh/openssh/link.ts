/**
 * A running ssh as a Transport.
 *
 *   connect() -> admitted -> waits its turn (GREETING_LIMIT) -> socket -> SOCKS5 request
 *        -> answered: FlowStream
 *        -> closed: the log says why (log.ts)
 *
 * States: up -> closing (close() was called) -> ended, or up -> ended (lost). A server that no
 * longer answers is noticed by serverlife.ts, and ssh is then ended. The link ends when ssh exits:
 * `ended` resolves once everything that ssh wrote has been read, every flow has been destroyed and
 * every waiting connect() has been rejected.
 *
 * A channel counts towards the limit from the request until ssh has freed it. An aborted connect()
 * closes its socket, but its channel still counts until it opens and ssh closes it.
 */
import { Socket } from 'node:net';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { within } from '../../base/within.ts';
import { TunnelError } from '../../errors/errors.ts';
import type { Conduit } from '../../flow/conduit.ts';
import { ConnectError, type ConnectOptions, LinkGoneError } from '../../flow/connector.ts';
import { StreamConduit } from '../../flow/streamconduit.ts';
import { canonicalAddress, isAddress } from '../../net/address.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import { bytesRead } from '../../system/process.ts';
import { retransmits } from '../../system/tcptable.ts';
import { knownToAnswer, type ServerAnswers, tellUnanswering } from '../answers.ts';
import type { Describable, Established } from '../established.ts';
import { MAX_CHANNELS } from '../limits.ts';
import { OPEN_FAILURE, openFailure } from '../openfailure.ts';
import type { PrivateDirectory } from '../privatedirectory.ts';
import { serverText } from '../servertext.ts';
import type { SshSettings } from '../settings.ts';
import type { Probing, Transport } from '../transport.ts';
import { linkLostError, serverSilentError } from './errors.ts';
import { type FlowOwner, FlowStream } from './flowstream.ts';
import type { SshLog } from './log.ts';
import type { Exit, SshProcess } from './process.ts';
import { type FlowBytes, ServerLife } from './serverlife.ts';
import { socksDialogue } from './socksdialogue.ts';

/**
 * How many connections may wait for ssh to accept them. Its listen(2) backlog is 64; beyond that,
 * connect() fails with EAGAIN.
 */
const GREETING_LIMIT = 32;
/** sshd takes about 130 s to give up on an address that doesn't answer; a name may have several. */
export const OPEN_TIMEOUT_MS = 150_000;
/**
 * ssh writes the reason before it closes the socket, so this matters only on a very busy machine.
 */
const REASON_TIMEOUT_MS = 1_000;
/** What ssh says itself on each SOCKS socket: how to authenticate. */
const GREETING_BYTES = 2;
/** The guard looks once a second. */
const GUARD_MS = 1_000;
/** SOCKS5 encodes the length of a name in one octet. */
const MAX_NAME_OCTETS = 255;
/**
 * The destination that a probe asks for. Nobody can listen on port 0, so the server refuses it
 * whatever it permits otherwise.
 */
const PROBED: Destination = { host: '127.0.0.1', port: 0 };

export interface LinkOptions {
  readonly process: SshProcess;
  readonly log: SshLog;
  readonly directory: PrivateDirectory;
  /**
   * The last lines that ssh and its child processes have written to stderr since the link came up.
   * The server's banner is not among them.
   */
  readonly stderrLines: readonly string[];
  /** `host:port`, for messages. */
  readonly at: string;
  /** What was known when the connection came up. */
  readonly established: Established;
  readonly observer: Observer;
  /**
   * How its silence is judged. undefined: ssh does that. `custom`: the process is the user's own
   * command, and what its ssh has read is in the log.
   */
  readonly life:
    | (Pick<SshSettings, 'keepalive' | 'port'> & {
        readonly answers: ServerAnswers;
        readonly custom: boolean;
      })
    | undefined;
}

/** A connect() in progress. */
class FlowOpening {
  readonly destination: Destination;
  readonly key: string;
  readonly socket = new Socket({ allowHalfOpen: true });
  #over = false;
  #reason: string | undefined;
  #wake: (() => void) | undefined;

  constructor(destination: Destination) {
    this.destination = destination;
    this.key = keyOf(destination.host, destination.port);
    this.socket.on('error', () => {
      // 'close' follows.
    });
  }

  /** Nobody is waiting for it any more, or the link has ended. */
  get over(): boolean {
    return this.#over;
  }

  get hasReason(): boolean {
    return this.#reason !== undefined;
  }

  refuse(reason: string): void {
    this.#reason = reason;
    this.#wake?.();
  }

  /** If it succeeded, the socket now belongs to the flow. */
  end(succeeded: boolean): void {
    this.#over = true;
    if (!succeeded) this.socket.destroy();
    this.#wake?.();
  }

  /** Why ssh refused it; undefined if ssh doesn't say so in time. */
  async reason(): Promise<string | undefined> {
    if (this.#reason === undefined && !this.#over) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, REASON_TIMEOUT_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#reason;
  }
}

export class OpensshLink implements Transport, Probing, Describable, FlowOwner {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #options: LinkOptions;
  readonly #flows = new Set<FlowStream>();
  readonly #openings = new Set<FlowOpening>();
  #greetings = 0;
  readonly #turns: (() => void)[] = [];
  /** All sockets that are open to ssh, and what those have carried that are not any more. */
  readonly #sockets = new Set<Socket>();
  #past = { written: 0, received: 0, ends: 0 };
  readonly #life: ServerLife | undefined;
  /** Why the server was given up. */
  #silence: TunnelError | undefined;
  #closing = false;
  #end: { readonly error: TunnelError | undefined } | undefined;
  #fate: Promise<TunnelError | undefined> | undefined;

  /** Construct it only after ssh's SOCKS socket has accepted a connection. */
  constructor(options: LinkOptions) {
    this.#options = options;
    this.ended = options.process.exited.then((exit) => this.#exited(exit));
    this.#life = options.life && this.#judge(options.life);
  }

  describe(): Established {
    return this.#options.established;
  }

  get channels(): number {
    return this.#end === undefined ? this.#options.log.channels : 0;
  }

  async connect(destination: Destination, options: ConnectOptions = {}): Promise<Conduit> {
    const { signal } = options;
    signal?.throwIfAborted();
    this.#admit(destination);
    const opening = this.#begin(destination);
    let succeeded = false;
    try {
      await within({ signal }, () => this.#open(opening));
      const flow = new FlowStream(opening.socket, this);
      this.#flows.add(flow);
      succeeded = true;
      return new StreamConduit(flow);
    } finally {
      this.#openings.delete(opening);
      opening.end(succeeded);
    }
  }

  async close(): Promise<void> {
    if (!this.#closing && this.#end === undefined) {
      this.#closing = true;
      this.#destroyFlows(
        new TunnelError('link-closed', `the connection to ${this.#options.at} was closed`),
      );
      await this.#options.process.end();
    }
    await this.ended;
  }

  /**
   * We can't make ssh send the server a keepalive, so we ask for a channel that can't be opened:
   * the refusal is the answer. This opening counts like any other, but MAX_CHANNELS doesn't block
   * it.
   */
  async probe(milliseconds: number): Promise<boolean> {
    if (this.#closing || this.#end !== undefined) return false;
    const opening = this.#begin(PROBED);
    const late = new AbortController();
    try {
      return await Promise.race([
        this.#open(opening).then(
          () => true,
          (error: unknown) => !(error instanceof LinkGoneError),
        ),
        // Once it is aborted, nobody waits for this result.
        delay(milliseconds, false, { signal: late.signal }).catch(() => false),
      ]);
    } finally {
      late.abort();
      this.#openings.delete(opening);
      opening.end(false);
    }
  }

  /** Called when log.ts finds a refused channel in the log. */
  refused(host: string, port: number, reason: string): void {
    const key = keyOf(host, port);
    const waiting = [...this.#openings].filter((opening) => opening.key === key);
    (waiting.find((opening) => !opening.hasReason) ?? waiting.at(-1))?.refuse(reason);
  }

  /**
   * ssh writes to its log before it closes a socket, and the kernel marks a dying process before it
   * closes the process's sockets. The unread log fits in a pipe (64 KiB), which the event loop
   * reads within one turn. So after two turns, everything written before this call has been read.
   * All calls within one turn share one answer.
   */
  fate(): Promise<TunnelError | undefined> {
    if (this.#end !== undefined) return Promise.resolve(this.#end.error);
    this.#fate ??= (async () => {
      await turn();
      this.#fate = undefined;
      await turn();
      if (this.#options.log.ending || !this.#options.process.alive) return this.ended;
      return undefined;
    })();
    return this.#fate;
  }

  released(flow: FlowStream): void {
    this.#flows.delete(flow);
  }

  /** Looks after the server's silence, which ends the link. */
  #judge({ keepalive, port, answers, custom }: NonNullable<LinkOptions['life']>): ServerLife {
    const { process, log, at, observer } = this.#options;
    const ssh = (): number | undefined => (custom ? log.told?.pid : process.pid);
    const stuck = (): boolean | undefined => {
      const pid = ssh();
      return pid === undefined ? undefined : retransmits(pid, port);
    };
    const read = (): number | undefined =>
      custom || process.pid === undefined ? log.told?.bytesRead : bytesRead(process.pid);
    return new ServerLife({
      keepalive,
      answers,
      expected: knownToAnswer(log.serverSoftware),
      read,
      flows: () => this.#flowBytes(),
      stuck,
      ask: () => this.probe(OPEN_TIMEOUT_MS - 1_000),
      unanswering: () => {
        const seconds = stuck() === undefined ? undefined : keepalive.interval * keepalive.count;
        tellUnanswering({ at, answers, seconds, observer });
      },
      limited: () => observer.count('tunnel_unanswered_limit_total'),
      lost: (why) => {
        this.#silence = serverSilentError(at, why);
        void process.end();
      },
      delay: custom ? GUARD_MS : 0,
    });
  }

  #flowBytes(): FlowBytes {
    let { written, received } = this.#past;
    let waiting = false;
    for (const socket of this.#sockets) {
      written += socket.bytesWritten ?? 0;
      received += fromServer(socket);
      waiting ||= socket.writableLength > 0;
    }
    return { written, received, waiting, ends: this.#past.ends };
  }

  #begin(destination: Destination): FlowOpening {
    const opening = new FlowOpening(destination);
    const { socket } = opening;
    this.#openings.add(opening);
    this.#sockets.add(socket);
    socket.once('end', () => {
      this.#past.ends++;
    });
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#past.written += socket.bytesWritten ?? 0;
      this.#past.received += fromServer(socket);
      this.#past.ends++;
    });
    return opening;
  }

  /** Throws ConnectError if no channel can be opened now. */
  #admit(destination: Destination): void {
    const to = formatDestination(destination);
    if (this.#closing || this.#end !== undefined) throw this.#gone();
    if (Buffer.byteLength(destination.host) > MAX_NAME_OCTETS)
      throw new ConnectError(
        'unreachable',
        `${to}: the name has more than ${MAX_NAME_OCTETS} octets`,
      );
    const open = this.#flows.size + this.#openings.size;
    if (Math.max(open, this.#options.log.channels) < MAX_CHANNELS) return;
    this.#options.observer.count('tunnel_channel_limit_total');
    throw new ConnectError(
      'refused',
      `${to}: ${MAX_CHANNELS} channels are open, which is the limit`,
      {
        hint: 'close some connections first',
      },
    );
  }

  async #open(opening: FlowOpening): Promise<void> {
    const { destination, socket } = opening;
    await this.#greetingTurn();
    let greeting = true;
    const greeted = (): void => {
      if (greeting) this.#greeted();
      greeting = false;
    };
    const started = performance.now();
    try {
      if (opening.over) throw this.#gone();
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('close', () => reject(new Error('ssh closed its SOCKS socket')));
        socket.connect(this.#options.directory.socks);
      });
      await socksDialogue(socket, { destination, timeout: OPEN_TIMEOUT_MS, onGreeted: greeted });
    } catch (cause) {
      throw await this.#failure(opening, performance.now() - started, cause);
    } finally {
      greeted();
    }
    // The link may have ended in the meantime.
    if (opening.over) throw this.#gone();
  }

  /** Why ssh closed the socket of a flow instead of answering. */
  async #failure(opening: FlowOpening, elapsed: number, cause: unknown): Promise<ConnectError> {
    const lost = await this.fate();
    if (lost !== undefined || opening.over) return this.#gone();
    const to = formatDestination(opening.destination);
    if (elapsed >= OPEN_TIMEOUT_MS)
      return new ConnectError('timeout', `${to}: no answer within ${OPEN_TIMEOUT_MS / 1000} s`, {
        cause,
      });
    const reason = await opening.reason();
    if (reason !== undefined) return refusal(opening.destination, reason);
    if (opening.over) return this.#gone();
    this.#options.observer.count('tunnel_open_reason_missing_total');
    return new ConnectError('refused', `${to}: ssh closed the flow without saying why`, { cause });
  }

  async #greetingTurn(): Promise<void> {
    if (this.#greetings >= GREETING_LIMIT)
      await new Promise<void>((resolve) => this.#turns.push(resolve));
    else this.#greetings++;
  }

  /** Gives the turn to the next opening. */
  #greeted(): void {
    const next = this.#turns.shift();
    if (next === undefined) this.#greetings--;
    else next();
  }

  #gone(): LinkGoneError {
    const cause = this.#end?.error;
    return new LinkGoneError(`the connection to ${this.#options.at} is gone`, { cause });
  }

  #exited(exit: Exit): TunnelError | undefined {
    const { at, log, stderrLines, directory } = this.#options;
    this.#life?.stop();
    const error = this.#closing
      ? undefined
      : (this.#silence ?? linkLostError(at, log.kept, stderrLines, exit));
    this.#end = { error };
    directory.remove();
    this.#destroyFlows(error);
    return error;
  }

  #destroyFlows(error: TunnelError | undefined): void {
    for (const flow of this.#flows) flow.destroy(error);
    for (const opening of this.#openings) opening.end(false);
  }
}

/** How much of what a socket has received can only come from the server. */
function fromServer(socket: Socket): number {
  return Math.max(0, socket.bytesRead - GREETING_BYTES);
}

/** A key that is the same for a destination in ssh's log and for a `Destination`. */
function keyOf(host: string, port: number): string {
  return `${isAddress(host) ? canonicalAddress(host) : host} ${port}`;
}

/** The codes of RFC 4254 §5.1 by ssh's texts for them (reason2txt). */
const REASONS: Readonly<Record<string, number>> = {
  'administratively prohibited': OPEN_FAILURE.prohibited,
  'connect failed': OPEN_FAILURE.connectFailed,
  'unknown channel type': OPEN_FAILURE.unknownChannelType,
  'resource shortage': OPEN_FAILURE.resourceShortage,
};

function refusal(destination: Destination, text: string): ConnectError {
  const [, reason = '', words = ''] = /^([a-z ]+)(?:: (.*))?$/.exec(text) ?? [];
  return openFailure(destination, REASONS[reason], serverText(words));
}
