/**
 * Capture by fixed forwards: a port or a Unix socket of this machine stands for one destination
 * behind the jump host, as with `ssh -L`. It needs no privileges, no device and no route.
 *
 *   client -> ForwardListener (listener.ts) -> ForwardRequest (request.ts) -> accept()
 *
 * A name as destination stays a name: the jump host resolves it. The client's connect succeeds at
 * once, because the kernel completes it; if the destination refuses, the connection is reset.
 *
 * The list may change while it runs:
 *
 *   change(list)  what is no longer on it listens no more, and its connections go on
 *                 what is new listens
 *
 * Each forward is by itself: one that can't listen keeps no other from listening. Whether that is
 * the end of the run is for the session to say.
 *
 * Limits: the clients of a forward, and of all together (places.ts). On close, all listeners close
 * first, then the connections are reset.
 */
import { PartStart } from '../../base/partstart.ts';
import { TunnelError } from '../../errors/errors.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Capture, Traffic } from '../capture.ts';
import { ForwardListener, type ListenPlace } from './listener.ts';
import { ForwardPlaces } from './places.ts';

/** A forward with all that decides where it listens. */
export interface OpenForward {
  readonly listen: ListenPlace;
  readonly destination: Destination;
  /** As it was written, for messages. */
  readonly text: string;
}

export interface ForwardCaptureOptions {
  /** At the start. */
  readonly forwards: readonly OpenForward[];
  readonly observer: Observer;
  /** How many descriptors this process may have (RLIMIT_NOFILE). */
  readonly descriptors: number;
}

/** A forward that can't listen. */
export interface ForwardFailure {
  readonly forward: OpenForward;
  readonly error: TunnelError;
}

export class ForwardCapture implements Capture {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #options: ForwardCaptureOptions;
  readonly #places: ForwardPlaces;
  readonly #starting = new PartStart();
  /** Those that listen, by what they are. */
  #listeners: ReadonlyMap<string, ForwardListener> = new Map();
  /** Those that do so no more, and have connections. */
  readonly #former = new Set<ForwardListener>();
  #failures: readonly ForwardFailure[] = [];
  #accept: Traffic['accept'] = () => {};
  #signal: AbortSignal | undefined;
  #end: (error: TunnelError | undefined) => void = () => {};
  #closing: Promise<void> | undefined;

  constructor(options: ForwardCaptureOptions) {
    this.#options = options;
    this.#places = new ForwardPlaces(options.descriptors);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** Those of the last start() or change() that can't listen. */
  get failures(): readonly ForwardFailure[] {
    return this.#failures;
  }

  /** Those that listen, as people read them: `127.0.0.1:8080 -> db.internal:5432`. */
  get addresses(): readonly string[] {
    return [...this.#listeners.values()].flatMap(({ addresses, destination }) =>
      addresses.map((address) => `${address} -> ${formatDestination(destination)}`),
    );
  }

  /** Resolves although some can't listen: see `failures`. */
  async start({ accept }: Traffic, signal: AbortSignal): Promise<void> {
    this.#accept = accept;
    this.#signal = signal;
    await this.change(this.#options.forwards);
  }

  /** After start(). Resolves although some can't listen: see `failures`. */
  change(forwards: readonly OpenForward[]): Promise<void> {
    const outer = this.#signal;
    if (outer === undefined) throw new TypeError('it has not been started');
    return this.#starting.run(outer, (signal) => this.#change(forwards, signal));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #change(forwards: readonly OpenForward[], signal: AbortSignal): Promise<void> {
    const wanted = new Map(forwards.map((forward) => [keyOf(forward), forward]));
    const listeners = new Map(this.#listeners);
    const failures: ForwardFailure[] = [];
    this.#failures = failures;
    this.#listeners = listeners;
    for (const [key, listener] of listeners) {
      if (wanted.has(key)) continue;
      listeners.delete(key);
      this.#retire(listener);
    }
    const { observer } = this.#options;
    const places = this.#places;
    const accept = this.#accept;
    for (const [key, forward] of wanted) {
      if (listeners.has(key)) continue;
      try {
        const listener = new ForwardListener({ ...forward, accept, observer, places });
        // Before it listens, so that close() finds it.
        listeners.set(key, listener);
        await listener.start(signal);
      } catch (error) {
        listeners.delete(key);
        if (!(error instanceof TunnelError) || signal.aborted) throw error;
        observer.count('tunnel_forward_listen_failures_total');
        failures.push({ forward, error });
      }
    }
  }

  #retire(listener: ForwardListener): void {
    this.#former.add(listener);
    void listener.stop().then(() => this.#former.delete(listener));
  }

  async #close(): Promise<void> {
    await this.#starting.end(new TunnelError('capture-closed', 'the forwards are stopping'));
    const all = [...this.#listeners.values(), ...this.#former];
    this.#listeners = new Map();
    await Promise.all(all.map((listener) => listener.close()));
    this.#end(undefined);
  }
}

function keyOf({ listen, destination }: OpenForward): string {
  return JSON.stringify([listen, destination.host, destination.port]);
}
