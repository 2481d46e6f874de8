/** The tunnel's DNS server on this machine's sockets, for clients that are not captured. */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { answerDatagram, serveStream } from '../../src/dns/server/front.ts';
import type { DnsServer } from '../../src/dns/server/server.ts';

export interface DnsListenerOptions {
  readonly server: DnsServer;
  readonly host: string;
  /** 0: any port that is free for both UDP and TCP. */
  readonly port: number;
  /** Its clients are other tunnels. Default: false. */
  readonly ofTunnel?: boolean;
}

/** Listens for UDP and TCP at one address. */
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

  async start(): Promise<void> {
    const { host, port } = this.#options;
    const listener = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
      this.#stream(socket),
    );
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
    // ICMP errors about answers to clients that have gone.
    datagrams.on('error', () => {});
    datagrams.on('message', (payload, from) => {
      const { server, ofTunnel } = this.#options;
      const { address } = from;
      void answerDatagram(server, payload, address, undefined, ofTunnel).then((answer) => {
        if (answer !== undefined) this.#datagrams?.send(answer, from.port, from.address, () => {});
      });
    });
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
    this.#streams.add(socket);
    const { server, ofTunnel } = this.#options;
    void serveStream(server, socket, { key: socket.remoteAddress ?? '', ofTunnel }).then(() =>
      this.#streams.delete(socket),
    );
  }
}
