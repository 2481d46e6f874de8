/**
 * Turns the user's options (REMOTE, -J, -F, -o, -p, -i) and the ssh_config files into the settings
 * of the jump host and of each host on the way to it.
 *
 *   files ──► files.ts  a tree of lines
 *               ├─► a copy ──► query.ts  `ssh -G`  ┐
 *               └─► evaluate.ts, without ssh       ┴─► KeywordValues
 *                  ──► values.ts, onlyopenssh.ts, unobeyed.ts ──► SshSettings
 *                        └─ ProxyJump: the same again for each hop
 *
 * If ssh is installed, we ask ssh, since only it understands all of its own language. It gets a
 * copy of the files, for two reasons. It would look for them in the home directory of the passwd
 * entry instead of $HOME. And the copy ends with this program's defaults, to distinguish "not set"
 * from "set to ssh's default" (ServerAliveInterval 0 turns keepalives off; without the keyword they
 * stay on). The user's lines come first, so they win.
 *
 * Precedence, highest first: REMOTE's user and port; -p, -J, -i, --keepalive, --connect-timeout;
 * -o; the user's file or the -F file; the system's file. As in ssh, -o, -i and -p don't apply to
 * hops: a hop gets its own section of the files. --keepalive and the timeouts apply to every host.
 *
 * Debian and Fedora turn on GSSAPIAuthentication for everybody in the system's file. This says
 * nothing about this jump host, and we would need the system's ssh for every configuration. So the
 * system's setting counts only for users who have Kerberos tickets.
 *
 * Limits: MAX_JUMP_HOPS hosts on the way; MAX_INCLUDE_DEPTH, MAX_CONFIG_FILES,
 * MAX_CONFIG_FILE_BYTES; QUERY_TIMEOUT_MS. Beyond them, the start fails with a UsageError (with a
 * TunnelError for the timeout).
 */

import { UsageError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { type Place, readAt } from '../../net/place.ts';
import { type Observer, silentObserver } from '../../observe/observer.ts';
import { homeDirectory } from '../../system/home.ts';
import { type Credentials, credentialsIn } from '../credentials.ts';
import { numericAddress, requireUsualHost } from '../numerichost.ts';
import type { Remote, SshOptions } from '../options.ts';
import { DEFAULT_CONNECT_TIMEOUT, DEFAULT_KEEPALIVE } from '../options.ts';
import { MAX_JUMP_HOPS } from '../remote.ts';
import type { SshSettings } from '../settings.ts';
import { optionsWithFullPaths } from './files.ts';
import { readForwards } from './forwards.ts';
import { INERT_KEYWORDS } from './keywords.ts';
import { onlyOpenssh } from './onlyopenssh.ts';
import { jumpLoop } from './query.ts';
import {
  type ConfigCopy,
  ConfigSource,
  type CopyOptions,
  copyConfig,
  type Machine,
} from './source.ts';
import { expandCommand, type TokenValues } from './tokens.ts';
import { unobeyed } from './unobeyed.ts';
import {
  Keywords,
  readAddressFamily,
  readAlgorithms,
  readAuthentication,
  readHostKeys,
  readJumps,
  readRekey,
  readTokens,
  type UserLists,
} from './values.ts';

/** Used if the context doesn't name others. */
const SSH_PROGRAM = 'ssh';
const SYSTEM_DIRECTORY = '/etc/ssh';
/** During the first silent interval, no keepalive has been sent yet. */
const MIN_KEEPALIVES = 2;

/** The machine on which the configuration is read. Each field has the obvious default. */
export interface ResolveContext {
  readonly observer?: Observer;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly home?: string;
  /** Where the system's ssh_config is. */
  readonly systemDirectory?: string;
  /** The ssh to ask. If it doesn't exist, this program evaluates the files. */
  readonly sshProgram?: string;
  readonly signal?: AbortSignal;
}

/**
 * The settings for one REMOTE. Opens no connection. Throws UsageError for an invalid configuration,
 * TunnelError `ssh-config-timeout` if a command in it doesn't end, `jumphost-dns` if ssh_config
 * wants a name found that isn't, or the signal's reason.
 */
export async function resolveSettings(
  remote: Remote,
  options: SshOptions,
  context: ResolveContext = {},
): Promise<SshSettings> {
  const { observer = silentObserver } = context;
  const source = await ConfigSource.open(options.configFile, machineOf(context));
  try {
    const resolver = new SettingsResolver(options, source, observer);
    const settings = await resolver.jumpHost(remote);
    resolver.report();
    return settings;
  } finally {
    await source.close();
  }
}

/**
 * Copies the file of -F, or the default files, for the system's ssh to connect with. These are the
 * files that `resolveSettings` reads, with $HOME as the home directory. The caller removes the copy
 * once ssh has read it. Throws UsageError, TunnelError `openssh-directory`, or the signal's reason.
 */
export function copySshConfig(
  options: Pick<SshOptions, 'configFile'>,
  context: ResolveContext,
  copy: CopyOptions,
): Promise<ConfigCopy> {
  return copyConfig(options.configFile, machineOf(context), copy);
}

function machineOf(context: ResolveContext): Machine {
  return {
    home: context.home ?? homeDirectory(),
    environment: context.environment ?? process.env,
    systemDirectory: context.systemDirectory ?? SYSTEM_DIRECTORY,
    sshProgram: context.sshProgram ?? SSH_PROGRAM,
    signal: context.signal,
  };
}

/**
 * One host on the way, and the hosts through which it is reached. `via` is undefined if ssh_config
 * decides that.
 */
interface Hop {
  readonly remote: Remote;
  readonly via: readonly Remote[] | undefined;
  /** The endpoints that are reached through this host. */
  readonly beyond: readonly string[];
}

class SettingsResolver {
  readonly #options: SshOptions;
  readonly #source: ConfigSource;
  readonly #observer: Observer;
  readonly #warnings = new Set<string>();
  readonly #credentials: Credentials;

  constructor(options: SshOptions, source: ConfigSource, observer: Observer) {
    this.#options = options;
    this.#credentials = credentialsIn(source.machine.environment);
    this.#source = source;
    this.#observer = observer;
  }

  /** Logs each warning once. */
  report(): void {
    for (const warning of this.#warnings) this.#observer.log('warning', warning);
  }

  async jumpHost(remote: Remote): Promise<SshSettings> {
    const { port, jump, sshOptions, identityFiles, hostKeyPins, oneKey, waitAuth } = this.#options;
    const { identity, password } = this.#credentials;
    const identities = [...identityFiles, ...(identity === undefined ? [] : [identity])];
    const settings = await this.#resolve(
      { remote: { ...remote, port: remote.port ?? port }, via: jump, beyond: [] },
      await optionsWithFullPaths(sshOptions, this.#source.machine.home),
      identities,
    );
    const { authentication } = settings;
    // While the jump host doesn't know a key yet, the others would only be refused with it.
    const identitiesOnly = authentication.identitiesOnly || (waitAuth > 0 && identities.length > 0);
    return {
      ...settings,
      authentication: {
        ...authentication,
        identitiesOnly,
        oneKey,
        ...(password === undefined ? {} : { passwordFile: password }),
      },
      hostKeys: { ...settings.hostKeys, pins: hostKeyPins },
    };
  }

  async #resolve(
    hop: Hop,
    sshOptions: readonly string[],
    identityFiles: readonly string[],
  ): Promise<SshSettings> {
    const { remote } = hop;
    refuseDash(remote);
    const [{ values, written }, defaultValues] = await Promise.all([
      this.#source.valuesFor(remote, hop.via, sshOptions),
      this.#source.defaults(),
    ]);
    const keywords = new Keywords(values);
    const defaults = new Keywords(defaultValues);
    const tokens = readTokens(remote, keywords, this.#source.machine);
    if (hop.beyond.includes(endpoint(tokens))) throw jumpLoop(remote.host);
    const warn = (message: string): void => void this.#warnings.add(message);
    const set: UserLists = { keywords, defaults, written };
    const { passphrase, knownHosts } = this.#credentials;
    const authentication = {
      ...readAuthentication(set, tokens, identityFiles),
      ...(passphrase === undefined ? {} : { passphraseFile: passphrase }),
    };
    const hostKeys = readHostKeys(set, tokens, warn);
    const proxy = await this.#proxy(hop, keywords, tokens);
    if (proxy.kind !== 'command' && !written.has('hostname')) this.#requireUsualHost(hop, tokens);
    this.#noteInert(remote, set);
    return {
      name: remote.host,
      hostName: tokens.hostName,
      port: tokens.port,
      user: tokens.user,
      addressFamily: readAddressFamily(keywords),
      bindAddress: keywords.name('bindaddress'),
      proxy,
      hostKeys:
        knownHosts === undefined
          ? hostKeys
          : { ...hostKeys, globalFiles: [...hostKeys.globalFiles, knownHosts] },
      authentication,
      algorithms: readAlgorithms(set),
      connectTimeout:
        this.#options.connectTimeout ??
        (keywords.seconds('connecttimeout') || DEFAULT_CONNECT_TIMEOUT),
      authTimeout: this.#options.authTimeout,
      flush: this.#options.flush,
      keepalive: {
        interval:
          this.#options.keepalive ?? keywords.seconds('serveraliveinterval') ?? DEFAULT_KEEPALIVE,
        count: Math.max(MIN_KEEPALIVES, keywords.number('serveralivecountmax') ?? 3),
      },
      rekey: readRekey(keywords),
      forwards: readForwards(keywords),
      onlyOpenssh: await onlyOpenssh(keywords, authentication, this.#source.machine.home),
      unobeyed: unobeyed({
        keywords,
        written,
        proxy,
        hostName: tokens.hostName,
        pinned: hop.beyond.length === 0 && this.#options.hostKeyPins.length > 0,
      }),
    };
  }

  async #proxy(
    { beyond, remote }: Hop,
    keywords: Keywords,
    tokens: TokenValues,
  ): Promise<SshSettings['proxy']> {
    const hops = readJumps(keywords, tokens);
    const last = hops.at(-1);
    if (last === undefined) {
      const command = keywords.text('proxycommand');
      return command === undefined
        ? { kind: 'direct' }
        : { kind: 'command', command: expandCommand(command, tokens) };
    }
    const passed = [...beyond, endpoint(tokens)];
    if (passed.length > MAX_JUMP_HOPS) {
      this.#observer.count('tunnel_ssh_config_jumps_refused_total');
      throw new UsageError(`ProxyJump: more than ${MAX_JUMP_HOPS} hosts in a row`, {
        hint: `check the ProxyJump of ${remote.host} in ssh_config`,
      });
    }
    // As in ssh: the last hop is resolved like any other host, reached through the others.
    const before = hops.slice(0, -1);
    const via = before.length > 0 ? before : undefined;
    const settings = await this.#resolve({ remote: last, via, beyond: passed }, [], []);
    if (settings.proxy.kind !== 'jump') return { kind: 'jump', hops: [settings] };
    return {
      kind: 'jump',
      hops: [...settings.proxy.hops, { ...settings, proxy: { kind: 'direct' } }],
    };
  }

  /** What has no HostName, and is not passed to a command by name, is dialled as it is written. */
  #requireUsualHost({ remote: { host }, beyond }: Hop, { hostName }: TokenValues): void {
    if (hostName !== host.toLowerCase() && hostName !== numericAddress(host)) return;
    const name = beyond.length === 0 ? '-r' : '-J';
    const place: Place =
      beyond.length > 0 && this.#options.jump === undefined
        ? { kind: 'ssh-config', keyword: 'ProxyJump' }
        : { kind: 'option', name };
    readAt(
      place,
      host,
      'write an address with four parts, or give it a HostName',
      requireUsualHost,
    );
  }

  #noteInert({ host }: Remote, { keywords, defaults, written }: UserLists): void {
    const inert = INERT_KEYWORDS.filter(
      (keyword) =>
        written.has(keyword) && keywords.all(keyword).join() !== defaults.all(keyword).join(),
    );
    if (inert.length === 0) return;
    this.#observer.log('debug', 'ssh_config has settings without effect on a tunnel', {
      host,
      keywords: inert.join(','),
    });
  }
}

/** ssh/remote.ts refuses these already. Check again, since they become arguments of a program. */
function refuseDash({ host, user, text }: Remote): void {
  if (!host.startsWith('-') && user?.startsWith('-') !== true) return;
  throw new UsageError(`${quoted(text)} has a user or host that begins with a dash`, {
    hint: 'ssh would take it for an option: use a Host alias with HostName and User',
  });
}

function endpoint({ name, port, user }: TokenValues): string {
  return `${user}@${name}:${port}`;
}
