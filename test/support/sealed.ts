/** SSH packets as a server seals them with AES-GCM, and the decipher that opens them. */
import { addon, type GcmHandle } from '../../src/native/addon.ts';
import { AESGCMCipher, AESGCMDecipher } from '../../src/ssh/embedded/ssh2/gcm.ts';

const KEY = Buffer.alloc(16, 7);
const NONCE = Buffer.alloc(12, 9);

export function gcm(seals: boolean, key: Buffer = KEY, nonce: Buffer = NONCE): GcmHandle {
  const handle = addon().gcmCreate(key, nonce, seals);
  if (handle === null) throw new Error('this Node holds no OpenSSL');
  return handle;
}

/** Seals packets in the order in which they will be opened. */
export class Sealer {
  #packet: Buffer = Buffer.alloc(0);
  readonly #cipher = new AESGCMCipher(gcm(true), 0, (packet) => {
    this.#packet = packet;
  });

  seal(payload: Buffer): Buffer {
    const packet = this.#cipher.allocPacket(payload.length);
    payload.copy(packet, 5);
    this.#cipher.encrypt(packet);
    return this.#packet;
  }
}

export function decipher(onPayload: (payload: Buffer) => void): AESGCMDecipher {
  return new AESGCMDecipher(gcm(false), 0, (payload) => {
    onPayload(payload);
    return undefined;
  });
}
