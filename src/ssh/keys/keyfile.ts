/**
 * Private key files, as far as they can be read without their passphrase: the kind, whether they
 * are encrypted, and the public key. The public part is what a server is offered first, so that
 * nobody is asked for the passphrase of a key that the server doesn't want.
 */
import { createPublicKey } from 'node:crypto';
import {
  decodeBase64,
  type PublicKey,
  parsePublicKey,
  publicKeyFromBlob,
  publicKeyFromKeyObject,
} from './publickey.ts';
import { WireReader } from './wire.ts';

export interface KeyFile {
  /**
   * `openssh`: OpenSSH's own (PROTOCOL.key). `pem`: anything that OpenSSL reads. `public`: the
   * private half is elsewhere.
   */
  readonly format: 'openssh' | 'pem' | 'public';
  readonly encrypted: boolean;
  /** undefined: hidden until the file is decrypted. */
  readonly publicKey: PublicKey | undefined;
  /** As on disk. */
  readonly text: string;
}

const OPENSSH_MAGIC = 'openssh-key-v1\0';

/**
 * undefined: no key file of a kind that can be used. `publicText`: the file beside it with .pub, if
 * there is one.
 */
export function inspectKeyFile(text: string, publicText: string | undefined): KeyFile | undefined {
  const beside =
    publicText === undefined ? undefined : parsePublicKey(publicText.split('\n', 1)[0] ?? '');
  const label = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1];
  if (label === 'OPENSSH PRIVATE KEY') return inspectOpenssh(text);
  if (label?.endsWith('PRIVATE KEY')) {
    const encrypted = label.startsWith('ENCRYPTED') || /^Proc-Type:.*ENCRYPTED/m.test(text);
    if (encrypted) return { format: 'pem', encrypted, publicKey: beside, text };
    const publicKey = publicKeyOfPem(text);
    return publicKey === undefined ? undefined : { format: 'pem', encrypted, publicKey, text };
  }
  const own = parsePublicKey(text.split('\n', 1)[0] ?? '');
  return own === undefined
    ? undefined
    : { format: 'public', encrypted: false, publicKey: own, text };
}

/** PROTOCOL.key: magic, cipher, kdf, kdf options, number of keys, public key, encrypted rest. */
function inspectOpenssh(text: string): KeyFile | undefined {
  const body =
    /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]*?)-----END OPENSSH PRIVATE KEY-----/.exec(
      text,
    )?.[1];
  const data = decodeBase64((body ?? '').replace(/\s+/g, ''));
  if (data === undefined || data.toString('latin1', 0, OPENSSH_MAGIC.length) !== OPENSSH_MAGIC)
    return undefined;
  const reader = new WireReader(data.subarray(OPENSSH_MAGIC.length));
  const cipher = reader.text();
  reader.string();
  reader.string();
  const count = reader.uint32();
  const blob = reader.string();
  const publicKey = blob === undefined ? undefined : publicKeyFromBlob(blob);
  if (count !== 1 || publicKey === undefined) return undefined;
  return { format: 'openssh', encrypted: cipher !== 'none', publicKey, text };
}

function publicKeyOfPem(text: string): PublicKey | undefined {
  try {
    return publicKeyFromKeyObject(createPublicKey(text));
  } catch {
    // Not a key that OpenSSL reads; the caller says so with the file's name.
    return undefined;
  }
}
