/**
 * Unlocks private keys, asking for their passphrases. A key stays unlocked as long as the keyring
 * lives, so that a reconnect in the middle of the night asks nobody. Neither the passphrase nor the
 * file's text is kept, only OpenSSL's handle of the key.
 */
import { createHash } from 'node:crypto';
import { TunnelError } from '../../../errors/errors.ts';
import type { Observer } from '../../../observe/observer.ts';
import { readSecret } from '../../credentials.ts';
import type { KeyFile } from '../../keys/keyfile.ts';
import type { Questions } from './method.ts';
import { type PrivateKey, unlockKeyFile } from './privatekey.ts';

/** As ssh's, for each key. */
const PASSPHRASE_TRIES = 3;

export class Keyring {
  readonly #observer: Observer;
  /** By path; with the digest of the file, because the file may be replaced. */
  readonly #unlocked = new Map<string, { readonly digest: string; readonly key: PrivateKey }>();

  constructor(observer: Observer) {
    this.#observer = observer;
  }

  /**
   * `passphraseFile`: a credential (ssh/credentials.ts), which is tried before anybody is asked.
   * Throws TunnelError `credential-unusable`, `auth-passphrase` after PASSPHRASE_TRIES wrong
   * passphrases, `auth-identity-unreadable`, or the prompter's error.
   */
  async unlock(
    path: string,
    file: KeyFile,
    questions: Questions,
    passphraseFile?: string,
  ): Promise<PrivateKey> {
    const known = this.#unlocked.get(path);
    const digest = createHash('sha256').update(file.text).digest('base64');
    if (known?.digest === digest) return known.key;
    const key = file.encrypted
      ? ((await this.#tryStored(path, file, passphraseFile)) ??
        (await this.#ask(path, file, questions)))
      : unlockKeyFile(file, path);
    this.#unlocked.set(path, { digest, key });
    return key;
  }

  /** undefined: there is none, or it is that of another key. */
  async #tryStored(
    path: string,
    file: KeyFile,
    passphraseFile: string | undefined,
  ): Promise<PrivateKey | undefined> {
    if (passphraseFile === undefined) return undefined;
    try {
      return unlockKeyFile(file, path, await readSecret(passphraseFile));
    } catch (error) {
      if (!(error instanceof TunnelError) || error.code !== 'auth-passphrase') throw error;
      this.#observer.log('warning', `${passphraseFile} is not the passphrase of ${path}`);
      return undefined;
    }
  }

  async #ask(path: string, file: KeyFile, questions: Questions): Promise<PrivateKey> {
    for (let attempt = 1; ; attempt++) {
      const passphrase = await questions.secret(`Passphrase for ${path}:`);
      try {
        return unlockKeyFile(file, path, passphrase);
      } catch (error) {
        const again =
          error instanceof TunnelError &&
          error.code === 'auth-passphrase' &&
          attempt < PASSPHRASE_TRIES;
        if (!again) throw error;
        this.#observer.log('notice', `${error.message}; try again`);
      }
    }
  }
}
