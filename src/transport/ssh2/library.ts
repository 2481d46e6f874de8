/**
 * The only loader of ssh2: with our AES-GCM (gcm.ts) in the place of its own.
 *
 * ssh2 makes its ciphers by two functions of a module of its own, which others take from there when
 * they are loaded. So they are replaced before anything else of ssh2 is loaded. Where the addon
 * finds no OpenSSL, ssh2's own classes stay.
 */
import { createRequire } from 'node:module';
import type ssh2 from 'ssh2';
import { addon } from '../../native.ts';
import { AESGCMCipher, AESGCMDecipher } from './gcm.ts';

interface CipherInfo {
  /** OpenSSL's name. */
  readonly sslName: string;
}

/** What ssh2 makes a cipher of, for each direction. */
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
  createCipher: (config: CipherConfig) => object;
  createDecipher: (config: CipherConfig) => object;
}

const AES_GCM = /^aes-(128|256)-gcm$/;

const require = createRequire(import.meta.url);
const ciphers = require('ssh2/lib/protocol/crypto.js') as CipherModule;
const { createCipher, createDecipher } = ciphers;

ciphers.createCipher = (config) => {
  const { cipherInfo, cipherKey, cipherIV, seqno, onWrite } = config.outbound;
  const gcm = AES_GCM.test(cipherInfo.sslName) ? addon().gcmCreate(cipherKey, cipherIV, true) : null;
  return gcm === null ? createCipher(config) : new AESGCMCipher(gcm, seqno, onWrite);
};

ciphers.createDecipher = (config) => {
  const { decipherInfo, decipherKey, decipherIV, seqno, onPayload } = config.inbound;
  const gcm = AES_GCM.test(decipherInfo.sslName) ? addon().gcmCreate(decipherKey, decipherIV, false) : null;
  return gcm === null ? createDecipher(config) : new AESGCMDecipher(gcm, seqno, onPayload);
};

export default require('ssh2') as typeof ssh2;

/**
 * By the number of the message, for all connections. The first argument is the connection's
 * protocol object.
 */
export const messageHandlers = require('ssh2/lib/protocol/handlers.js') as (
  | ((protocol: object, payload: Buffer) => unknown)
  | undefined
)[];
