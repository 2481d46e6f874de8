/**
 * Authenticates a user (RFC 4252) in ssh's order. An Authenticator belongs to a jump host and
 * outlives its connections; an Authentication is one attempt at one connection.
 *
 *   Authenticator.load()       finds the identities (files, agent)
 *   Authenticator.begin()      finds them anew for each attempt but the first
 *   Authentication.next()      when ssh2 has the service accepted:
 *
 *     none ──► failure {methods} ──► the first of our methods that the server permits and that
 *                  ▲                        │ has something left: one attempt
 *                  └──────── failure ◄──────┴──► success: ssh2 reports 'ready'
 *
 *   failure with partial success: one more stage (`AuthenticationMethods
 *   publickey,keyboard-interactive`). Keys that were accepted are not offered again, counts of
 *   tries begin anew, and the order is gone through from the start.
 *
 *   nothing left: TunnelError auth-failed. That code means that the server has judged: who repeats
 *   it unchanged is refused again, and penalised for it.
 *
 * | file               | subject                                             |
 * |--------------------|-----------------------------------------------------|
 * | userauth.ts        | requests and answers on the wire                    |
 * | publickey.ts | keys of files and of the agent                      |
 * | questions.ts | keyboard-interactive and password                   |
 * | keyring.ts         | unlocked keys, which a reconnect needs without asking |
 * | report.ts      | what was tried, in words                            |
 *
 * What is kept between connections: unlocked keys, and which keys were accepted last, to be offered
 * first: so a reconnect makes no refused offer. Passwords and answers are not kept, so a server
 * that wants them is asked for with the person there.
 */
import type { Client } from 'ssh2';
import { TunnelError } from '../../../errors/errors.ts';
import { type Observer, silentObserver } from '../../../observe/observer.ts';
import { type Identity, loadIdentities } from '../../identities/identities.ts';
import { describeKey } from '../../keys/publickey.ts';
import { nobody, type Prompter } from '../../prompter.ts';
import { serverText } from '../../servertext.ts';
import type { AuthenticationSettings } from '../../settings.ts';
import { Keyring } from './keyring.ts';
import { type AuthMethod, type MethodContext, Questions } from './method.ts';
import { PublicKeyMethod } from './publickey.ts';
import { KeyboardInteractiveMethod, PasswordMethod } from './questions.ts';
import { AuthReport } from './report.ts';
import { type MethodName, type UserauthAnswer, UserauthExchange } from './userauth.ts';

export interface AuthenticatorOptions {
  readonly settings: AuthenticationSettings;
  readonly prompter: Prompter;
  readonly observer: Observer;
  /** Shared by the hops of a chain, so that one passphrase does for all of them. */
  readonly keyring?: Keyring;
  /** Where the default identities are. */
  readonly home?: string;
}

export interface AttemptOptions {
  readonly user: string;
  /** As the user knows the jump host: questions name it. */
  readonly host: string;
  /** Aborted when the attempt is over, so that no question stays on the screen. */
  readonly signal: AbortSignal;
  /** Called around each question: the time a person takes doesn't count. */
  readonly onPrompt: (waiting: boolean) => void;
}

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #keyring: Keyring;
  /** Those that `load` has found, for the first attempt. */
  #identities: readonly Identity[] | undefined;
  /** Which keys were accepted last, as describeKey has them. */
  #accepted: readonly string[] = [];

  private constructor(options: AuthenticatorOptions, identities: readonly Identity[]) {
    this.#options = options;
    this.#keyring = options.keyring ?? new Keyring(options.observer);
    this.#identities = identities;
  }

  /**
   * Looks for the identities at once, so that what is wrong with a key file is said before anything
   * is dialled: throws TunnelError `auth-identity-unreadable` or `auth-identity-permissions` for
   * one that was named explicitly.
   */
  static async load(options: AuthenticatorOptions): Promise<Authenticator> {
    return new Authenticator(options, await findIdentities(options, options.observer));
  }

  /** One attempt. Throws as `load` does when a key file has changed since. */
  async begin(attempt: AttemptOptions): Promise<Authentication> {
    const { settings, prompter, observer } = this.#options;
    // What is left out with a warning is said once, not at each reconnect.
    const identities = this.#identities ?? (await findIdentities(this.#options, silentObserver));
    this.#identities = undefined;
    return new Authentication({
      ...attempt,
      settings,
      observer,
      prompter: settings.batch ? nobody('BatchMode is set, so nobody is asked') : prompter,
      keyring: this.#keyring,
      identities: this.#acceptedFirst(identities),
      onSuccess: (keys) => {
        this.#accepted = keys;
      },
    });
  }

  #acceptedFirst(identities: readonly Identity[]): Identity[] {
    const rank = ({ publicKey }: Identity): number => {
      const at = publicKey === undefined ? -1 : this.#accepted.indexOf(describeKey(publicKey));
      return at < 0 ? this.#accepted.length : at;
    };
    return [...identities].sort((a, b) => rank(a) - rank(b));
  }
}

function findIdentities(
  { settings, home }: AuthenticatorOptions,
  observer: Observer,
): Promise<Identity[]> {
  return loadIdentities({ settings, observer, ...(home === undefined ? {} : { home }) });
}

interface AuthenticationOptions extends AttemptOptions {
  readonly settings: AuthenticationSettings;
  readonly prompter: Prompter;
  readonly observer: Observer;
  readonly keyring: Keyring;
  readonly identities: readonly Identity[];
  /** Gets the keys that were used, as describeKey has them. */
  readonly onSuccess: (keys: readonly string[]) => void;
}

export class Authentication {
  readonly #options: AuthenticationOptions;
  readonly #report: AuthReport;
  #start: (() => void) | undefined;

  constructor(options: AuthenticationOptions) {
    this.#options = options;
    this.#report = new AuthReport(options.user, enabledMethods(options.settings));
  }

  /**
   * To be called as soon as `client.connect()` has returned: what the server says about itself
   * comes early.
   */
  watch(client: Client, onFailed: (error: unknown) => void): void {
    const exchange = new UserauthExchange(client, this.#options.user, this.#options.signal);
    this.#start = () => {
      this.#start = undefined;
      this.#run(exchange).catch(onFailed);
    };
  }

  /**
   * ssh2's authHandler, which it calls once: when the service is accepted. From then on
   * authentication goes its way, and ends with ssh2's 'ready' or with `onFailed`.
   */
  readonly next = (): void => this.#start?.();

  /** The server ended the attempt with a message of its own (printable). */
  disconnected(text: string, cause: unknown): TunnelError {
    return this.#report.disconnected(text, cause);
  }

  async #run(exchange: UserauthExchange): Promise<void> {
    const methods = this.#methods(exchange);
    let answer: UserauthAnswer | undefined = await exchange.none();
    while (answer !== undefined && answer.kind !== 'success') {
      // `undefined` can't come of the first request, and the methods deal with all that is neither
      // yes nor no.
      if (answer.kind !== 'failure') throw unexpected(answer);
      this.#report.methods = answer.methods;
      if (answer.partial) this.#nextStage(methods);
      answer = await this.#next(methods, answer.methods);
    }
    if (answer === undefined) throw this.#report.failure();
    const used = methods.get('publickey');
    this.#options.onSuccess(used instanceof PublicKeyMethod ? used.signed.map(describeKey) : []);
  }

  /** In the order of preference. */
  #methods(exchange: UserauthExchange): ReadonlyMap<MethodName, AuthMethod> {
    const { user, host, settings, prompter, signal, onPrompt, observer, keyring, identities } =
      this.#options;
    const questions = new Questions(prompter, signal, onPrompt);
    const context: MethodContext = {
      user,
      host,
      exchange,
      questions,
      report: this.#report,
      observer,
    };
    const limit = settings.numberOfPasswordPrompts;
    const make: Readonly<Record<MethodName, () => AuthMethod>> = {
      publickey: () => new PublicKeyMethod(context, keyring, identities),
      'keyboard-interactive': () => new KeyboardInteractiveMethod(context, limit),
      password: () => new PasswordMethod(context, limit),
    };
    return new Map(enabledMethods(settings).map((name) => [name, make[name]()]));
  }

  async #next(
    methods: ReadonlyMap<MethodName, AuthMethod>,
    permitted: readonly string[],
  ): Promise<UserauthAnswer | undefined> {
    for (const [name, method] of methods) {
      if (!permitted.includes(name)) continue;
      const answer = await method.attempt();
      if (answer !== undefined) return answer;
    }
    return undefined;
  }

  #nextStage(methods: ReadonlyMap<MethodName, AuthMethod>): void {
    this.#report.accepted();
    for (const method of methods.values()) method.nextStage();
    this.#options.observer.log('debug', 'accepted in part; more is wanted', {
      methods: this.#report.methods.join(','),
    });
  }
}

/** Without those that ask, where nobody is to be asked. */
function enabledMethods({ methods, batch }: AuthenticationSettings): readonly MethodName[] {
  return batch ? methods.filter((name) => name === 'publickey') : methods;
}

function unexpected(answer: UserauthAnswer): TunnelError {
  const what = serverText(answer.kind);
  return new TunnelError(
    'auth-failed',
    `the jump host answered out of turn during authentication (${what})`,
    {
      hint: 'look into the log of sshd on the jump host',
    },
  );
}
