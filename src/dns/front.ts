/**
 * Where queries come from: datagrams, streams of length-prefixed messages (RFC 7766), and for both the sockets of a machine.
 *
 *   answerDatagram   one query out of the TUN, its answer goes back into it
 *   serveStream      a captured TCP connection; queries are answered in the order in which answers come (RFC 7766 §6.2.1.1)
 *   DnsListener      UDP and TCP sockets at one address and port
 *
 * Limits of a stream: MAX_PIPELINED queries that wait, beyond which it isn't read; STREAM_IDLE_MS without a query, or with
 * one that doesn't come to its end, or with answers that aren't read. DnsListener: MAX_STREAMS.
 */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TunnelError } from '../errors.ts';
import type { Observer } from '../observe/observer.ts';
import type { DnsServer } from './server.ts';

export const MAX_PIPELINED = 128;
export const STREAM_IDLE_MS = 10_000;
export const MAX_STREAMS = 256;

/** Answers one query; nothing where no answer is due. Never rejects. */
export function answerDatagram(
  server: DnsServer,
  payload: Uint8Array,
  client: string,
): Promise<Uint8Array | undefined> {
  return server.answer(payload, { key: client, stream: false });
}

/** Answers the queries on a stream until it ends. Resolves when it has closed; never rejects. */
export function serveStream(server: DnsServer, stream: Duplex, client: string): Promise<void> {
  return new Promise((resolve) => {
    let received: Buffer = Buffer.alloc(0);
    let waiting = 0;
    let ended = false;
    const patience = setTimeout(() => {
      // Waiting for an upstream is not the client's fault; not reading its answers is.
      if (waiting > 0 && !stream.writableNeedDrain) patience.refresh();
      else stream.destroy();
    }, STREAM_IDLE_MS).unref();
    const reply = (answer: Uint8Array | undefined) => {
      waiting -= 1;
      if (stream.destroyed) return;
      if (answer !== undefined) {
        const framed = Buffer.alloc(2 + answer.length);
        framed.writeUInt16BE(answer.length, 0);
        framed.set(answer, 2);
        stream.write(framed, () => patience.refresh());
      }
      proceed();
    };
    const proceed = () => {
      while (waiting < MAX_PIPELINED && received.length >= 2) {
        const end = 2 + received.readUInt16BE(0);
        if (received.length < end) break;
        const message = received.subarray(2, end);
        received = received.subarray(end);
        waiting += 1;
        patience.refresh();
        server.answer(message, { key: client, stream: true }).then(reply);
      }
      // A client that doesn't read its answers isn't read either.
      if (waiting >= MAX_PIPELINED || stream.writableNeedDrain) stream.pause();
      else if (stream.isPaused()) stream.resume();
      if (ended && waiting === 0) stream.end();
    };
    stream.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]); // a copy: the stream may only lend its chunks
      proceed();
    });
    stream.on('drain', proceed);
    stream.on('end', () => {
      ended = true;
      proceed();
    });
    stream.on('error', () => {}); // what it means is that it closes
    stream.on('close', () => {
      clearTimeout(patience);
      resolve();
    });
    if (stream.destroyed) resolve();
    // Captures hand their connections over paused.
    else proceed();
  });
}

export interface DnsListenerOptions {
  readonly server: DnsServer;
  readonly host: string;
  /** 0: any that is free for both UDP and TCP. */
  readonly port: number;
  readonly observer: Observer;
}

/** UDP and TCP at one address. */
export class DnsListener {
  readonly #options: DnsListenerOptions;
  readonly #streams = new Set<Socket>();
  #datagrams: DatagramSocket | undefined;
  #listener: Server | undefined;

  constructor(options: DnsListenerOptions) {
    this.#options = options;
  }

  /** The port, once it listens. */
  get port(): number {
    return this.#datagrams?.address().port ?? this.#options.port;
  }

  /** Rejects with TunnelError `dns-listen`. */
  async start(): Promise<void> {
    const { host, port } = this.#options;
    try {
      const listener = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#stream(socket));
      this.#listener = listener;
      listener.listen({ host, port, ipv6Only: host.includes(':') });
      await once(listener, 'listening');
      const bound = listener.address();
      const datagrams = createSocket({
        type: host.includes(':') ? 'udp6' : 'udp4',
        ipv6Only: host.includes(':'),
      });
      this.#datagrams = datagrams;
      datagrams.bind(bound !== null && typeof bound === 'object' ? bound.port : port, host);
      await once(datagrams, 'listening');
      // ICMP errors about answers to clients that have gone come here; they concern nobody else.
      datagrams.on('error', () => this.#options.observer.count('tunnel_dns_send_errors_total'));
      datagrams.on('message', (payload, from) => {
        answerDatagram(this.#options.server, payload, from.address).then((answer) => {
          if (answer !== undefined) this.#datagrams?.send(answer, from.port, from.address, () => {});
        });
      });
    } catch (cause) {
      await this.close();
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new TunnelError('dns-listen', `the DNS server can't listen at ${host}: ${reason}`, { cause });
    }
  }

  /** May be called more than once. */
  async close(): Promise<void> {
    const datagrams = this.#datagrams;
    const listener = this.#listener;
    this.#datagrams = undefined;
    this.#listener = undefined;
    for (const socket of this.#streams) socket.destroy();
    if (datagrams !== undefined) await new Promise<void>((resolve) => datagrams.close(resolve));
    if (listener !== undefined) await new Promise((resolve) => listener.close(resolve));
  }

  #stream(socket: Socket): void {
    if (this.#streams.size >= MAX_STREAMS) {
      this.#options.observer.count('tunnel_dns_streams_over_limit_total');
      socket.on('error', () => {}); // it is being ended
      socket.resetAndDestroy();
      return;
    }
    this.#streams.add(socket);
    serveStream(this.#options.server, socket, socket.remoteAddress ?? '').then(() =>
      this.#streams.delete(socket),
    );
  }
}
