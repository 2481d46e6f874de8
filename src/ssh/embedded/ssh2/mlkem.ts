/**
 * ML-KEM-768 (FIPS 203), the post-quantum half of the key exchange mlkem768x25519-sha256. Node does
 * it from version 24.7 on, if its OpenSSL is 3.5 or later; before that @noble/post-quantum does, in
 * JavaScript.
 *
 * Each pair of keys opens one ciphertext. So whoever could measure how long that takes would learn
 * nothing that he could use again.
 *
 * The library takes some 20 ms the first time, because V8 has not compiled it yet, and 1 ms later
 * on. `prepareKem` does that before the keys are needed, while the server has not answered yet.
 */
import * as crypto from 'node:crypto';

/** In bytes, FIPS 203 §8. */
export const PUBLIC_BYTES = 1184;
export const CIPHERTEXT_BYTES = 1088;

/** Keys for one exchange. */
export interface KemKeys {
  /** PUBLIC_BYTES long. */
  readonly publicKey: Buffer;
  /** Returns the 32 bytes that `ciphertext`, CIPHERTEXT_BYTES long, hides. */
  open(ciphertext: Buffer): Buffer;
}

type Generate = () => KemKeys;
type Decapsulate = (key: crypto.KeyObject, ciphertext: Buffer) => Buffer;

/** Since Node 24.7. */
const { decapsulate } = crypto as { readonly decapsulate?: Decapsulate };

let loading: Promise<Generate> | undefined;
let generate: Generate | undefined;
/** Made ahead, for the next exchange. */
let spare: KemKeys | undefined;

/** Loads what makes keys, and makes the first. Must have been awaited before `kemKeys`. */
export async function prepareKem(): Promise<void> {
  loading ??= load();
  generate = await loading;
  spare ??= generate();
}

export function isKemReady(): boolean {
  return spare !== undefined;
}

/** Throws if `prepareKem` has not been awaited. */
export function kemKeys(): KemKeys {
  const keys = spare ?? generate?.();
  spare = undefined;
  if (keys === undefined) throw new Error('ML-KEM has not been loaded');
  return keys;
}

async function load(): Promise<Generate> {
  return nativeKem() ?? (await libraryKem());
}

/** undefined: this Node, or its OpenSSL, doesn't know ML-KEM. */
export function nativeKem(): Generate | undefined {
  if (decapsulate === undefined) return undefined;
  const create = (): KemKeys => {
    // Unknown to the types of Node 20.
    const { publicKey, privateKey } = crypto.generateKeyPairSync('ml-kem-768' as 'x25519');
    return {
      publicKey: publicKey.export({ type: 'spki', format: 'der' }).subarray(-PUBLIC_BYTES),
      open: (ciphertext) => decapsulate(privateKey, ciphertext),
    };
  };
  try {
    create();
  } catch {
    return undefined; // an OpenSSL before 3.5
  }
  return create;
}

export async function libraryKem(): Promise<Generate> {
  const { ml_kem768 } = await import('@noble/post-quantum/ml-kem.js');
  return () => {
    const { publicKey, secretKey } = ml_kem768.keygen();
    return {
      publicKey: Buffer.from(publicKey),
      open: (ciphertext) => {
        const secret = Buffer.from(ml_kem768.decapsulate(ciphertext, secretKey));
        secretKey.fill(0);
        return secret;
      },
    };
  };
}
