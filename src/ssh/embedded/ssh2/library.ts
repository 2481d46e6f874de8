/**
 * The only place that loads ssh2. It replaces ssh2's AES-GCM with ours (gcm.ts), and puts our
 * checks and methods into its key exchange (exchange.ts).
 *
 * ssh2 makes its ciphers with two functions of one of its modules. Its other modules copy them when
 * they are loaded, so the two are replaced before anything else of ssh2 is loaded. Without the
 * addon, or if the addon finds no OpenSSL, ssh2's own classes are used. The same is true of the
 * functions that exchange keys.
 */
import { createRequire } from 'node:module';
import type ssh2 from 'ssh2';
import { addon, type GcmHandle } from '../../../native/addon.ts';
import { type KexModule, replaceExchange } from './exchange.ts';
import { AESGCMCipher, AESGCMDecipher } from './gcm.ts';

interface CipherInfo {
  /** OpenSSL's name. */
  readonly sslName: string;
}

/** What ssh2 makes a cipher from, for each direction. */
interface CipherConfig {
  readonly inbound: {
    readonly onPayload: AESGCMDecipher['_onPayload'];
    readonly seqno: number;
    readonly decipherInfo: CipherInfo;
    readonly decipherKey: Buffer;
    readonly decipherIV: Buffer;
  };
  readonly outbound: {
    readonly onWrite: (packet: Buffer) => void;
    readonly seqno: number;
    readonly cipherInfo: CipherInfo;
    readonly cipherKey: Buffer;
    readonly cipherIV: Buffer;
  };
}

interface CipherModule {
  /** Whether ssh2 has its own native ciphers: npm compiles them, where there is a compiler. */
  readonly bindingAvailable: boolean;
  createCipher: (config: CipherConfig) => object;
  createDecipher: (config: CipherConfig) => object;
}

const AES_GCM = /^aes-(128|256)-gcm$/;

const require = createRequire(import.meta.url);
const ciphers = require('ssh2/lib/protocol/crypto.js') as CipherModule;
const { createCipher, createDecipher } = ciphers;

/** null: ssh2's own class must be used. */
function gcm(info: CipherInfo, key: Buffer, nonce: Buffer, seals: boolean): GcmHandle | null {
  if (!AES_GCM.test(info.sslName)) return null;
  let native: ReturnType<typeof addon>;
  try {
    native = addon();
  } catch {
    return null; // reported by the parts that need the addon
  }
  return native.gcmCreate(key, nonce, seals);
}

ciphers.createCipher = (config) => {
  const { cipherInfo, cipherKey, cipherIV, seqno, onWrite } = config.outbound;
  const handle = gcm(cipherInfo, cipherKey, cipherIV, true);
  return handle === null ? createCipher(config) : new AESGCMCipher(handle, seqno, onWrite);
};

ciphers.createDecipher = (config) => {
  const { decipherInfo, decipherKey, decipherIV, seqno, onPayload } = config.inbound;
  const handle = gcm(decipherInfo, decipherKey, decipherIV, false);
  return handle === null ? createDecipher(config) : new AESGCMDecipher(handle, seqno, onPayload);
};

/**
 * By how many times our AES-GCM is faster, for packets of 32 KiB, where ssh2 computes a cipher with
 * node:crypto instead (decision 56).
 */
const SLOWNESS: readonly (readonly [cipher: RegExp, times: number])[] = [
  [/gcm/, 3],
  [/chacha20/, 9],
  [/./, 5],
];

/** How many times as slow as our AES-GCM a cipher is here. undefined: it is not slow. */
export function slownessOf(cipher: string): number | undefined {
  if (ciphers.bindingAvailable) return undefined;
  const [, bits] = /^aes(128|256)-gcm/.exec(cipher) ?? [];
  const key = Buffer.alloc(Number(bits) / 8 || 0);
  const isOurs =
    bits !== undefined && gcm({ sslName: `aes-${bits}-gcm` }, key, Buffer.alloc(12), true) !== null;
  return isOurs ? undefined : SLOWNESS.find(([pattern]) => pattern.test(cipher))?.[1];
}

const constants = require('ssh2/lib/protocol/constants.js') as { readonly SUPPORTED_KEX: string[] };
replaceExchange(require('ssh2/lib/protocol/kex.js') as KexModule, constants.SUPPORTED_KEX);

/** Not by the package's own entry, which also loads its server, and all that speaks HTTP. */
export const Client = require('ssh2/lib/client.js') as typeof ssh2.Client;
const keys = require('ssh2/lib/protocol/keyParser.js') as Pick<typeof ssh2.utils, 'parseKey'>;
export const { parseKey } = keys;

/**
 * ssh2's message handlers for all connections, by message number. The first argument is the
 * connection's protocol object.
 */
export const messageHandlers = require('ssh2/lib/protocol/handlers.js') as (
  | ((protocol: object, payload: Buffer) => unknown)
  | undefined
)[];
