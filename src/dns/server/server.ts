/**
 * The tunnel's DNS server: it takes the octets of a query and returns the octets of an answer.
 * front.ts carries them: as datagrams of the TUN, and over captured TCP connections.
 *
 *   query -> parseQuery (dns/wire/query.ts)  a malformed query is answered as the RFCs say, or
 *                                            dropped
 *         -> naming (dns/naming.ts)         who answers for the name
 *              virtual                      A, AAAA: virtual addresses (virtual.ts)
 *                                           HTTPS, SVCB: none, their hints are real addresses
 *                                           other types: from behind the jump host, else none
 *              tunnel, local                relayed; SERVFAIL if there is no answer, and never an
 *                                           answer from the other resolver
 *              loopback, nothing, stand-in  answered here
 *              closer to another tunnel     asked there (neighbours.ts), and relayed
 *         -> fitted to the size that the client accepts in a datagram (RFC 6891 §6.2.5)
 *
 * Names that are targets themselves are answered without asking a resolver: the jump host may know
 * them only from a file. For a name below `*.corp.example` the resolver behind the jump host is
 * asked first, if there is one, so that a name that doesn't exist is reported as such. If it
 * doesn't answer, the name gets its address anyway.
 *
 * Reverse look-ups of virtual addresses are answered here with their names.
 *
 * Limits: as many queries may wait as can be on their way to the resolvers that are asked
 * (MAX_SOCKETS, MAX_IN_FLIGHT), shared fairly among users (fairshare.ts): one alone has
 * MAX_QUERIES_OF_CLIENT of those to this machine's resolvers. Any more are answered SERVFAIL at
 * once, so that the client asks another server or tries again. Counted. A user is who has the
 * socket that asks (`userOf`), or else an address. Who asks through another program, as
 * systemd-resolved is, shares with all others who do.
 */
import type { Answer, RecordType } from 'dns-packet';
import { reasonOf } from '../../errors/reason.ts';
import type { Destination } from '../../net/destination.ts';
import { isCanonicalName } from '../../net/name.ts';
import type { Observer } from '../../observe/observer.ts';
import type { NameRoute, Naming } from '../naming.ts';
import { MAX_SOCKETS } from '../upstream/datagram.ts';
import { hasAnswers, type Resolver } from '../upstream/resolver.ts';
import { MAX_IN_FLIGHT } from '../upstream/stream.ts';
import {
  composeAnswer,
  composeFault,
  datagramLimit,
  fitAnswer,
  relayAnswer,
  soaRecord,
  type UpstreamAnswer,
} from '../wire/compose.ts';
import { CLASS_CHAOS, CLASS_IN, MAX_MESSAGE, Rcode, readMessage, Type } from '../wire/message.ts';
import { makeQuestion, parseQuery, type Query } from '../wire/query.ts';
import { FairShare } from './fairshare.ts';
import { CLAIMS_NAME, GREETING_NAME } from './neighbours.ts';
import { VIRTUAL_TTL, type VirtualAddresses } from './virtual.ts';

/** Of one user who is alone, to this machine's own resolvers. */
export const MAX_QUERIES_OF_CLIENT = MAX_SOCKETS / 2;

export interface DnsClient {
  /** The address under which the client's queries are counted if its user isn't known. */
  readonly key: string;
  /** With the address it finds the user. */
  readonly port?: number | undefined;
  /** What it is connected to, over TCP; needed to find its user there. */
  readonly peer?: Destination | undefined;
  /** Whether it asks by TCP, where an answer may have any length. */
  readonly stream: boolean;
  /** It is another tunnel, which asks about this one's own names. Default: false. */
  readonly ofTunnel?: boolean | undefined;
}

/** Other tunnels on this machine (neighbours.ts). */
export interface OtherTunnels {
  /** Who answers for a name that naming.ts has decided on; undefined: nobody but this one. */
  ownerOf(name: string, route: NameRoute): Resolver | undefined;
  /** Forgets those that have gone. Never rejects. */
  refresh(): Promise<void>;
  /**
   * What this one answers for. `greeted`: once it has heard the others. Rejects with TunnelError
   * `dns-busy` while it can't hear one of them.
   */
  claims(greeted: boolean): Promise<readonly string[]>;
}

export interface DnsServerOptions {
  readonly naming: Naming;
  /** undefined: there are no name targets. */
  readonly virtual: VirtualAddresses | undefined;
  /** The resolvers behind the jump host; undefined: there are none. */
  readonly tunnel: Resolver | undefined;
  /** This machine's own resolvers; undefined: all other names are refused. */
  readonly local: Resolver | undefined;
  /** The user of this machine who has a socket. Default: nobody is found. Never rejects. */
  readonly userOf?: UserOf | undefined;
  /** Default: there are none. */
  readonly others?: OtherTunnels | undefined;
  readonly observer: Observer;
}

/** `peer`: what a TCP socket is connected to; of UDP undefined. */
export type UserOf = (
  socket: Destination,
  peer: Destination | undefined,
) => Promise<number | undefined>;

export class DnsServer {
  readonly #options: DnsServerOptions;
  /** Queries that wait, by where they go. */
  readonly #toLocal = new FairShare(MAX_SOCKETS);
  readonly #toTunnel = new FairShare(MAX_IN_FLIGHT);
  #local: Resolver | undefined;
  #closed = false;

  constructor(options: DnsServerOptions) {
    this.#options = options;
    this.#local = options.local;
    options.observer.addCounters?.(() => [
      ['tunnel_dns_queries_waiting', this.#toLocal.taken + this.#toTunnel.taken],
    ]);
  }

  /** Replaces this machine's own resolvers. */
  setLocal(local: Resolver | undefined): void {
    this.#local = local;
  }

  /**
   * From now on every answer is SERVFAIL; queries that wait get it when their resolver is closed.
   * So no client gets a virtual address that is about to become useless.
   */
  close(): void {
    this.#closed = true;
  }

  /** Resolves with the answer, or with undefined if the query gets none. Never rejects. */
  async answer(bytes: Uint8Array, client: DnsClient): Promise<Uint8Array | undefined> {
    const { observer } = this.#options;
    observer.count('tunnel_dns_queries_total');
    const parsed = parseQuery(bytes);
    if (parsed.kind === 'drop') {
      observer.count('tunnel_dns_dropped_total');
      return undefined;
    }
    if (parsed.kind === 'fault') {
      observer.count('tunnel_dns_faults_total');
      const { query, rcode } = parsed;
      return query === undefined ? composeFault(bytes, rcode) : composeAnswer(query, { rcode });
    }
    const { query } = parsed;
    const limit = client.stream ? MAX_MESSAGE : datagramLimit(query);
    const places =
      this.#options.naming(query.question.name).kind === 'local' ? this.#toLocal : this.#toTunnel;
    const asks = places.contended && this.#options.userOf !== undefined;
    const user = asks ? await this.userOf(client) : client.key;
    if (!places.take(user)) {
      observer.count('tunnel_dns_over_limit_total');
      return fitAnswer(query, composeAnswer(query, { rcode: Rcode.SERVFAIL }), limit);
    }
    try {
      const answer = client.ofTunnel === true ? this.#answerTunnel(query) : this.#answer(query);
      return fitAnswer(query, await answer, limit);
    } catch (error) {
      observer.count('tunnel_dns_failures_total');
      observer.log('debug', `${query.question.name}: ${reasonOf(error)}`);
      return composeAnswer(query, { rcode: Rcode.SERVFAIL });
    } finally {
      places.giveBack(user);
    }
  }

  /** Who a client is, for shares (fairshare.ts): a user of this machine, or an address. */
  async userOf({ key, port, peer, stream }: DnsClient): Promise<string> {
    const { userOf } = this.#options;
    if (userOf === undefined || port === undefined || stream !== (peer !== undefined)) return key;
    const user = await userOf({ host: key, port }, peer);
    return user === undefined ? key : `user ${user}`;
  }

  async #answer(query: Query): Promise<Uint8Array> {
    if (this.#closed) return composeAnswer(query, { rcode: Rcode.SERVFAIL });
    const refusal = refusalOf(query);
    if (refusal !== undefined) return composeAnswer(query, { rcode: refusal });
    const route = this.#options.naming(query.question.name);
    return (await this.#passOn(query, route)) ?? this.#answerHere(query, route);
  }

  /** Undefined: no other tunnel answers for it. Rejects if one that runs doesn't answer. */
  async #passOn(query: Query, route: NameRoute): Promise<Uint8Array | undefined> {
    const { others } = this.#options;
    const { question } = query;
    for (;;) {
      const owner = others?.ownerOf(question.name, route);
      if (others === undefined || owner === undefined) return undefined;
      try {
        const answer = await owner.resolve(question);
        // Refused: an exclusion leaves the name out there.
        return answer.rcode === Rcode.REFUSED ? undefined : relayAnswer(query, answer);
      } catch (error) {
        // It may have ended, which nobody has told yet. Then the name is somebody else's.
        await others.refresh();
        if (this.#closed || others.ownerOf(question.name, route) === owner) throw error;
      }
    }
  }

  /**
   * For another tunnel: only what is this one's own, so that nothing goes in a circle. To that
   * tunnel a refusal says whose the name isn't, so a resolver's own refusal becomes a failure.
   */
  async #answerTunnel(query: Query): Promise<Uint8Array> {
    if (this.#closed) return composeAnswer(query, { rcode: Rcode.SERVFAIL });
    const { type, class: of, name } = query.question;
    const isGreeting = name === GREETING_NAME;
    if (of === CLASS_CHAOS && type === Type.TXT && (isGreeting || name === CLAIMS_NAME)) {
      const data = [...((await this.#options.others?.claims(isGreeting)) ?? [])];
      const answers: Answer[] = [{ type: 'TXT', class: 'CH', name, ttl: 0, data }];
      return composeAnswer(query, { rcode: Rcode.NOERROR, authoritative: true, answers });
    }
    const refusal = refusalOf(query);
    if (refusal !== undefined) return composeAnswer(query, { rcode: refusal });
    const route = this.#options.naming(name);
    if (route.kind === 'local') return composeAnswer(query, { rcode: Rcode.REFUSED });
    const answer = await this.#answerHere(query, route);
    return (readMessage(answer).flags & 0xf) === Rcode.REFUSED
      ? composeAnswer(query, { rcode: Rcode.SERVFAIL })
      : answer;
  }

  async #answerHere(query: Query, route: NameRoute): Promise<Uint8Array> {
    if (route.kind === 'tunnel' || route.kind === 'local')
      return this.#elsewhere(query, route.kind);
    if (route.kind === 'loopback') {
      const loopback = { ipv4: '127.0.0.1', ipv6: '::1' };
      return this.#addressAnswer(query, loopback, route.zone);
    }
    if (route.kind === 'nothing') return negative(query, route.zone, route.exists);
    if (route.kind === 'stand-in') return this.#standIn(query, route.address);
    return this.#virtual(query, route);
  }

  #standIn(query: Query, address: string): Uint8Array {
    const { name, type } = query.question;
    const standsFor = this.#options.virtual?.nameOf(address);
    if (standsFor === undefined) return negative(query, name, false);
    if (type !== Type.PTR && type !== Type.ANY) return negative(query, name, true);
    return composeAnswer(query, {
      rcode: Rcode.NOERROR,
      authoritative: true,
      answers: [{ type: 'PTR', name, ttl: VIRTUAL_TTL, data: standsFor }],
    });
  }

  async #elsewhere(query: Query, kind: 'tunnel' | 'local'): Promise<Uint8Array> {
    const resolver = kind === 'tunnel' ? this.#options.tunnel : this.#local;
    if (resolver === undefined) return composeAnswer(query, { rcode: Rcode.REFUSED });
    return relayAnswer(query, await resolver.resolve(query.question));
  }

  async #virtual(query: Query, route: NameRoute & { kind: 'virtual' }): Promise<Uint8Array> {
    const { tunnel, virtual } = this.#options;
    const { type, name } = query.question;
    if (type === Type.HTTPS || type === Type.SVCB) return negative(query, route.zone, true);
    if (type !== Type.A && type !== Type.AAAA && type !== Type.ANY) {
      if (tunnel === undefined) return negative(query, route.zone, true);
      return relayAnswer(query, await tunnel.resolve(query.question));
    }
    // Such a name may have other records (DNS-SD), but can't be dialled.
    if (!isCanonicalName(name)) return negative(query, route.zone, true);
    const missing = route.exact ? undefined : await this.#missing(query);
    if (missing !== undefined) return relayAnswer(query, missing);
    const lease = virtual?.lease(name);
    if (lease === undefined) return composeAnswer(query, { rcode: Rcode.SERVFAIL });
    return this.#addressAnswer(query, lease, route.zone);
  }

  /**
   * The resolver's answer if the name or its records don't exist. Undefined: they do exist, or the
   * resolver couldn't be asked.
   */
  async #missing(query: Query): Promise<UpstreamAnswer | undefined> {
    const { tunnel, observer } = this.#options;
    if (tunnel === undefined) return undefined;
    // ANY need not be answered in full (RFC 8482), so its answer would show nothing.
    const type = query.question.type === Type.ANY ? Type.A : query.question.type;
    try {
      const answer = await tunnel.resolve(makeQuestion({ ...query.question, type }));
      if (answer.rcode === Rcode.NXDOMAIN) return answer;
      return answer.rcode === Rcode.NOERROR && !hasAnswers(answer) && type === query.question.type
        ? answer
        : undefined;
    } catch (error) {
      if (this.#closed) throw error;
      // The far side resolves the name again when a connection is opened, and that result counts.
      observer.count('tunnel_dns_unchecked_total');
      return undefined;
    }
  }

  #addressAnswer(
    query: Query,
    addresses: { readonly ipv4: string | undefined; readonly ipv6: string | undefined },
    zone: string,
  ): Uint8Array {
    const { type, name } = query.question;
    const records: Answer[] = [];
    const add = (of: RecordType & ('A' | 'AAAA'), number: number, data: string | undefined) => {
      if (data === undefined || (type !== number && type !== Type.ANY)) return;
      records.push({ type: of, name, ttl: VIRTUAL_TTL, data });
    };
    add('A', Type.A, addresses.ipv4);
    add('AAAA', Type.AAAA, addresses.ipv6);
    if (records.length === 0) return negative(query, zone, true);
    return composeAnswer(query, { rcode: Rcode.NOERROR, authoritative: true, answers: records });
  }
}

/**
 * What no tunnel and no program gets. A resolver doesn't do zone transfers, and CHAOS names would
 * ask about this server itself. Undefined: it is to be answered.
 */
function refusalOf({ question: { type, class: of } }: Query): number | undefined {
  if (type === Type.AXFR || type === Type.IXFR || of !== CLASS_IN) return Rcode.REFUSED;
  return type === Type.OPT || type === Type.TKEY ? Rcode.NOTIMP : undefined;
}

/**
 * The SOA record lets clients keep the answer as long as a virtual address, and tell it from a
 * referral (RFC 2308 §2).
 */
function negative(query: Query, zone: string, exists: boolean): Uint8Array {
  return composeAnswer(query, {
    rcode: exists ? Rcode.NOERROR : Rcode.NXDOMAIN,
    authoritative: true,
    authorities: [soaRecord(zone)],
  });
}
