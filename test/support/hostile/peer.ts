/**
 * One connection of a server that may send anything at any time, after a real key exchange:
 *
 *   identify() -> exchange() -> login() -> send(), next(), serve (server.ts)
 *
 * It speaks curve25519-sha256 with ssh-ed25519 and aes128-gcm@openssh.com, in about as few lines
 * as that takes, so that a test can do each step otherwise: other bytes, another order, none.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { byte, Fields, MESSAGE, message, mpint, string, uint32 } from './wire.ts';

export const SERVER_SOFTWARE = 'SSH-2.0-OpenSSH_9.2p1 hostile';
const KEX = 'curve25519-sha256';
const CIPHER = 'aes128-gcm@openssh.com';
const TAG_BYTES = 16;
/** Messages of the transport layer: the others wait for the end of a key exchange. */
const LAST_OF_TRANSPORT = 49;
const CLEAR_BLOCK = 8;
const SEALED_BLOCK = 16;

/** What KEXINIT offers (RFC 4253 §7.1), in the order of its lists. */
export interface Offer {
  readonly kex: string;
  readonly hostKeys: string;
  readonly ciphers: string;
  readonly macs: string;
  readonly compression: string;
}

export const OFFER: Offer = {
  kex: `${KEX},kex-strict-s-v00@openssh.com`,
  hostKeys: 'ssh-ed25519',
  ciphers: CIPHER,
  macs: 'hmac-sha2-256',
  compression: 'none',
};

export function kexInit(offer: Offer = OFFER): Buffer {
  const { kex, hostKeys, ciphers, macs, compression } = offer;
  const lists = [kex, hostKeys, ciphers, ciphers, macs, macs, compression, compression, '', ''];
  return message(
    MESSAGE.kexInit,
    randomBytes(16),
    ...lists.map((list) => string(list)),
    byte(0),
    uint32(0),
  );
}

/** A host key with its blob (RFC 8709 §4). */
export interface HostKey {
  readonly privateKey: KeyObject;
  readonly blob: Buffer;
}

export function newHostKey(): HostKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privateKey,
    blob: Buffer.concat([string('ssh-ed25519'), string(rawKey(publicKey))]),
  };
}

/** RFC 4253 §6.6. */
export function newRsaHostKey(): HostKey {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const { e, n } = publicKey.export({ format: 'jwk' });
  const number = (text: string | undefined): Buffer => mpint(Buffer.from(text ?? '', 'base64url'));
  return { privateKey, blob: Buffer.concat([string('ssh-rsa'), number(e), number(n)]) };
}

/** As known_hosts and --host-key have it: `SHA256:...`. */
export function fingerprint({ blob }: HostKey): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}

function rawKey(key: KeyObject): Buffer {
  return Buffer.from(String(key.export({ format: 'jwk' }).x), 'base64url');
}

/** AES-GCM of RFC 5647: the length in clear, a counter in the nonce. */
interface Direction {
  readonly key: Buffer;
  readonly nonce: Buffer;
}

function advance(nonce: Buffer): void {
  nonce.writeBigUInt64BE((nonce.readBigUInt64BE(4) + 1n) & 0xffffffffffffffffn, 4);
}

export interface ExchangeSteps {
  readonly offer?: Offer;
  /** In place of the signature of the exchange hash. */
  readonly signature?: (hash: Buffer, hostKey: HostKey) => Buffer;
  /** Before the reply, and between it and NEWKEYS: unless it sends something, nothing. */
  readonly beforeReply?: () => void;
  readonly beforeNewKeys?: () => void;
  /** Called in place of everything that follows our KEXINIT, once the client's has come. */
  readonly stop?: 'after-kexinit' | 'after-reply';
}

export class HostilePeer {
  readonly socket: Socket;
  readonly hostKey: HostKey;
  /** Resolves when the client has closed or reset the connection. */
  readonly closed: Promise<void>;
  #received: Buffer = Buffer.alloc(0);
  readonly #payloads: Buffer[] = [];
  #wake: () => void = () => {};
  #ended = false;
  #identification = SERVER_SOFTWARE;
  #clientIdentification: string | undefined;
  #inbound: Direction | undefined;
  #outbound: Direction | undefined;
  /** Made by an exchange: used once the client's NEWKEYS has come. */
  #nextInbound: Direction | undefined;
  #session: Buffer | undefined;
  /** Our KEXINIT, when we have begun an exchange. */
  #begun: Buffer | undefined;
  #onExchanged: () => void = () => {};
  #exchanging = false;
  readonly #waiting: Buffer[] = [];
  /** What the client has sent that could not be decrypted. */
  broken: Error | undefined;
  /** Gets the messages that `expect` passes over. */
  passedOver: (payload: Buffer) => void = () => {};

  constructor(socket: Socket, hostKey: HostKey) {
    this.socket = socket;
    this.hostKey = hostKey;
    socket.setNoDelay();
    socket.on('error', () => {
      // The client has gone; `closed` says so.
    });
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('data', (chunk: Buffer) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      try {
        this.#parse();
      } catch (error) {
        this.broken = error as Error;
      }
      this.#wake();
    });
    socket.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  get gone(): boolean {
    return this.#ended;
  }

  write(bytes: Uint8Array | string): void {
    if (this.#ended) return;
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /**
   * Sends these messages, each in a packet, in one write. While keys are exchanged, those that must
   * wait for its end do (RFC 4253 §7.1); `now` sends them all the same.
   */
  send(...payloads: readonly Buffer[]): void {
    const waits = (payload: Buffer): boolean =>
      this.#exchanging && (payload[0] ?? 0) > LAST_OF_TRANSPORT;
    this.#waiting.push(...payloads.filter(waits));
    this.now(...payloads.filter((payload) => !waits(payload)));
  }

  now(...payloads: readonly Buffer[]): void {
    if (payloads.length === 0) return;
    this.write(Buffer.concat(payloads.map((payload) => this.packet(payload))));
  }

  /**
   * Sends this many packets with the payload that `payload` gives for each number, as fast as the
   * client takes them; ends early when it has gone.
   */
  async flood(count: number, payload: (index: number) => Buffer, perWrite = 64): Promise<void> {
    for (let index = 0; index < count && !this.#ended; index += perWrite) {
      const some: Buffer[] = [];
      for (let at = index; at < Math.min(count, index + perWrite); at++)
        some.push(this.packet(payload(at)));
      this.write(Buffer.concat(some));
      // Others have their turn, too.
      await new Promise(setImmediate);
      await this.drained();
    }
  }

  /** Until the kernel has taken what was written, or the client has gone. */
  async drained(): Promise<void> {
    if (this.socket.writableLength < 1024 * 1024) return;
    await Promise.race([once(this.socket, 'drain').catch(() => undefined), this.closed]);
  }

  /** The packet on the wire; each call uses up a nonce. */
  packet(payload: Buffer, padding?: number): Buffer {
    const direction = this.#outbound;
    const block = direction === undefined ? CLEAR_BLOCK : SEALED_BLOCK;
    const lengthInBlocks = direction === undefined ? 4 : 0;
    let pad = padding ?? block - ((lengthInBlocks + 1 + payload.length) % block);
    if (padding === undefined && pad < 4) pad += block;
    const body = Buffer.concat([byte(pad), payload, Buffer.alloc(pad)]);
    const length = uint32(body.length);
    if (direction === undefined) return Buffer.concat([length, body]);
    const cipher = createCipheriv('aes-128-gcm', direction.key, direction.nonce);
    cipher.setAAD(length);
    const sealed = Buffer.concat([
      length,
      cipher.update(body),
      cipher.final(),
      cipher.getAuthTag(),
    ]);
    advance(direction.nonce);
    return sealed;
  }

  /** The next message of the client; undefined: it has closed the connection. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const payload = this.#payloads.shift();
      if (payload !== undefined) return payload;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The next message with this number; others before it are passed over. Throws at the end. */
  async expect(number: number): Promise<Buffer> {
    for (;;) {
      const payload = await this.next();
      if (payload === undefined) throw new PeerGone();
      if (payload[0] === number) return payload;
      this.passedOver(payload);
    }
  }

  /** `written`: what is sent for it. */
  async identify(line = SERVER_SOFTWARE, written = `${line}\r\n`): Promise<void> {
    this.#identification = line;
    this.write(written);
    while (this.#clientIdentification === undefined) {
      if (this.#ended) throw new PeerGone();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The server's part of a key exchange, of the first one or, with `theirs`, of a later one. */
  async exchange(steps: ExchangeSteps = {}, theirs?: Buffer): Promise<void> {
    this.#exchanging = true;
    const ours = this.#begun ?? kexInit(steps.offer);
    if (this.#begun === undefined) this.send(ours);
    this.#begun = undefined;
    const init = theirs ?? (await this.expect(MESSAGE.kexInit));
    if (steps.stop === 'after-kexinit') return;
    const ecdhInit = await this.expect(MESSAGE.ecdhInit);
    const clientPublic = new Fields(ecdhInit).string();
    const pair = generateKeyPairSync('x25519');
    const serverPublic = rawKey(pair.publicKey);
    const secret = diffieHellman({
      privateKey: pair.privateKey,
      publicKey: createPublicKey({
        key: { kty: 'OKP', crv: 'X25519', x: clientPublic.toString('base64url') },
        format: 'jwk',
      }),
    });
    const shared = mpint(secret);
    const hash = sha256(
      string(this.#clientIdentification ?? ''),
      string(Buffer.from(this.#identification, 'latin1')),
      string(init),
      string(ours),
      string(this.hostKey.blob),
      string(clientPublic),
      string(serverPublic),
      shared,
    );
    this.#session ??= hash;
    const signature = (steps.signature ?? signed)(hash, this.hostKey);
    steps.beforeReply?.();
    this.send(
      message(
        MESSAGE.ecdhReply,
        string(this.hostKey.blob),
        string(serverPublic),
        string(signature),
      ),
    );
    if (steps.stop === 'after-reply') return;
    steps.beforeNewKeys?.();
    this.send(message(MESSAGE.newKeys));
    const derive = (letter: string, bytes: number): Buffer =>
      sha256(shared, hash, Buffer.from(letter), this.#session ?? hash).subarray(0, bytes);
    this.#outbound = { key: derive('D', 16), nonce: Buffer.from(derive('B', 12)) };
    this.#nextInbound = { key: derive('C', 16), nonce: Buffer.from(derive('A', 12)) };
    this.#exchanging = false;
    this.now(...this.#waiting.splice(0));
    await this.expect(MESSAGE.newKeys);
    this.#onExchanged();
  }

  /** Begins a key exchange; serve() goes on with it. Resolves at its end. */
  rekey(): Promise<void> {
    this.#exchanging = true;
    this.#begun = kexInit();
    this.send(this.#begun);
    return new Promise((resolve) => {
      this.#onExchanged = resolve;
      void this.closed.then(resolve);
    });
  }

  /** Lets any user in who asks for `none`. */
  async login(): Promise<void> {
    await this.service();
    await this.expect(MESSAGE.userauthRequest);
    this.send(message(MESSAGE.userauthSuccess));
  }

  async service(): Promise<void> {
    const request = await this.expect(MESSAGE.serviceRequest);
    this.send(message(MESSAGE.serviceAccept, string(new Fields(request).string())));
  }

  /** identify, with the same arguments, exchange and login. */
  async welcome(...identification: readonly [line?: string, written?: string]): Promise<void> {
    await this.identify(...identification);
    await this.exchange();
    await this.login();
  }

  #parse(): void {
    if (this.#clientIdentification === undefined) {
      const end = this.#received.indexOf('\n');
      if (end < 0) return;
      this.#clientIdentification = this.#received.toString('latin1', 0, end).replace(/\r$/, '');
      this.#received = this.#received.subarray(end + 1);
    }
    let at = 0;
    while (this.#received.length - at >= 4) {
      const length = this.#received.readUInt32BE(at);
      const inbound = this.#inbound;
      const whole = 4 + length + (inbound === undefined ? 0 : TAG_BYTES);
      if (this.#received.length - at < whole) break;
      const packet = this.#received.subarray(at, at + whole);
      at += whole;
      let body: Buffer = packet.subarray(4, 4 + length);
      if (inbound !== undefined) {
        const decipher = createDecipheriv('aes-128-gcm', inbound.key, inbound.nonce);
        decipher.setAAD(packet.subarray(0, 4));
        decipher.setAuthTag(packet.subarray(4 + length));
        body = Buffer.concat([decipher.update(body), decipher.final()]);
        advance(inbound.nonce);
      }
      const payload = Buffer.from(body.subarray(1, body.length - (body[0] ?? 0)));
      if (payload[0] === MESSAGE.newKeys) this.#inbound = this.#nextInbound;
      this.#payloads.push(payload);
    }
    this.#received = Buffer.from(this.#received.subarray(at));
  }
}

/** The client has closed the connection: what the server wanted to do has ended. */
export class PeerGone extends Error {
  constructor() {
    super('the client has gone');
  }
}

/** As RFC 8709 §6. */
export function signed(hash: Buffer, { privateKey }: HostKey): Buffer {
  return Buffer.concat([string('ssh-ed25519'), string(sign(null, hash, privateKey))]);
}

function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}
