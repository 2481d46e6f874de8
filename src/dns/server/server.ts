/**
 * The tunnel's DNS server: octets of a query in, octets of an answer out. Where they come from and
 * go to is the fronts' business (front.ts): datagrams out of the TUN, captured TCP connections,
 * sockets.
 *
 *   query -> parseQuery (dns/wire/query.ts)      what can't be read is answered as the RFCs say, or
 *                                                dropped
 *         -> naming (dns/naming.ts)         who answers for the name
 *              virtual                  A and AAAA with virtual addresses (virtual.ts); HTTPS and
 *                                       SVCB never: their hints are real addresses; other types
 *                                       from behind the jump host, else there are none
 *              tunnel, local            relayed; SERVFAIL when there is no answer, never by the
 *                                       other way
 *              loopback, nothing,
 *              stand-in                 here
 *         -> fitted to what the client takes in a datagram (RFC 6891 §6.2.5)
 *
 * Names that a target writes out are answered without asking anybody: the jump host may know them
 * from a file that no resolver knows. For a name below `*.corp.example` the resolver behind the
 * jump host is asked first, if there is one, so that a name that doesn't exist fails as such; when
 * it doesn't answer, the name gets its address all the same.
 *
 * Reverse look-ups of virtual addresses give their names, and go no further.
 *
 * Limits: MAX_QUERIES in all and MAX_QUERIES_OF_CLIENT of one client that wait for an answer;
 * beyond, SERVFAIL at once, so that the client asks another server or tries again. Counted.
 */
import type { Answer, RecordType } from 'dns-packet';
import { reasonOf } from '../../errors/reason.ts';
import { isCanonicalName } from '../../net/name.ts';
import type { Observer } from '../../observe/observer.ts';
import type { NameRoute, Naming } from '../naming.ts';
import { hasAnswers, type Resolver } from '../upstream/resolver.ts';
import {
  composeAnswer,
  composeFault,
  datagramLimit,
  fitAnswer,
  relayAnswer,
  type UpstreamAnswer,
} from '../wire/compose.ts';
import { CLASS_IN, MAX_MESSAGE, Rcode, Type } from '../wire/message.ts';
import { makeQuestion, parseQuery, type Query } from '../wire/query.ts';
import { VIRTUAL_TTL, type VirtualAddresses } from './virtual.ts';

const MAX_QUERIES = 4096;
export const MAX_QUERIES_OF_CLIENT = 2048;

export interface DnsClient {
  /** What is counted together: an address. */
  readonly key: string;
  /** Whether it asks by TCP, where answers may be of any length. */
  readonly stream: boolean;
}

export interface DnsServerOptions {
  readonly naming: Naming;
  /** undefined: no name is carried by name. */
  readonly virtual: VirtualAddresses | undefined;
  /** The resolvers behind the jump host; undefined: none is known. */
  readonly tunnel: Resolver | undefined;
  /** This machine's own; undefined: other names are refused. */
  readonly local: Resolver | undefined;
  readonly observer: Observer;
}

/** Answers of our own say who is to blame with names that nobody can look up (RFC 6761 §6.4). */
const SOA = {
  mname: 'tunnel.invalid',
  rname: 'nobody.invalid',
  serial: 1,
  refresh: 3600,
  retry: 600,
  expire: 86_400,
};

export class DnsServer {
  readonly #options: DnsServerOptions;
  /** Queries that wait, of each client that has any. */
  readonly #waiting = new Map<string, number>();
  #local: Resolver | undefined;
  #total = 0;
  #closed = false;

  constructor(options: DnsServerOptions) {
    this.#options = options;
    this.#local = options.local;
  }

  /** This machine's resolvers are others from now on. */
  setLocal(local: Resolver | undefined): void {
    this.#local = local;
  }

  /**
   * From now on every answer is SERVFAIL, also to queries that wait as soon as their resolver is
   * closed: an address that is about to stand for nothing is given to nobody.
   */
  close(): void {
    this.#closed = true;
  }

  /** Resolves with the answer, or with nothing where none is due. Never rejects. */
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
    if (!this.#admit(client.key)) {
      observer.count('tunnel_dns_over_limit_total');
      return fitAnswer(query, composeAnswer(query, { rcode: Rcode.SERVFAIL }), limit);
    }
    try {
      return fitAnswer(query, await this.#answer(query), limit);
    } catch (error) {
      observer.count('tunnel_dns_failures_total');
      observer.log('debug', `${query.question.name}: ${reasonOf(error)}`);
      return composeAnswer(query, { rcode: Rcode.SERVFAIL });
    } finally {
      this.#leave(client.key);
    }
  }

  #admit(key: string): boolean {
    const own = this.#waiting.get(key) ?? 0;
    if (this.#total >= MAX_QUERIES || own >= MAX_QUERIES_OF_CLIENT) return false;
    this.#total += 1;
    this.#waiting.set(key, own + 1);
    return true;
  }

  #leave(key: string): void {
    this.#total -= 1;
    const own = (this.#waiting.get(key) ?? 1) - 1;
    if (own > 0) this.#waiting.set(key, own);
    else this.#waiting.delete(key);
  }

  async #answer(query: Query): Promise<Uint8Array> {
    if (this.#closed) return composeAnswer(query, { rcode: Rcode.SERVFAIL });
    const { type, class: of, name } = query.question;
    // Zone transfers and the like are nothing that a resolver has; CHAOS names tell about servers.
    if (type === Type.AXFR || type === Type.IXFR || of !== CLASS_IN)
      return composeAnswer(query, { rcode: Rcode.REFUSED });
    if (type === Type.OPT || type === Type.TKEY)
      return composeAnswer(query, { rcode: Rcode.NOTIMP });
    const route = this.#options.naming(name);
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
    // It may have other records (DNS-SD), but could not be dialled.
    if (!isCanonicalName(name)) return negative(query, route.zone, true);
    const missing = route.exact ? undefined : await this.#missing(query);
    if (missing !== undefined) return relayAnswer(query, missing);
    const lease = virtual?.lease(name);
    if (lease === undefined) return composeAnswer(query, { rcode: Rcode.SERVFAIL });
    return this.#addressAnswer(query, lease, route.zone);
  }

  /**
   * What the resolver says of a name that it knows nothing of; undefined: it has such records, or
   * isn't to be had.
   */
  async #missing(query: Query): Promise<UpstreamAnswer | undefined> {
    const { tunnel, observer } = this.#options;
    if (tunnel === undefined) return undefined;
    // ANY need not be answered in full (RFC 8482), so it tells nothing.
    const type = query.question.type === Type.ANY ? Type.A : query.question.type;
    try {
      const answer = await tunnel.resolve(makeQuestion({ ...query.question, type }));
      if (answer.rcode === Rcode.NXDOMAIN) return answer;
      return answer.rcode === Rcode.NOERROR && !hasAnswers(answer) && type === query.question.type
        ? answer
        : undefined;
    } catch (error) {
      if (this.#closed) throw error;
      // The far side resolves the name once more when it is connected to, and its word counts then.
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
 * With an SOA record, so that it may be kept as long as a virtual address, and is told from a
 * referral (RFC 2308 §2).
 */
function negative(query: Query, zone: string, exists: boolean): Uint8Array {
  return composeAnswer(query, {
    rcode: exists ? Rcode.NOERROR : Rcode.NXDOMAIN,
    authoritative: true,
    authorities: [
      { type: 'SOA', name: zone, ttl: VIRTUAL_TTL, data: { ...SOA, minimum: VIRTUAL_TTL } },
    ],
  });
}
