/**
 * The embedded transport: SSH spoken by the ssh2 library over a socket of our own. This file brings a connection up;
 * link.ts is the connection once it is up, channelstream.ts one flow in it.
 *
 *   addresses, in order -> TCP -> identification -> key exchange -> host key -> authentication -> Ssh2Link
 *                          `--------- connectTimeout, for each address --------'  `- authTimeout -'
 *
 * What fails with a jumphost-* code belongs to one address, and the next is tried. A host key that is not accepted, and
 * an authentication that fails, end the attempt: another address would not make them better, and servers penalise
 * repetition. The host key is checked in ssh2's hostVerifier: before key exchange completes, so before the service
 * request, the user's name or anything else that follows it is sent.
 *
 * The socket is ours and is handed to ssh2 connected, so that errors of TCP are told from those of SSH; the first bytes
 * are looked at in passing, to say what a port that doesn't speak SSH says instead.
 */
import { connect, type Socket } from 'node:net';
import ssh2, { type Client } from 'ssh2';
import { TunnelError } from '../../errors.ts';
import { formatDestination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import type { HostKeyVerifier } from '../hostkeys.ts';
import type { RemoteAddress } from '../resolve.ts';
import type { Transport } from '../transport.ts';
import { offeredAlgorithms } from './algorithms.ts';
import type { Authentication, Authenticator } from './authentication.ts';
import {
  closedError,
  handshakeError,
  noIdentificationError,
  type SshError,
  tcpError,
  timeoutError,
} from './errors.ts';
import { hostKeyCheck } from './hostkeycheck.ts';
import { Inbox } from './inbox.ts';
import { protocolOf } from './internals.ts';
import { Ssh2Link } from './link.ts';
import { KEEPALIVE, type Keepalive } from './pulse.ts';
import { serverLines, serverText } from './servertext.ts';

export interface DialOptions {
  /** The jump host's addresses (IP), tried in order. At least one. */
  readonly addresses: readonly RemoteAddress[];
  /** As the user wrote it: known_hosts is searched for it. */
  readonly hostName: string;
  readonly port: number;
  readonly user: string;
  readonly hostKeys: HostKeyVerifier;
  readonly authenticator: Authenticator;
  /** Seconds for TCP and key exchange, each address. */
  readonly connectTimeout: number;
  /** Seconds for authentication, prompts not counted. */
  readonly authTimeout: number;
  /** Default: KEEPALIVE. */
  readonly keepalive?: Keepalive;
  readonly observer: Observer;
  readonly signal?: AbortSignal;
}

/**
 * Rejects with a TunnelError: jumphost-refused, -unreachable, -timeout, -closed, -not-ssh, -no-common-algorithm;
 * host-key-unknown, -changed, -revoked; auth-failed, auth-timeout. Or with the signal's reason.
 */
export async function dialSsh2(options: DialOptions): Promise<Transport> {
  const failures: TunnelError[] = [];
  for (const address of options.addresses) {
    options.signal?.throwIfAborted();
    try {
      return await new Attempt(address, options).run();
    } catch (error) {
      if (!(error instanceof TunnelError) || !error.code.startsWith('jumphost-')) throw error;
      failures.push(error);
      options.observer.log('debug', error.message);
    }
  }
  throw summary(failures, options.hostName);
}

/** The errors from which a user learns most come first. */
const TELLING = [
  'jumphost-no-common-algorithm',
  'jumphost-not-ssh',
  'jumphost-closed',
  'jumphost-refused',
  'jumphost-timeout',
];

function summary(failures: readonly TunnelError[], hostName: string): TunnelError {
  const rank = ({ code }: TunnelError): number =>
    (TELLING.indexOf(code) + TELLING.length + 1) % (TELLING.length + 1);
  const [first, ...others] = [...failures].sort((a, b) => rank(a) - rank(b));
  if (first === undefined)
    return new TunnelError('jumphost-dns', `the jump host ${hostName} has no address`, {
      hint: 'check the name',
    });
  if (others.length === 0) return first;
  const message = failures.map((failure) => failure.message).join('; ');
  const { hint } = first;
  return new TunnelError(first.code, message, hint === undefined ? { cause: first } : { hint, cause: first });
}

type Phase = 'identification' | 'key exchange' | 'authentication';

/** One address, one connection. */
class Attempt {
  readonly #address: RemoteAddress;
  readonly #options: DialOptions;
  readonly #at: string;
  readonly #over = new AbortController();
  readonly #client: Client = new ssh2.Client();
  readonly #offers = new Map<string, string>();
  #authentication: Authentication | undefined;
  #hostKeyTypes: readonly string[] = [];
  #phase: Phase = 'identification';
  readonly #greeting = new FirstLine();
  #timer: PhaseTimer | undefined;

  constructor(address: RemoteAddress, options: DialOptions) {
    this.#address = address;
    this.#options = options;
    this.#at = formatDestination(address);
  }

  async run(): Promise<Transport> {
    const { signal, connectTimeout, hostKeys, authenticator, hostName, port, user } = this.#options;
    this.#hostKeyTypes = await hostKeys.preferredTypes(hostName, port);
    this.#authentication = await authenticator.begin({
      user,
      host: hostName,
      signal: this.#over.signal,
      onPrompt: this.#onPrompt,
    });
    const deadline = Date.now() + connectTimeout * 1000;
    const { socket, inbox } = await connectTcp(this.#address, connectTimeout, signal);
    try {
      return await this.#handshake(socket, inbox, Math.max(1, deadline - Date.now()));
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      this.#timer?.stop();
      this.#over.abort();
    }
  }

  /** Settles with the first thing that decides. After a failure the listeners stay, for errors that follow it. */
  #handshake(socket: Socket, inbox: Inbox, timeLeft: number): Promise<Transport> {
    const { observer, signal, authTimeout, connectTimeout, keepalive } = this.#options;
    const client = this.#client;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const abort = (): void => reject(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true, signal: this.#over.signal });
      this.#timer = new PhaseTimer(timeLeft, () =>
        reject(
          this.#phase === 'identification' && this.#greeting.text !== undefined
            ? noIdentificationError(this.#at, this.#greeting.text)
            : timeoutError(this.#at, connectTimeout, this.#phase),
        ),
      );
      socket.on('data', this.#greeting.listener);
      client.on('error', (error: SshError) => {
        reject(this.#translate(error));
      });
      client.on('close', () => reject(this.#closed()));
      client.on('banner', (text) => {
        for (const line of serverLines(text)) observer.log('notice', line === '' ? ' ' : line);
      });
      client.on('handshake', (negotiated) => {
        this.#phase = 'authentication';
        protocolOf(client)._debug = undefined;
        this.#timer?.stop();
        this.#timer = new PhaseTimer(authTimeout * 1000, () =>
          reject(
            new TunnelError(
              'auth-timeout',
              `${this.#at} did not decide about the login within ${authTimeout} s`,
              {
                hint: 'try again, or allow more time with --auth-timeout',
              },
            ),
          ),
        );
        const { kex, serverHostKey, cs } = negotiated;
        observer.log('debug', 'key exchange done', { kex, hostKey: serverHostKey, cipher: cs.cipher });
      });
      client.on('ready', () => {
        // The link takes over within this event: what the server says next may be in the same chunk of data.
        client.removeAllListeners();
        resolve(new Ssh2Link({ client, socket, inbox, at: this.#at, keepalive, observer }));
      });
      this.#start(socket, reject);
    });
  }

  /** The time that a person takes for an answer doesn't count. */
  readonly #onPrompt = (waiting: boolean): void => this.#timer?.pause(waiting);

  #start(socket: Socket, reject: (error: unknown) => void): void {
    const { hostName, port, hostKeys, user, observer } = this.#options;
    const client = this.#client;
    try {
      client.connect({
        sock: socket,
        username: user,
        algorithms: offeredAlgorithms(this.#hostKeyTypes),
        hostVerifier: hostKeyCheck({
          client,
          verifier: hostKeys,
          host: hostName,
          port,
          signal: this.#over.signal,
          onPrompt: this.#onPrompt,
          onRejected: reject,
        }),
        authHandler: () => this.#authentication?.next(),
        // Each phase has a timer of its own here.
        readyTimeout: 0,
        debug: (message) => this.#follow(message, observer),
      });
      this.#authentication?.watch(client, reject);
    } catch (error) {
      reject(error);
    }
  }

  /** ssh2 tells some things only in its debug messages. Detached when key exchange is done: it costs time. */
  #follow(message: string, observer: Observer): void {
    const offer = /^Handshake: \(remote\) ([^:]+): (.*)$/.exec(message);
    if (offer?.[1] !== undefined && offer[2] !== undefined) this.#offers.set(offer[1], offer[2]);
    else if (message.startsWith('Remote ident:')) this.#phase = 'key exchange';
    else if (message === 'Custom crypto binding available')
      observer.log('debug', 'ssh2 uses its native ciphers');
    else if (message === 'Custom crypto binding not available')
      observer.log('debug', 'ssh2 uses the ciphers of Node (its native ones were not built)');
  }

  #translate(error: SshError): TunnelError {
    if (this.#phase === 'identification') return noIdentificationError(this.#at, this.#greeting.text, error);
    if (this.#phase === 'key exchange') return handshakeError(this.#at, error, this.#offers);
    if (typeof error.code === 'number' && this.#authentication !== undefined)
      return this.#authentication.disconnected(serverText(error.message), error);
    return closedError(this.#at, this.#phase, error);
  }

  #closed(): TunnelError {
    if (this.#phase === 'identification') return noIdentificationError(this.#at, this.#greeting.text);
    return closedError(this.#at, this.#phase);
  }
}

async function connectTcp(
  address: RemoteAddress,
  timeout: number,
  signal: AbortSignal | undefined,
): Promise<{ socket: Socket; inbox: Inbox }> {
  const at = formatDestination(address);
  const inbox = new Inbox();
  const socket = connect({
    host: address.host,
    port: address.port,
    noDelay: true,
    // The types know a buffer only; a function that gives one for each read is documented as well (net.Socket's onread).
    onread: { buffer: inbox.space as unknown as Uint8Array, callback: inbox.received },
  });
  inbox.openEarly(socket);
  socket.setKeepAlive(true, KEEPALIVE.interval * 1000);
  try {
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => reject(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true });
      const timer = setTimeout(() => reject(timeoutError(at, timeout, 'TCP connection')), timeout * 1000);
      const settle = (then: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        then();
      };
      socket.once('connect', () => settle(resolve));
      socket.once('error', (error) => settle(() => reject(tcpError(at, error))));
    });
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return { socket, inbox };
}

/** The first line that a port sends, unless it is SSH's identification (RFC 4253 §4.2 lets other lines come before it). */
class FirstLine {
  static readonly #ENOUGH = 1024;
  #data = '';
  #ssh = false;

  readonly listener = (chunk: Buffer): void => {
    if (this.#ssh || this.#data.length >= FirstLine.#ENOUGH) return;
    this.#data += chunk.toString('latin1', 0, FirstLine.#ENOUGH);
    this.#ssh = /^SSH-(2\.0|1\.99)-/m.test(this.#data);
  };

  /** undefined: nothing came, or SSH. */
  get text(): string | undefined {
    if (this.#ssh || this.#data === '') return undefined;
    return serverText(this.#data.split('\n', 1)[0] ?? '', 120);
  }
}

/** Can be stopped while somebody is asked something. */
class PhaseTimer {
  readonly #expired: () => void;
  #left: number;
  #since = 0;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(milliseconds: number, expired: () => void) {
    this.#left = milliseconds;
    this.#expired = expired;
    this.pause(false);
  }

  pause(paused: boolean): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    if (paused) {
      this.#left -= Date.now() - this.#since;
    } else {
      this.#since = Date.now();
      this.#timer = setTimeout(this.#expired, Math.max(1, this.#left));
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#stopped = true;
  }
}
