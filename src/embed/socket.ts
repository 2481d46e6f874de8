/**
 * A stream through the tunnel with what clients of protocols call on a net.Socket: connect(),
 * setTimeout(), setKeepAlive(), setNoDelay(), ref() and unref(). It is no net.Socket: it has no
 * descriptor, and no addresses of its own.
 *
 *   new ──► connect() ──► connecting ──► open ──► closed
 *                             └────────────────────► closed, with the error that says why
 *
 * What is written before the far side has connected waits. Like a socket of net.connect() it ends
 * its own side when the far side has ended, unless `allowHalfOpen` is set.
 */
import { Duplex } from 'node:stream';

/** Opens a stream, or rejects with the reason. */
export type OpenStream = (
  destination: { readonly host: string; readonly port: number },
  options: { readonly signal: AbortSignal },
) => Promise<Duplex>;

type Callback = (error?: Error | null) => void;

interface Address {
  readonly port: number | string;
  readonly host?: string;
}

export class TunnelSocket extends Duplex {
  connecting = false;
  /** What was given to connect(). */
  remoteHost: string | undefined;
  remotePort: number | undefined;
  /** The far side's bytes so far, and those that were written. */
  bytesRead = 0;
  bytesWritten = 0;
  /** Of setTimeout(); 0: none. Milliseconds. */
  timeout = 0;
  readonly #open: OpenStream;
  readonly #giveUp = new AbortController();
  #inner: Duplex | undefined;
  #waiting: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(open: OpenStream, { allowHalfOpen = false } = {}) {
    super({ allowHalfOpen });
    this.#open = open;
  }

  /** Once. Emits `connect`, or `error`. A name is resolved by the jump host. */
  connect(address: Address, connected?: () => void): this;
  connect(port: number | string, connected?: () => void): this;
  connect(port: number | string, host?: string, connected?: () => void): this;
  connect(
    where: Address | number | string,
    second?: string | (() => void),
    third?: () => void,
  ): this {
    const host = typeof second === 'string' ? { host: second } : {};
    const address: Address = typeof where === 'object' ? where : { port: where, ...host };
    const connected = typeof second === 'function' ? second : third;
    if (this.connecting || this.#inner !== undefined)
      throw new TypeError('the socket is connected already');
    this.connecting = true;
    this.remoteHost = address.host ?? 'localhost';
    this.remotePort = Number(address.port);
    if (connected !== undefined) this.once('connect', connected);
    this.#touch();
    const destination = { host: this.remoteHost, port: this.remotePort };
    this.#open(destination, { signal: this.#giveUp.signal }).then(
      (inner) => this.#opened(inner),
      (error: Error) => this.destroy(error),
    );
    return this;
  }

  /** Emits `timeout` after so many milliseconds without a byte; 0: never. */
  setTimeout(milliseconds: number, expired?: () => void): this {
    this.timeout = milliseconds;
    if (expired !== undefined && milliseconds > 0) this.once('timeout', expired);
    else if (expired !== undefined) this.off('timeout', expired);
    this.#touch();
    return this;
  }

  /** The link has a keepalive of its own, and sends each write at once. */
  setKeepAlive(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  /** The tunnel keeps the process running until it is closed, not its streams. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  override _read(): void {
    this.#inner?.resume();
  }

  override _write(chunk: Buffer, _encoding: string, callback: Callback): void {
    this.#whenOpen(callback, (inner) => {
      this.#touch();
      this.bytesWritten += chunk.length;
      inner.write(chunk, callback);
    });
  }

  override _final(callback: Callback): void {
    this.#whenOpen(callback, (inner) => inner.end(callback));
  }

  override _destroy(error: Error | null, callback: Callback): void {
    this.connecting = false;
    clearTimeout(this.#timer);
    this.#giveUp.abort(error ?? new Error('the socket was closed'));
    this.#inner?.destroy();
    this.#waiting?.();
    callback(error);
  }

  #whenOpen(callback: Callback, then: (inner: Duplex) => void): void {
    if (this.#inner !== undefined) then(this.#inner);
    else
      this.#waiting = () => {
        this.#waiting = undefined;
        if (this.#inner === undefined || this.destroyed) callback(new Error('it is closed'));
        else then(this.#inner);
      };
  }

  #opened(inner: Duplex): void {
    if (this.destroyed) {
      inner.destroy();
      return;
    }
    this.#inner = inner;
    this.connecting = false;
    inner.on('data', (chunk: Buffer) => {
      this.#touch();
      this.bytesRead += chunk.length;
      if (!this.push(chunk)) inner.pause();
    });
    inner.on('end', () => this.push(null));
    inner.on('error', (error) => this.destroy(error));
    inner.on('close', () => {
      // After an end the reader may still take what has come.
      if (!inner.readableEnded) this.destroy(inner.errored ?? reset());
    });
    this.#touch();
    this.emit('connect');
    this.emit('ready');
    this.#waiting?.();
  }

  #touch(): void {
    clearTimeout(this.#timer);
    if (this.timeout <= 0 || this.destroyed) return;
    this.#timer = setTimeout(() => this.emit('timeout'), this.timeout).unref();
  }
}

function reset(): Error {
  return Object.assign(new Error('the far side closed the connection'), { code: 'ECONNRESET' });
}
