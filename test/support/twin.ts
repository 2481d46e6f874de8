/**
 * A Transport in memory: destinations do what the test says, nothing touches the network. It passes
 * the same contract suite as the real ones, so what works with it works with them.
 *
 *   const twin = new TwinTransport();
 *   twin.serve('10.0.0.5:80', (far) => far.pipe(far));      far: the far side's end of the flow
 *   twin.refuse('10.0.0.5:81', 'prohibited');
 *   twin.hang('10.0.0.5:82');                               answers when the returned function is
 *                                                           called
 *   twin.lose();                                            the link is gone
 */
import { Duplex } from 'node:stream';
import { TunnelError } from '../../src/errors/errors.ts';
import { ConnectError, type ConnectOptions, LinkGoneError } from '../../src/flow/connector.ts';
import { StreamConduit } from '../../src/flow/streamconduit.ts';
import type { Destination } from '../../src/net/destination.ts';
import type { Refusal } from '../../src/net/refusal.ts';
import type { Transport } from '../../src/ssh/transport.ts';

export type FarHandler = (far: TwinStream, destination: Destination) => void;

type Behaviour = (destination: Destination) => Promise<FarHandler>;

/** The size of one end's buffer for a reader that doesn't read. */
const WINDOW = 64 * 1024;

export class TwinTransport implements Transport {
  readonly ended: Promise<TunnelError | undefined>;
  /** In the order of the calls, including aborted and refused ones. */
  readonly requested: {
    readonly destination: Destination;
    readonly originator: Destination | undefined;
  }[] = [];
  readonly #behaviours = new Map<string, Behaviour>();
  readonly #streams = new Set<TwinStream>();
  readonly #waiting = new Set<(error: Error) => void>();
  #resolveEnded: (error: TunnelError | undefined) => void = () => {};
  #gone: Error | undefined;

  constructor() {
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  get channels(): number {
    return this.#streams.size;
  }

  /**
   * `at`: `host:port`, `[v6]:port`, or `*` for all other destinations. Destinations without a rule
   * are refused.
   */
  serve(at: string, handler: FarHandler): void {
    this.#behaviours.set(at, async () => handler);
  }

  refuse(at: string, refusal: Refusal, message = `the twin says ${refusal}`): void {
    this.#behaviours.set(at, async () => {
      throw new ConnectError(refusal, message);
    });
  }

  /** Returns a function that passes all waiting and later connects to `handler`. */
  hang(at: string, handler: FarHandler = () => {}): () => void {
    let answer: (handler: FarHandler) => void = () => {};
    const answered = new Promise<FarHandler>((resolve) => {
      answer = resolve;
    });
    this.#behaviours.set(at, () => answered);
    return () => answer(handler);
  }

  /** The flows that are open at the near end. */
  get flows(): number {
    return this.#streams.size;
  }

  connect(
    destination: Destination,
    { signal, originator }: ConnectOptions = {},
  ): Promise<StreamConduit> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      this.requested.push({ destination, originator });
      if (this.#gone !== undefined) throw goneError(this.#gone);
      const abort = (): void => settle(() => reject(signal?.reason));
      const lost = (error: Error): void => settle(() => reject(goneError(error)));
      let settled = false;
      const settle = (then: () => void): void => {
        if (settled) return;
        settled = true;
        signal?.removeEventListener('abort', abort);
        this.#waiting.delete(lost);
        then();
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.add(lost);
      this.#behaviour(destination)(destination).then(
        (handler) => {
          const [near, far] = TwinStream.pair();
          for (const end of [near, far]) {
            end.on('error', () => {
              // The near end follows the contract. The far end is the test's; a test that doesn't
              // listen for errors must not end the process.
            });
          }
          handler(far, destination);
          // A flow that opens after its abort is closed at once, as over SSH.
          if (settled) near.destroy();
          settle(() => {
            this.#streams.add(near);
            near.once('close', () => this.#streams.delete(near));
            resolve(new StreamConduit(near));
          });
        },
        (error: unknown) => settle(() => reject(error)),
      );
    });
  }

  /** The link drops. */
  lose(error: TunnelError = new TunnelError('link-lost', 'the twin lost its link')): void {
    this.#end(error, error);
  }

  async close(): Promise<void> {
    this.#end(new TunnelError('link-closed', 'the twin was closed'), undefined);
    await this.ended;
  }

  #end(reason: TunnelError, result: TunnelError | undefined): void {
    if (this.#gone !== undefined) return;
    this.#gone = reason;
    for (const stream of this.#streams) stream.destroy(reason);
    for (const reject of [...this.#waiting]) reject(reason);
    this.#resolveEnded(result);
  }

  #behaviour({ host, port }: Destination): Behaviour {
    const at = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    const refused: Behaviour = async () => {
      throw new ConnectError('refused', `${at}: Connection refused`);
    };
    return this.#behaviours.get(at) ?? this.#behaviours.get('*') ?? refused;
  }
}

function goneError(cause: Error): LinkGoneError {
  return new LinkGoneError('the twin has no link', { cause });
}

/** One end of a pair: what is written at one end is read at the other. */
export class TwinStream extends Duplex {
  #peer: TwinStream | undefined;
  /** The peer's write that waits until this end is read. */
  #release: ((error?: Error | null) => void) | undefined;
  #ended = false;

  static pair(): [TwinStream, TwinStream] {
    const near = new TwinStream({ allowHalfOpen: true, highWaterMark: WINDOW });
    const far = new TwinStream({ allowHalfOpen: true, highWaterMark: WINDOW });
    near.#peer = far;
    far.#peer = near;
    return [near, far];
  }

  /** An abortive close: the other end is destroyed with ECONNRESET. */
  reset(): void {
    this.destroy();
  }

  override _read(): void {
    const release = this.#release;
    this.#release = undefined;
    release?.();
  }

  override _write(
    chunk: Buffer,
    _encoding: string,
    callback: (error?: Error | null) => void,
  ): void {
    const peer = this.#peer;
    if (peer === undefined || peer.destroyed) callback();
    else if (peer.push(chunk)) setImmediate(callback);
    else peer.#release = callback;
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#ended = true;
    const peer = this.#peer;
    if (peer !== undefined && !peer.destroyed) peer.push(null);
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const peer = this.#peer;
    const release = this.#release;
    this.#release = undefined;
    // The peer's waiting write is called back: its bytes are lost, like those in a closed socket's
    // buffers.
    if (release !== undefined) setImmediate(release);
    const inOrder = this.#ended && this.readableEnded;
    if (peer !== undefined && !peer.destroyed && !inOrder) {
      const reset = Object.assign(new Error('the other end closed the flow'), {
        code: 'ECONNRESET',
      });
      setImmediate(() => peer.destroy(reset));
    }
    callback(error);
  }
}
