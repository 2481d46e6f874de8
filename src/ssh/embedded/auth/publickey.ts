/**
 * Authentication by public key (RFC 4252 §7), one identity after another. The server is offered the
 * public half. Only if it would accept that is a signature made, and a passphrase asked for. If
 * only the passphrase reveals the public half, it is asked for when the key's turn comes.
 *
 * All identities are offered, as ssh does. The server decides how many it looks at (MaxAuthTries, 6
 * by default, refused keys count). If we stopped earlier, we would lock out users whose server
 * looks at more. A refused key is offered only once. An accepted one is offered once more if
 * something other than a key was accepted after it: sshd wants another key then, but other servers
 * the same one (a login that begins with a web page and ends with the key that it began with). With
 * --one-key, one is offered in each stage, for servers that count refused keys.
 */
import { TunnelError } from '../../../errors/errors.ts';
import type { RsaHash } from '../../identities/agent.ts';
import type { Identity } from '../../identities/identities.ts';
import { type PermittedKeys, whyForbidden } from '../../identities/permitted.ts';
import { describeKey, type PublicKey } from '../../keys/publickey.ts';
import type { Keyring } from './keyring.ts';
import type { AuthMethod, MethodContext } from './method.ts';
import type { PrivateKey } from './privatekey.ts';
import type { UserauthAnswer } from './userauth.ts';

export interface PublicKeyOptions {
  readonly keyring: Keyring;
  /** AuthenticationSettings.passphraseFile */
  readonly passphraseFile?: string | undefined;
  /** In the order in which they are offered. */
  readonly identities: readonly Identity[];
  readonly oneKey?: boolean | undefined;
  /** What ssh_config permits. */
  readonly permitted: PermittedKeys;
}

export class PublicKeyMethod implements AuthMethod {
  readonly #context: MethodContext;
  readonly #keyring: Keyring;
  readonly #passphraseFile: string | undefined;
  readonly #oneKey: boolean;
  readonly #permitted: PermittedKeys;
  /** Keys offered in this stage. */
  #offered = 0;
  readonly #remaining: Identity[];
  /** The keys whose signature the server accepted. */
  readonly #signed: PublicKey[] = [];
  /** Their identities, until they are offered once more. */
  #accepted: Identity[] = [];
  readonly #offeredAgain = new Set<Identity>();
  /** What was accepted last was a key. */
  #acceptedLast = false;

  constructor(
    context: MethodContext,
    { keyring, passphraseFile, identities, oneKey = false, permitted }: PublicKeyOptions,
  ) {
    this.#context = context;
    this.#permitted = permitted;
    this.#keyring = keyring;
    this.#passphraseFile = passphraseFile;
    this.#oneKey = oneKey;
    this.#remaining = [...identities];
    context.report.keysLeft = this.#remaining.length;
  }

  /** The keys whose signature the server has accepted so far. */
  get signed(): readonly PublicKey[] {
    return this.#signed;
  }

  async attempt(): Promise<UserauthAnswer | undefined> {
    const { report, observer, questions } = this.#context;
    report.heldBack = this.#oneKey && this.#offered > 0 ? this.#remaining.length : 0;
    if (this.#oneKey && this.#offered > 0) return undefined;
    for (
      let identity = this.#remaining.shift();
      identity !== undefined;
      identity = this.#remaining.shift()
    ) {
      report.keysLeft = this.#remaining.length;
      const offered = this.#offered;
      try {
        return await this.#offer(identity);
      } catch (error) {
        // The key can't be used. The server may be waiting for its signature, but it takes the next
        // request instead.
        if (questions.aborted || !(error instanceof TunnelError)) throw error;
        const unasked = error.code === 'no-terminal';
        const why = unasked
          ? 'it is encrypted, and nobody can be asked for its passphrase'
          : error.message;
        report.leftOut(identity.source, unasked);
        // The passphrase is missing; the server has not refused the key.
        if (unasked || error.code === 'auth-cancelled')
          report.unanswered(error.code, this.#offered > offered);
        observer.log('warning', `key ${identity.source} is left out: ${why}`);
      }
    }
    return undefined;
  }

  nextStage(): void {
    // Refused keys would be refused again; the others are still in `#remaining`.
    if (!this.#acceptedLast) {
      const again = this.#accepted.filter((identity) => !this.#offeredAgain.has(identity));
      for (const identity of again) this.#offeredAgain.add(identity);
      this.#remaining.unshift(...again);
      this.#accepted = [];
    }
    this.#acceptedLast = false;
    this.#offered = 0;
  }

  /** Throws a TunnelError, of any code, if the key can't be used. */
  async #offer(identity: Identity): Promise<UserauthAnswer> {
    const { exchange, report, observer } = this.#context;
    const unlocked = identity.publicKey === undefined ? await this.#unlock(identity) : undefined;
    const publicKey = identity.publicKey ?? unlocked?.publicKey;
    if (publicKey === undefined) throw unusable('its public half is hidden');
    const forbidden = whyForbidden(publicKey, this.#permitted);
    if (forbidden !== undefined) throw unusable(forbidden);
    const algorithm = exchange.signatureAlgorithm(publicKey.type, this.#permitted);
    if (algorithm === undefined)
      throw unusable(
        this.#permitted.acceptedAlgorithms === undefined
          ? 'the server wants a SHA-1 signature, which is not secure'
          : 'the server takes none of the signatures that PubkeyAcceptedAlgorithms permits',
      );
    this.#offered++;
    report.offered(`${identity.source} (${describeKey(publicKey)})`);
    observer.log('debug', `offering ${identity.source}`, { key: describeKey(publicKey) });
    const answer = await exchange.offerKey(publicKey, algorithm);
    if (answer.kind !== 'key-accepted') return answer;

    const result = await exchange.sign(publicKey, algorithm, (data) =>
      this.#sign(identity, publicKey, unlocked, data, algorithm),
    );
    if (result.kind === 'success' || (result.kind === 'failure' && result.partial)) {
      this.#signed.push(publicKey);
      this.#accepted.push(identity);
      this.#acceptedLast = true;
    }
    return result;
  }

  async #sign(
    identity: Identity,
    publicKey: PublicKey,
    unlocked: PrivateKey | undefined,
    data: Buffer,
    algorithm: string,
  ): Promise<Buffer> {
    const hash = rsaHash(algorithm);
    if (identity.agent !== undefined) {
      try {
        return await identity.agent.sign(publicKey, data, hash);
      } catch (error) {
        if (!(error instanceof TunnelError)) throw error;
        if (identity.file === undefined || identity.file.format === 'public') throw error;
        this.#context.observer.log('info', `${error.message}; reading ${identity.source} instead`);
      }
    }
    const key = unlocked ?? (await this.#unlock(identity));
    return key.sign(data, hash);
  }

  #unlock({ file, source }: Identity): Promise<PrivateKey> {
    if (file === undefined) throw unusable('there is no file of it');
    return this.#keyring.unlock(source, file, this.#context.questions, this.#passphraseFile);
  }
}

function unusable(why: string): TunnelError {
  return new TunnelError('auth-skipped', why);
}

function rsaHash(algorithm: string): RsaHash | undefined {
  if (algorithm === 'rsa-sha2-512') return 'sha512';
  return algorithm === 'rsa-sha2-256' ? 'sha256' : undefined;
}
