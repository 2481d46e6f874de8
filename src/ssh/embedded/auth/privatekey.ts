/** Private keys, decrypted and loaded into OpenSSL, which signs with them. */
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { TunnelError } from '../../../errors/errors.ts';
import { shellPath } from '../../../net/notation.ts';
import type { KeyFile } from '../../keys/keyfile.ts';
import { type PublicKey, publicKeyFromKeyObject } from '../../keys/publickey.ts';
import { parseKey } from '../ssh2/library.ts';

export class PrivateKey {
  readonly publicKey: PublicKey;
  readonly #key: KeyObject;

  constructor(key: KeyObject, publicKey: PublicKey) {
    this.#key = key;
    this.publicKey = publicKey;
  }

  /** RSA: PKCS#1 v1.5 with `hash`. ECDSA: DER, with the hash of the curve. */
  sign(data: Buffer, hash: string | undefined): Buffer {
    return sign(this.#digest(hash), data, this.#key);
  }

  #digest(hash: string | undefined): string | null {
    switch (this.publicKey.type) {
      case 'ssh-rsa':
        return hash ?? 'sha256';
      case 'ecdsa-sha2-nistp256':
        return 'sha256';
      case 'ecdsa-sha2-nistp384':
        return 'sha384';
      case 'ecdsa-sha2-nistp521':
        return 'sha512';
      default:
        return null;
    }
  }
}

/**
 * Throws TunnelError `auth-passphrase` when the passphrase is wrong (or missing),
 * `auth-identity-unreadable` when the file can't be used in any case.
 */
export function unlockKeyFile(file: KeyFile, source: string, passphrase?: string): PrivateKey {
  let key: KeyObject;
  try {
    key = createPrivateKey(
      file.format === 'openssh'
        ? decryptOpenssh(file.text, passphrase)
        : pemInput(file.text, passphrase),
    );
  } catch (cause) {
    if (file.encrypted)
      throw new TunnelError('auth-passphrase', `that is not the passphrase of ${source}`, {
        cause,
      });
    throw unusable(source, cause);
  }
  const publicKey = publicKeyFromKeyObject(createPublicKey(key));
  if (publicKey === undefined) throw unusable(source);
  if (file.publicKey !== undefined && !file.publicKey.blob.equals(publicKey.blob)) {
    throw new TunnelError(
      'auth-identity-unreadable',
      `${source}.pub is not the public half of ${source}`,
      {
        hint: `write it again with: ssh-keygen -yf ${shellPath(source)} > ${shellPath(`${source}.pub`)}`,
      },
    );
  }
  return new PrivateKey(key, publicKey);
}

function pemInput(
  text: string,
  passphrase: string | undefined,
): { key: string; passphrase?: string } {
  return passphrase === undefined ? { key: text } : { key: text, passphrase };
}

/**
 * Converts OpenSSH's own format, which OpenSSL doesn't read, to PEM. Takes a moment: bcrypt is slow
 * on purpose.
 */
function decryptOpenssh(text: string, passphrase: string | undefined): string {
  const key = parseKey(text, passphrase);
  if (key instanceof Error) throw key;
  return key.getPrivatePEM();
}

function unusable(source: string, cause?: unknown): TunnelError {
  return new TunnelError('auth-identity-unreadable', `${source} can't be used as a private key`, {
    hint: 'keys of types ed25519, ecdsa and rsa can be used',
    cause,
  });
}
