/**
 * Takes queries from a capture to the server: UDP datagrams and TCP connections to port 53 of the
 * tunnel's own DNS addresses, and of resolvers whose addresses are routed into the device.
 *
 *   datagram to 198.18.0.53:53 or 192.168.1.1:53 -> server
 *        -> a datagram from there back to the program
 *   connection to one of these                   -> open() at once, answered by the server
 *   other ports of the own address               -> refused; nothing listens there
 *   everything else                              -> not taken
 *
 * Limits: MAX_QUERY_STREAMS connections, shared fairly among users (fairshare.ts); any more are
 * refused and counted. The server limits queries.
 */

import { streamOf } from '../../flow/conduitstream.ts';
import type { Datagram } from '../../flow/datagram.ts';
import type { FlowRequest } from '../../flow/request.ts';
import type { Refusal } from '../../net/refusal.ts';
import type { Observer } from '../../observe/observer.ts';
import { FairShare } from './fairshare.ts';
import { answerDatagram, serveStream } from './front.ts';
import type { DnsClient, DnsServer } from './server.ts';

export const MAX_QUERY_STREAMS = 256;
const DNS_PORT = 53;

/** Hands datagrams to applications, and refuses theirs with an ICMP error. */
export interface DatagramSink {
  sendDatagram(datagram: Datagram): void;
  refuseDatagram(datagram: Datagram, refusal: Refusal): void;
}

export interface CapturedQueriesOptions {
  readonly server: DnsServer;
  /** The tunnel's DNS addresses, in the device's own blocks (`ownDnsAddresses`); canonical. */
  readonly own: ReadonlySet<string>;
  /** Of these, the addresses at which other tunnels ask. Default: none. */
  readonly peers?: ReadonlySet<string>;
  /** Resolvers whose addresses are routed into the device, canonical. */
  readonly resolvers: ReadonlySet<string>;
  /** Takes the answers: a capture with a TUN. */
  readonly capture: DatagramSink;
  readonly observer: Observer;
}

export class CapturedQueries {
  readonly #options: CapturedQueriesOptions;
  readonly #streams = new FairShare(MAX_QUERY_STREAMS);

  constructor(options: CapturedQueriesOptions) {
    this.#options = options;
  }

  /** Takes a datagram to the server. False: it isn't a query, and is left for the caller. */
  acceptDatagram(datagram: Datagram): boolean {
    const { own, server, capture } = this.#options;
    const { source, destination, payload } = datagram;
    if (destination.port !== DNS_PORT || !this.#isResolver(destination.host)) {
      if (!own.has(destination.host)) return false;
      capture.refuseDatagram(datagram, 'refused');
      return true;
    }
    const { host, port } = source;
    const ofTunnel = this.#isPeer(destination.host);
    void answerDatagram(server, payload, host, port, ofTunnel).then((answer) => {
      if (answer !== undefined)
        capture.sendDatagram({ source: destination, destination: source, payload: answer });
    });
    return true;
  }

  /**
   * Takes a connection to the server. False: it isn't for the server, and is left for the caller.
   */
  accept(request: FlowRequest): boolean {
    const { own } = this.#options;
    const { host, port } = request.destination;
    if (port !== DNS_PORT || !this.#isResolver(host)) {
      if (!own.has(host)) return false;
      request.refuse('refused');
      return true;
    }
    void this.#admit(request);
    return true;
  }

  /** Never rejects. */
  async #admit(request: FlowRequest): Promise<void> {
    const { server, observer } = this.#options;
    const client = this.#clientOf(request);
    const user = this.#streams.contended ? await server.userOf(client) : client.key;
    if (!this.#streams.take(user)) {
      observer.count('tunnel_dns_streams_over_limit_total');
      request.refuse('refused');
      return;
    }
    await this.#serve(request, client);
    this.#streams.giveBack(user);
  }

  #clientOf({ source, destination }: FlowRequest): DnsClient {
    const ofTunnel = this.#isPeer(destination.host);
    const { host: key, port } = source;
    return { key, port, peer: destination, stream: true, ofTunnel };
  }

  #isResolver(host: string): boolean {
    return this.#options.own.has(host) || this.#options.resolvers.has(host);
  }

  #isPeer(host: string): boolean {
    return this.#options.peers?.has(host) === true;
  }

  /** Never rejects. */
  async #serve(request: FlowRequest, client: DnsClient): Promise<void> {
    try {
      const conduit = request.open();
      if (conduit === undefined) this.#options.observer.count('tunnel_dns_streams_given_up_total');
      else await serveStream(this.#options.server, streamOf(conduit), client);
    } catch {
      // The program ended it before it was served.
      this.#options.observer.count('tunnel_dns_streams_given_up_total');
    }
  }
}
