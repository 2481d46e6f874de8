/**
 * The two forms of a destination are its name and its address. sshd's PermitOpen compares text, so
 * a server that permits one form may prohibit the other.
 *
 *   connect(10.77.0.11:443) -> prohibited
 *        -> www.corp.example:443, if that is known to be its name -> open, and remembered
 *   connect(www.corp.example:443) -> prohibited
 *        -> 10.77.0.11:443, if the name can be resolved -> open, and remembered
 *
 * Other forms are tried once for each connection, and only after "prohibited": if one form is
 * refused or unreachable, so is the other. Our own rules must permit the other form as well
 * (`mayOpen`), since an exclusion may apply to only one form. A form that works is tried first for
 * REMEMBERED_MS. It expires because names move, and is forgotten as soon as it fails.
 *
 * Limits: MAX_FORMS tried for each connection; MAX_REMEMBERED destinations, after which the oldest
 * is forgotten. Both are counted.
 */
import { LruMap } from '../base/lrumap.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Conduit } from '../flow/conduit.ts';
import { ConnectError, type ConnectOptions, type Connector } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';

/** Limit of other forms: a name may have several addresses, and an address several names. */
export const MAX_FORMS = 4;
export const MAX_REMEMBERED = 1024;
export const REMEMBERED_MS = 5 * 60_000;

export interface NameOrAddressOptions {
  readonly connector: Connector;
  /** The host in the form in which its target is written. undefined: use the requested form. */
  readonly targetForm?: (destination: Destination) => string | undefined;
  /**
   * The other forms of a destination's host, the most likely first. Empty: no other form is known.
   */
  readonly otherForms: (
    destination: Destination,
    options: ConnectOptions,
  ) => Promise<readonly string[]>;
  /** Whether the rules permit another form. Default: they do. */
  readonly mayOpen?: (destination: Destination) => boolean;
  readonly observer: Observer;
  /** Milliseconds of a monotonic clock. */
  readonly clock?: () => number;
}

export class NameOrAddressConnector implements Connector {
  readonly #options: NameOrAddressOptions;
  readonly #clock: () => number;
  /** By destination in the requested form. */
  readonly #working: LruMap<string, { readonly host: string; readonly until: number }>;

  constructor(options: NameOrAddressOptions) {
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now());
    this.#working = new LruMap({
      limit: MAX_REMEMBERED,
      evicted: () => options.observer.count('tunnel_other_forms_forgotten_total'),
    });
  }

  /** If every form is prohibited, rejects with the error of the first one. */
  connect(destination: Destination, options: ConnectOptions = {}): Promise<Conduit> {
    const { connector, targetForm } = this.#options;
    const { host, port } = destination;
    const remembered =
      this.#working.size === 0 ? undefined : this.#remembered(formatDestination(destination));
    const first = remembered ?? targetForm?.(destination) ?? host;
    const form = first === host ? destination : { host: first, port };
    return connector
      .connect(form, options)
      .catch((error: unknown) => this.#otherwise(destination, first, { error, options }));
  }

  /** `first` was refused with `error`: opens another form, or rejects with that error. */
  async #otherwise(
    destination: Destination,
    first: string,
    { error, options }: { readonly error: unknown; readonly options: ConnectOptions },
  ): Promise<Conduit> {
    const { port } = destination;
    const key = formatDestination(destination);
    this.#working.delete(key);
    if (!isProhibited(error)) throw error;
    for (const host of await this.#formsToTry(destination, first, options)) {
      const stream = await this.#try({ host, port }, options);
      if (stream === undefined) continue;
      this.#working.set(key, { host, until: this.#clock() + REMEMBERED_MS });
      return stream;
    }
    throw error;
  }

  /** undefined: this form is prohibited as well. */
  async #try(destination: Destination, options: ConnectOptions): Promise<Conduit | undefined> {
    this.#options.observer.count('tunnel_other_forms_total');
    try {
      return await this.#options.connector.connect(destination, options);
    } catch (error) {
      if (!isProhibited(error)) throw error;
      return undefined;
    }
  }

  async #formsToTry(
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
    // If the target's form was tried first, the requested form is itself another form.
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
