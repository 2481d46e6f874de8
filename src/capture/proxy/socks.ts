/**
 * The SOCKS front: one client's dialogue up to its request.
 *
 *   SOCKS5 (RFC 1928)   methods -> [user and password, RFC 1929] -> CONNECT address or name, port
 *                       -> ClientFlow
 *   SOCKS4, 4a          CONNECT address, port, user[, name] -> ClientFlow
 *
 * Only CONNECT is supported: BIND and UDP ASSOCIATE are refused with 07 (SOCKS4: 91). If
 * credentials are required, SOCKS4 is refused, because it has no password. The parts of a request
 * may arrive in one segment or byte by byte, and the client need not wait for the answers. Bytes
 * after the request belong to the flow.
 *
 * Each part is parsed as soon as it is whole, in the same turn in which its last octet arrives.
 * Nothing is awaited, because the dialogue is a large part of the cost of a short connection.
 *
 * Limits: SOCKS5's lengths are single octets. SOCKS4's texts may have MAX_SOCKS4_TEXT octets.
 * Admission limits the time.
 */
import { addressFromBytes } from '../../net/address.ts';
import { formatDestination } from '../../net/destination.ts';
import { canonicalHost } from '../../net/name.ts';
import { NotationError } from '../../net/notation.ts';
import type { CounterName } from '../../observe/counters.ts';
import { SOCKS5_REPLIES, SOCKS5_REPLY } from './answers.ts';
import type { ClientListener, ProxyClient } from './client.ts';
import { ClientFlow, type ClientReplies, type ProxyContext } from './request.ts';
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

/** The most octets in SOCKS4's user, and in SOCKS4a's name: as long as a name can be. */
const MAX_SOCKS4_TEXT = 255;

const IPV4_OCTETS = 4;
const IPV6_OCTETS = 16;
/** RFC 1928 §4: version, command, reserved, type of address. */
const REQUEST5_HEAD = 4;
/** SOCKS4: version, command, port, address. */
const REQUEST4_HEAD = 8;
const PORT_OCTETS = 2;

const NOTHING = Buffer.alloc(0);
const TOO_MANY = 'its host has tried too many wrong passwords';

/** Ends the dialogue with a last reply to the client. */
class SocksRefusal extends Error {
  readonly reply: Buffer;
  readonly counter: CounterName;
  /** A guess: the reply is delayed. */
  readonly guessed: boolean;

  constructor(reply: Buffer, counter: CounterName, guessed = false) {
    super('the SOCKS dialogue is over');
    this.reply = reply;
    this.counter = counter;
    this.guessed = guessed;
  }
}

/** Takes over a client that is being read. `first`: the bytes so far, at least one. */
export function serveSocks(client: ProxyClient, first: Buffer, context: ProxyContext): void {
  new SocksDialogue(client, context).begin(first);
}

const REPLIES5: ClientReplies = {
  success: socks5Reply(SOCKS5_REPLY.succeeded),
  failure: (refusal) => socks5Reply(SOCKS5_REPLIES[refusal]),
};

const REPLIES4: ClientReplies = {
  success: socks4Reply(SOCKS4_REPLY.granted),
  failure: () => socks4Reply(SOCKS4_REPLY.rejected),
};

/** The answers that most clients get. */
const NO_PASSWORD = methodReply(METHOD.none);
const PASSWORD = methodReply(METHOD.password);

/**
 * Parses one part of the dialogue. Returns how many octets it has, or 0 while it isn't whole.
 * Throws SocksRefusal.
 */
type Step = (octets: Buffer) => number;

class SocksDialogue implements ClientListener {
  readonly #client: ProxyClient;
  readonly #context: ProxyContext;
  /** The octets so far of a part that isn't whole. */
  #incomplete: Buffer = NOTHING;
  /** The request is whole, and its client waits for the answer. */
  #flow: ClientFlow | undefined;
  /** It is refused, and is told so now or later. */
  #refused = false;

  constructor(client: ProxyClient, context: ProxyContext) {
    this.#client = client;
    this.#context = context;
  }

  begin(first: Buffer): void {
    this.#client.follow(this);
    this.#step = first[0] === SOCKS4 ? this.#request4 : this.#methods;
    this.octets(first);
  }

  octets(chunk: Buffer): void {
    const client = this.#client;
    let octets = this.#incomplete.length === 0 ? chunk : Buffer.concat([this.#incomplete, chunk]);
    try {
      while (this.#flow === undefined) {
        const length = this.#step(octets);
        if (length === 0) {
          this.#incomplete = octets.length === 0 ? NOTHING : Buffer.from(octets);
          return;
        }
        octets = length === octets.length ? NOTHING : octets.subarray(length);
      }
    } catch (error) {
      if (!(error instanceof SocksRefusal)) throw error;
      this.#refused = true;
      this.#context.admission.busy(client.place);
      this.#context.observer.count(error.counter);
      if (!error.guessed) {
        client.endWith(error.reply);
        return;
      }
      client.pause();
      this.#context.guesses.wrong(client.source.host, () => client.endWith(error.reply));
      return;
    }
    client.hold(octets);
    this.#context.admission.busy(client.place);
    this.#context.observer.count('tunnel_proxy_requests_total');
    this.#context.accept(this.#flow);
  }

  end(): void {
    if (this.#refused) return; // what it is told closes it
    if (this.#flow === undefined) this.#context.observer.count('tunnel_proxy_given_up_total');
    this.#flow?.giveUp();
    this.#client.destroy();
  }

  /** RFC 1928 §3 */
  readonly #methods: Step = (octets) => {
    const length = 2 + (octets[1] ?? 0);
    if (octets.length < 2 || octets.length < length) return 0;
    const wanted = this.#context.credentials === undefined ? METHOD.none : METHOD.password;
    const found = octets.indexOf(wanted, 2);
    if (found < 0 || found >= length) {
      const reply = methodReply(METHOD.noneAcceptable);
      if (wanted === METHOD.password)
        throw this.#authenticationFailure(reply, 'it offers no user and password');
      throw new SocksRefusal(reply, 'tunnel_proxy_unsupported_total');
    }
    this.#client.write(wanted === METHOD.password ? PASSWORD : NO_PASSWORD);
    this.#step = wanted === METHOD.password ? this.#password : this.#request5;
    return length;
  };

  /** RFC 1929 */
  readonly #password: Step = (octets) => {
    if (octets.length === 0) return 0;
    if (octets[0] !== PASSWORD_VERSION)
      throw new SocksRefusal(NOTHING, 'tunnel_proxy_protocol_errors_total');
    const userEnd = 2 + (octets[1] ?? 0);
    const length = userEnd + 1 + (octets[userEnd] ?? 0);
    if (octets.length <= userEnd || octets.length < length) return 0;
    const user = octets.subarray(2, userEnd);
    const password = octets.subarray(userEnd + 1, length);
    const failure = passwordReply(PASSWORD_STATUS.failure);
    if (!this.#context.guesses.mayTry(this.#client.source.host))
      throw this.#authenticationFailure(failure, TOO_MANY);
    if (this.#context.credentials?.accepts(user, password) !== true)
      throw this.#authenticationFailure(failure, 'the user or the password is wrong', true);
    this.#client.write(passwordReply(PASSWORD_STATUS.success));
    this.#step = this.#request5;
    return length;
  };

  /** RFC 1928 §4 */
  readonly #request5: Step = (octets) => {
    const [version, command, , type, nameLength] = octets;
    if (version === undefined) return 0;
    if (version !== SOCKS5) throw new SocksRefusal(NOTHING, 'tunnel_proxy_protocol_errors_total');
    if (octets.length <= REQUEST5_HEAD) {
      if (type !== undefined) requireAddressType(type);
      return 0;
    }
    const begin = type === ADDRESS_TYPE.name ? REQUEST5_HEAD + 1 : REQUEST5_HEAD;
    const end = begin + addressLength(requireAddressType(type), nameLength ?? 0);
    const length = end + PORT_OCTETS;
    if (octets.length < length) return 0;
    if (command !== COMMAND.connect)
      throw new SocksRefusal(
        socks5Reply(SOCKS5_REPLY.commandNotSupported),
        'tunnel_proxy_unsupported_total',
      );
    const address = octets.subarray(begin, end);
    const failure = socks5Reply(SOCKS5_REPLY.generalFailure);
    const isName = type === ADDRESS_TYPE.name;
    this.#request(address, isName, octets.readUInt16BE(end), REPLIES5, failure);
    return length;
  };

  readonly #request4: Step = (octets) => {
    if (octets.length < REQUEST4_HEAD) return 0;
    const rejected = socks4Reply(SOCKS4_REPLY.rejected);
    const address = octets.subarray(REQUEST4_HEAD - IPV4_OCTETS, REQUEST4_HEAD);
    const isName = isSocks4aMarker(address);
    const userEnd = textEnd(octets, REQUEST4_HEAD, rejected);
    if (userEnd === undefined) return 0;
    const end = isName ? textEnd(octets, userEnd + 1, rejected) : userEnd;
    if (end === undefined) return 0;
    if (this.#context.credentials !== undefined)
      throw this.#authenticationFailure(rejected, 'SOCKS4 has no password');
    if (octets[1] !== COMMAND.connect)
      throw new SocksRefusal(rejected, 'tunnel_proxy_unsupported_total');
    const host = isName ? octets.subarray(userEnd + 1, end) : address;
    this.#request(host, isName, octets.readUInt16BE(2), REPLIES4, rejected);
    return end + 1;
  };

  #step: Step = this.#methods;

  /** `invalid`: the last reply if the destination is not valid. */
  #request(
    host: Buffer,
    isName: boolean,
    port: number,
    replies: ClientReplies,
    invalid: Buffer,
  ): void {
    try {
      if (port === 0) throw new NotationError('there is no port 0');
      const destination = {
        host: isName ? canonicalHost(host.toString()) : addressFromBytes(host),
        port,
      };
      this.#flow = new ClientFlow(this.#client, destination, replies);
    } catch (error) {
      if (!(error instanceof NotationError)) throw error;
      this.#log(error.message);
      throw new SocksRefusal(invalid, 'tunnel_proxy_protocol_errors_total');
    }
  }

  #authenticationFailure(reply: Buffer, why: string, guessed = false): SocksRefusal {
    this.#log(why);
    return new SocksRefusal(reply, 'tunnel_proxy_authentication_failures_total', guessed);
  }

  #log(why: string): void {
    this.#context.observer.log(
      'info',
      `proxy client ${formatDestination(this.#client.source)}: ${why}`,
    );
  }
}

function requireAddressType(type: number | undefined): number {
  if (type === ADDRESS_TYPE.ipv4 || type === ADDRESS_TYPE.ipv6 || type === ADDRESS_TYPE.name)
    return type;
  throw new SocksRefusal(
    socks5Reply(SOCKS5_REPLY.addressTypeNotSupported),
    'tunnel_proxy_unsupported_total',
  );
}

function addressLength(type: number, nameLength: number): number {
  if (type === ADDRESS_TYPE.name) return nameLength;
  return type === ADDRESS_TYPE.ipv4 ? IPV4_OCTETS : IPV6_OCTETS;
}

/**
 * The position of the NUL that ends a text, or undefined if it has not arrived yet. Throws
 * SocksRefusal if the text is too long.
 */
function textEnd(octets: Buffer, begin: number, rejected: Buffer): number | undefined {
  const end = octets.indexOf(0, begin);
  if ((end === -1 ? octets.length : end) - begin > MAX_SOCKS4_TEXT)
    throw new SocksRefusal(rejected, 'tunnel_proxy_protocol_errors_total');
  return end === -1 ? undefined : end;
}
