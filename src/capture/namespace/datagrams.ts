/**
 * UDP without the tunnel: sends captured applications' datagrams from this process's own sockets,
 * and hands back the answers.
 *
 *   datagram A:a -> D:d -> decide() -> association (A:a, D:d): a connected socket
 *        -> D:d, or the destination that decide() returns
 *   answer from there  -> D:d -> A:a
 *   ICMP to the socket -> the same kind of ICMP, about the application's last datagram
 *
 * Each pair of ends has its own association, which is a NAT binding (RFC 4787, "address and
 * port-dependent"). Its socket is connected: it receives "port unreachable", and nobody else's
 * datagrams. An association ends after UDP_IDLE_MS without a datagram in either direction (RFC 4787
 * §4.3 asks for two minutes). One to a DNS server ends after DNS_IDLE_MS, because each query comes
 * from a new port.
 *
 * Limits: beyond MAX_ASSOCIATIONS, the one that has been idle longest ends. Beyond MAX_WAITING
 * datagrams that wait for their socket, further ones are dropped, as a network may do. Both are
 * counted.
 */
import { createSocket, type Socket } from 'node:dgram';
import { LruMap } from '../../base/lrumap.ts';
import { type Datagram, MAX_DATAGRAM } from '../../flow/datagram.ts';
import { type Destination, formatEnds } from '../../net/destination.ts';
import { type Refusal, refusalOfErrno } from '../../net/refusal.ts';
import type { Observer } from '../../observe/observer.ts';
import type { DatagramVerdict } from '../../policy/execpolicy.ts';

export const MAX_ASSOCIATIONS = 1024;
export const UDP_IDLE_MS = 120_000;
export const DNS_IDLE_MS = 10_000;
const MAX_WAITING = 16;
const SWEEP_MS = 2_000;
const DNS_PORT = 53;

export interface UdpRelayOptions {
  /** Decides where a datagram goes, or whether it is refused. */
  readonly decide: (destination: Destination) => DatagramVerdict;
  /** Hands a datagram to the application, or answers one of its datagrams with an ICMP error. */
  readonly send: (datagram: Datagram) => void;
  readonly refuse: (datagram: Datagram, refusal: Refusal) => void;
  readonly observer: Observer;
}

interface Association {
  readonly socket: Socket;
  readonly to: Destination;
  readonly idleMs: number;
  /** Time of the last datagram, in ms of performance.now(). */
  used: number;
  /** Datagrams that arrived before the socket was connected. Undefined once it is. */
  waiting: Datagram[] | undefined;
  /** The application's last datagram, which an ICMP error answers. */
  last: Datagram;
}

export class UdpRelay {
  readonly #options: UdpRelayOptions;
  /** Keyed by both ends. */
  readonly #associations: LruMap<string, Association>;
  readonly #sweep: NodeJS.Timeout;

  constructor(options: UdpRelayOptions) {
    this.#options = options;
    this.#associations = new LruMap({
      limit: MAX_ASSOCIATIONS,
      evicted: ({ socket }) => {
        options.observer.count('tunnel_datagram_associations_over_limit_total');
        socket.close();
      },
    });
    this.#sweep = setInterval(() => this.#expire(), SWEEP_MS).unref();
  }

  /** How many associations are open. */
  get size(): number {
    return this.#associations.size;
  }

  /** Takes a datagram from an application. */
  accept(datagram: Datagram): void {
    const { decide, refuse, observer } = this.#options;
    const verdict = decide(datagram.destination);
    if (verdict.kind === 'refuse') {
      observer.count('tunnel_datagrams_denied_total');
      observer.log('debug', `udp ${formatEnds(datagram)}: ${verdict.why}`, {
        refusal: verdict.refusal,
      });
      refuse(datagram, verdict.refusal);
      return;
    }
    const key = formatEnds(datagram);
    const open = this.#associations.get(key);
    // A stand-in may have come to stand for another resolver.
    const moved =
      open !== undefined && (open.to.host !== verdict.to.host || open.to.port !== verdict.to.port);
    if (moved) this.#close(key);
    const association = open === undefined || moved ? this.#open(key, datagram, verdict.to) : open;
    this.#touch(key, association);
    association.last = datagram;
    if (association.waiting === undefined) this.#forward(key, association, datagram);
    else if (association.waiting.length < MAX_WAITING) association.waiting.push(datagram);
    else observer.count('tunnel_datagrams_dropped_total');
  }

  close(): void {
    clearInterval(this.#sweep);
    for (const [key] of this.#associations) this.#close(key);
  }

  #open(key: string, datagram: Datagram, to: Destination): Association {
    const { send, observer } = this.#options;
    const { source, destination } = datagram;
    const socket = createSocket(to.host.includes(':') ? 'udp6' : 'udp4');
    const association: Association = {
      socket,
      to,
      idleMs: to.port === DNS_PORT ? DNS_IDLE_MS : UDP_IDLE_MS,
      used: 0,
      waiting: [],
      last: datagram,
    };
    this.#associations.set(key, association);
    socket.on('error', (error: NodeJS.ErrnoException) => this.#failed(key, association, error));
    socket.on('connect', () => {
      const waiting = association.waiting ?? [];
      association.waiting = undefined;
      for (const early of waiting) this.#forward(key, association, early);
    });
    socket.on('message', (payload) => {
      this.#touch(key, association);
      observer.count('tunnel_datagrams_received_total');
      if (payload.length <= MAX_DATAGRAM)
        send({ source: destination, destination: source, payload });
    });
    socket.connect(to.port, to.host);
    observer.count('tunnel_datagram_associations_total');
    observer.log('debug', `udp ${key}: open`);
    return association;
  }

  #forward(key: string, association: Association, datagram: Datagram): void {
    this.#options.observer.count('tunnel_datagrams_sent_total');
    association.socket.send(datagram.payload, (error) => {
      if (error !== null) this.#failed(key, association, error);
    });
  }

  #failed(key: string, association: Association, error: NodeJS.ErrnoException): void {
    if (this.#associations.peek(key) !== association) return; // closed meanwhile
    const refusal = refusalOfErrno(error.code);
    this.#options.observer.log('debug', `udp ${key}: ${error.message}`);
    // An error that says nothing about the destination (EMSGSIZE, ENOBUFS) only loses the datagram,
    // as a network would.
    if (refusal !== undefined) this.#options.refuse(association.last, refusal);
    else if (association.waiting === undefined) return;
    // Without file descriptors (EMFILE) this association never gets a socket. The next datagram
    // opens a new association.
    else this.#options.observer.count('tunnel_datagrams_dropped_total', association.waiting.length);
    this.#close(key);
  }

  #touch(key: string, association: Association): void {
    association.used = performance.now();
    this.#associations.get(key);
  }

  #expire(): void {
    const now = performance.now();
    for (const [key, { used, idleMs }] of this.#associations) {
      if (now - used < idleMs) continue;
      this.#options.observer.count('tunnel_datagram_associations_idle_total');
      this.#close(key);
    }
  }

  #close(key: string): void {
    this.#associations.peek(key)?.socket.close();
    this.#associations.delete(key);
  }
}
