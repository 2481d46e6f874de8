/**
 * How the link to the jump host comes about, as often as one is needed.
 *
 *   -r, ssh_config ──once──► settings ──each time──► addresses ──► choose.ts
 *                                                        │            ├─► ssh2: all in one race
 *                                                        │            └─► openssh: one by one
 *                                                        └─► `own`: what the capture must leave
 *                                                            alone before it is dialled
 *
 * The settings are those of the start: who edits ssh_config beside a running tunnel must not end
 * it. Names are resolved anew for each link, because a jump host may move. Several -r are the same
 * jump host: what one of them needs of the system's ssh decides for all.
 *
 * Kept from one link to the next: what has been asked for. That is an Access for each hop (the host
 * keys that were accepted, the keys that the server took), the unlocked keys, the key that all
 * addresses must show, and that the embedded client lacks an algorithm.
 *
 * `auto` dials once more, through the system's ssh, when the embedded client has failed for want of
 * an algorithm: the server has not seen a user by then, and penalises nobody for it.
 */
import { isIP } from 'node:net';
import { userInfo } from 'node:os';
import { TunnelError } from '../errors/errors.ts';
import { hostPrefix, type Prefix } from '../net/prefix.ts';
import type { Observer } from '../observe/observer.ts';
import { homeExpanded } from '../ssh/config/files.ts';
import { copySshConfig, resolveSettings } from '../ssh/config/resolve.ts';
import {
  addressToExclude,
  type JumpHost,
  type Patience,
  resolveJumpHosts,
} from '../ssh/dial/addresses.ts';
import { addressesNamedIn } from '../ssh/dial/proxycommand.ts';
import { isTimeout } from '../ssh/dial/tcp.ts';
import { Authenticator } from '../ssh/embedded/auth/authenticator.ts';
import { Keyring } from '../ssh/embedded/auth/keyring.ts';
import type { Access } from '../ssh/embedded/handshake/attempt.ts';
import { dialSsh2, HURRIED_SECONDS } from '../ssh/embedded/handshake/dial.ts';
import { hopsOf } from '../ssh/hops.ts';
import { ReplicaKeys } from '../ssh/hostkeys/replicas.ts';
import { createHostKeyVerifier } from '../ssh/hostkeys/verifier.ts';
import { defaultIdentityFiles } from '../ssh/identities/identities.ts';
import { dialOpenssh } from '../ssh/openssh/dial.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { Prompter } from '../ssh/prompter.ts';
import { formatJump } from '../ssh/remote.ts';
import type { AuthenticationSettings, SshSettings } from '../ssh/settings.ts';
import type { Transport } from '../ssh/transport.ts';
import { homeDirectory } from '../system/home.ts';
import { chooseTransport, type TransportChoice } from './choose.ts';
import { gatherFacts } from './facts.ts';

export interface DiallerOptions {
  readonly ssh: SshOptions;
  readonly prompter: Prompter;
  readonly observer: Observer;
}

/** The jump host as it is to be found now. */
export interface Located {
  readonly jumpHosts: readonly JumpHost[];
  /** This machine's way to it; whoever captures one of these sends the tunnel into itself. */
  readonly own: readonly Prefix[];
  /**
   * The names that had to be resolved for it, in lower case: only this machine's own resolvers can
   * be asked for them.
   */
  readonly names: readonly string[];
}

/** The same place, with so much time to reach it. */
export function withPatience(located: Located, patience: Patience): Located {
  const jumpHosts = located.jumpHosts.map((jumpHost) => ({
    ...jumpHost,
    settings: patientSettings(jumpHost.settings, patience),
  }));
  return { ...located, jumpHosts };
}

/** For the hops, too: it is the first of them that this machine connects to. */
function patientSettings(settings: SshSettings, patience: Patience): SshSettings {
  const { proxy } = settings;
  return {
    ...settings,
    connectTimeout: patience(settings.connectTimeout),
    proxy:
      proxy.kind === 'jump'
        ? { ...proxy, hops: proxy.hops.map((hop) => patientSettings(hop, patience)) }
        : proxy,
  };
}

export class Dialler {
  readonly #options: DiallerOptions;
  readonly #keyring: Keyring;
  readonly #replicas = new ReplicaKeys();
  /** By a part of a hop's settings that stays the same when others of them are adapted. */
  readonly #access = new Map<AuthenticationSettings, Access>();
  #settings: readonly SshSettings[] | undefined;
  #embeddedFailure: string | undefined;
  #choice: TransportChoice | undefined;

  constructor(options: DiallerOptions) {
    this.#options = options;
    this.#keyring = new Keyring(options.observer);
  }

  /**
   * `patience`: for the resolver. Opens no connection to the jump host. Rejects as resolveSettings
   * and resolveJumpHosts do.
   */
  async locate(signal: AbortSignal, patience?: Patience): Promise<Located> {
    const { observer } = this.#options;
    this.#settings ??= await this.#readSettings(signal);
    const jumpHosts = await resolveJumpHosts(this.#settings, {
      observer,
      signal,
      ...(patience && { patience }),
    });
    return { jumpHosts, own: ownPrefixes(jumpHosts), names: ownNames(jumpHosts) };
  }

  /** Rejects as chooseTransport, dialSsh2 and dialOpenssh do. */
  async dial({ jumpHosts }: Located, signal: AbortSignal): Promise<Transport> {
    const { kind } = await this.#choose(jumpHosts);
    if (kind === 'openssh') return this.#dialOpenssh(jumpHosts, signal);
    try {
      return await this.#dialSsh2(jumpHosts, signal);
    } catch (error) {
      if (!(await this.#mayDoBetter(jumpHosts, error))) throw error;
      return this.#dialOpenssh(jumpHosts, signal);
    }
  }

  async #readSettings(signal: AbortSignal): Promise<SshSettings[]> {
    const { ssh, observer } = this.#options;
    const context = { observer, signal };
    const all = await Promise.all(
      ssh.remotes.map((remote) => resolveSettings(remote, ssh, context)),
    );
    for (const settings of all) warnOfProxyCommand(settings, observer);
    return all;
  }

  async #choose(jumpHosts: readonly JumpHost[]): Promise<TransportChoice> {
    const { ssh, observer } = this.#options;
    const choices: TransportChoice[] = [];
    for (const { settings } of jumpHosts) {
      const facts = await gatherFacts(ssh, settings, this.#embeddedFailure);
      choices.push(chooseTransport(ssh.transport, settings, facts));
    }
    const [first] = choices;
    if (first === undefined)
      throw new TunnelError('jumphost-dns', 'there is no jump host to be dialled', {
        hint: 'check the names given with -r',
      });
    const choice = choices.find(({ kind }) => kind === 'openssh') ?? first;
    if (choice.why !== this.#choice?.why) {
      const byItself = choice.kind === 'openssh' && ssh.transport === 'auto';
      observer.log(byItself ? 'notice' : 'info', `using ${choice.why}`);
      if (choice.kind === 'ssh2') warnOfMissing(jumpHosts, observer);
      else if (ssh.windows.maxWindow !== undefined || ssh.windows.budget !== undefined)
        observer.log(
          'warning',
          '--max-window and --window-budget are not heeded: ssh chooses its windows itself',
        );
    }
    this.#choice = choice;
    return choice;
  }

  /** Whether the system's ssh can do what the embedded client has failed at. */
  async #mayDoBetter(jumpHosts: readonly JumpHost[], error: unknown): Promise<boolean> {
    const { ssh, observer } = this.#options;
    if (ssh.transport !== 'auto' || !(error instanceof TunnelError)) return false;
    const [first] = jumpHosts;
    if (first === undefined) return false;
    const facts = await gatherFacts(ssh, first.settings, error.code);
    // The error itself then says more than that no ssh is installed.
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

  #dialSsh2(jumpHosts: readonly JumpHost[], signal: AbortSignal): Promise<Transport> {
    const { ssh, observer } = this.#options;
    const ends = new Set(jumpHosts.map(({ settings }) => settings));
    return dialSsh2({
      jumpHosts,
      access: (hop) => this.#accessTo(hop, ends.has(hop) && jumpHosts.length > 1),
      windows: ssh.windows,
      observer,
      signal,
    });
  }

  /** `replica`: of a jump host that has several addresses, so that all have to show one key. */
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

  /**
   * Only an unreachable one is passed over: a wrong key or a refused login ends it, as with the
   * embedded client. And as there (ssh/embedded/handshake/dial.ts) one is hurried while there are
   * others, and has its whole time when none of them is any better.
   */
  async #dialOpenssh(jumpHosts: readonly JumpHost[], signal: AbortSignal): Promise<Transport> {
    const ways = jumpHosts.map(({ settings }) => settings);
    const failures: TunnelError[] = [];
    // Grows while it is gone through.
    const queue = ways.map((settings, i) => ({ settings, hurried: i < ways.length - 1 }));
    for (const { settings, hurried } of queue) {
      const patience = (limit: number) => (hurried ? Math.min(limit, HURRIED_SECONDS) : limit);
      try {
        return await this.#startOpenssh(
          patientSettings(settings, patience),
          ways.length > 1,
          signal,
        );
      } catch (error) {
        if (!(error instanceof TunnelError) || !error.code.startsWith('jumphost-')) throw error;
        if (ways.length > 1) this.#options.observer.log('warning', error.message);
        if (hurried && isTimeout(error)) queue.push({ settings, hurried: false });
        failures.push(error);
      }
    }
    throw failures[0];
  }

  /** `replica`: as in #accessTo. */
  async #startOpenssh(
    settings: SshSettings,
    replica: boolean,
    signal: AbortSignal,
  ): Promise<Transport> {
    const { ssh, prompter, observer } = this.#options;
    const { authentication } = settings;
    const home = homeDirectory();
    const moved = home !== passwdHome();
    // ssh looks into the passwd entry's home directory; the settings are those of $HOME.
    const copy = moved ? await copySshConfig(ssh, { observer, signal }) : undefined;
    try {
      return await dialOpenssh({
        settings: {
          ...settings,
          authentication: { ...authentication, batch: authentication.batch || !prompter.canAsk() },
        },
        given: {
          command: ssh.sshCommand,
          configFile: copy?.path ?? ssh.configFile,
          options: ssh.sshOptions.map((line) => homeExpanded(line, home, '-o')),
          jump: ssh.jump === undefined ? undefined : formatJump(ssh.jump),
          identityFiles: ssh.identityFiles,
          defaultIdentities: moved ? defaultIdentityFiles(home) : undefined,
        },
        observer,
        signal,
        ...(replica ? { replicas: this.#replicas } : {}),
      });
    } catch (error) {
      throw copy !== undefined && error instanceof TunnelError
        ? renamed(error, copy.originalNames)
        : error;
    } finally {
      await copy?.remove();
    }
  }
}

function ownPrefixes(jumpHosts: readonly JumpHost[]): Prefix[] {
  const hosts = jumpHosts.flatMap(({ addresses, settings }) => [
    ...addresses.map(({ host }) => host),
    ...addressesOfCommand(settings),
  ]);
  const excluded = new Set(hosts.map(addressToExclude));
  return [...excluded].filter((host) => host !== undefined).map(hostPrefix);
}

function ownNames(jumpHosts: readonly JumpHost[]): string[] {
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
      `${name} is reached by a ProxyCommand, and where that connects to is not known here: leave it out of the targets with -x`,
    );
}

/** For whoever wants the embedded client nevertheless. */
function warnOfMissing(jumpHosts: readonly JumpHost[], observer: Observer): void {
  const missing = jumpHosts.flatMap(({ settings }) =>
    hopsOf(settings).flatMap(({ onlyOpenssh }) => onlyOpenssh),
  );
  if (missing.length === 0) return;
  observer.log(
    'warning',
    `the embedded SSH client does without ${[...new Set(missing)].join(', ')}: only the system's ssh has that`,
  );
}

/** undefined: this user has no passwd entry, and ssh would not even start. */
function passwdHome(): string | undefined {
  try {
    return userInfo().homedir;
  } catch {
    return undefined;
  }
}

function renamed(error: TunnelError, originalNames: (message: string) => string): TunnelError {
  return new TunnelError(error.code, originalNames(error.message), {
    ...(error.hint === undefined ? {} : { hint: originalNames(error.hint) }),
    cause: error,
  });
}
