/**
 * Capture with a TUN device (Linux): the kernel's own TCP does TCP, the packet engine only rewrites headers.
 *
 * How a connection is captured:
 *
 *   application's SYN -> route -> TUN -> engine holds it, leases (peer address, port), event `syn`
 *   -> FlowRequest -> accept()            policy and transport decide; the application still waits
 *   -> request.open()                     the engine releases the SYN, rewritten towards our listener;
 *                                         the kernel completes the handshake with a plain net.Server
 *   -> the accepted socket's remote address and port are the lease: that is how it finds its flow
 *   or request.refuse(reason)             RST, ICMP or silence
 *
 * States of a flow here: waiting (engine holds the SYN) -> opening (released, not yet accepted) -> open (its socket is
 * in use) -> gone. The engine keeps the lease beyond that, for TIME_WAIT. A `gone` event ends a flow
 * whose application has given up or reset it, in whatever state.
 *
 * Before the routes are set, a probe connects through the device to prove that captured connections come back to this
 * process (a host firewall may drop them). At the end new connections are refused, open ones reset, and only then does the
 * device go, with its routes: so the resets still reach the applications.
 *
 * Limits: the engine's (native/nat.h) and OPENING_TIMEOUT_MS. All host state hangs on the device.
 */
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TunnelError } from '../errors.ts';
import { type Addon, addon, type EngineHandle } from '../native.ts';
import { addressBytes, addressFromBytes, addressNumber } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { GiveUp } from '../net/giveup.ts';
import { formatPrefix, type Prefix, prefixAround } from '../net/prefix.ts';
import { PrefixSet } from '../net/prefixset.ts';
import type { Refusal } from '../net/refusal.ts';
import { resetStream } from '../net/reset.ts';
import type { Observer } from '../observe/observer.ts';
import type { Capture, FlowRequest } from './capture.ts';
import { type Datagram, DatagramReader, encodeDatagram, UNREACHABLE_CODES } from './datagram.ts';
import { answerProbe, probe } from './probe.ts';
import { acceptIntoShared, type SharedSocket } from './sharedread.ts';
import { leaseKey, NAT_REFUSALS, type TunEvent, TunEventReader } from './tunevents.ts';

/** Super-packets of 64 KiB pass whole whatever the MTU; a large one saves segmentation where offloads are not used. */
const MTU = 65520;
/** Connections that the kernel has completed and that wait for accept(2); the kernel bounds it by net.core.somaxconn. */
const LISTEN_BACKLOG = 4096;
/** A released SYN that has not become an accepted socket after this long is given up. */
const OPENING_TIMEOUT_MS = 60_000;
/** Last octet of the first peer address; the engine uses NAT_PEERS addresses from there (native/nat.h). */
const FIRST_PEER = 2;
const PEERS = 4;
/** Last octet of the address that the probe connects to. */
const PROBE_OCTET = 254;

/** Prefix lengths of the device's own addresses (native/helper/protocol.h). */
const BLOCK_LENGTH = { 4: 24, 6: 64 } as const;

/** What makes the device and the routes, with the privileges that this takes (system/helper.ts). */
export interface TunHost {
  create(options: { ipv4: boolean; ipv6: boolean; mtu: number }): Promise<TunDevice>;
  /** The whole set of captured prefixes; the difference to the earlier set is added and removed. */
  setRoutes(prefixes: readonly Prefix[]): Promise<void>;
  readonly ended: Promise<TunnelError | undefined>;
  close(): Promise<void>;
}

export interface TunDevice {
  readonly fd: number;
  readonly name: string;
  /** The device's own addresses; the rest of their /24 and /64 is the capture's to use. */
  readonly address4: string | undefined;
  readonly address6: string | undefined;
  /**
   * Where the device is in another network namespace than this process: descriptors of TCP sockets that listen there on
   * its addresses. They are made here otherwise.
   */
  readonly listeners?: { readonly 4: number; readonly 6: number | undefined };
}

export interface TunCaptureOptions {
  readonly host: TunHost;
  readonly prefixes: readonly Prefix[];
  readonly observer: Observer;
  /** Takes UDP datagrams, each to be answered or not; without it all are answered with "port unreachable". */
  readonly onDatagram?: (datagram: Datagram) => void;
  /** Addresses in the device's own blocks to which connections are captured like others. */
  readonly served?: ReadonlySet<string>;
  /** Families that the device has in any case; by default those of `prefixes`. */
  readonly families?: ReadonlySet<4 | 6>;
  /**
   * Called when the device is there, before anything is routed. What it returns is routed besides `prefixes`, with them
   * at the same time, and stays so; addresses that it adds to `served` count.
   */
  readonly onDevice?: (device: TunDevice) => readonly Prefix[];
}

class TunFlow implements FlowRequest {
  readonly source: Destination;
  readonly destination: Destination;
  readonly id: number;
  readonly lease: number;
  readonly signal = new GiveUp();
  state: 'waiting' | 'opening' | 'open' | 'gone' = 'waiting';
  /** When a flow in state opening is given up, in ms of performance.now(). */
  deadline = 0;
  readonly #capture: TunCapture;
  /** The accepted socket, in state open. */
  socket: Socket | undefined;
  #opened: { resolve(socket: Socket): void; reject(error: Error): void } | undefined;

  constructor(capture: TunCapture, event: TunEvent) {
    this.#capture = capture;
    this.id = event.flow;
    this.lease = event.lease;
    this.source = event.source;
    this.destination = event.destination;
  }

  open(): Promise<Duplex> {
    if (this.state !== 'waiting') return Promise.reject(gaveUp());
    return new Promise((resolve, reject) => {
      this.#opened = { resolve, reject };
      this.#capture.release(this);
    });
  }

  refuse(refusal: Refusal): void {
    if (this.state === 'waiting') this.#capture.refuse(this, refusal);
  }

  accepted(socket: Socket): void {
    this.state = 'open';
    this.socket = socket;
    this.#opened?.resolve(socket);
    this.#opened = undefined;
  }

  /** The application has given up, or the capture ends. */
  gone(reason: TunnelError = gaveUp()): void {
    this.state = 'gone';
    this.signal.abort(reason);
    this.#opened?.reject(reason);
    this.#opened = undefined;
  }
}

/** Resolves when the socket has closed; unlike events.once, an error before that is no matter. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
}

function gaveUp(): TunnelError {
  return new TunnelError('flow-given-up', 'the application has given up the connection');
}

function ownBlocks({ address4, address6 }: TunDevice): PrefixSet {
  const blocks: Prefix[] = [];
  if (address4 !== undefined) blocks.push(prefixAround(addressNumber(address4), 4, BLOCK_LENGTH[4]));
  if (address6 !== undefined) blocks.push(prefixAround(addressNumber(address6), 6, BLOCK_LENGTH[6]));
  return new PrefixSet(blocks);
}

/** The device has addresses and a listener only of the families that it was made for. */
function requireFamilies(device: TunDevice, prefixes: readonly Prefix[]): void {
  const missing = prefixes.find(
    ({ family }) => (family === 4 ? device.address4 : device.address6) === undefined,
  );
  if (missing === undefined) return;
  throw new TunnelError(
    'capture-family',
    `${device.name} can't capture ${formatPrefix(missing)}: when it was made, no IPv${missing.family} target was left to capture`,
    { hint: 'start the tunnel again' },
  );
}

export class TunCapture implements Capture {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #host: TunHost;
  #prefixes: readonly Prefix[];
  readonly #observer: Observer;
  readonly #native: Addon = addon();
  readonly #events = new TunEventReader();
  readonly #onDatagram: ((datagram: Datagram) => void) | undefined;
  readonly #datagrams: DatagramReader | undefined;
  readonly #served: ReadonlySet<string>;
  readonly #families: ReadonlySet<4 | 6>;
  readonly #onDevice: ((device: TunDevice) => readonly Prefix[]) | undefined;
  /** What `onDevice` has returned. */
  #further: readonly Prefix[] = [];
  /** Flows by the engine's handle, from their SYN until their socket closes; by lease until they are accepted. */
  readonly #flows = new Map<number, TunFlow>();
  readonly #unaccepted = new Map<number, TunFlow>();
  readonly #sockets = new Set<Socket>();
  readonly #servers: Server[] = [];
  /** Peer addresses as net.Socket shows them, to the part of the lease key that they stand for. */
  readonly #peers = new Map<string, { family: 4 | 6; peer: number }>();
  readonly #probeAddresses = new Set<string>();
  #accept: ((request: FlowRequest) => void) | undefined;
  #engine: EngineHandle | undefined;
  #device: TunDevice | undefined;
  /** The device's descriptor until the engine owns it. */
  #fd: number | undefined;
  /** The device's own blocks of addresses. */
  #own = new PrefixSet([]);
  /** The routes have been asked for: from here on `setPrefixes` changes them. */
  #routed = false;
  #sweep: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #end: (error: TunnelError | undefined) => void = () => {};

  constructor(options: TunCaptureOptions) {
    this.#host = options.host;
    this.#prefixes = options.prefixes;
    this.#observer = options.observer;
    this.#onDatagram = options.onDatagram;
    if (options.onDatagram !== undefined) this.#datagrams = new DatagramReader();
    this.#served = options.served ?? new Set();
    this.#families = options.families ?? new Set();
    this.#onDevice = options.onDevice;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** The device's name once `start` has made it, for messages and for direct dials that must avoid it. */
  get deviceName(): string | undefined {
    return this.#device?.name;
  }

  /** What the packet engine has counted (native/nat.h), for logs and metrics. */
  counters(): Readonly<Record<string, number>> {
    return this.#engine === undefined ? {} : this.#native.engineCounters(this.#engine);
  }

  async start(accept: (request: FlowRequest) => void, signal: AbortSignal): Promise<void> {
    this.#accept = accept;
    try {
      const device = await this.#host.create({
        ipv4: this.#needs(4),
        ipv6: this.#needs(6),
        mtu: MTU,
      });
      this.#device = device;
      this.#fd = device.fd;
      this.#own = ownBlocks(device);
      this.#further = this.#onDevice?.(device) ?? [];
      this.#host.ended.then((error) => this.#end(error));
      this.#proceed(signal);
      const listener4 = await this.#listen(4, device);
      const listener6 = await this.#listen(6, device);
      this.#proceed(signal);
      this.#fd = undefined;
      this.#engine = this.#native.engineStart(
        {
          fd: device.fd,
          listen4: listener4.address,
          peer4: listener4.peer,
          listenPort4: listener4.port,
          listen6: listener6.address,
          peer6: listener6.peer,
          listenPort6: listener6.port,
          datagrams: this.#onDatagram !== undefined,
        },
        (errno) => this.#wake(errno),
      );
      this.#sweep = setInterval(() => this.#giveUpOpening(), OPENING_TIMEOUT_MS / 4).unref();
      await Promise.all([...this.#probeAddresses].map((address) => probe(address, device.name, signal)));
      this.#proceed(signal);
      this.#routed = true;
      await this.#host.setRoutes([...this.#prefixes, ...this.#further]);
    } catch (error) {
      // A device that came after close() had begun is nobody's but ours.
      if (this.#closing !== undefined && this.#fd !== undefined) closeSync(this.#fd);
      if (this.#closing !== undefined) this.#fd = undefined;
      await this.close();
      throw error;
    }
  }

  /**
   * Captures these prefixes instead, also while `start` is under way. What is in both sets is captured throughout. Resolves
   * when it is done; rejects with a TunnelError when it can't be, and then the former ones are captured.
   */
  async setPrefixes(prefixes: readonly Prefix[]): Promise<void> {
    if (this.#device !== undefined) requireFamilies(this.#device, prefixes);
    if (this.#routed) await this.#host.setRoutes([...prefixes, ...this.#further]);
    this.#prefixes = prefixes;
  }

  #needs(family: 4 | 6): boolean {
    return this.#families.has(family) || this.#prefixes.some((prefix) => prefix.family === family);
  }

  /** Throws when there is no point in going on with `start`. */
  #proceed(signal: AbortSignal): void {
    signal.throwIfAborted();
    if (this.#closing !== undefined) throw new TunnelError('capture-closed', 'the capture has been closed');
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // From here on new connections are refused (see #handle). The routes stay until the last reset is out: without them
    // a strict reverse-path filter would drop the resets on their way to the applications.
    const ending = new TunnelError('capture-closed', 'the tunnel is stopping');
    for (const flow of [...this.#flows.values()]) {
      if (flow.state === 'waiting') this.refuse(flow, 'refused');
      if (flow.socket === undefined) flow.gone(ending);
    }
    const sockets = [...this.#sockets];
    for (const socket of sockets) resetStream(socket);
    await Promise.all(sockets.map(closed));
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
    clearInterval(this.#sweep);
    // The engine writes out what it still has and closes the descriptor: the device goes, and with it addresses and routes.
    if (this.#engine !== undefined) this.#native.engineStop(this.#engine);
    else if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#engine = undefined;
    await this.#host.close();
    this.#end(undefined);
  }

  /** For TunFlow: lets the application's connect complete. */
  release(flow: TunFlow): void {
    flow.state = 'opening';
    flow.deadline = performance.now() + OPENING_TIMEOUT_MS;
    if (this.#engine !== undefined) this.#native.engineOpen(this.#engine, flow.id);
  }

  /** For TunFlow: fails the application's connect. */
  refuse(flow: TunFlow, refusal: Refusal): void {
    flow.state = 'gone';
    this.#forget(flow);
    if (this.#engine !== undefined) {
      this.#native.engineRefuse(this.#engine, flow.id, NAT_REFUSALS[refusal]);
    }
  }

  async #listen(
    family: 4 | 6,
    device: TunDevice,
  ): Promise<{ address: Uint8Array; peer: Uint8Array; port: number }> {
    const length = family === 4 ? 4 : 16;
    const own = family === 4 ? device.address4 : device.address6;
    const made = device.listeners?.[family];
    if (own === undefined) return { address: new Uint8Array(length), peer: new Uint8Array(length), port: 0 };
    const address = addressBytes(own);
    const sibling = (lastOctet: number) => {
      const octets = Uint8Array.from(address);
      octets[length - 1] = lastOctet;
      return octets;
    };
    for (let peer = 0; peer < PEERS; peer++) {
      this.#peers.set(addressFromBytes(sibling(FIRST_PEER + peer)), { family, peer });
    }
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    if (made !== undefined) server.listen({ fd: made }, LISTEN_BACKLOG);
    else server.listen({ host: own, port: 0, ipv6Only: family === 6, backlog: LISTEN_BACKLOG });
    await once(server, 'listening');
    acceptIntoShared(server, (socket) => this.#connected(socket));
    server.on('error', (cause) => {
      this.#observer.log('warning', `a captured connection could not be accepted: ${cause.message}`);
      this.#observer.count('tunnel_accept_errors_total');
    });
    this.#servers.push(server);
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new TypeError('a TCP server has an address');
    // A new network namespace has no firewall, and from here there is no way into it.
    if (made === undefined) this.#probeAddresses.add(addressFromBytes(sibling(PROBE_OCTET)));
    return { address, peer: sibling(FIRST_PEER), port: bound.port };
  }

  #wake(errno: number): void {
    if (errno !== 0) {
      this.#end(
        new TunnelError(
          'capture-device-lost',
          `the TUN device ${this.deviceName ?? ''} was taken away (errno ${errno})`,
          {
            hint: 'another program or administrator removed it; start the tunnel again',
          },
        ),
      );
      return;
    }
    this.#events.drain(
      (into) => (this.#engine === undefined ? 0 : this.#native.engineEvents(this.#engine, into)),
      (event) => this.#handle(event),
    );
    this.#datagrams?.drain(
      (into) => (this.#engine === undefined ? 0 : this.#native.engineDatagrams(this.#engine, into)),
      (datagram) => {
        if (this.#closing === undefined) this.#onDatagram?.(datagram);
      },
    );
  }

  /** Sends a datagram to the application that is its destination. */
  sendDatagram(datagram: Datagram): void {
    if (this.#engine !== undefined) this.#native.engineSendDatagram(this.#engine, encodeDatagram(datagram));
  }

  /** Answers a datagram of the application's with an ICMP error; with nothing where `refusal` stands for silence. */
  refuseDatagram(datagram: Datagram, refusal: Refusal): void {
    const why = UNREACHABLE_CODES[refusal];
    if (this.#engine !== undefined && why !== undefined)
      this.#native.engineRefuseDatagram(this.#engine, encodeDatagram(datagram), why);
  }

  #handle(event: TunEvent): void {
    if (event.kind === 'gone') {
      const flow = this.#flows.get(event.flow);
      if (flow?.socket !== undefined) {
        // The application has reset it. A socket that back-pressure has paused isn't polled, and would never hear of it.
        resetStream(flow.socket, gaveUp());
      } else if (flow !== undefined) this.#givenUp(flow);
      return;
    }
    const flow = new TunFlow(this, event);
    this.#flows.set(flow.id, flow);
    this.#unaccepted.set(flow.lease, flow);
    if (this.#closing !== undefined || this.#accept === undefined) flow.refuse('refused');
    else if (this.#probeAddresses.has(flow.destination.host)) answerProbe(flow, this.#observer);
    else if (this.#own.contains(flow.destination.host) && !this.#served.has(flow.destination.host))
      flow.refuse('unreachable'); // nothing else is in our own block
    else this.#accept(flow);
  }

  #connected(socket: SharedSocket): void {
    const from = this.#peers.get(socket.remoteAddress ?? '');
    const flow = from && this.#unaccepted.get(leaseKey(from.family, from.peer, socket.remotePort ?? 0));
    if (flow === undefined || flow.state !== 'opening') {
      // Not a captured connection: somebody found the listener's port, or the flow was given up this instant.
      this.#observer.count('tunnel_stray_connections_total');
      socket.on('error', () => {}); // it is reset and nobody reads it
      socket.resetAndDestroy();
      return;
    }
    this.#unaccepted.delete(flow.lease);
    this.#sockets.add(socket);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#flows.delete(flow.id);
      flow.state = 'gone';
      if (this.#engine !== undefined) this.#native.engineClose(this.#engine, flow.id);
    });
    flow.accepted(socket);
  }

  #givenUp(flow: TunFlow): void {
    // What has been opened must be closed, whatever the engine has seen of it since.
    if (flow.state === 'opening' && this.#engine !== undefined)
      this.#native.engineClose(this.#engine, flow.id);
    this.#forget(flow);
    flow.gone();
  }

  #forget(flow: TunFlow): void {
    this.#flows.delete(flow.id);
    if (this.#unaccepted.get(flow.lease) === flow) this.#unaccepted.delete(flow.lease);
  }

  #giveUpOpening(): void {
    const now = performance.now();
    for (const flow of [...this.#unaccepted.values()]) {
      if (flow.state !== 'opening' || flow.deadline > now) continue;
      this.#observer.count('tunnel_opening_timeouts_total');
      this.#givenUp(flow);
    }
  }
}
