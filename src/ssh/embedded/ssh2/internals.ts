/**
 * The one place that knows what ssh2 keeps to itself. All of it was read in version 1.17.0, which
 * package.json pins exactly (docs/decisions/0005); `protocolOf` checks at run time that it is still
 * there, and test/contract/ssh2-internals.test.ts that it still behaves so.
 *
 * ssh2 goes on doing the transport layer (RFC 4253): ciphers, key exchange, global requests. Its
 * channels are not used.
 */
import type { Client } from 'ssh2';
import { TunnelError } from '../../../errors/errors.ts';
import { AESGCMCipher, AESGCMDecipher, dataPacketBytes, layOut, packetBytes } from './gcm.ts';
import { messageHandlers } from './library.ts';

/**
 * Encrypts packets. `allocPacket` makes space for one, with room for the cipher's framing, and
 * fills in length and padding; `encrypt` encrypts it, mostly in place, and gives the result to
 * `_onWrite`. Replaced by another after each key exchange, which takes `SshProtocol._onWrite` over.
 */
export interface OutboundCipher {
  allocPacket(payloadLength: number): Buffer;
  encrypt(packet: Buffer): void;
  _onWrite: (packet: Buffer) => void;
}

/** RFC 4256 §3.2 */
export interface InteractivePrompt {
  readonly prompt: string;
  readonly echo?: boolean;
}

type Handler = (protocol: unknown, ...fields: never[]) => void;

/**
 * Message 60 of RFC 4252 and RFC 4256 means one of three things; which one, ssh2 reads off the
 * first entry of `_authsQueue`, to which each request adds and from which each answer but 60 for
 * keyboard-interactive takes.
 */
export interface SshProtocol {
  /** Called for every packet while it is set. */
  _debug: ((message: string) => void) | undefined;
  /**
   * Not undefined while keys are exchanged (RFC 4253 §7): what is sent meanwhile is queued without
   * a bound.
   */
  readonly _kexinit: unknown;
  readonly _queue?: readonly Buffer[] | undefined;
  readonly _cipher: OutboundCipher;
  readonly _decipher: object;
  _onWrite: (packet: Buffer) => void;
  readonly _authsQueue: string[];
  authNone(user: string): void;
  /**
   * Offers a key without `sign`; with it, `sign` gets what is to be signed, and a function that
   * sends the signature.
   */
  authPK(
    user: string,
    blob: Buffer,
    algorithm: string,
    sign?: (data: Buffer, send: (signature: Buffer) => void) => void,
  ): void;
  authKeyboard(user: string): void;
  authInfoRes(answers: readonly string[]): void;
  authPassword(user: string, password: string): void;
  /** By the name of the message; called with the protocol and the message's fields. */
  readonly _handlers: Record<string, Handler | undefined> & {
    EXT_INFO: (
      protocol: unknown,
      extensions: readonly { name: string; algs?: readonly string[] }[],
    ) => void;
    /** Set by us: the answer to the ping with this number (sendPing). */
    PONG?: (protocol: unknown, number: number) => void;
    USERAUTH_SUCCESS: (protocol: unknown) => void;
    USERAUTH_FAILURE: (protocol: unknown, methods: string[], partialSuccess: boolean) => void;
    USERAUTH_PK_OK: (protocol: unknown) => void;
    USERAUTH_PASSWD_CHANGEREQ: (protocol: unknown, prompt: string) => void;
    USERAUTH_INFO_REQUEST: (
      protocol: unknown,
      name: string,
      instruction: string,
      prompts: readonly InteractivePrompt[],
    ) => void;
  };
  /**
   * Given each packet's payload outside of key exchanges; each new decipher takes the present one
   * over.
   */
  _onPayload: (payload: Buffer) => number | boolean | undefined;
  /** Decrypts what has come, and calls the handlers. Throws when a packet is malformed. */
  parse(chunk: Buffer, start: number, end: number): void;
  /** RFC 4254 §7.2, §5.1 */
  directTcpip(
    channel: number,
    window: number,
    maxPacket: number,
    addresses: { srcIP: string; srcPort: number; dstIP: string; dstPort: number },
  ): void;
  channelOpenFail(channel: number, reason: number, description: string): void;
  /** RFC 4254 §5.2, §5.3, §5.4; `channel` is the server's number. */
  channelData(channel: number, data: Buffer): void;
  channelWindowAdjust(channel: number, bytes: number): void;
  channelEOF(channel: number): void;
  channelClose(channel: number): void;
  channelFailure(channel: number): void;
  /** RFC 4254 §4: no to a global request of the server's. */
  requestFailure(): void;
  /** A global request keepalive@openssh.com that wants a reply. */
  ping(): void;
  disconnect(reason: number): void;
  /** Begins a key exchange, unless one is under way. */
  rekey(): void;
}

const METHODS = [
  'authNone',
  'authPK',
  'authKeyboard',
  'authInfoRes',
  'authPassword',
  'parse',
  'directTcpip',
  'channelOpenFail',
  'channelData',
  'channelWindowAdjust',
  'channelEOF',
  'channelClose',
  'channelFailure',
  'requestFailure',
  'ping',
  'disconnect',
  'rekey',
] as const satisfies readonly (keyof SshProtocol)[];
/**
 * DISCONNECT, IGNORE, UNIMPLEMENTED and DEBUG (RFC 4253 §11), and EXT_INFO (RFC 8308 §2.4), which
 * change nothing.
 */
const BEFORE_ACCEPTANCE: readonly (number | undefined)[] = [1, 2, 3, 4, 7];

/**
 * While the host key is being judged, nothing of the server's counts but what belongs to the key
 * exchange. ssh2 takes the server's new keys into use before that, and all that comes with them,
 * with the answers in clear. `refusal` gives what is thrown then. Returns what ends this, when the
 * first key exchange is done.
 */
export function guardFirstExchange(protocol: SshProtocol, refusal: () => Error): () => void {
  const deliver = protocol._onPayload;
  let accepted = false;
  protocol._onPayload = (payload) => {
    if (!accepted && payload.length > 0 && !BEFORE_ACCEPTANCE.includes(payload[0])) throw refusal();
    return deliver(payload);
  };
  return () => {
    accepted = true;
  };
}

const HANDLERS = [
  'EXT_INFO',
  'USERAUTH_SUCCESS',
  'USERAUTH_FAILURE',
  'USERAUTH_PK_OK',
  'USERAUTH_PASSWD_CHANGEREQ',
  'USERAUTH_INFO_REQUEST',
] as const;

/** Valid after `client.connect()`. Throws TunnelError `ssh2-changed`. */
export function protocolOf(client: Client): SshProtocol {
  const { _protocol: protocol } = client as unknown as { _protocol?: SshProtocol };
  const complete =
    Array.isArray(protocol?._authsQueue) &&
    HANDLERS.every((name) => typeof protocol._handlers?.[name] === 'function') &&
    typeof protocol._onWrite === 'function' &&
    typeof protocol._onPayload === 'function' &&
    typeof protocol._cipher?.allocPacket === 'function' &&
    typeof protocol._cipher._onWrite === 'function' &&
    METHODS.every((method) => typeof protocol[method] === 'function');
  if (protocol === undefined || !complete) {
    throw new TunnelError(
      'ssh2-changed',
      "the ssh2 library's Client is not the one that this program was written for",
      { hint: 'install the exact version that package.json names (npm ci)' },
    );
  }
  return protocol;
}

/** The server's software as its identification has it (`OpenSSH_9.2p1`); '' before that. */
export function serverSoftwareOf(client: Client): string {
  const { _remoteVer } = client as unknown as { _remoteVer?: string };
  return _remoteVer ?? '';
}

/**
 * What the shortest answer (REQUEST_FAILURE, or REQUEST_SUCCESS without data) has on the wire: RFC
 * 4253 §6 with the ciphers that ssh2 knows. At least so much; more with a MAC of which nothing is
 * known here.
 */
export function shortAnswerBytes({ _decipher }: SshProtocol): number {
  const { name } = _decipher.constructor;
  if (name.startsWith('AESGCM')) return 36;
  if (name.startsWith('ChaChaPoly')) return 28;
  const { _macActualLen: mac = 0 } = _decipher as { readonly _macActualLen?: number };
  return 16 + mac;
}

const EXT_INFO = 7;
/** PROTOCOL of OpenSSH, section 1.9: `string data`, answered with the same. */
const PING = 192;
const PONG = 193;
const PING_EXTENSION = 'ping@openssh.com';
const PING_VERSION = '0';
/** What is sent and received beside the data: the message's number and the data's length. */
const PING_HEAD = 5;
/** ssh2 gives a packet's payload out from here on. */
const PAYLOAD_START = 5;
const pingAnnounced = new WeakSet<object>();

// ssh2 tells of no extension but server-sig-algs, and passes over messages that it doesn't know.
const extInfo = messageHandlers[EXT_INFO];
messageHandlers[EXT_INFO] = (protocol, payload) => {
  if (namesExtension(payload, PING_EXTENSION)) pingAnnounced.add(protocol);
  return extInfo?.(protocol, payload);
};
messageHandlers[PONG] ??= (protocol, payload) => {
  const { _handlers: handlers } = protocol as SshProtocol;
  if (payload.length >= PING_HEAD + 4) handlers.PONG?.(protocol, payload.readUInt32BE(PING_HEAD));
};

/** RFC 8308 §2.3. A malformed one is for ssh2 to refuse. */
function namesExtension(payload: Buffer, wanted: string): boolean {
  if (payload.length < 5) return false;
  let at = 5;
  const next = (): string | undefined => {
    if (at + 4 > payload.length) return undefined;
    const length = payload.readUInt32BE(at);
    const text = payload.toString('latin1', at + 4, at + 4 + length);
    at += 4 + length;
    return text;
  };
  for (let left = payload.readUInt32BE(1); left > 0; left--) {
    const name = next();
    if (name === undefined) return false;
    const value = next();
    if (name === wanted) return value === PING_VERSION;
  }
  return false;
}

/** The server answers pings, each with as much as it carries. */
export function answersPings(protocol: SshProtocol): boolean {
  return pingAnnounced.has(protocol);
}

/**
 * A ping with a number and `bytes` of data in all. Not to be sent while keys are exchanged; the
 * server leaves those that it gets while it exchanges them unanswered.
 */
export function sendPing(protocol: SshProtocol, number: number, bytes: number): void {
  const packet = protocol._cipher.allocPacket(PING_HEAD + bytes);
  // What stood in this memory is not for the server.
  packet.fill(0, PAYLOAD_START, PAYLOAD_START + PING_HEAD + bytes);
  packet[PAYLOAD_START] = PING;
  packet.writeUInt32BE(bytes, PAYLOAD_START + 1);
  packet.writeUInt32BE(number, PAYLOAD_START + PING_HEAD);
  protocol._cipher.encrypt(packet);
}

export function isExchangingKeys(protocol: SshProtocol): boolean {
  return protocol._kexinit !== undefined;
}

/** Packets that wait for the end of a key exchange. */
export function queuedPackets(protocol: SshProtocol): number {
  return protocol._queue?.length ?? 0;
}

/**
 * How many bytes the packet that has begun to come still needs before anything else can be told of
 * it. undefined: the cipher is not gcm.ts's, which alone decrypts in place.
 */
export function missingInbound({ _decipher }: SshProtocol): number | undefined {
  return _decipher instanceof AESGCMDecipher ? _decipher.missing : undefined;
}

/** The ciphers that encrypt in place, and their blocks in bytes. */
const BLOCKS: Readonly<Record<string, number>> = { AESGCMCipher: 16, ChaChaPolyCipherBinding: 8 };

/** Where packets are laid out, padded, and given when they are encrypted. */
export interface PacketSpace {
  alloc(length: number): Buffer;
  pad(target: Uint8Array): void;
  take(packet: Buffer): void;
}

/** Where packets with channel data are laid out and encrypted. */
export interface DataSpace {
  /** Room for `length` bytes in `memory`, from the returned place on; `sealed` follows. */
  reserve(length: number): number;
  readonly memory: Buffer;
  sealed(from: number, length: number): void;
}

/** Sends channel data; not while keys are exchanged. `channel` is the server's number. */
export function sendData(
  protocol: SshProtocol,
  space: DataSpace,
  channel: number,
  data: Buffer,
): void {
  const { _cipher: cipher } = protocol;
  if (!(cipher instanceof AESGCMCipher)) {
    protocol.channelData(channel, data);
    return;
  }
  const length = dataPacketBytes(data.length);
  const from = space.reserve(length);
  cipher.sealData(space.memory, from, from + length, channel, data);
  space.sealed(from, length);
}

/**
 * Has `onData` called with channel data as far as the present cipher does that itself; the handler
 * CHANNEL_DATA gets the rest. To be called again after each key exchange.
 */
export function receiveThrough(
  { _decipher }: SshProtocol,
  onData: (channel: number, data: Buffer) => void,
): void {
  if (_decipher instanceof AESGCMDecipher) _decipher.onData = onData;
}

/**
 * Has the packets of the present cipher, as far as it encrypts in place, laid out in `space`, and
 * gives it all that goes out. To be called again after each key exchange.
 */
export function sendThrough(protocol: SshProtocol, space: PacketSpace): void {
  const take = (packet: Buffer): void => space.take(packet);
  protocol._onWrite = take;
  const cipher = protocol._cipher;
  cipher._onWrite = take;
  const block = BLOCKS[cipher.constructor.name];
  if (block === undefined) return;
  cipher.allocPacket = (payloadLength) => {
    const packet = space.alloc(packetBytes(payloadLength, block));
    space.pad(layOut(packet, payloadLength));
    return packet;
  };
}
