/**
 * A server that does one key exchange (RFC 4253 §7, §8) as it is told, to see what the embedded
 * client takes from a hostile one. It signs what it sends with its real host key, so that nothing
 * but the fault itself can be refused. It ends the connection after NEWKEYS.
 */
import {
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { publicKeyFromKeyObject } from '../../src/ssh/keys/publickey.ts';
import { WireReader, wireMpint, wireString } from '../../src/ssh/keys/wire.ts';

export const STRICT = 'kex-strict-s-v00@openssh.com';
const IDENTIFICATION = 'SSH-2.0-hostile';
const KEXINIT = 20;
const NEWKEYS = 21;
const REPLY = 31;

/** What the server answers the client's key with. */
export interface ServerKeys {
  readonly key: Buffer;
  /** As it is hashed: an mpint or a string, with its length. */
  readonly secret: Buffer;
}

export interface ExchangeOptions {
  /** The first eight lists; those that are absent are the usual ones. */
  readonly kex: string;
  readonly hostKeys?: string;
  readonly ciphers?: string;
  readonly macs?: string;
  /** Default: true. Without it no strict key exchange is offered. */
  readonly strict?: boolean;
  /** Sets first_kex_packet_follows. */
  readonly guesses?: boolean;
  /** Waits for the client's KEXINIT before it sends its own. */
  readonly waits?: boolean;
  /** Payloads that are sent right before KEXINIT. */
  readonly precededBy?: readonly Buffer[];
  /** Payloads that are sent right after KEXINIT. */
  readonly followedBy?: readonly Buffer[];
  /** Of the exchange: `sha256`. */
  readonly hash: string;
  readonly answer: (clientKey: Buffer) => ServerKeys;
  readonly hostKey?: HostKey;
  /** Payloads in place of the reply. */
  readonly instead?: readonly Buffer[];
}

export interface HostKey {
  readonly blob: Buffer;
  /** The whole signature, with the name of its algorithm. */
  readonly sign: (data: Buffer) => Buffer;
}

/** What the client has offered: the lists of its KEXINIT. */
export interface Offered {
  readonly kex: readonly string[];
  readonly ciphers: readonly string[];
  readonly macs: readonly string[];
}

const ED25519 = generateKeyPairSync('ed25519');

export function ed25519HostKey(name = 'ssh-ed25519'): HostKey {
  return {
    blob: blobOf(ED25519.publicKey),
    sign: (data) => signature(name, sign(null, data, ED25519.privateKey)),
  };
}

export function rsaHostKey(bits: number, algorithm: 'rsa-sha2-256' | 'rsa-sha2-512'): HostKey {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: bits });
  const digest = algorithm === 'rsa-sha2-256' ? 'sha256' : 'sha512';
  return {
    blob: blobOf(publicKey),
    sign: (data) => signature(algorithm, sign(digest, data, privateKey)),
  };
}

function blobOf(key: KeyObject): Buffer {
  const known = publicKeyFromKeyObject(key);
  if (known === undefined) throw new Error('a kind of key that SSH has no name for');
  return known.blob;
}

function signature(name: string, bytes: Buffer): Buffer {
  return Buffer.concat([wireString(name), wireString(bytes)]);
}

/** X25519 as it should be. */
export function honestX25519(theirs: Buffer): ServerKeys {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  return {
    key: publicKey.export({ format: 'der', type: 'spki' }).subarray(-32),
    secret: wireMpint(x25519(privateKey, theirs)),
  };
}

export function x25519(privateKey: KeyObject, theirs: Buffer): Buffer {
  const publicKey = createPublicKey({
    key: { kty: 'OKP', crv: 'X25519', x: theirs.toString('base64url') },
    format: 'jwk',
  });
  return diffieHellman({ privateKey, publicKey });
}

export class ExchangeServer {
  readonly port: number;
  readonly hostKey: HostKey;
  /** One for each client. */
  readonly offered: Offered[] = [];
  /** Clients that have sent NEWKEYS: they have accepted all that was sent. */
  completed = 0;
  readonly #server: Server;

  private constructor(server: Server, hostKey: HostKey) {
    this.#server = server;
    this.hostKey = hostKey;
    this.port = (server.address() as AddressInfo).port;
  }

  static async start(options: ExchangeOptions): Promise<ExchangeServer> {
    const hostKey = options.hostKey ?? ed25519HostKey();
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const started = new ExchangeServer(server, hostKey);
    server.on('connection', (socket) => {
      socket.on('error', () => {
        // The client refuses what it is sent.
      });
      started.#serve(socket, options);
    });
    return started;
  }

  /** A line of known_hosts without its name. */
  get pin(): string {
    const type = new WireReader(this.hostKey.blob).text() ?? '';
    return `${type} ${this.hostKey.blob.toString('base64')}`;
  }

  stop(): void {
    this.#server.close();
  }

  #serve(socket: Socket, options: ExchangeOptions): void {
    const ours = kexInit(options);
    const begin = (): void => {
      for (const payload of options.precededBy ?? []) socket.write(packet(payload));
      socket.write(packet(ours));
      for (const payload of options.followedBy ?? []) socket.write(packet(payload));
    };
    socket.write(`${IDENTIFICATION}\r\n`);
    if (options.waits !== true) begin();
    let identification: string | undefined;
    let theirs: Buffer | undefined;
    let data = Buffer.alloc(0);
    const received = (payload: Buffer): void => {
      if (payload[0] === KEXINIT) {
        theirs = Buffer.from(payload);
        this.offered.push(listsOf(theirs));
        if (options.waits === true) begin();
      } else if (payload[0] === NEWKEYS) {
        this.completed++;
        socket.end();
      } else if (payload[0] === REPLY - 1 && identification !== undefined && theirs) {
        const clientKey = new WireReader(payload.subarray(1)).string() ?? Buffer.alloc(0);
        const payloads = options.instead ?? [
          this.#reply(options, [identification, IDENTIFICATION], [theirs, ours], clientKey),
          Buffer.of(NEWKEYS),
        ];
        for (const each of payloads) socket.write(packet(each));
      }
    };
    socket.on('data', (chunk) => {
      data = Buffer.concat([data, chunk]);
      if (identification === undefined) {
        const end = data.indexOf('\n');
        if (end < 0) return;
        identification = data.subarray(0, end).toString('latin1').trim();
        data = data.subarray(end + 1);
      }
      while (data.length >= 4 && data.length >= 4 + data.readUInt32BE(0)) {
        const end = 4 + data.readUInt32BE(0);
        const payload = data.subarray(5, end - (data[4] ?? 0));
        data = data.subarray(end);
        received(payload);
        // What follows NEWKEYS is encrypted.
        if (payload[0] === NEWKEYS) return;
      }
    });
  }

  #reply(
    options: ExchangeOptions,
    identifications: readonly string[],
    inits: readonly Buffer[],
    clientKey: Buffer,
  ): Buffer {
    const { key, secret } = options.answer(clientKey);
    const hashed = [
      ...[...identifications, ...inits, this.hostKey.blob].map(wireString),
      ...[clientKey, key].map(wireString),
      secret,
    ];
    const hash = createHash(options.hash).update(Buffer.concat(hashed)).digest();
    return Buffer.concat([
      Buffer.of(REPLY),
      ...[this.hostKey.blob, key, this.hostKey.sign(hash)].map(wireString),
    ]);
  }
}

function kexInit(options: ExchangeOptions): Buffer {
  const {
    hostKeys = 'ssh-ed25519',
    ciphers = 'aes128-gcm@openssh.com',
    macs = 'hmac-sha2-256',
  } = options;
  const kex = options.strict === false ? options.kex : `${options.kex},${STRICT}`;
  const lists = [kex, hostKeys, ciphers, ciphers, macs, macs, 'none', 'none', '', ''];
  return Buffer.concat([
    Buffer.of(KEXINIT),
    randomBytes(16),
    ...lists.map(wireString),
    Buffer.of(options.guesses === true ? 1 : 0, 0, 0, 0, 0),
  ]);
}

function listsOf(payload: Buffer): Offered {
  const reader = new WireReader(payload.subarray(17));
  const lists = Array.from({ length: 10 }, () => (reader.text() ?? '').split(','));
  return { kex: lists[0] ?? [], ciphers: lists[2] ?? [], macs: lists[4] ?? [] };
}

/** RFC 4253 §6, in clear. */
function packet(payload: Buffer): Buffer {
  const padding = 4 + ((8 - ((5 + payload.length + 4) % 8)) % 8);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(1 + payload.length + padding);
  head[4] = padding;
  return Buffer.concat([head, payload, Buffer.alloc(padding)]);
}
