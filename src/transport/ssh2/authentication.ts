/**
 * Authenticates by public key (RFC 4252 §7). ssh2 asks `next` for one attempt after the other:
 *
 *   none                      tells which methods the server permits
 *   identity 1, 2, ...        each as an ssh2 "agent" that holds one key: the server is offered the public half, and only when it
 *                             has accepted it `sign` is called, which is the moment to ask for a passphrase
 *   false                     nothing left; ssh2 reports the failure, dial.ts words it with `failure()`
 *
 * Each identity is an agent of its own, not one agent with all keys, so that a key whose public half only
 * the passphrase reveals is asked for when its turn comes and not before. ssh2 ignores "partial success" on this path;
 * `watch` takes it from the packet handler.
 */
import ssh2, { type AnyAuthMethod, type Client, type NextAuthHandler, type SignCallback } from 'ssh2';
import { TunnelError } from '../../errors.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Identity } from '../identities.ts';
import type { Prompter } from '../prompter.ts';
import { describeKey, type PublicKey } from '../publickey.ts';
import type { RsaHash } from '../sshagent.ts';
import { protocolOf } from './internals.ts';
import { type PrivateKey, unlockKeyFile } from './privatekey.ts';
import { serverText } from './servertext.ts';

/** As ssh's NumberOfPasswordPrompts. */
const PASSPHRASE_TRIES = 3;

export interface AuthenticationOptions {
  readonly user: string;
  readonly identities: readonly Identity[];
  readonly prompter: Prompter;
  readonly observer: Observer;
  /** Aborted when the attempt is over, so that no question stays on the screen. */
  readonly signal: AbortSignal;
  /** Called around each question: the time a person takes doesn't count. */
  readonly onPrompt: (waiting: boolean) => void;
}

export class Authentication {
  readonly #options: AuthenticationOptions;
  readonly #remaining: Identity[];
  readonly #tried: string[] = [];
  readonly #skipped: string[] = [];
  #askedForMethods = false;
  #methods: readonly string[] = [];

  constructor(options: AuthenticationOptions) {
    this.#options = options;
    this.#remaining = [...options.identities];
  }

  /** Follows the server's answers. `onPartial` is called when a key was accepted but the server wants more. */
  watch(client: Client, onPartial: (error: TunnelError) => void): void {
    const handlers = protocolOf(client)._handlers;
    const original = handlers.USERAUTH_FAILURE;
    handlers.USERAUTH_FAILURE = (protocol, methods, partialSuccess) => {
      this.#methods = methods.map((method) => serverText(method));
      if (partialSuccess) onPartial(this.#partial());
      else original(protocol, methods, partialSuccess);
    };
  }

  /** ssh2's authHandler. Calls back with the next attempt, or with false. */
  readonly next = (_methods: unknown, _partial: unknown, callback: NextAuthHandler): void => {
    // ssh2 takes false for "give up"; its type definitions leave that out.
    const answer = callback as (attempt: AnyAuthMethod | false) => void;
    const { user } = this.#options;
    if (!this.#askedForMethods) {
      this.#askedForMethods = true;
      answer({ type: 'none', username: user });
      return;
    }
    this.#nextAgent()
      .then((agent) => answer(agent === undefined ? false : { type: 'agent', username: user, agent }))
      .catch((error: unknown) => {
        // The attempt was aborted while somebody was asked, or ssh2 throws because the connection has gone: either has
        // been reported where it happened.
        this.#options.observer.log('debug', 'authentication ends', { error: String(error) });
      });
  };

  /** What to tell when the server has refused everything. */
  failure(cause?: unknown): TunnelError {
    const { user } = this.#options;
    const permits = this.#methods.length === 0 ? 'no method' : this.#methods.join(', ');
    const message = `the jump host does not let "${user}" in: it permits ${permits}; ${this.#describeTried()}`;
    return new TunnelError('auth-failed', message, { hint: this.#hint(), cause });
  }

  /** The server ended the attempt with a message of its own. */
  disconnected(text: string, cause: unknown): TunnelError {
    if (!/too many authentication failures/i.test(text)) {
      return new TunnelError(
        'auth-failed',
        `the jump host ended authentication: ${text}; ${this.#describeTried()}`,
        {
          hint: this.#hint(),
          cause,
        },
      );
    }
    return new TunnelError(
      'auth-failed',
      `the jump host ended authentication after too many keys (its MaxAuthTries); ${this.#describeTried()}`,
      {
        hint: 'name the right key with -i, so that it is offered first, or remove keys with ssh-add -d',
        cause,
      },
    );
  }

  #partial(): TunnelError {
    return new TunnelError(
      'auth-failed',
      `the jump host accepted ${this.#tried.at(-1) ?? 'the key'}, but also wants ${this.#methods.join(' or ')}`,
      { hint: 'ask for an account that a key alone lets in (AuthenticationMethods in sshd_config)' },
    );
  }

  #describeTried(): string {
    const tried = this.#tried.length === 0 ? 'no key was offered' : `tried ${this.#tried.join(', ')}`;
    return this.#skipped.length === 0 ? tried : `${tried}; not usable: ${this.#skipped.join(', ')}`;
  }

  #hint(): string {
    if (this.#methods.length > 0 && !this.#methods.includes('publickey'))
      return 'only keys are supported: have public key authentication enabled for this account';
    if (this.#tried.length === 0) return 'name a key with -i, or start ssh-agent and add one with ssh-add';
    if (this.#skipped.length > 0)
      return 'the server may accept the key that could not be used: unlock it with ssh-add first, or run this at a terminal';
    return 'check the user name, and that the key is in authorized_keys on the jump host (ssh-copy-id)';
  }

  async #nextAgent(): Promise<SingleKeyAgent | undefined> {
    if (!this.#methods.includes('publickey')) return undefined;
    for (let identity = this.#remaining.shift(); identity !== undefined; identity = this.#remaining.shift()) {
      let unlocked: PrivateKey | undefined;
      if (identity.publicKey === undefined) {
        unlocked = await this.#unlock(identity);
        if (unlocked === undefined) continue;
      }
      const publicKey = identity.publicKey ?? unlocked?.publicKey;
      if (publicKey === undefined) continue;
      this.#tried.push(`${identity.source} (${describeKey(publicKey)})`);
      this.#options.observer.log('debug', `offering ${identity.source}`, { key: describeKey(publicKey) });
      return new SingleKeyAgent(publicKey, (data, hash) =>
        this.#sign(identity, publicKey, unlocked, data, hash),
      );
    }
    return undefined;
  }

  async #sign(
    identity: Identity,
    publicKey: PublicKey,
    unlocked: PrivateKey | undefined,
    data: Buffer,
    hash: string | undefined,
  ): Promise<Buffer> {
    if (publicKey.type === 'ssh-rsa' && hash !== 'sha256' && hash !== 'sha512')
      throw this.#skip(identity, 'the server wants a SHA-1 signature, which is not secure');
    if (identity.agent !== undefined) {
      try {
        return await identity.agent.sign(publicKey, data, hash as RsaHash | undefined);
      } catch (error) {
        if (!(error instanceof TunnelError)) throw error;
        if (identity.file === undefined || identity.file.format === 'public')
          throw this.#skip(identity, error.message);
        this.#options.observer.log('info', `${error.message}; reading ${identity.source} instead`);
      }
    }
    const key = unlocked ?? (await this.#unlock(identity));
    if (key === undefined) throw new TunnelError('auth-skipped', `${identity.source} is left out`);
    return key.sign(data, hash);
  }

  /** undefined, with a warning given, when the key can't be used. */
  async #unlock(identity: Identity): Promise<PrivateKey | undefined> {
    const { file, source } = identity;
    if (file === undefined) return undefined;
    try {
      return file.encrypted ? await this.#unlockByPassphrase(identity, file) : unlockKeyFile(file, source);
    } catch (error) {
      // Aborted, or the prompter failed in a way of its own: nobody is there to read a warning.
      if (this.#options.signal.aborted || !(error instanceof TunnelError)) throw error;
      this.#skip(
        identity,
        error.code === 'no-terminal' ? 'it is encrypted and there is no terminal to ask' : error.message,
      );
      return undefined;
    }
  }

  async #unlockByPassphrase(identity: Identity, file: NonNullable<Identity['file']>): Promise<PrivateKey> {
    const { prompter, signal, onPrompt } = this.#options;
    for (let attempt = 1; ; attempt++) {
      onPrompt(true);
      let passphrase: string;
      try {
        passphrase = await prompter.secret(`Passphrase for ${identity.source}: `, { signal });
      } finally {
        onPrompt(false);
      }
      try {
        return unlockKeyFile(file, identity.source, passphrase);
      } catch (error) {
        const again =
          error instanceof TunnelError && error.code === 'auth-passphrase' && attempt < PASSPHRASE_TRIES;
        if (!again) throw error;
        this.#options.observer.log('notice', `${error.message}; try again`);
      }
    }
  }

  #skip(identity: Identity, why: string): TunnelError {
    this.#skipped.push(identity.source);
    this.#options.observer.log('warning', `key ${identity.source} is left out: ${why}`);
    return new TunnelError('auth-skipped', why);
  }
}

type Signer = (data: Buffer, hash: string | undefined) => Promise<Buffer>;

class SingleKeyAgent extends ssh2.BaseAgent<Buffer> {
  readonly #publicKey: PublicKey;
  readonly #signer: Signer;

  constructor(publicKey: PublicKey, signer: Signer) {
    super();
    this.#publicKey = publicKey;
    this.#signer = signer;
  }

  override getIdentities(callback: (error?: Error | null, keys?: Buffer[]) => void): void {
    callback(null, [this.#publicKey.blob]);
  }

  override sign(
    _publicKey: unknown,
    data: Buffer,
    options: { hash?: string } | SignCallback,
    callback?: SignCallback,
  ): void {
    const done = typeof options === 'function' ? options : callback;
    const hash = typeof options === 'function' ? undefined : options.hash;
    const answer: SignCallback = (error, signature) => {
      try {
        done?.(error, signature);
      } catch {
        // ssh2 throws when the connection has gone while we signed; that has been reported where it happened.
      }
    };
    this.#signer(data, hash).then(
      (signature) => answer(null, signature),
      (error: unknown) => answer(error instanceof Error ? error : new Error(String(error))),
    );
  }
}
