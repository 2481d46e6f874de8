/**
 * The private parts of ssh2 that this program uses: their types, and functions over them. They were
 * read in version 1.17.0, which package.json pins exactly (docs/decisions/0005). `protocolOf`
 * checks at run time that they are still there, and test/contract/ssh2-internals.test.ts checks
 * that they still behave the same.
 *
 * ssh2 still does the transport layer (RFC 4253): ciphers, key exchange, global requests. Its
 * channels are not used, and channel data go past it where the cipher allows that:
 *
 *   writePacketsTo        gives every outgoing packet to the outbox, not to ssh2's socket
 *   sendChannelData       sends one packet of channel data, past ssh2 if the cipher is AES-GCM
 *   deliverChannelDataTo  delivers received channel data, past ssh2 if the cipher is AES-GCM
 */
import type { Client } from 'ssh2';
import { TunnelError } from '../../../errors/errors.ts';
import { AESGCMCipher, AESGCMDecipher, dataPacketBytes, layOut, packetBytes } from './gcm.ts';
import { messageHandlers } from './library.ts';

/**
 * Encrypts packets. `allocPacket` allocates one, including the cipher's framing, and fills in
 * length and padding. `encrypt` encrypts it, usually in place, and gives the result to `_onWrite`.
 * Each key exchange replaces the cipher; the new one copies `SshProtocol._onWrite`.
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
 * Message 60 of RFC 4252 and RFC 4256 means one of three things. ssh2 decides which one by the
 * first entry of `_authsQueue`. Each request adds an entry; each answer removes one, except message
 * 60 for keyboard-interactive.
 */
export interface SshProtocol {
  /** Called for every packet while it is set. */
  _debug: ((message: string) => void) | undefined;
  /**
   * Defined while keys are being exchanged (RFC 4253 §7). Packets that are sent meanwhile are
   * queued, without a limit.
   */
  readonly _kexinit: unknown;
  readonly _queue?: readonly Buffer[] | undefined;
  /** The last key exchange. */
  readonly _kex?: { readonly negotiated: { readonly kex: string } } | undefined;
  readonly _cipher: OutboundCipher;
  readonly _decipher: object;
  /** The server's identification, without its end of line. */
  _remoteIdentRaw?: Buffer | undefined;
  _onWrite: (packet: Buffer) => void;
  readonly _authsQueue: string[];
  authNone(user: string): void;
  /**
   * Without `sign`, offers a key. With it, `sign` gets the data to sign and a function that sends
   * the signature.
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
  /** By message name. Each is called with the protocol and the message's fields. */
  readonly _handlers: Record<string, Handler | undefined> & {
    EXT_INFO: (
      protocol: unknown,
      extensions: readonly { name: string; algs?: readonly string[] }[],
    ) => void;
    /** Set by us. Gets the number of the ping that was answered (sendPing). */
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
  /** Gets each packet's payload, except during key exchanges. Each new decipher copies it. */
  _onPayload: (payload: Buffer) => number | boolean | undefined;
  /** Decrypts what was received and calls the handlers. Throws when a packet is malformed. */
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
  /** Refuses a global request of the server (RFC 4254 §4). */
  requestFailure(): void;
  /** Sends a global request keepalive@openssh.com that wants a reply. */
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
 * DISCONNECT, IGNORE, UNIMPLEMENTED and DEBUG (RFC 4253 §11), and EXT_INFO (RFC 8308 §2.4): they do
 * no harm before the host key is accepted.
 */
const BEFORE_ACCEPTANCE: readonly (number | undefined)[] = [1, 2, 3, 4, 7];

/** RFC 4252 §5.1; from it on, messages of the protocols above may come. */
const USERAUTH_SUCCESS = 52;
const FIRST_AFTER_LOGIN = 80;

/**
 * Accepts only what may come at a time.
 *
 * - While the host key is being judged: packets that belong to the key exchange. ssh2 already uses
 *   the server's new keys by then: it would process everything that comes with them, and answer it
 *   in clear. For any other packet, the error that `refusal` makes is thrown.
 * - From then on until the login is over: no message above those of authentication (RFC 4252 §6).
 *   ssh2 would answer those, in memory without a limit when the server doesn't read the answers.
 *
 * Returns a function that ends the first part; call it when the first key exchange is done.
 */
export function guardLogin(protocol: SshProtocol, refusal: () => Error): () => void {
  const deliver = protocol._onPayload;
  let accepted = false;
  let loggedIn = false;
  protocol._onPayload = (payload) => {
    if (!accepted && payload.length > 0 && !BEFORE_ACCEPTANCE.includes(payload[0])) throw refusal();
    const [number = 0] = payload;
    if (!loggedIn && number >= FIRST_AFTER_LOGIN)
      throw new Error(`message ${number} comes before the login is over`);
    loggedIn ||= number === USERAUTH_SUCCESS;
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

/**
 * What the server says about its software, with its comments (RFC 4253 §4.2): `OpenSSH_9.2p1
 * Debian-2`; '' before that has come.
 */
export function identificationOf(client: Client): string {
  const { _remoteIdentRaw: line } = protocolOf(client);
  return line?.toString('latin1').replace(/^SSH-[^-]*-/, '') ?? '';
}

/** The server's software, from its identification (`OpenSSH_9.2p1`); '' before that has come. */
export function serverSoftwareOf(client: Client): string {
  const { _remoteVer } = client as unknown as { _remoteVer?: string };
  return _remoteVer ?? '';
}

/**
 * Bytes that the shortest answer (REQUEST_FAILURE, or REQUEST_SUCCESS without data) takes on the
 * wire: RFC 4253 §6 with the ciphers that ssh2 knows. This is the least; a MAC that is unknown here
 * adds to it.
 */
export function shortAnswerBytes({ _decipher }: SshProtocol): number {
  const { name } = _decipher.constructor;
  if (name.startsWith('AESGCM')) return 36;
  if (name.startsWith('ChaChaPoly')) return 28;
  const { _macActualLen: mac = 0 } = _decipher as { readonly _macActualLen?: number };
  return 16 + mac;
}

const EXT_INFO = 7;
/** PROTOCOL of OpenSSH, section 1.9: `string data`; the answer has the same data. */
const PING = 192;
const PONG = 193;
const PING_EXTENSION = 'ping@openssh.com';
const PING_VERSION = '0';
/** Bytes before the data: the message's number and the data's length. */
const PING_HEAD = 5;
/** Where the payload begins in a packet. */
const PAYLOAD_START = 5;
const pingAnnounced = new WeakSet<object>();

// ssh2 reports no extension except server-sig-algs, and ignores messages that it doesn't know.
const extInfo = messageHandlers[EXT_INFO];
messageHandlers[EXT_INFO] = (protocol, payload) => {
  if (namesExtension(payload, PING_EXTENSION)) pingAnnounced.add(protocol);
  return extInfo?.(protocol, payload);
};
messageHandlers[PONG] ??= (protocol, payload) => {
  const { _handlers: handlers } = protocol as SshProtocol;
  if (payload.length >= PING_HEAD + 4) handlers.PONG?.(protocol, payload.readUInt32BE(PING_HEAD));
};

/** RFC 8308 §2.3. ssh2 itself refuses a malformed message. */
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

/** Whether the server answers pings, each with the data that it carried. */
export function answersPings(protocol: SshProtocol): boolean {
  return pingAnnounced.has(protocol);
}

/**
 * Sends a ping with `bytes` of data in all, which begin with `number`. Don't call it while keys are
 * being exchanged: the server doesn't answer the pings that it gets then.
 */
export function sendPing(protocol: SshProtocol, number: number, bytes: number): void {
  const packet = protocol._cipher.allocPacket(PING_HEAD + bytes);
  // The server must not see what was in this memory before.
  packet.fill(0, PAYLOAD_START, PAYLOAD_START + PING_HEAD + bytes);
  packet[PAYLOAD_START] = PING;
  packet.writeUInt32BE(bytes, PAYLOAD_START + 1);
  packet.writeUInt32BE(number, PAYLOAD_START + PING_HEAD);
  protocol._cipher.encrypt(packet);
}

/** RFC 4253 §11.2 */
const IGNORE = 2;
/** The message's number and the length of its data, which are empty. */
const IGNORE_BYTES = 5;

/**
 * Sends an SSH_MSG_IGNORE, which no server answers, but which its kernel must acknowledge. Don't
 * call it while keys are being exchanged.
 */
export function sendIgnore(protocol: SshProtocol, octets = 0): void {
  const length = IGNORE_BYTES + octets;
  const packet = protocol._cipher.allocPacket(length);
  packet.fill(0, PAYLOAD_START, PAYLOAD_START + length);
  packet.writeUInt32BE(octets, PAYLOAD_START + 1);
  packet[PAYLOAD_START] = IGNORE;
  protocol._cipher.encrypt(packet);
}

export function isExchangingKeys(protocol: SshProtocol): boolean {
  return protocol._kexinit !== undefined;
}

/** The packets that wait for the end of a key exchange, without the first `counted`. */
export function queuedFrom(protocol: SshProtocol, counted: number): readonly Buffer[] {
  const queue = protocol._queue;
  return queue === undefined || queue.length === counted ? [] : queue.slice(counted);
}

/**
 * How many bytes must still come before the unfinished packet can be read further: the rest of its
 * length field or of the packet. undefined: the cipher isn't the one in gcm.ts, which is the only
 * one that decrypts in place.
 */
export function missingInbound({ _decipher }: SshProtocol): number | undefined {
  return _decipher instanceof AESGCMDecipher ? _decipher.missing : undefined;
}

/** The ciphers that encrypt in place, and their blocks in bytes. */
const BLOCKS: Readonly<Record<string, number>> = { AESGCMCipher: 16, ChaChaPolyCipherBinding: 8 };

/** Provides memory for outgoing packets and takes them when they are encrypted: the Outbox. */
export interface PacketSpace {
  alloc(length: number): Buffer;
  /** Fills `target` with random bytes. */
  pad(target: Uint8Array): void;
  /** Takes an encrypted packet, to be written to the socket. */
  take(packet: Buffer): void;
}

/** The same for packets with channel data, which are encrypted directly into `memory`. */
export interface DataSpace {
  /** Reserves `length` bytes of `memory`; returns where they begin. A call of `sealed` follows. */
  reserve(length: number): number;
  readonly memory: Buffer;
  sealed(from: number, length: number): void;
}

/**
 * Sends one packet of channel data: AES-GCM encrypts it straight into `space`, past ssh2; with
 * another cipher ssh2 sends it. Don't call it while keys are being exchanged. `channel` is the
 * server's number.
 */
export function sendChannelData(
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
 * Delivers received channel data to `onData`, past ssh2, if the current cipher is AES-GCM. With
 * another cipher, and during key exchanges, the handler CHANNEL_DATA gets them. Must be called
 * again after each key exchange, because that replaces the cipher.
 */
export function deliverChannelDataTo(
  { _decipher }: SshProtocol,
  onData: (channel: number, data: Buffer) => void,
): void {
  if (_decipher instanceof AESGCMDecipher) _decipher.onData = onData;
}

/**
 * Makes ssh2 give every outgoing packet to `space` instead of writing it to the socket. If the
 * current cipher encrypts in place, its packets are also laid out in memory of `space`, so that
 * they aren't copied. Must be called again after each key exchange, because that replaces the
 * cipher.
 */
export function writePacketsTo(protocol: SshProtocol, space: PacketSpace): void {
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
