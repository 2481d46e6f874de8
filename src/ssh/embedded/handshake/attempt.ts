/**
 * One SSH handshake over an existing byte stream (TCP, a channel of another connection, a program's
 * pipes):
 *
 *   stream -> identification -> key exchange -> host key -> authentication -> Ssh2Link
 *             `----------------- time ----------------'     `- authTimeout -'
 *
 * We open the stream and give it to ssh2 connected, so that its errors can be told from those of
 * SSH. We also look at its first bytes, to report what a port sends that doesn't speak SSH. The
 * host key is checked before key exchange completes: before the service request, the user's name or
 * anything else that follows is sent.
 *
 * The first event that decides settles an attempt. After a failure the stream is destroyed.
 */
import type { Duplex } from 'node:stream';
import type { Algorithms } from 'ssh2';
import { TunnelError } from '../../../errors/errors.ts';
import type { Level, Observer } from '../../../observe/observer.ts';
import type { ServerAnswers } from '../../answers.ts';
import { slowError, timeoutError } from '../../dial/tcp.ts';
import type { Established, NegotiatedAlgorithms, TrustedHostKey } from '../../established.ts';
import type { Role } from '../../hops.ts';
import type { HostKeyVerifier } from '../../hostkeys/verifier.ts';
import { MAX_SERVER_TEXT, ServerWords, serverText } from '../../servertext.ts';
import type { SshSettings } from '../../settings.ts';
import { type Progress, progressOf, tellProgress } from '../../startprogress.ts';
import type { Authentication, Authenticator } from '../auth/authenticator.ts';
import {
  breaksProtocol,
  closedError,
  exchangeFault,
  exchangesAgain,
  hostKeySkipped,
  noIdentificationError,
  protocolError,
  type SshError,
} from '../channels/errors.ts';
import type { Inbox } from '../channels/inbox.ts';
import { Ssh2Link } from '../channels/link.ts';
import type { ReceiveWindowLimits } from '../channels/receivewindow.ts';
import { FREE_EXCHANGES } from '../channels/rekey.ts';
import { awaitKem } from '../ssh2/awaitkem.ts';
import { awaitIdentification } from '../ssh2/identification.ts';
import { guardLogin, identificationOf, protocolOf } from '../ssh2/internals.ts';
import { Client, slownessOf } from '../ssh2/library.ts';
import { offeredAlgorithms } from './algorithms.ts';
import { FirstLine } from './firstline.ts';
import { hostKeyCheck } from './hostkeycheck.ts';
import { PhaseTimer } from './phasetimer.ts';
import { noCommonAlgorithm, offersCertificate, ServerOffer } from './serveroffer.ts';

/** What we need to talk to one SSH server: how to verify it, and how to log in. */
export interface Access {
  readonly hostKeys: HostKeyVerifier;
  readonly authenticator: Authenticator;
}

export interface AttemptOptions extends Access {
  /** Connected. Nothing has been read from it yet. */
  readonly stream: Duplex;
  /** Reads for `stream`, if that is a TCP connection of this program. */
  readonly inbox: Inbox | undefined;
  /** `host:port`, for messages. */
  readonly at: string;
  /** It is known that the server's machine has accepted the connection. */
  readonly accepted: boolean;
  readonly settings: SshSettings;
  /** For hints. */
  readonly role: Role;
  readonly observer: Observer;
  /** For messages about what takes long. Default: `notice`. */
  readonly progress?: Level | undefined;
  readonly windows?: ReceiveWindowLimits | undefined;
  /** What earlier links have shown about the server. */
  readonly answers?: ServerAnswers | undefined;
  /** For identification and key exchange: `seconds`, counted from `began` (performance.now()). */
  readonly time: { readonly began: number; readonly seconds: number };
  /**
   * Gets the text of each SSH_MSG_DEBUG (RFC 4253 §11.3), also after the handshake. Not sanitised.
   */
  readonly onDebugMessage: (text: string) => void;
  readonly signal: AbortSignal | undefined;
}

/** A connection that has just come up, and what its handshake has shown. */
export interface EstablishedLink {
  readonly link: Ssh2Link;
  readonly facts: Pick<Established, 'at' | 'software' | 'algorithms' | 'hostKey' | 'login'>;
}

/**
 * Rejects with a TunnelError: jumphost-timeout, -slow, -closed, -not-ssh, -no-common-algorithm,
 * -key-exchange; the stream's own error (jumphost-proxy); algorithms-unknown; host-key-*; auth-*.
 * Or with the signal's reason.
 */
export function establish(options: AttemptOptions): Promise<EstablishedLink> {
  return new ConnectionAttempt(options).run();
}

type Phase = 'identification' | 'key exchange' | 'authentication';

class ConnectionAttempt {
  readonly #options: AttemptOptions;
  readonly #over = new AbortController();
  readonly #client = new Client();
  readonly #serverOffer = new ServerOffer();
  readonly #greeting = new FirstLine();
  readonly #words: ServerWords;
  #algorithms: NegotiatedAlgorithms | undefined;
  #hostKey: TrustedHostKey | undefined;
  #authentication: Authentication | undefined;
  /** What the verifier took before the handshake, in ms: it doesn't count. */
  #asked = 0;
  #phase: Phase = 'identification';
  /** Key exchanges after the first. */
  #exchanges = 0;
  #ours: Algorithms = {};
  #timer: PhaseTimer | undefined;
  #progress: Progress | undefined;

  constructor(options: AttemptOptions) {
    this.#options = options;
    this.#words = new ServerWords(options.observer);
  }

  async run(): Promise<EstablishedLink> {
    const { hostKeys, authenticator, settings, stream, signal } = this.#options;
    try {
      const asked = performance.now();
      const preferred = await hostKeys.preferredTypes(settings.hostName, settings.port, signal);
      // KnownHostsCommand may have been asked.
      this.#asked = performance.now() - asked;
      this.#authentication = await authenticator.begin({
        user: settings.user,
        host: settings.name,
        onTheWay: this.#options.role === 'hop',
        signal: this.#over.signal,
        onPrompt: this.#pause,
        words: this.#words,
      });
      signal?.throwIfAborted();
      if (stream.destroyed) throw this.#closed();
      return await this.#handshake(preferred);
    } catch (error) {
      stream.destroy();
      throw error;
    } finally {
      this.#timer?.stop();
      this.#progress?.stop();
      this.#over.abort();
    }
  }

  /** ssh2 may still end a key exchange that was under way: nothing is to begin after that. */
  get #isOver(): boolean {
    return this.#over.signal.aborted || this.#options.signal?.aborted === true;
  }

  /** The time that a person takes to answer doesn't count. */
  readonly #pause = (waiting: boolean): void => {
    this.#timer?.pause(waiting);
    this.#progress?.pause(waiting);
  };

  #handshake(preferredTypes: readonly string[]): Promise<EstablishedLink> {
    const { at, accepted, observer, progress, signal } = this.#options;
    const { stream, inbox, settings, windows, answers } = this.#options;
    const { keepalive, rekey, flush } = settings;
    const client = this.#client;
    this.#progress = tellProgress({
      observer,
      level: progress,
      what: () =>
        progressOf({ phase: this.#phase, at, accepted, login: this.#authentication?.underWay }),
      // A ProxyCommand may be a program that asks for a password of its own.
      mayAsk: () => !accepted && this.#phase === 'identification',
    });
    return new Promise((resolve, reject) => {
      const abort = (): void => reject(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true, signal: this.#over.signal });
      this.#limitHandshake(reject);
      stream.on('data', this.#greeting.listener);
      stream.on('data', this.#serverOffer.listener);
      // A stream that allows half-open would wait for us to close it. Destroy it only after ssh2's
      // listeners have handled what came before the end.
      const onEnd = (): void => void setImmediate(() => stream.destroy());
      stream.once('end', onEnd);
      client.on('error', (error: SshError) => reject(this.#translate(error)));
      client.on('close', () => reject(this.#closed()));
      client.on('banner', (text) => {
        // With its name, or a line could pass for one of this program's own.
        for (const line of this.#words.lines(text))
          observer.log('notice', `${settings.name}: ${line}`);
      });
      client.on('handshake', (negotiated) => {
        if (this.#isOver) return;
        if (this.#phase === 'authentication') {
          this.#exchangedAgain(reject);
          return;
        }
        this.#phase = 'authentication';
        protocolOf(client)._debug = undefined;
        this.#limitAuthentication(reject);
        const { kex, serverHostKey, sc } = negotiated;
        const { cipher } = sc;
        this.#algorithms = {
          kex,
          kexOffered: this.#serverOffer.lists?.kex.map((name) => serverText(name)),
          hostKey: serverHostKey,
          cipher,
          slowness: slownessOf(cipher),
          mac: sc.mac === '' ? undefined : sc.mac,
        };
        observer.log('debug', 'key exchange done', { kex, hostKey: serverHostKey, cipher });
      });
      client.on('ready', () => {
        if (this.#isOver) return;
        // The link must take over during this event: the server's next message may be in the same
        // chunk of data.
        client.removeAllListeners();
        stream.off('end', onEnd);
        const link = new Ssh2Link({
          client,
          socket: stream,
          inbox,
          at,
          keepalive,
          answers,
          rekey,
          windows,
          flush,
          observer,
        });
        resolve({ link, facts: this.#facts() });
      });
      try {
        // ssh2 resumes the stream when it listens, which is when its ciphers have been compiled.
        this.#start(preferredTypes, reject);
      } catch (error) {
        reject(error);
      }
    });
  }

  /** The server may exchange keys again before the login is done. That gives it no more time. */
  #exchangedAgain(reject: (error: TunnelError) => void): void {
    if (++this.#exchanges <= FREE_EXCHANGES) return;
    const { at, observer } = this.#options;
    observer.count('tunnel_ssh_exchange_storm_limit_total');
    reject(exchangesAgain(at));
  }

  #facts(): EstablishedLink['facts'] {
    const { at, settings } = this.#options;
    return {
      at,
      software: serverText(identificationOf(this.#client)),
      algorithms: this.#algorithms,
      hostKey: this.#hostKey,
      login: this.#authentication?.login ?? {
        user: settings.user,
        permitted: [],
        accepted: [],
        keysOffered: 0,
      },
    };
  }

  #limitHandshake(reject: (error: TunnelError) => void): void {
    const { at, role, time } = this.#options;
    const remaining = time.seconds * 1000 - (performance.now() - time.began - this.#asked);
    this.#timer = new PhaseTimer(Math.max(1, remaining), () =>
      reject(
        this.#phase === 'identification' && this.#greeting.text !== undefined
          ? noIdentificationError(at, role, this.#greeting.text)
          : this.#timedOut(at, time.seconds),
      ),
    );
  }

  /** Until the server has sent something, a ProxyCommand may not even have reached it. */
  #timedOut(at: string, seconds: number): TunnelError {
    const reached = this.#options.accepted || this.#phase !== 'identification';
    return (reached ? slowError : timeoutError)(at, seconds, this.#phase);
  }

  #limitAuthentication(reject: (error: TunnelError) => void): void {
    const { at, settings } = this.#options;
    this.#timer?.stop();
    this.#timer = new PhaseTimer(settings.authTimeout * 1000, () =>
      reject(
        new TunnelError(
          'auth-timeout',
          `${at} did not decide about the login within ${settings.authTimeout} s`,
          { hint: 'try again, or allow more time with --auth-timeout' },
        ),
      ),
    );
  }

  #start(preferredTypes: readonly string[], reject: (error: unknown) => void): void {
    const { at, settings, hostKeys, observer, stream } = this.#options;
    const { hostName, port, user, algorithms } = settings;
    const client = this.#client;
    this.#ours = offeredAlgorithms({ preferredTypes, wanted: algorithms, observer });
    client.connect({
      sock: stream,
      username: user,
      algorithms: this.#ours,
      hostVerifier: hostKeyCheck({
        client,
        verifier: hostKeys,
        host: hostName,
        port,
        signal: this.#over.signal,
        onPrompt: this.#pause,
        certified: () => offersCertificate(this.#serverOffer.lists, algorithms.hostKeys),
        onAccepted: ({ described, why }) => {
          this.#hostKey = { key: described, why };
        },
        onRejected: reject,
        onFailed: (error) =>
          reject(this.#translate(error instanceof Error ? error : new Error(String(error)))),
      }),
      authHandler: () => this.#authentication?.next(),
      // Here each phase has its own timer.
      readyTimeout: 0,
      debug: (message) => this.#follow(message),
    });
    awaitIdentification(protocolOf(client));
    awaitKem(client);
    client.once(
      'handshake',
      guardLogin(protocolOf(client), () => hostKeySkipped(at)),
    );
    this.#authentication?.watch(client, reject);
  }

  /**
   * ssh2 reports some things only in debug messages. They are switched off when key exchange is
   * done, because they cost time.
   */
  #follow(message: string): void {
    const { onDebugMessage } = this.#options;
    const debugText = /^Debug output from server: (".*")$/s.exec(message);
    if (debugText?.[1] !== undefined) onDebugMessage(String(JSON.parse(debugText[1])));
    else if (message.startsWith('Remote ident:')) this.#phase = 'key exchange';
  }

  #translate(error: SshError): TunnelError {
    const { at, role } = this.#options;
    // The stream itself has already said what happened.
    if (error instanceof TunnelError) return error;
    if (this.#phase === 'identification') {
      return this.#greeting.begun && breaksProtocol(error)
        ? protocolError(at, 'its identification', error)
        : noIdentificationError(at, role, this.#greeting.text, error);
    }
    if (this.#phase === 'key exchange') return this.#exchangeError(error);
    if (typeof error.code === 'number' && this.#authentication !== undefined)
      return this.#authentication.disconnected(serverText(error.message, MAX_SERVER_TEXT), error);
    return breaksProtocol(error)
      ? protocolError(at, this.#phase, error)
      : closedError(at, this.#phase, error);
  }

  #exchangeError(error: SshError): TunnelError {
    const { at, role } = this.#options;
    const { lists } = this.#serverOffer;
    const lacking =
      /no matching /i.test(error.message) && lists !== undefined
        ? noCommonAlgorithm(at, role, this.#ours, lists, error)
        : undefined;
    const fault = lacking ?? exchangeFault(at, error);
    if (fault !== undefined) return fault;
    return breaksProtocol(error)
      ? protocolError(at, 'key exchange', error)
      : closedError(at, 'key exchange', error);
  }

  #closed(): TunnelError {
    const { at, role, stream } = this.#options;
    if (stream.errored instanceof TunnelError) return stream.errored;
    if (this.#phase === 'identification')
      return noIdentificationError(at, role, this.#greeting.text);
    return closedError(at, this.#phase);
  }
}
