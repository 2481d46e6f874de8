/**
 * The SOCKS front: one client's dialogue up to its request.
 *
 *   SOCKS5 (RFC 1928)   methods -> [user and password, RFC 1929] -> CONNECT address or name, port -> ProxyFlow
 *   SOCKS4, 4a          CONNECT address, port, user[, name] -> ProxyFlow
 *
 * Only CONNECT is carried: BIND and UDP ASSOCIATE are refused with 07 (SOCKS4: 91). Where credentials are asked for, SOCKS4 is
 * refused, because it has no password. The parts of a request may come in one segment or byte by byte, with or without
 * waiting for the answers; what follows the request belongs to the flow.
 *
 * Limits: SOCKS5's lengths are octets; SOCKS4's texts end at MAX_SOCKS4_TEXT. Admission bounds the time.
 */
import type { Socket } from 'node:net';
import { addressFromBytes } from '../net/address.ts';
import { formatDestination } from '../net/destination.ts';
import { canonicalHost } from '../net/name.ts';
import { NotationError } from '../net/notation.ts';
import { EndedError, OctetReader } from './octets.ts';
import { SOCKS5_REPLIES, SOCKS5_REPLY } from './proxyanswers.ts';
import { clientOf, endWith, type ProxyContext, ProxyFlow, type ProxyReplies } from './proxyflow.ts';
import {
  ADDRESS_TYPE,
  COMMAND,
  isSocks4aMarker,
  METHOD,
  methodReply,
  PASSWORD_STATUS,
  PASSWORD_VERSION,
  passwordReply,
  SOCKS4,
  SOCKS4_REPLY,
  SOCKS5,
  socks4Reply,
  socks5Reply,
} from './socksmessages.ts';

/** Octets of SOCKS4's user and of SOCKS4a's name, each: as long as a name can be. */
export const MAX_SOCKS4_TEXT = 255;

const IPV4_OCTETS = 4;
const IPV6_OCTETS = 16;

const NOTHING = Buffer.alloc(0);

/** The dialogue is over, with last words to the client. */
class Farewell extends Error {
  readonly words: Buffer;
  readonly counter: string;

  constructor(words: Buffer, counter: string) {
    super('the SOCKS dialogue is over');
    this.words = words;
    this.counter = counter;
  }
}

/** Takes the socket over; its first octet is still to be read. Never rejects. */
export async function serveSocks(socket: Socket, context: ProxyContext): Promise<void> {
  const reader = new OctetReader(socket);
  try {
    const dialogue = new Dialogue(socket, reader, context);
    const flow = await ((await reader.readOctet()) === SOCKS4 ? dialogue.socks4() : dialogue.socks5());
    reader.release();
    context.admission.busy(socket);
    context.observer.count('tunnel_proxy_requests_total');
    context.accept(flow);
  } catch (error) {
    reader.release();
    if (error instanceof Farewell) {
      context.admission.busy(socket);
      context.observer.count(error.counter);
      endWith(socket, error.words);
    } else if (error instanceof EndedError) {
      context.observer.count('tunnel_proxy_given_up_total');
      socket.destroy();
    } else {
      throw error;
    }
  }
}

const REPLIES5: ProxyReplies = {
  success: () => socks5Reply(SOCKS5_REPLY.succeeded),
  failure: (refusal) => socks5Reply(SOCKS5_REPLIES[refusal]),
};

const REPLIES4: ProxyReplies = {
  success: () => socks4Reply(SOCKS4_REPLY.granted),
  failure: () => socks4Reply(SOCKS4_REPLY.rejected),
};

/** Behind the version. Its methods reject with Farewell or EndedError. */
class Dialogue {
  readonly #socket: Socket;
  readonly #reader: OctetReader;
  readonly #context: ProxyContext;

  constructor(socket: Socket, reader: OctetReader, context: ProxyContext) {
    this.#socket = socket;
    this.#reader = reader;
    this.#context = context;
  }

  async socks5(): Promise<ProxyFlow> {
    const reader = this.#reader;
    await this.#agreeOnMethod(await reader.read(await reader.readOctet()));
    const version = await reader.readOctet();
    if (version !== SOCKS5) throw new Farewell(NOTHING, 'tunnel_proxy_protocol_errors_total');
    const command = await reader.readOctet();
    await reader.readOctet(); // reserved
    const host = await this.#readHost();
    const port = (await reader.read(2)).readUInt16BE(0);
    if (command !== COMMAND.connect)
      throw new Farewell(socks5Reply(SOCKS5_REPLY.commandNotSupported), 'tunnel_proxy_unsupported_total');
    return this.#flow(host, port, REPLIES5, socks5Reply(SOCKS5_REPLY.generalFailure));
  }

  async socks4(): Promise<ProxyFlow> {
    const reader = this.#reader;
    const rejected = socks4Reply(SOCKS4_REPLY.rejected);
    const command = await reader.readOctet();
    const port = (await reader.read(2)).readUInt16BE(0);
    const address = await reader.read(IPV4_OCTETS);
    const user = await reader.readThroughNul(MAX_SOCKS4_TEXT);
    const name = isSocks4aMarker(address) ? await reader.readThroughNul(MAX_SOCKS4_TEXT) : address;
    if (user === undefined || name === undefined)
      throw new Farewell(rejected, 'tunnel_proxy_protocol_errors_total');
    if (this.#context.credentials !== undefined) throw this.#unknownUser(rejected, 'SOCKS4 has no password');
    if (command !== COMMAND.connect) throw new Farewell(rejected, 'tunnel_proxy_unsupported_total');
    const host = name === address ? addressFromBytes(address) : name.toString();
    return this.#flow(host, port, REPLIES4, rejected);
  }

  async #agreeOnMethod(offered: Buffer): Promise<void> {
    const wanted = this.#context.credentials === undefined ? METHOD.none : METHOD.password;
    if (!offered.includes(wanted)) {
      const words = methodReply(METHOD.noneAcceptable);
      if (wanted === METHOD.password) throw this.#unknownUser(words, 'it offers no user and password');
      throw new Farewell(words, 'tunnel_proxy_unsupported_total');
    }
    this.#socket.write(methodReply(wanted));
    if (wanted === METHOD.password) await this.#authenticate();
  }

  /** RFC 1929 */
  async #authenticate(): Promise<void> {
    const reader = this.#reader;
    const version = await reader.readOctet();
    if (version !== PASSWORD_VERSION) throw new Farewell(NOTHING, 'tunnel_proxy_protocol_errors_total');
    const user = await reader.read(await reader.readOctet());
    const password = await reader.read(await reader.readOctet());
    if (this.#context.credentials?.accepts(user, password) !== true)
      throw this.#unknownUser(passwordReply(PASSWORD_STATUS.failure), 'the user or the password is wrong');
    this.#socket.write(passwordReply(PASSWORD_STATUS.success));
  }

  async #readHost(): Promise<string> {
    const reader = this.#reader;
    const type = await reader.readOctet();
    switch (type) {
      case ADDRESS_TYPE.ipv4:
        return addressFromBytes(await reader.read(IPV4_OCTETS));
      case ADDRESS_TYPE.ipv6:
        return addressFromBytes(await reader.read(IPV6_OCTETS));
      case ADDRESS_TYPE.name:
        return (await reader.read(await reader.readOctet())).toString();
      default:
        throw new Farewell(
          socks5Reply(SOCKS5_REPLY.addressTypeNotSupported),
          'tunnel_proxy_unsupported_total',
        );
    }
  }

  /** `invalid`: the last words if there is no such destination. */
  #flow(host: string, port: number, replies: ProxyReplies, invalid: Buffer): ProxyFlow {
    try {
      if (port === 0) throw new NotationError('there is no port 0');
      return new ProxyFlow(this.#socket, { host: canonicalHost(host), port }, replies);
    } catch (error) {
      if (!(error instanceof NotationError)) throw error;
      this.#log(error.message);
      throw new Farewell(invalid, 'tunnel_proxy_protocol_errors_total');
    }
  }

  #unknownUser(words: Buffer, why: string): Farewell {
    this.#log(why);
    return new Farewell(words, 'tunnel_proxy_authentication_failures_total');
  }

  #log(why: string): void {
    this.#context.observer.log('info', `proxy client ${formatDestination(clientOf(this.#socket))}: ${why}`);
  }
}
