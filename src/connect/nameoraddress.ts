/**
 * The two forms of a destination, its name and its address: sshd's PermitOpen compares text, so a
 * server that permits one of them may prohibit the other.
 *
 *   connect(10.77.0.11:443) -> prohibited
 *        -> www.corp.example:443, if that is known to be its name -> open, and remembered
 *   connect(www.corp.example:443) -> prohibited
 *        -> 10.77.0.11:443, if the name can be resolved -> open, and remembered
 *
 * The other form is tried once for a connection, and only after "prohibited": what is refused or
 * unreachable in one form is so in the other. It has to be permitted by this side's rules as well
 * (`mayOpen`): an exclusion of a form holds for it. A working form is used first for REMEMBERED_MS,
 * because names move; it is forgotten as soon as it fails.
 *
 * Limits: MAX_FORMS tried for a connection, MAX_REMEMBERED destinations, beyond which the oldest
 * goes; both counted.
 */
import { LruMap } from '../base/lrumap.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Conduit } from '../flow/conduit.ts';
import { ConnectError, type ConnectOptions, type Connector } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';

/** Other forms of one destination: a name may have several addresses, an address several names. */
export const MAX_FORMS = 4;
export const MAX_REMEMBERED = 1024;
export const REMEMBERED_MS = 5 * 60_000;

export interface NameOrAddressOptions {
  readonly connector: Connector;
  /** The host in the form in which its target is written; undefined: as it was asked for. */
  readonly targetForm?: (destination: Destination) => string | undefined;
  /**
   * The other forms of a destination's host, the likeliest first; none: there are none, or they are
   * not known.
   */
  readonly otherForms: (
    destination: Destination,
    options: ConnectOptions,
  ) => Promise<readonly string[]>;
  /** Whether the rules let another form be opened. Default: they do. */
  readonly mayOpen?: (destination: Destination) => boolean;
  readonly observer: Observer;
  /** Milliseconds of a monotonic clock. */
  readonly clock?: () => number;
}

export class NameOrAddressConnector implements Connector {
  readonly #options: NameOrAddressOptions;
  readonly #clock: () => number;
  /** By destination as it was asked for. */
  readonly #working: LruMap<string, { readonly host: string; readonly until: number }>;

  constructor(options: NameOrAddressOptions) {
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now());
    this.#working = new LruMap({
      limit: MAX_REMEMBERED,
      evicted: () => options.observer.count('tunnel_other_forms_forgotten_total'),
    });
  }

  /** Rejects with the first form's error where every form is prohibited. */
  async connect(destination: Destination, options: ConnectOptions = {}): Promise<Conduit> {
    const { connector, targetForm } = this.#options;
    const key = formatDestination(destination);
    const { port } = destination;
    const first = this.#remembered(key) ?? targetForm?.(destination) ?? destination.host;
    try {
      return await connector.connect({ host: first, port }, options);
    } catch (error) {
      this.#working.delete(key);
      if (!isProhibited(error)) throw error;
      for (const host of await this.#others(destination, first, options)) {
        const stream = await this.#try({ host, port }, options);
        if (stream === undefined) continue;
        this.#working.set(key, { host, until: this.#clock() + REMEMBERED_MS });
        return stream;
      }
      throw error;
    }
  }

  /** undefined: it is prohibited as well. */
  async #try(destination: Destination, options: ConnectOptions): Promise<Conduit | undefined> {
    this.#options.observer.count('tunnel_other_forms_total');
    try {
      return await this.#options.connector.connect(destination, options);
    } catch (error) {
      if (!isProhibited(error)) throw error;
      return undefined;
    }
  }

  async #others(
    destination: Destination,
    tried: string,
    options: ConnectOptions,
  ): Promise<string[]> {
    const { otherForms, mayOpen, observer } = this.#options;
    const { port } = destination;
    let others: readonly string[];
    try {
      others = await otherForms(destination, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      const message = reasonOf(error);
      observer.log('debug', `${formatDestination(destination)} has no other form: ${message}`, {
        flow: options.flow,
      });
      others = [];
    }
    // What a target is written like may differ from what was asked for, which then is another form
    // itself.
    const permitted = others.filter((host) => mayOpen?.({ host, port }) ?? true);
    if (permitted.length < others.length) observer.count('tunnel_other_forms_excluded_total');
    const forms = new Set([destination.host, ...permitted]);
    forms.delete(tried);
    if (forms.size > MAX_FORMS) observer.count('tunnel_other_forms_over_limit_total');
    return [...forms].slice(0, MAX_FORMS);
  }

  #remembered(key: string): string | undefined {
    const working = this.#working.peek(key);
    return working !== undefined && working.until > this.#clock() ? working.host : undefined;
  }
}

function isProhibited(error: unknown): boolean {
  return error instanceof ConnectError && error.refusal === 'prohibited';
}
