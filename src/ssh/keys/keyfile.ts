/**
 * Reads the parts of private key files that need no passphrase: the format, whether they are
 * encrypted, and the public key. A server is offered the public key first, so the user isn't asked
 * for the passphrase of a key that the server doesn't want.
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
   * `openssh`: OpenSSH's own format (PROTOCOL.key). `pem`: any other format that OpenSSL reads.
   * `public`: only the public key.
   */
  readonly format: 'openssh' | 'pem' | 'public';
  readonly encrypted: boolean;
  /** undefined: not readable until the file is decrypted. */
  readonly publicKey: PublicKey | undefined;
  /** The text of the file. */
  readonly text: string;
}

const OPENSSH_MAGIC = 'openssh-key-v1\0';

/**
 * Returns undefined if it isn't a supported key file. `publicText`: the text of the .pub file next
 * to it, if there is one.
 */
export function inspectKeyFile(text: string, publicText: string | undefined): KeyFile | undefined {
  const publicHalf =
    publicText === undefined ? undefined : parsePublicKey(publicText.split('\n', 1)[0] ?? '');
  const label = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1];
  if (label === 'OPENSSH PRIVATE KEY') return inspectOpenssh(text);
  if (label?.endsWith('PRIVATE KEY')) {
    const encrypted = label.startsWith('ENCRYPTED') || /^Proc-Type:.*ENCRYPTED/m.test(text);
    if (encrypted) return { format: 'pem', encrypted, publicKey: publicHalf, text };
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
    // OpenSSL can't read it. The caller reports that with the file's name.
    return undefined;
  }
}
