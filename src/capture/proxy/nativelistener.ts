/**
 * The listening sockets of the proxies and their clients, where the native part has them
 * (native/addon_clients.c).
 *
 *   epoll ─► ready ─┬─ a client   ─► NativeClient.ready()
 *                   └─ a listener ─► accept: up to 32, with their users ─► Admission ─► onClient
 *
 * Listeners come after the clients that are ready with them. So nothing that was said of a closed
 * socket reaches the next one, which may have got the same descriptor.
 */
import { endianness } from 'node:os';
import { getSystemErrorName } from 'node:util';
import type { Addon, ClientsHandle } from '../../native/addon.ts';
import { addressBytes, addressFromBytes } from '../../net/address.ts';
import type { Destination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Admission, Placed } from './admission.ts';
import { CLIENT_KEEPALIVE_MS, PROBE_SECONDS, PROBES } from './clientoptions.ts';
import { NativeClient, type Watch } from './nativeclient.ts';

/** Pairs of a descriptor and what is said of it. */
const MOST_EVENTS = 64;
const EVENT_OCTETS = 8;
const MOST_ACCEPTED = 32;
/** As addon.ts describes them. */
const ACCEPTED_OCTETS = 52;
const AT = { fd: 0, length: 4, isKnown: 8, user: 12, port: 16, ownPort: 18, address: 20, own: 36 };
const NOTHING_WAITS = 'EAGAIN';
const LITTLE = endianness() === 'LE';

/** `user`: whose it is, if that was asked for and can be told at once. */
export type OnClient = (client: NativeClient, user: number | undefined) => void;

export interface NativeClientsOptions {
  readonly native: Addon;
  readonly admission: Admission;
  readonly observer: Observer;
}

interface Listener {
  readonly fd: number;
  /** Whether it is asked whose its clients are. */
  readonly asks: boolean;
  readonly onClient: OnClient;
}

/** Stands for a client that is being accepted. */
const NOBODY: Placed = { reset() {} };

export class NativeClients implements Watch {
  readonly native: Addon;
  readonly admission: Admission;
  readonly #observer: Observer;
  readonly #clients = new Map<number, NativeClient>();
  readonly #listeners = new Map<number, Listener>();
  readonly #events = Buffer.alloc(MOST_EVENTS * EVENT_OCTETS);
  readonly #said = numbersOf(this.#events);
  readonly #accepted = Buffer.alloc(MOST_ACCEPTED * ACCEPTED_OCTETS);
  readonly #view = new DataView(this.#accepted.buffer, this.#accepted.byteOffset);
  readonly #handle: ClientsHandle;
  readonly #hosts = new LastHost();
  readonly #ownHosts = new LastHost();

  /** Throws if this machine can't watch sockets so. */
  constructor({ native, admission, observer }: NativeClientsOptions) {
    this.native = native;
    this.admission = admission;
    this.#observer = observer;
    this.#handle = native.clientsOpen(this.#events, (count) => this.#ready(count));
  }

  /** Returns its port. Throws an Error with a `code` of the system. */
  listen(
    { host, port }: Destination,
    { backlog, asks }: { readonly backlog: number; readonly asks: boolean },
    onClient: OnClient,
  ): { readonly port: number; readonly close: () => void } {
    try {
      const [fd, bound] = this.native.clientsListen(
        this.#handle,
        Buffer.from(addressBytes(host)),
        port,
        backlog,
        CLIENT_KEEPALIVE_MS / 1000,
        PROBE_SECONDS,
        PROBES,
      );
      this.#listeners.set(fd, { fd, asks, onClient });
      return { port: bound, close: () => this.#closeListener(fd) };
    } catch (cause) {
      const errno = cause instanceof Error && 'errno' in cause ? Number(cause.errno) : 0;
      if (errno === 0) throw cause;
      throw Object.assign(new Error('listen', { cause }), { code: getSystemErrorName(-errno) });
    }
  }

  /** All listeners and clients must be closed. */
  end(): void {
    this.native.clientsClose(this.#handle);
  }

  watch(fd: number): void {
    this.native.clientsWatch(this.#handle, fd);
  }

  awaitRoom(fd: number, waits: boolean): void {
    this.native.clientsAwaitRoom(this.#handle, fd, waits);
  }

  close(fd: number, resets: boolean): void {
    this.#clients.delete(fd);
    this.native.socketClose(fd, resets); // the kernel takes it out of the set
  }

  release(fd: number, isWatched: boolean): void {
    this.#clients.delete(fd);
    if (isWatched) this.native.clientsRelease(this.#handle, fd);
  }

  #closeListener(fd: number): void {
    if (!this.#listeners.delete(fd)) return;
    this.native.clientsRelease(this.#handle, fd);
    this.native.socketClose(fd, false);
  }

  #ready(count: number): void {
    let listeners: Listener[] | undefined;
    for (let index = 0; index < count; index++) {
      const fd = this.#said[2 * index] ?? -1;
      const client = this.#clients.get(fd);
      if (client !== undefined) {
        client.ready(this.#said[2 * index + 1] ?? 0);
        continue;
      }
      const listener = this.#listeners.get(fd);
      if (listener === undefined) continue;
      listeners ??= [];
      listeners.push(listener);
    }
    if (listeners === undefined) return;
    for (const listener of listeners) this.#accept(listener);
  }

  #accept({ fd, asks, onClient }: Listener): void {
    // An earlier one of this turn may have closed it.
    if (!this.#listeners.has(fd)) return;
    const count = this.native.clientsAccept(this.#handle, fd, asks, this.#accepted);
    if (count < 0) {
      const code = getSystemErrorName(count);
      if (code === NOTHING_WAITS) return;
      this.#observer.log('warning', `a proxy client could not be accepted: accept ${code}`);
      this.#observer.count('tunnel_accept_errors_total');
    }
    // Whoever is called may do anything but wait: the memory stays as it is.
    for (let index = 0; index < count; index++) this.#admit(index * ACCEPTED_OCTETS, onClient);
  }

  #admit(at: number, onClient: OnClient): void {
    const view = this.#view;
    const fd = view.getInt32(at + AT.fd, LITTLE);
    const place = this.admission.admit(NOBODY);
    if (place === undefined) {
      this.native.socketClose(fd, true);
      return;
    }
    const length = view.getUint32(at + AT.length, LITTLE);
    const address = at + AT.address;
    const own = at + AT.own;
    const client = new NativeClient(
      {
        fd,
        source: {
          host: this.#hosts.of(this.#accepted.subarray(address, address + length)),
          port: view.getUint16(at + AT.port, LITTLE),
        },
        proxyEnd: {
          host: this.#ownHosts.of(this.#accepted.subarray(own, own + length)),
          port: view.getUint16(at + AT.ownPort, LITTLE),
        },
      },
      this,
      place,
    );
    this.#clients.set(fd, client);
    const isKnown = view.getUint32(at + AT.isKnown, LITTLE) === 1;
    onClient(client, isKnown ? view.getUint32(at + AT.user, LITTLE) : undefined);
    client.begin();
  }
}

/** Most clients come from the same address, so its text is made once. */
class LastHost {
  #octets = Buffer.alloc(0);
  #text = '';

  of(octets: Buffer): string {
    if (!this.#octets.equals(octets)) {
      this.#octets = Buffer.from(octets);
      this.#text = addressFromBytes(octets);
    }
    return this.#text;
  }
}

function numbersOf({ buffer, byteOffset, length }: Buffer): Int32Array {
  return new Int32Array(buffer, byteOffset, length / Int32Array.BYTES_PER_ELEMENT);
}
