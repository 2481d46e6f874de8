/**
 * Key exchange (RFC 4253 §7, §8) as far as ssh2's own is not enough. ssh2 still negotiates, hashes,
 * verifies the signature and derives the keys. This adds, for clients only:
 *
 *   mlkem768x25519-sha256   draft-ietf-sshm-mlkem-hybrid-kex: ML-KEM-768 and X25519 together
 *   checks                  of the server's keys (exchangechecks.ts), before anybody is asked
 *                           whether they are trusted
 *   strict key exchange     if the server doesn't offer it, ciphers are left out that an attacker
 *                           could remove packets from unnoticed (Terrapin, CVE-2023-48795)
 *   guesses                 whether a packet that follows the server's KEXINIT is skipped: ssh2
 *                           skips one after a right guess as well
 *
 *   server's KEXINIT ─► receive() ─► ssh2 negotiates ─► its KeyExchange ─► equip() ─► starts
 *   server's reply ───► checked ───► ssh2's parser
 *
 * ssh2 has no way to add a method. So it is given the server's KEXINIT with STAND_IN in the place
 * of mlkem768x25519-sha256. The KeyExchange that it makes then gets the real KEXINIT, which is
 * hashed, and other functions for the keys and the secret.
 *
 * ssh2 sends its own KEXINIT as soon as it has read the server's identification. If ours has
 * ciphers that need strict key exchange, it waits for the server's KEXINIT, which usually comes
 * with the identification. A server that waits as well gets one without them after PATIENCE_MS.
 */
import { createHash, type KeyObject } from 'node:crypto';
import {
  checkDiffieHellman,
  checkHostKeySize,
  checkPoint,
  ExchangeFault,
  strings,
  X25519_BYTES,
  x25519,
} from './exchangechecks.ts';
import { CIPHERTEXT_BYTES, kemKeys } from './mlkem.ts';

export const MLKEM768_X25519 = 'mlkem768x25519-sha256';
/** What ssh2 takes for it: the method that is most like it. */
const STAND_IN = 'curve25519-sha256';
/** Of PROTOCOL, section 1.10, of OpenSSH. */
const STRICT = 'kex-strict-s-v00@openssh.com';
/** How long our KEXINIT waits for the server's. Longer than a server needs to make one. */
export const PATIENCE_MS = 300;

const KEXINIT = 20;
/** SSH_MSG_KEXDH_REPLY and SSH_MSG_KEX_ECDH_REPLY. */
const REPLY = 31;
/** Of a KEXINIT: its number, and the cookie. */
const KEXINIT_HEAD = 17;
/** Of a KEXINIT. */
const LISTS = 10;
/** Bytes of a coordinate, by OpenSSL's names. */
const COORDINATES: Readonly<Record<string, number>> = {
  prime256v1: 32,
  secp384r1: 48,
  secp521r1: 66,
};

interface Lists {
  readonly cipher: { readonly array: readonly string[] };
  readonly mac: { readonly array: readonly string[] };
  readonly compress: { readonly array: readonly string[] };
  readonly lang: { readonly array: readonly string[] };
}
/** What we offer: the lists, and their bytes in KEXINIT. */
interface Offer {
  readonly lists: {
    readonly kex: { array: readonly string[] };
    readonly serverHostKey: { readonly array: readonly string[] };
    readonly cs: Lists;
    readonly sc: Lists;
  };
}

/** ssh2's KeyExchange. */
interface Exchange {
  readonly negotiated: { kex: string; readonly cs: Negotiated; readonly sc: Negotiated };
  /** 1: the server's reply is awaited. */
  readonly _step: number;
  _remoteKexinit: Buffer;
  /** OpenSSL's name, of ecdh-sha2-*. */
  readonly curveName?: string;
  /** Of curve25519-*. */
  readonly _keys?: { readonly privateKey: KeyObject } | null;
  /** Of diffie-hellman-*. */
  readonly getDHParams?: () => { readonly prime: Buffer } | undefined;
  getPublicKey(): Buffer;
  /** The server's key as it is hashed. */
  convertPublicKey(key: Buffer): Buffer;
  computeSecret(theirs: Buffer): Buffer | Error;
  parse(payload: Buffer): unknown;
}
interface Negotiated {
  readonly cipher: string;
  readonly mac: string;
}

/** What of ssh2's Protocol takes part. */
interface Party {
  readonly _server: boolean;
  /** The last exchange; undefined: the first has not begun. */
  _kex: Exchange | undefined;
  /** Our KEXINIT, while keys are being exchanged. */
  readonly _kexinit: Buffer | undefined;
  readonly _strictMode: boolean | undefined;
  _offer: Offer;
  _skipNextInboundPacket: boolean;
  /** undefined: the connection has failed. */
  readonly _destruct: unknown;
}

/** ssh2/lib/protocol/kex.js. */
export interface KexModule {
  readonly KexInit: new (lists: object) => Offer;
  kexinit: (party: Party) => void;
  onKEXPayload: (this: Party, state: { firstPacket: boolean }, payload: Buffer) => unknown;
  /** By message number. */
  readonly HANDLERS: { [KEXINIT]: (party: Party, payload: Buffer) => unknown };
}

/**
 * Replaces functions of ssh2's module, before its other modules copy them. `supported`: the names
 * that ssh2 accepts.
 */
export function replaceExchange(kex: KexModule, supported: string[]): void {
  supported.push(MLKEM768_X25519);
  const { kexinit, onKEXPayload, KexInit } = kex;
  const handle = kex.HANDLERS[KEXINIT];
  /** Those whose KEXINIT waits for the server's. */
  const waiting = new WeakMap<Party, NodeJS.Timeout>();

  /** The server's KEXINIT has come; undefined: it hasn't, and we no longer wait for it. */
  const offer = (party: Party, theirs: TheirInit | undefined): void => {
    clearTimeout(waiting.get(party));
    waiting.delete(party);
    if (theirs?.methods.includes(STRICT) !== true) {
      const lists = listsWithoutStrict(party._offer, theirs);
      if (lists !== undefined) party._offer = new KexInit(lists);
    }
    kexinit(party);
  };

  kex.kexinit = (party) => {
    if (party._server || party._kex !== undefined || !needsStrict(party._offer)) {
      kexinit(party);
      return;
    }
    const timer = setTimeout(() => {
      if (party._destruct !== undefined) offer(party, undefined);
    }, PATIENCE_MS);
    waiting.set(party, timer.unref());
  };

  const receive = (party: Party, payload: Buffer, pass: (payload: Buffer) => unknown): unknown => {
    const theirs = readInit(payload);
    // ssh2 itself refuses a malformed one.
    if (party._server || theirs === undefined) return pass(payload);
    if (waiting.has(party)) offer(party, theirs);
    // If the server has begun it, this is our answer; ssh2 would send it a little later.
    if (party._kexinit === undefined) kexinit(party);
    const { kex: ours, serverHostKey } = party._offer.lists;
    const { array } = ours;
    const isHybrid = array.find((name) => theirs.methods.includes(name)) === MLKEM768_X25519;
    const guessed = array[0] === theirs.methods[0] && serverHostKey.array[0] === theirs.hostKeys[0];
    onceAssigned(party, (exchange) => {
      if (party._strictMode !== true) refuseUnsafe(exchange);
      exchange._remoteKexinit = Buffer.from(payload);
      equip(exchange, isHybrid);
    });
    try {
      if (isHybrid) ours.array = [STAND_IN];
      const result = pass(forSsh2(payload, theirs, isHybrid));
      if (theirs.guesses && !guessed) party._skipNextInboundPacket = true;
      return result;
    } finally {
      ours.array = array;
      onceAssigned(party, undefined);
    }
  };

  kex.onKEXPayload = function onPayload(state, payload) {
    const pass = (given: Buffer): unknown => onKEXPayload.call(this, state, given);
    const first = payload[0] === KEXINIT && state.firstPacket;
    return first ? receive(this, payload, pass) : pass(payload);
  };
  kex.HANDLERS[KEXINIT] = (party, payload) =>
    receive(party, payload, (given) => handle(party, given));
}

/**
 * Calls `then` with the next exchange that is assigned to the party; undefined: with none. ssh2
 * starts an exchange as soon as it has assigned it.
 */
function onceAssigned(party: Party, then: ((exchange: Exchange) => void) | undefined): void {
  const value = party._kex;
  const property = { configurable: true, enumerable: true };
  if (then === undefined) {
    Object.defineProperty(party, '_kex', { ...property, writable: true, value });
    return;
  }
  Object.defineProperty(party, '_kex', {
    ...property,
    get: () => value,
    set(exchange: Exchange) {
      Object.defineProperty(party, '_kex', { ...property, writable: true, value: exchange });
      then(exchange);
    },
  });
}

/** Makes the exchange check what the server sends. */
function equip(exchange: Exchange, isHybrid: boolean): void {
  const secretOf = isHybrid ? hybrid(exchange) : checked(exchange);
  const parse = exchange.parse.bind(exchange);
  let secret: Buffer | undefined;
  exchange.parse = (payload) => {
    if (exchange._step === 1 && payload[0] === REPLY) {
      const [hostKey, theirs] = strings(payload.subarray(1), 2);
      // ssh2 itself refuses a malformed one.
      if (hostKey !== undefined && theirs !== undefined) {
        checkHostKeySize(hostKey);
        secret = secretOf(theirs);
      }
    }
    return parse(payload);
  };
  exchange.computeSecret = () => secret ?? new Error('the server has sent no key');
}

type SecretOf = (theirs: Buffer) => Buffer;

/** ssh2's own computation, with checks. */
function checked(exchange: Exchange): SecretOf {
  const compute = exchange.computeSecret.bind(exchange);
  return (theirs) => {
    const coordinate = COORDINATES[exchange.curveName ?? ''];
    const group = exchange.getDHParams?.();
    if (group !== undefined) checkDiffieHellman(theirs, group.prime);
    else if (coordinate !== undefined) checkPoint(theirs, coordinate);
    else if (exchange._keys) x25519(exchange._keys.privateKey, theirs);
    else throw new ExchangeFault('wants a key exchange that is not checked');
    const secret = compute(theirs);
    if (secret instanceof Error)
      throw new ExchangeFault(`sends a key that is not valid: ${secret.message}`);
    return secret;
  };
}

/**
 * The client sends its ML-KEM key and its X25519 key, the server a ciphertext and its X25519 key.
 * The secret is a string, not an mpint: the hash of both secrets (§2.3, §2.4 of the draft).
 */
function hybrid(exchange: Exchange): SecretOf {
  exchange.negotiated.kex = MLKEM768_X25519;
  const keys = kemKeys();
  const ownX25519 = exchange.getPublicKey.bind(exchange);
  exchange.getPublicKey = () => Buffer.concat([keys.publicKey, ownX25519()]);
  exchange.convertPublicKey = (key) => key;
  return (theirs) => {
    if (theirs.length !== CIPHERTEXT_BYTES + X25519_BYTES || !exchange._keys)
      throw new ExchangeFault(`sends ${theirs.length} bytes as its keys of ${MLKEM768_X25519}`);
    const classical = x25519(exchange._keys.privateKey, theirs.subarray(CIPHERTEXT_BYTES));
    const quantum = keys.open(theirs.subarray(0, CIPHERTEXT_BYTES));
    return createHash('sha256').update(quantum).update(classical).digest();
  };
}

interface TheirInit {
  /** With its markers. */
  readonly methods: readonly string[];
  readonly hostKeys: readonly string[];
  /** Ciphers from us and from the server, and MACs from us and from the server. */
  readonly directions: readonly (readonly string[])[];
  /** first_kex_packet_follows, and where it stands. */
  readonly guesses: boolean;
  readonly guessesAt: number;
}

/** undefined: malformed. */
function readInit(payload: Buffer): TheirInit | undefined {
  const lists = strings(payload.subarray(KEXINIT_HEAD), LISTS);
  const [methods, hostKeys, ...others] = lists.map((list) => list.toString('latin1').split(','));
  if (lists.length < LISTS || methods === undefined || hostKeys === undefined) return undefined;
  const guessesAt = lists.reduce((at, { length }) => at + 4 + length, KEXINIT_HEAD);
  const guesses = payload[guessesAt] === 1;
  return { methods, hostKeys, directions: others.slice(0, 4), guesses, guessesAt };
}

/** The server's KEXINIT as ssh2 is to read it: without a guess, and with STAND_IN if we choose. */
function forSsh2(payload: Buffer, theirs: TheirInit, isHybrid: boolean): Buffer {
  const { methods, guesses, guessesAt } = theirs;
  if (!isHybrid && !guesses) return payload;
  const names = isHybrid
    ? methods.map((name) => (name === MLKEM768_X25519 ? STAND_IN : name))
    : methods;
  const list = Buffer.from(names.join(','), 'latin1');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(list.length);
  const rest = KEXINIT_HEAD + 4 + payload.readUInt32BE(KEXINIT_HEAD);
  const others = payload.subarray(rest, guessesAt);
  return Buffer.concat([payload.subarray(0, KEXINIT_HEAD), length, list, others, Buffer.alloc(5)]);
}

const isChacha = (cipher: string): boolean => cipher.startsWith('chacha20-poly1305');
const isCbc = (cipher: string): boolean => cipher.endsWith('-cbc');
const isEtm = (mac: string): boolean => mac.includes('-etm@');

/** Whether an attacker could remove packets from the beginning unnoticed, without strict mode. */
function isUnsafe({ cipher, mac }: Negotiated): boolean {
  return isChacha(cipher) || (isCbc(cipher) && isEtm(mac));
}

function needsStrict({ lists }: Offer): boolean {
  return [lists.cs, lists.sc].some(
    ({ cipher, mac }) =>
      cipher.array.some(isChacha) || (cipher.array.some(isCbc) && mac.array.some(isEtm)),
  );
}

/**
 * What may be offered without strict mode; undefined: nothing that the server has, so the exchange
 * will be refused for what it chooses (refuseUnsafe).
 */
function listsWithoutStrict({ lists }: Offer, theirs: TheirInit | undefined): object | undefined {
  const safe = ({ cipher, mac, compress, lang }: Lists) => {
    const ciphers = cipher.array.filter((name) => !isChacha(name));
    const macs = ciphers.some(isCbc) ? mac.array.filter((name) => !isEtm(name)) : mac.array;
    return { cipher: ciphers, mac: macs, compress: compress.array, lang: lang.array };
  };
  const [cs, sc] = [safe(lists.cs), safe(lists.sc)];
  const left = [cs.cipher, sc.cipher, cs.mac, sc.mac];
  const before = [lists.cs.cipher, lists.sc.cipher, lists.cs.mac, lists.sc.mac];
  const lost = left.some((names, at) => {
    const common = (name: string): boolean => theirs?.directions[at]?.includes(name) ?? true;
    return before[at]?.array.some(common) === true && !names.some(common);
  });
  if (lost) return undefined;
  return { kex: lists.kex.array, serverHostKey: lists.serverHostKey.array, cs, sc };
}

/** Needed where the server has nothing else, or settings admit nothing else. */
function refuseUnsafe({ negotiated }: Exchange): void {
  for (const direction of [negotiated.cs, negotiated.sc]) {
    if (!isUnsafe(direction)) continue;
    const { cipher, mac } = direction;
    throw new ExchangeFault(
      `lacks strict key exchange, without which ${mac === '' ? cipher : `${cipher} with ${mac}`} is not safe (CVE-2023-48795)`,
      "have the server updated; if Ciphers of ssh_config or -o leaves others out, allow aes256-ctr; the system's ssh doesn't insist on it (--transport openssh)",
    );
  }
}
