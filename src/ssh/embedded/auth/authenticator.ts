/**
 * Authenticates a user (RFC 4252) in the same order as ssh. An Authenticator belongs to a jump host
 * and outlives its connections; an Authentication is one attempt on one connection.
 *
 *   Authenticator.load()       finds the identities (files, agent)
 *   Authenticator.begin()      finds them again for each attempt after the first
 *   Authentication.next()      called by ssh2 when the server has accepted the service:
 *
 *     none ──► failure {methods} ──► the first of our methods that the server permits and that
 *                  ▲                        │ has something left: one attempt
 *                  └──────── failure ◄──────┴──► success: ssh2 reports 'ready'
 *
 *   failure with partial success: one more stage (`AuthenticationMethods
 *   publickey,keyboard-interactive`). Tries are counted from zero, and the methods are tried in
 *   order from the start. publickey.ts says which keys are offered again.
 *
 *   nothing left: TunnelError auth-failed. That code means that the server has decided: the same
 *   login would be refused again, and penalised. If it has refused nothing, and only an answer is
 *   missing that nobody is there to give, it is no-terminal.
 *
 * | file         | subject                                               |
 * |--------------|-------------------------------------------------------|
 * | userauth.ts  | requests and answers on the wire                      |
 * | method.ts    | what all methods share                                |
 * | publickey.ts | keys of files and of the agent                        |
 * | questions.ts | keyboard-interactive and password                     |
 * | keyring.ts   | unlocked keys, so that a reconnect asks nobody        |
 * | report.ts    | what was tried, in words                              |
 *
 * Kept between connections: the unlocked keys, and which keys were accepted last. Those are offered
 * first, so that no offer of a reconnect is refused. Passwords and answers are not kept, so a
 * server that wants them can be reached again only while a person is there to answer.
 */
import type { Client } from 'ssh2';
import { TunnelError } from '../../../errors/errors.ts';
import { type Observer, silentObserver } from '../../../observe/observer.ts';
import type { Login } from '../../established.ts';
import { type Identity, loadIdentities } from '../../identities/identities.ts';
import { describeKey } from '../../keys/publickey.ts';
import { nobody, type Prompter } from '../../prompter.ts';
import { type ServerWords, serverText } from '../../servertext.ts';
import type { AuthenticationSettings } from '../../settings.ts';
import { Keyring } from './keyring.ts';
import { type AuthMethod, type MethodContext, Questions, StoredPassword } from './method.ts';
import { PublicKeyMethod } from './publickey.ts';
import { KeyboardInteractiveMethod, PasswordMethod } from './questions.ts';
import { AuthReport } from './report.ts';
import { type MethodName, type UserauthAnswer, UserauthExchange } from './userauth.ts';

/** What a server may accept in part in one login, before it must let the user in or refuse. */
export const MAX_STAGES = 8;

export interface AuthenticatorOptions {
  readonly settings: AuthenticationSettings;
  readonly prompter: Prompter;
  readonly observer: Observer;
  /** Shared by the hops of a chain, so that each passphrase is asked for only once. */
  readonly keyring?: Keyring;
  /** Where the default identities are. */
  readonly home?: string;
}

export interface AttemptOptions {
  readonly user: string;
  /** The user's own name for the jump host; it is shown in questions. */
  readonly host: string;
  /** It is a host on the way to the jump host. */
  readonly onTheWay?: boolean;
  /** Aborted when the attempt is over, so that no question stays on the screen. */
  readonly signal: AbortSignal;
  /**
   * Called before (true) and after (false) each question: the time that a person takes doesn't
   * count.
   */
  readonly onPrompt: (waiting: boolean) => void;
  /** For what the server says with its questions. */
  readonly words: ServerWords;
}

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #keyring: Keyring;
  /** The identities that `load` found, for the first attempt. */
  #identities: FoundIdentities | undefined;
  /** The keys that were accepted last, in the form of describeKey. */
  #accepted: readonly string[] = [];
  /** The last login was completed by answers: keys that it refuses are no reason to give up. */
  #answered = false;

  private constructor(options: AuthenticatorOptions, identities: FoundIdentities) {
    this.#options = options;
    this.#keyring = options.keyring ?? new Keyring(options.observer);
    this.#identities = identities;
  }

  /**
   * Looks for the identities at once, so that an error in a key file is reported before anything is
   * dialled. Throws TunnelError `auth-identity-unreadable` or `auth-identity-permissions` for a key
   * file that was named explicitly.
   */
  static async load(options: AuthenticatorOptions): Promise<Authenticator> {
    return new Authenticator(options, await findIdentities(options, options.observer));
  }

  /** Begins one attempt. Throws as `load` does, if a key file has changed since. */
  async begin(attempt: AttemptOptions): Promise<Authentication> {
    const { settings, prompter, observer } = this.#options;
    // Warnings about unusable keys are logged once, not at each reconnect.
    const found = this.#identities ?? (await findIdentities(this.#options, silentObserver));
    this.#identities = undefined;
    return new Authentication({
      ...attempt,
      settings,
      observer,
      prompter: settings.batch ? nobody('BatchMode is set, so nobody is asked') : prompter,
      keyring: this.#keyring,
      identities: this.#acceptedFirst(found.identities),
      unusable: found.unusable,
      answeredBefore: this.#answered,
      onSuccess: (keys, answered) => {
        this.#accepted = keys;
        this.#answered = answered;
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

async function findIdentities(
  { settings, home }: AuthenticatorOptions,
  observer: Observer,
): Promise<FoundIdentities> {
  const unusable: string[] = [];
  const identities = await loadIdentities({
    settings,
    observer,
    ...(home === undefined ? {} : { home }),
    onUnusable: (what) => void unusable.push(what),
  });
  return { identities, unusable };
}

interface FoundIdentities {
  readonly identities: readonly Identity[];
  /** Keys that can't be used, each with the reason. */
  readonly unusable: readonly string[];
}

interface AuthenticationOptions extends AttemptOptions {
  readonly settings: AuthenticationSettings;
  readonly prompter: Prompter;
  readonly observer: Observer;
  readonly keyring: Keyring;
  readonly identities: readonly Identity[];
  readonly unusable: readonly string[];
  readonly answeredBefore: boolean;
  /** Gets the keys that were used (describeKey), and whether anything was answered. */
  readonly onSuccess: (keys: readonly string[], answered: boolean) => void;
}

export class Authentication {
  readonly #options: AuthenticationOptions;
  readonly #report: AuthReport;
  #start: (() => void) | undefined;

  constructor(options: AuthenticationOptions) {
    this.#options = options;
    this.#report = new AuthReport({
      user: options.user,
      server: options.onTheWay ? options.host : 'the jump host',
      enabled: enabledMethods(options.settings),
      mayAsk: !options.settings.batch,
      answeredBefore: options.answeredBefore,
    });
    for (const what of options.unusable) this.#report.leftOut(what, false);
  }

  /**
   * Must be called as soon as `client.connect()` has returned, because the server's EXT_INFO comes
   * early.
   */
  watch(client: Client, onFailed: (error: unknown) => void): void {
    const exchange = new UserauthExchange(client, this.#options.user, this.#options.signal);
    this.#start = () => {
      this.#start = undefined;
      this.#run(exchange).catch(onFailed);
    };
  }

  /**
   * ssh2's authHandler, which it calls once, when the server has accepted the service.
   * Authentication then runs here until it ends with ssh2's 'ready' or with `onFailed`.
   */
  readonly next = (): void => this.#start?.();

  /** For a server that has let the user in. */
  get login(): Login {
    return this.#report.login;
  }

  /** What the server has to decide about, in words; undefined: nothing has been sent. */
  get underWay(): string | undefined {
    return this.#report.underWay;
  }

  /** The server ended the attempt with a message of its own (printable). */
  disconnected(text: string, cause: unknown): TunnelError {
    return this.#report.disconnected(text, cause);
  }

  async #run(exchange: UserauthExchange): Promise<void> {
    const methods = this.#methods(exchange);
    let answer: UserauthAnswer | undefined = await exchange.none();
    let stages = 0;
    while (answer !== undefined && answer.kind !== 'success') {
      // `none` never gives `undefined`, and the methods handle every answer that is neither yes nor
      // no.
      if (answer.kind !== 'failure') throw unexpected(answer);
      this.#report.permits(answer.methods);
      if (answer.partial) {
        this.#nextStage(methods);
        if (++stages > MAX_STAGES) {
          this.#options.observer.count('tunnel_auth_stages_limit_total');
          throw this.#report.endless();
        }
      }
      answer = await this.#next(methods, answer.methods);
    }
    if (answer === undefined) throw this.#report.failure();
    const used = methods.get('publickey');
    this.#options.onSuccess(
      used instanceof PublicKeyMethod ? used.signed.map(describeKey) : [],
      this.#report.answered,
    );
  }

  /** In order of preference. */
  #methods(exchange: UserauthExchange): ReadonlyMap<MethodName, AuthMethod> {
    const { user, host, settings, prompter, signal, onPrompt, observer, keyring, identities } =
      this.#options;
    const { words } = this.#options;
    const questions = new Questions(prompter, signal, onPrompt);
    const context: MethodContext = {
      user,
      host,
      exchange,
      questions,
      password: new StoredPassword(settings.passwordFile),
      words,
      report: this.#report,
      observer,
    };
    const limit = settings.numberOfPasswordPrompts;
    const make: Readonly<Record<MethodName, () => AuthMethod>> = {
      publickey: () =>
        new PublicKeyMethod(context, {
          keyring,
          passphraseFile: settings.passphraseFile,
          identities,
          oneKey: settings.oneKey,
          permitted: settings,
        }),
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

/** In BatchMode, without the methods that ask questions. */
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
