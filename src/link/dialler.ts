/**
 * Dials the jump host, each time a link is needed.
 *
 *   -r, ssh_config ──once──► settings ──each time──► addresses ──► choose.ts
 *                                                        │            ├─► ssh2: all in one race
 *                                                        │            └─► opensshdialler.ts:
 *                                                        │                one by one
 *                                                        └─► `own`: excluded from the capture
 *                                                            before they are dialled
 *
 * The settings are read once, at the start: editing ssh_config while a tunnel runs must not end it.
 * Names are resolved again for each link, because a jump host may move. Several -r name the same
 * jump host: if one of them needs the system's ssh, all of them use it.
 *
 * What the user has answered and what was learnt is kept from one link to the next: an Access for
 * each hop (the host keys that were accepted, the keys that the server took), the unlocked keys,
 * the key that all addresses must show, whether the embedded client lacks an algorithm, and which
 * key exchanges the user has been told of.
 *
 * If the embedded client fails because it lacks an algorithm, `auto` dials once more through the
 * system's ssh. The server has not seen a user name by then, so it penalises nobody.
 */
import { isIP } from 'node:net';
import { TunnelError } from '../errors/errors.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import { hostPrefix, type Prefix } from '../net/prefix.ts';
import type { Level, Observer } from '../observe/observer.ts';
import { KnownAnswers } from '../ssh/answers.ts';
import { resolveSettings } from '../ssh/config/resolve.ts';
import {
  addressToExclude,
  type JumpHost,
  type Patience,
  resolveJumpHosts,
} from '../ssh/dial/addresses.ts';
import type { DialDevice } from '../ssh/dial/device.ts';
import { notSsh, TLS } from '../ssh/dial/notssh.ts';
import { addressesNamedIn } from '../ssh/dial/proxycommand.ts';
import { speaksTls } from '../ssh/dial/tlsprobe.ts';
import { Authenticator } from '../ssh/embedded/auth/authenticator.ts';
import { Keyring } from '../ssh/embedded/auth/keyring.ts';
import type { Access } from '../ssh/embedded/handshake/attempt.ts';
import { dialSsh2, prepareDial } from '../ssh/embedded/handshake/dial.ts';
import { type Established, isDescribable } from '../ssh/established.ts';
import { hopsOf } from '../ssh/hops.ts';
import { ReplicaKeys } from '../ssh/hostkeys/replicas.ts';
import { createHostKeyVerifier } from '../ssh/hostkeys/verifier.ts';
import { canBeBound } from '../ssh/openssh/bounddial.ts';
import type { SshOptions } from '../ssh/options.ts';
import { postQuantumAdvice } from '../ssh/postquantum.ts';
import type { Prompter } from '../ssh/prompter.ts';
import type { AuthenticationSettings, ForwardSettings, SshSettings } from '../ssh/settings.ts';
import { slowCipher } from '../ssh/slowcipher.ts';
import type { Transport } from '../ssh/transport.ts';
import { chooseTransport, type TransportChoice } from './choose.ts';
import { gatherFacts } from './facts.ts';
import { ignoredBy } from './ignored.ts';
import { loadOpensshInTime } from './loadopenssh.ts';
import { OpensshDialler } from './opensshdialler.ts';
import { patientSettings } from './patience.ts';

export interface DiallerOptions {
  readonly ssh: SshOptions;
  readonly prompter: Prompter;
  readonly observer: Observer;
  /**
   * Connections are bound to devices, so their addresses may be captured. Default: the routes
   * decide.
   */
  readonly deviceFor?: DialDevice | undefined;
  /** For the message that a key exchange is not post-quantum. Default: info. */
  readonly adviceLevel?: Level | undefined;
}

/** A jump host before it is looked for. */
type Configured = Pick<JumpHost, 'settings'>;

/** Where the jump host is now. */
export interface Located {
  readonly jumpHosts: readonly JumpHost[];
  /**
   * Addresses that this machine connects to by sockets that are not bound. Capturing one of them
   * would send the tunnel into itself.
   */
  readonly own: readonly Prefix[];
  /** Where the servers are that this machine connects to by sockets that are bound. */
  readonly servers: readonly Destination[];
  /**
   * The names that had to be resolved for it, in lower case. Only this machine's own resolvers can
   * be asked for them.
   */
  readonly names: readonly string[];
}

/** The same jump hosts, with the time limits that `patience` gives. */
export function withPatience(located: Located, patience: Patience): Located {
  const jumpHosts = located.jumpHosts.map((jumpHost) => ({
    ...jumpHost,
    settings: patientSettings(jumpHost.settings, patience),
  }));
  return { ...located, jumpHosts };
}

export class Dialler {
  readonly #options: DiallerOptions;
  readonly #keyring: Keyring;
  readonly #replicas = new ReplicaKeys();
  readonly #answers = new KnownAnswers();
  readonly #openssh: OpensshDialler;
  /**
   * By the hop's authentication settings: that object stays the same when patientSettings copies
   * the rest.
   */
  readonly #access = new Map<AuthenticationSettings, Access>();
  #settings: readonly SshSettings[] | undefined;
  #embeddedFailure: string | undefined;
  #choice: TransportChoice | undefined;
  #askedForTls = false;
  readonly #exchangesTold = new Set<string>();
  readonly #slowTold = new Set<string>();
  /** A dial has succeeded: while the link is only lost for a while, progress is not news. */
  #everUp = false;

  constructor(options: DiallerOptions) {
    this.#options = options;
    this.#keyring = new Keyring(options.observer);
    this.#openssh = new OpensshDialler({
      ...options,
      deviceFor: (settings) => this.#deviceFor(settings),
      answers: this.#answers,
      replicas: this.#replicas,
    });
  }

  /**
   * Reads the settings and chooses the client. Neither resolves a name nor connects: a name that
   * doesn't exist yet would stay unknown to resolvers for a while. Returns the names that will be
   * resolved, as in Located. Rejects as resolveSettings and chooseTransport do.
   */
  async prepare(signal: AbortSignal): Promise<readonly string[]> {
    const jumpHosts = (await this.#readSettings(signal)).map((settings) => ({ settings }));
    await this.#choose(jumpHosts);
    return ownNames(jumpHosts);
  }

  /**
   * `patience`: for the resolver. Opens no connection to the jump host. Rejects as resolveSettings
   * and resolveJumpHosts do.
   */
  async locate(signal: AbortSignal, patience?: Patience): Promise<Located> {
    const { ssh, observer } = this.#options;
    // While settings and names are looked up; the dial waits for it and reports its error.
    if (ssh.transport !== 'openssh') prepareDial();
    const jumpHosts = await resolveJumpHosts(await this.#readSettings(signal), {
      observer,
      signal,
      ...(patience && { patience }),
    });
    const bound = (settings: SshSettings): boolean => this.#deviceFor(settings) !== undefined;
    return {
      jumpHosts,
      own: ownPrefixes(jumpHosts, bound),
      servers: boundServers(jumpHosts, bound),
      names: ownNames(jumpHosts),
    };
  }

  /**
   * undefined: it is dialled by a socket that is not bound. Not by the client, which is chosen
   * later.
   */
  #deviceFor(settings: SshSettings): DialDevice | undefined {
    return canBeBound(settings) ? this.#options.deviceFor : undefined;
  }

  /** What ssh_config says about forwards, of the first -r, once it has been read. */
  get forwards(): ForwardSettings | undefined {
    return this.#settings?.[0]?.forwards;
  }

  /** Rejects as chooseTransport, dialSsh2 and dialOpenssh do. */
  async dial({ jumpHosts }: Located, signal: AbortSignal): Promise<Transport> {
    try {
      const transport = await this.#dial(jumpHosts, signal);
      if (!this.#everUp) loadOpensshInTime();
      this.#everUp = true;
      if (isDescribable(transport)) {
        const established = transport.describe();
        this.#tellExchange(established);
        this.#tellSlowness(established);
      }
      return transport;
    } catch (error) {
      throw (await this.#recognised(jumpHosts, error, signal)) ?? error;
    }
  }

  /** Once for each cipher of a run. */
  #tellSlowness(established: Established): void {
    const slow = slowCipher(established);
    if (slow === undefined || this.#slowTold.has(slow.cipher)) return;
    this.#slowTold.add(slow.cipher);
    this.#options.observer.log('warning', `large transfers are slow: ${slow.what}`, {
      hint: slow.hint,
    });
  }

  /** Once for each key exchange method of a run. */
  #tellExchange(established: Established): void {
    const { kex } = established.algorithms ?? {};
    if (kex === undefined || this.#exchangesTold.has(kex)) return;
    this.#exchangesTold.add(kex);
    const { observer, adviceLevel = 'info' } = this.#options;
    const advice = postQuantumAdvice(established);
    if (advice === undefined) observer.log('info', `protected by ${kex}`);
    else
      observer.log(
        adviceLevel,
        `protected by ${kex}, which is not post-quantum: what is recorded today could be read one day; ${advice}`,
      );
  }

  /**
   * What closes a connection without a word may be a TLS port. It is asked once in a run.
   * undefined: `error` says all that is known.
   */
  async #recognised(
    jumpHosts: readonly JumpHost[],
    error: unknown,
    signal: AbortSignal,
  ): Promise<TunnelError | undefined> {
    if (!(error instanceof TunnelError) || error.code !== 'jumphost-no-identification')
      return undefined;
    const [first] = jumpHosts;
    const [address] = first?.addresses ?? [];
    if (first === undefined || address === undefined || this.#askedForTls) return undefined;
    this.#askedForTls = true;
    const [hop] = hopsOf(first.settings);
    const deviceFor = this.#deviceFor(first.settings);
    if (!(await speaksTls(address, hop.hostName, signal, deviceFor))) return undefined;
    const role = hop === first.settings ? 'jump host' : 'hop';
    return notSsh(formatDestination(address), role, TLS, error);
  }

  async #dial(jumpHosts: readonly JumpHost[], signal: AbortSignal): Promise<Transport> {
    const { kind } = await this.#choose(jumpHosts);
    if (kind === 'openssh') return this.#openssh.dial(jumpHosts, this.#progressLevel, signal);
    try {
      return await this.#dialSsh2(jumpHosts, signal);
    } catch (error) {
      if (!(await this.#opensshMayDo(jumpHosts, error))) throw error;
      return this.#openssh.dial(jumpHosts, this.#progressLevel, signal);
    }
  }

  /** Once in a run. */
  async #readSettings(signal: AbortSignal): Promise<readonly SshSettings[]> {
    if (this.#settings !== undefined) return this.#settings;
    const { ssh, observer } = this.#options;
    const context = { observer, signal };
    const all = await Promise.all(
      ssh.remotes.map((remote) => resolveSettings(remote, ssh, context)),
    );
    for (const settings of all) warnOfProxyCommand(settings, observer);
    this.#settings = all;
    return all;
  }

  async #choose(jumpHosts: readonly Configured[]): Promise<TransportChoice> {
    const { ssh, observer } = this.#options;
    const choices: TransportChoice[] = [];
    for (const { settings } of jumpHosts) {
      const facts = await gatherFacts(ssh, settings, this.#embeddedFailure);
      choices.push(chooseTransport(ssh.transport, settings, facts));
    }
    const [first] = choices;
    if (first === undefined)
      throw new TunnelError('jumphost-dns', 'there is no jump host to dial', {
        hint: 'check the names given with -r',
      });
    const choice = choices.find(({ kind }) => kind === 'openssh') ?? first;
    if (choice.why !== this.#choice?.why) {
      const automatic = choice.kind === 'openssh' && ssh.transport === 'auto';
      observer.log(automatic ? 'notice' : 'info', `using ${choice.why}`);
      const all = jumpHosts.map(({ settings }) => settings);
      for (const warning of ignoredBy(choice.kind, ssh, all)) observer.log('warning', warning);
    }
    this.#choice = choice;
    return choice;
  }

  /** Whether the system's ssh can do what the embedded client could not. */
  async #opensshMayDo(jumpHosts: readonly JumpHost[], error: unknown): Promise<boolean> {
    const { ssh, observer } = this.#options;
    if (ssh.transport !== 'auto' || !(error instanceof TunnelError)) return false;
    const [first] = jumpHosts;
    if (first === undefined) return false;
    const facts = await gatherFacts(ssh, first.settings, error.code);
    // Without an ssh, the embedded client's error says more than "not installed" would.
    if (
      !facts.opensshInstalled ||
      chooseTransport('auto', first.settings, facts).kind !== 'openssh'
    )
      return false;
    observer.log('info', error.message);
    this.#embeddedFailure = error.code;
    await this.#choose(jumpHosts);
    return true;
  }

  get #progressLevel(): Level {
    return this.#everUp ? 'info' : 'notice';
  }

  #dialSsh2(jumpHosts: readonly JumpHost[], signal: AbortSignal): Promise<Transport> {
    const { ssh, observer } = this.#options;
    const ends = new Set(jumpHosts.map(({ settings }) => settings));
    return dialSsh2({
      jumpHosts,
      access: (hop) => this.#accessTo(hop, ends.has(hop) && jumpHosts.length > 1),
      deviceFor: (settings) => this.#deviceFor(settings),
      windows: ssh.windows,
      answers: this.#answers,
      observer,
      progress: this.#progressLevel,
      signal,
    });
  }

  /** `replica`: the jump host has several addresses, which must all show the same key. */
  async #accessTo({ hostKeys, authentication }: SshSettings, replica: boolean): Promise<Access> {
    const known = this.#access.get(authentication);
    if (known !== undefined) return known;
    const { prompter, observer } = this.#options;
    const access = {
      hostKeys: createHostKeyVerifier(hostKeys, {
        prompter: authentication.batch ? undefined : prompter,
        observer,
        ...(replica ? { replicas: this.#replicas } : {}),
      }),
      authenticator: await Authenticator.load({
        settings: authentication,
        prompter,
        observer,
        keyring: this.#keyring,
      }),
    };
    this.#access.set(authentication, access);
    return access;
  }
}

/** `bound`: whether a jump host is dialled by sockets that are bound. */
function ownPrefixes(
  jumpHosts: readonly JumpHost[],
  bound: (settings: SshSettings) => boolean,
): Prefix[] {
  const hosts = jumpHosts.flatMap(({ addresses, settings }) => [
    ...(bound(settings) ? [] : addresses.map(({ host }) => host)),
    ...addressesOfCommand(settings),
  ]);
  const excluded = new Set(hosts.map(addressToExclude));
  return [...excluded].filter((host) => host !== undefined).map(hostPrefix);
}

function boundServers(
  jumpHosts: readonly JumpHost[],
  bound: (settings: SshSettings) => boolean,
): Destination[] {
  return jumpHosts
    .filter(({ settings }) => bound(settings))
    .flatMap(({ addresses }) => addresses)
    .flatMap(({ host, port }) => {
      const address = addressToExclude(host);
      return address === undefined ? [] : [{ host: address, port }];
    });
}

function ownNames(jumpHosts: readonly Configured[]): string[] {
  return jumpHosts
    .map(({ settings }) => hopsOf(settings)[0].hostName.toLowerCase().replace(/\.$/, ''))
    .filter((name) => isIP(name.split('%', 1)[0] ?? '') === 0);
}

/** The addresses that the ProxyCommand names, if there is one. */
function addressesOfCommand(settings: SshSettings): string[] {
  const [{ proxy }] = hopsOf(settings);
  return proxy.kind === 'command' ? addressesNamedIn(proxy.command) : [];
}

function warnOfProxyCommand(settings: SshSettings, observer: Observer): void {
  const [{ name, proxy }] = hopsOf(settings);
  if (proxy.kind !== 'command') return;
  const named = addressesNamedIn(proxy.command);
  if (named.length > 0)
    observer.log(
      'info',
      `not captured, because the ProxyCommand of ${name} names them: ${named.join(', ')}`,
    );
  else
    observer.log(
      'warning',
      `${name} is reached by a ProxyCommand, and it is not known where that connects to: exclude that address with -x`,
    );
}
