/** Records what was tried and how the server answered, for the error if authentication fails. */
import { TunnelError } from '../../../errors/errors.ts';
import type { Login } from '../../established.ts';
import { keysOffered } from '../../keys/publickey.ts';
import type { MethodName } from './userauth.ts';

const OWN_METHODS: readonly string[] = [
  'publickey',
  'keyboard-interactive',
  'password',
] satisfies MethodName[];
const ANSWERED: readonly string[] = ['keyboard-interactive', 'password'] satisfies MethodName[];
/** At most this many names are listed in a message; an agent may have hundreds of keys. */
const MAX_NAMED = 10;

export interface ReportOptions {
  readonly user: string;
  /** What messages call it, `the jump host` or a name. */
  readonly server: string;
  readonly enabled: readonly MethodName[];
  /** Somebody may be asked in another attempt: it is not BatchMode that forbids questions. */
  readonly mayAsk: boolean;
  /** The login before this one was completed by answers, whatever keys were refused. */
  readonly answeredBefore: boolean;
}

export class AuthReport {
  readonly #options: ReportOptions;
  readonly #user: string;
  readonly #server: string;
  readonly #enabled: readonly MethodName[];
  /** What the server permits now. */
  #methods: readonly string[] = [];
  #permitted: readonly string[] | undefined;
  /** How many keys the server hasn't been offered yet. */
  keysLeft = 0;
  /** How many of these were not offered because of --one-key. */
  heldBack = 0;
  readonly #accepted: string[] = [];
  /** In all stages. */
  #keysOffered = 0;
  #tried: string[] = [];
  /** Of these, the keys for which a passphrase was missing. */
  #unrefused = 0;
  /** A person has declined to give a passphrase. */
  #declined = false;
  readonly #leftOut: LeftOut[] = [];

  constructor(options: ReportOptions) {
    this.#options = options;
    this.#user = options.user;
    this.#server = options.server;
    this.#enabled = options.enabled;
  }

  get methods(): readonly string[] {
    return this.#methods;
  }

  /** The server permits these from now on. */
  permits(methods: readonly string[]): void {
    this.#permitted ??= methods;
    this.#methods = methods;
  }

  /** The server is offered a key. */
  offered(what: string): void {
    this.#keysOffered++;
    this.tried(what);
  }

  /** For a server that has let the user in. */
  get login(): Login {
    const last = this.#tried.at(-1);
    return {
      user: this.#user,
      permitted: this.#permitted ?? [],
      accepted: last === undefined ? [...this.#accepted] : [...this.#accepted, last],
      keysOffered: this.#keysOffered,
    };
  }

  /** The server has refused an answer of a person or a file since it last accepted anything. */
  get answerRefused(): boolean {
    return this.#tried.some((what) => ANSWERED.includes(what));
  }

  /** For a server that has let the user in: what did it was, in part, an answer. */
  get answered(): boolean {
    return this.login.accepted.some((what) => ANSWERED.includes(what));
  }

  /** What the server has to decide about: "keyboard-interactive, after ssh-ed25519 SHA256:...". */
  get underWay(): string | undefined {
    const last = this.#tried.at(-1);
    if (this.#accepted.length === 0) return last;
    const before = `after ${listed(this.#accepted, ' and ')} was accepted`;
    return `a further factor${last === undefined ? '' : `, ${last}`}, ${before}`;
  }

  /** `what`: a method that asks for something, or a key with its fingerprint. */
  tried(what: string): void {
    this.#tried.push(what);
  }

  /** What was tried last has not reached the server. */
  untried(): void {
    this.#tried.pop();
  }

  /** `unasked`: it was skipped because nobody was there to answer. */
  leftOut(what: string, unasked: boolean): void {
    this.#leftOut.push({ what, unasked });
  }

  /**
   * A passphrase was not given. `offered`: the server would have taken the key, so what was tried
   * last was not refused.
   */
  unanswered(code: 'no-terminal' | 'auth-cancelled', offered: boolean): void {
    if (code === 'auth-cancelled') this.#declined = true;
    if (offered) this.#unrefused++;
  }

  /** The server has accepted what was tried last, and wants more. */
  accepted(): void {
    this.#unrefused = 0;
    this.#accepted.push(this.#tried.pop() ?? 'what was sent');
    this.#tried = [];
  }

  /** The server has accepted one part after another, more often than is followed. */
  endless(): TunnelError {
    const message = `${this.#server} accepts the login of "${this.#user}" in part again and again, ${this.#accepted.length} times`;
    return new TunnelError('auth-failed', message, {
      hint: 'its SSH server is faulty or hostile; look into its log',
    });
  }

  /**
   * The server lets the user in with nothing that there is. `auth-failed` if it has refused
   * something, or wants what we don't have. If only an answer is missing, `auth-cancelled` or
   * `no-terminal`.
   */
  failure(): TunnelError {
    const permits = this.methods.length === 0 ? 'no method' : counted(this.methods);
    const message =
      this.#accepted.length === 0
        ? `${this.#server} does not let "${this.#user}" in: it permits ${permits}; ${this.#describe()}`
        : `${this.#server} accepted ${listed(this.#accepted, ' and ')}, but also wants ${listed(this.methods)}; ${this.#describe()}`;
    const missing = this.#declined ? 'auth-cancelled' : 'no-terminal';
    const code = this.#lacksOnlyAnswers ? missing : 'auth-failed';
    const colon = this.#user.includes(':') ? `; ${PASSWORD_HINT}` : '';
    return new TunnelError(code, message, { hint: `${this.#hint()}${colon}` });
  }

  get #lacksOnlyAnswers(): boolean {
    const { mayAsk, answeredBefore } = this.#options;
    const unasked = this.#leftOut.some(
      (item) =>
        item.unasked &&
        this.#methods.includes(OWN_METHODS.includes(item.what) ? item.what : 'publickey'),
    );
    const missing = unasked || (this.#declined && this.#methods.includes('publickey'));
    const refused = answeredBefore ? this.answerRefused : this.#tried.length > this.#unrefused;
    return mayAsk && missing && !refused;
  }

  /** The server ended the attempt with a message of its own (printable). */
  disconnected(text: string, cause: unknown): TunnelError {
    if (!/too many authentication failures/i.test(text)) {
      return new TunnelError(
        'auth-failed',
        `${this.#server} ended authentication: ${text}; ${this.#describe()}`,
        {
          hint: this.#hint(),
          cause,
        },
      );
    }
    const rest = this.keysLeft === 0 ? '' : `; ${more(this.keysLeft)} not offered`;
    return new TunnelError(
      'auth-failed',
      `${this.#server} ended authentication after too many refused keys or answers (its MaxAuthTries); ${this.#describe()}${rest}`,
      {
        hint: 'name the right key with -i, so that it is offered first, and set IdentitiesOnly to offer no others; or remove keys with ssh-add -d',
        cause,
      },
    );
  }

  #describe(): string {
    const [unasked, unusable] = [
      this.#leftOut.filter(isUnaskedMethod),
      this.#leftOut.filter((item) => !isUnaskedMethod(item)),
    ].map((items) => items.map(({ what }) => what)) as [string[], string[]];
    return [
      ...(this.#keysOffered === 0 ? [] : [keysOffered(this.#keysOffered)]),
      this.#tried.length === 0 ? this.#describeNothing() : `tried ${counted(this.#tried)}`,
      ...(this.heldBack === 0 ? [] : [`${more(this.heldBack)} held back (--one-key)`]),
      ...(unusable.length === 0 ? [] : [`not usable: ${counted(unusable)}`]),
      ...(unasked.length === 0 ? [] : [`nobody could be asked for ${unasked.join(' or ')}`]),
    ].join('; ');
  }

  #describeNothing(): string {
    return this.#accepted.length === 0 ? keysOffered(0) : 'nothing else was tried';
  }

  #hint(): string {
    if (this.methods.length > 0 && !this.methods.some((method) => OWN_METHODS.includes(method)))
      return `use --transport openssh: the embedded client knows only ${OWN_METHODS.join(', ')}`;
    if (this.methods.length > 0 && !this.#enabled.some((method) => this.methods.includes(method)))
      return `enable one of ${listed(this.methods, ', ')}: your ssh configuration permits only ${this.#enabled.join(', ')} (PreferredAuthentications, BatchMode)`;
    const keys = this.#leftOut.filter((item) => !isUnaskedMethod(item));
    if (this.#accepted.length > 0 && keys.length < this.#leftOut.length)
      return this.#hintForUnasked();
    if (keys.some(({ unasked }) => unasked))
      return 'run this at a terminal or set SSH_ASKPASS, or use a key that needs no passphrase, for example from ssh-agent (ssh-add)';
    if (keys.length > 0)
      return 'the server may accept the key that could not be used: add it to ssh-agent (ssh-add)';
    if (this.#leftOut.length > 0) return this.#hintForUnasked();
    if (this.#tried.some((what) => OWN_METHODS.includes(what)))
      return 'check the user name and what you typed';
    if (this.#accepted.length > 0)
      return 'ask for an account that this lets in (AuthenticationMethods in sshd_config)';
    if (this.#tried.length === 0)
      return 'name a key with -i, or start ssh-agent and add one with ssh-add';
    return KEY_HINT;
  }

  /** A password or a code would have been asked for, and nobody is there. */
  #hintForUnasked(): string {
    const ask = 'run this at a terminal or set SSH_ASKPASS';
    if (this.#accepted.length > 0) return `${ask}, to be asked for the rest`;
    if (this.#tried.length > 0) return `${KEY_HINT}; to log in without a key, ${ask}`;
    return this.methods.includes('publickey') ? `name a key with -i, or ${ask}` : ask;
  }
}

const PASSWORD_HINT =
  'all that is before the last "@" is the user, as with ssh: a password is asked for at the terminal, or by SSH_ASKPASS';
const KEY_HINT = 'check the user name, and that the key is in authorized_keys there (ssh-copy-id)';

interface LeftOut {
  readonly what: string;
  /** Nobody was there to answer. */
  readonly unasked: boolean;
}

/** A password or a code, not a key. */
function isUnaskedMethod({ what, unasked }: LeftOut): boolean {
  return unasked && OWN_METHODS.includes(what);
}

/** `1 more was`, `2 more were` */
function more(count: number): string {
  return `${count} more ${count === 1 ? 'was' : 'were'}`;
}

/** `a or b or 4 more` */
function listed(items: readonly string[], between = ' or '): string {
  const names = [...new Set(items)];
  const rest = names.length - MAX_NAMED;
  const shown = names.slice(0, MAX_NAMED);
  return (rest > 0 ? [...shown, `${rest} more`] : shown).join(between);
}

/** `a, b (3 times), and 4 more` */
function counted(items: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  const names = [...counts].map(([item, count]) =>
    count === 1 ? item : `${item} (${count} times)`,
  );
  const rest = names.length - MAX_NAMED;
  return rest > 0 ? `${names.slice(0, MAX_NAMED).join(', ')} and ${rest} more` : names.join(', ');
}
