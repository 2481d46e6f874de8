/**
 * The command line of the system's ssh. Pure functions turn the settings into an argument vector.
 * No shell reads it.
 *
 *   COMMAND  options the tunnel needs  options the user gave  -p PORT -l USER -- HOST
 *
 * For most options ssh uses the first value that it gets. So the options that the tunnel needs come
 * first, and neither -o nor a configuration file can change them. Only a custom command (-e) comes
 * before them, with its own arguments. It is the user's program and may do anything, except openly
 * turn off host key checking.
 *
 * ClearAllForwardings would clear our -D too, so it is set to no. LocalForward, DynamicForward and
 * RemoteForward have been left out of the configuration that we pass on (link/opensshdialler.ts):
 * the first two are the tunnel's own. ExitOnForwardFailure is no, since a custom command (-e) may
 * have forwards. We check our own listener by connecting to it.
 *
 * For -J and ProxyJump, ssh starts one process for each hop and passes only -F on to it. With hops,
 * -F is therefore a file of ours (hopConfiguration). It sets how each hop's key is checked, and
 * includes the files that ssh would have read otherwise. ssh starts these processes with a shell,
 * without quotes, and the shell drops the backslash of a user such as `DOMAIN\user`. So such users
 * are in that file instead of -J.
 */

import { resolve } from 'node:path';
import { UsageError } from '../../errors/errors.ts';
import { printable } from '../../observe/printable.ts';
import { hopsOf } from '../hops.ts';
import type { OpensshFiles } from '../privatedirectory.ts';
import type { AuthenticationSettings, SshSettings } from '../settings.ts';
import { boundDialOptions, type Departure } from './bounddial.ts';
import { knownHostsCommand } from './knownhostscommand.ts';
import { escapeTokens, shellWord, unfit } from './words.ts';

/** User options that aren't in `SshSettings`. ssh reads its configuration files itself. */
export interface GivenOptions {
  /**
   * -e: a program and its first arguments; undefined: `ssh`. It must run an ssh on this machine and
   * end when that ssh ends.
   */
  readonly command: readonly [string, ...string[]] | undefined;
  /** -F; `none`: ssh reads no file. */
  readonly configFile: string | undefined;
  /** -o, each `Key=Value` or `Key Value`. */
  readonly options: readonly string[];
  /** -J */
  readonly jump: string | undefined;
  /** -i, in order. */
  readonly identityFiles: readonly string[];
  /**
   * Replace ssh's default identities if no identity is configured. undefined: ssh's own defaults
   * are right.
   */
  readonly defaultIdentities?: readonly string[] | undefined;
}

export interface ArgumentOptions {
  readonly settings: SshSettings;
  readonly given: GivenOptions;
  readonly files: OpensshFiles;
  /** native/hostpin.c */
  readonly hostpin: string;
  /** native/guard.c */
  readonly guard: string;
  /**
   * The fingerprint that all addresses of the jump host must present. undefined: not known yet, or
   * there is only one address.
   */
  readonly replica?: string | undefined;
  readonly version: OpensshVersion;
  /** ssh judges by itself whether the server still answers (ServerAliveCountMax). */
  readonly givesUp: boolean;
  /** Where to connect to, by sockets that are bound. undefined: ssh dials by itself. */
  readonly departures?: readonly Departure[] | undefined;
}

/** As ServerAliveCountMax: more intervals than any link lasts. */
const NEVER = 1_000_000;

/** [9, 2] for OpenSSH_9.2p1. */
export type OpensshVersion = readonly [major: number, minor: number];

/** The first with accept-new. -J came in 7.3, -D with a path in 6.7. */
export const OLDEST_OPENSSH: OpensshVersion = [7, 6];
const KNOWN_HOSTS_COMMAND: OpensshVersion = [8, 5];
const FORK_OPTION: OpensshVersion = [8, 7];

export function atLeast(
  [major, minor]: OpensshVersion,
  [least, leastMinor]: OpensshVersion,
): boolean {
  return major > least || (major === least && minor >= leastMinor);
}

/** The program and its arguments. Throws UsageError for a value that ssh would misread. */
export function opensshArguments(options: ArgumentOptions): [string, ...string[]] {
  const { settings, given, files } = options;
  const { authentication } = settings;
  const yesNo = (value: boolean): string => (value ? 'yes' : 'no');
  checkCommand(given.command ?? ['ssh']);
  const set: readonly (readonly [name: string, value: string | number])[] = [
    ['LogLevel', 'DEBUG1'],
    ['ClearAllForwardings', 'no'],
    ['ExitOnForwardFailure', 'no'],
    ['GatewayPorts', 'no'],
    ['Tunnel', 'no'],
    ['ControlMaster', 'no'],
    ['ControlPath', 'none'],
    ...localCommand(options),
    ['RemoteCommand', 'none'],
    ...(atLeast(options.version, FORK_OPTION) ? [['ForkAfterAuthentication', 'no'] as const] : []),
    ['VisualHostKey', 'no'],
    ['FingerprintHash', fingerprintHash(settings)],
    ['BatchMode', yesNo(authentication.batch)],
    ...oneKey(authentication),
    ...(authentication.identitiesOnly ? [['IdentitiesOnly', 'yes'] as const] : []),
    ['ConnectTimeout', connectTimeout(settings)],
    ...serverAlive(options),
    ['NoHostAuthenticationForLocalhost', 'no'],
    ['HashKnownHosts', yesNo(settings.hostKeys.hashNames)],
    ...hostKeyOptions(options),
    ...(hasHops(settings) ? [] : dialOptions(settings, options.departures)),
  ];
  const configFile = hasHops(settings) ? files.hopConfiguration : given.configFile;
  return [
    ...(given.command ?? (['ssh'] as const)),
    ...['-N', '-T', '-a', '-x', '-E', files.log, '-D', files.socks],
    ...set.flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ...(configFile === undefined ? [] : ['-F', configFile]),
    ...[...given.identityFiles, ...defaultIdentities(settings, given)].flatMap((path) => [
      '-i',
      path,
    ]),
    ...(given.jump === undefined ? [] : ['-J', jumpArgument(given.jump, settings)]),
    ...given.options.flatMap((option) => ['-o', checkOption(option)]),
    ...[
      '-p',
      String(settings.port),
      '-l',
      checkUser(settings.user),
      '--',
      checkHost(settings.name),
    ],
  ];
}

function hasHops({ proxy }: SshSettings): boolean {
  return proxy.kind === 'jump' && proxy.hops.length > 0;
}

/** For the ssh that makes the connection. */
function dialOptions(
  settings: SshSettings,
  departures: readonly Departure[] | undefined,
): readonly (readonly [name: string, value: string])[] {
  if (departures === undefined) return [];
  return boundDialOptions(departures, hopsOf(settings)[0].connectTimeout);
}

function serverAlive({ settings, given, givesUp }: ArgumentOptions): [string, number][] {
  const { count } = settings.keepalive;
  const interval = Math.ceil(settings.keepalive.interval);
  // ssh sends its first keepalive after one silent interval, which counts as well.
  if (givesUp || interval === 0)
    return [
      ['ServerAliveInterval', interval],
      ['ServerAliveCountMax', count - 1],
    ];
  // serverlife.ts must be able to ask before ssh does. ssh counts whole seconds, and so asks up to
  // a second early. The guard of a custom command tells a second late what ssh has read.
  const later = given.command === undefined ? 1 : 2;
  return [
    ['ServerAliveInterval', interval + later],
    ['ServerAliveCountMax', NEVER],
  ];
}

/**
 * ssh offers every key that its configuration names. So with --one-key, that must be one. (If it
 * has a certificate, ssh offers that first, and the key itself only when that is refused.)
 */
function oneKey({ oneKey, identityFiles }: AuthenticationSettings): [string, string][] {
  if (oneKey !== true) return [];
  const [first, ...others] = identityFiles;
  if (first !== undefined && others.length === 0) return [['IdentitiesOnly', 'yes']];
  const paths = identityFiles.map(({ path }) => printable(path));
  throw new UsageError(
    first === undefined
      ? '--one-key: ssh would offer all keys of the agent and of ~/.ssh, because none is named'
      : `--one-key: ssh would offer ${identityFiles.length} keys, those of -i and of ssh_config (${paths.join(', ')})`,
    {
      hint: 'name one key with -i, and leave out the IdentityFile of ssh_config; or use --transport ssh2',
    },
  );
}

/**
 * We can't rely on an ssh under a custom command to end with us. So it starts a guard after login,
 * which ends it when we are gone (native/guard.c).
 */
function localCommand({ given, guard, files }: ArgumentOptions): [string, string][] {
  if (given.command === undefined) return [['PermitLocalCommand', 'no']];
  const words = [guard, files.log, files.socks].map((path) => shellWord(escapeTokens(path)));
  return [
    ['PermitLocalCommand', 'yes'],
    ['LocalCommand', ['exec', ...words].join(' ')],
  ];
}

/**
 * Seconds. ssh's ConnectTimeout runs from its start until the server's identification has come
 * through all hops. If the hops may ask the user, it includes the time for that.
 */
function connectTimeout({ proxy, connectTimeout: own, authentication }: SshSettings): number {
  if (proxy.kind === 'direct' || authentication.batch) return Math.max(1, Math.ceil(own));
  const hops = proxy.kind === 'jump' ? proxy.hops : [];
  return Math.ceil(hops.reduce((sum, hop) => sum + hop.connectTimeout + hop.authTimeout, own));
}

/**
 * With pins, ssh accepts only the pinned keys and still refuses revoked ones, also those that the
 * user's KnownHostsCommand revokes. Whole keys go into our own known_hosts file. Fingerprints are
 * checked by native/hostpin.c, which ssh runs with the fingerprint of the server's key.
 */
function hostKeyOptions(options: ArgumentOptions): [string, string][] {
  const { settings, files, hostpin, version } = options;
  const { pins, strict, userFiles, globalFiles, command: users } = settings.hostKeys;
  if (pins.length === 0) {
    const list = (paths: readonly string[]): string => paths.map(fileName).join(' ') || 'none';
    return [
      ['StrictHostKeyChecking', strict],
      ['UserKnownHostsFile', list(userFiles.map(escapeTokens))],
      ['GlobalKnownHostsFile', list(globalFiles)],
      ...replicaOptions(options),
    ];
  }
  const fingerprints = pins
    .filter(({ key }) => key === undefined)
    .map(({ fingerprint }) => fingerprint);
  const hasCommand = atLeast(version, KNOWN_HOSTS_COMMAND);
  if (fingerprints.length > 0 && !hasCommand) {
    throw new UsageError(`ssh ${version.join('.')} can't compare the fingerprint of --host-key`, {
      hint: 'pin the whole key (--host-key "ssh-ed25519 AAAA..."), or use --transport ssh2',
    });
  }
  const needed = fingerprints.length > 0 || users !== undefined;
  const command = needed
    ? knownHostsCommand({ hostpin, mode: 'only', fingerprints, users })
    : 'none';
  return [
    ['StrictHostKeyChecking', 'yes'],
    ['UserKnownHostsFile', fileName(escapeTokens(files.knownHosts))],
    ['GlobalKnownHostsFile', 'none'],
    ...(hasCommand ? [pair('KnownHostsCommand', command)] : []),
    ['VerifyHostKeyDNS', 'no'],
    ['UpdateHostKeys', 'no'],
  ];
}

/**
 * Makes ssh refuse any key that differs from the one that the jump host has presented at another
 * address. dial.ts checks this too, but ssh can check it before it sends the user's name.
 */
function replicaOptions({
  settings,
  hostpin,
  version,
  replica,
}: ArgumentOptions): [string, string][] {
  const { command: users } = settings.hostKeys;
  if (replica === undefined || !atLeast(version, KNOWN_HOSTS_COMMAND)) return [];
  if (!replica.startsWith('SHA256:')) return [];
  const parts = { hostpin, mode: 'revoke-others', fingerprints: [replica], users } as const;
  return [['KnownHostsCommand', knownHostsCommand(parts)]];
}

/**
 * Pins and replicas are compared by SHA-256. Only a KnownHostsCommand of the user's may want
 * another form, for %f: then it must get it, since it may revoke a key by it. Throws UsageError.
 */
function fingerprintHash({ hostKeys }: SshSettings): string {
  const { pins, command } = hostKeys;
  const hash = command?.fingerprintHash ?? 'sha256';
  if (hash === 'sha256' || pins.length === 0) return hash;
  throw new UsageError(`FingerprintHash ${hash}: ssh can't compare --host-key with it`, {
    hint: 'use --transport ssh2, or leave FingerprintHash out',
  });
}

function pair(name: string, value: string): [string, string] {
  return [name, value];
}

/** Our private known_hosts: the keys of --host-key, valid for any name that ssh looks up. */
export function pinnedKnownHosts(settings: SshSettings): string {
  return settings.hostKeys.pins
    .flatMap(({ key }) =>
      key === undefined ? [] : [`* ${key.type} ${key.blob.toString('base64')}\n`],
    )
    .join('');
}

/**
 * The file for -F when there are hops. ssh uses the first value, so the values here win over those
 * in the included files.
 */
export function hopConfiguration(
  settings: SshSettings,
  given: GivenOptions,
  departures?: readonly Departure[],
): string {
  const hops = settings.proxy.kind === 'jump' ? settings.proxy.hops : [];
  const included =
    given.configFile === undefined
      ? ['~/.ssh/config', '/etc/ssh/ssh_config']
      : given.configFile === 'none'
        ? []
        : [resolve(given.configFile)];
  const dialled = dialOptions(settings, departures);
  const lines = [
    ...(dialled.length === 0 ? [] : [`Host ${checkHost(hopsOf(settings)[0].name)}`]),
    ...dialled.map(([name, value]) => `  ${name} ${value}`),
    ...hops.flatMap((hop) => [
      `Host ${checkHost(hop.name)}`,
      `  StrictHostKeyChecking ${hop.hostKeys.strict}`,
      '  NoHostAuthenticationForLocalhost no',
      ...(hop.user.includes('\\') ? [`  User ${hop.user}`] : []),
      ...defaultIdentities(hop, given).map(
        (path) => `  IdentityFile ${fileName(escapeTokens(path))}`,
      ),
    ]),
    'Match all',
    ...included.map((path) => `Include ${includeName(path)}`),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/** Empty if ssh should use its own defaults, or no identities at all. */
function defaultIdentities(
  { authentication }: SshSettings,
  given: GivenOptions,
): readonly string[] {
  const named = authentication.identityFiles.length > 0 || authentication.noIdentityFiles === true;
  return named ? [] : (given.defaultIdentities ?? []);
}

const PLAIN = /^[\w@%+:,./=~-]+$/;

/** Quotes a path as one word of a configuration line. */
function fileName(path: string): string {
  if (PLAIN.test(path)) return path;
  if (/["\\\p{Cc}]|\$\{/u.test(path)) throw unfit('file', path);
  return `"${path}"`;
}

/** Include takes patterns (glob(7)), so a path with their characters can't be passed. */
function includeName(path: string): string {
  if (/[*?[\]]/.test(path)) throw unfit('configuration file', path);
  return fileName(path);
}

/**
 * A value may end up in a shell command (%h and %r in ProxyCommand), so ssh refuses these
 * characters too.
 */
const SHELL_CHARACTERS = /['"`$;&<>|(){}\\\p{Cc}]/u;

/**
 * Returns the host's name unchanged if it is safe as an argument of ssh: not an option, not
 * user@host, not a URI, not a pattern. Throws UsageError.
 */
function checkHost(host: string): string {
  if (
    host === '' ||
    host.startsWith('-') ||
    /[\s@/*?!#,]/.test(host) ||
    SHELL_CHARACTERS.test(host)
  )
    throw unfit('host', host);
  return host;
}

/**
 * Throws UsageError. A backslash is common between domain and user, and does harm only at the end.
 */
function checkUser(user: string): string {
  if (user === '' || /^-|\s-|\\$/.test(user) || SHELL_CHARACTERS.test(user.replaceAll('\\', '')))
    throw unfit('user', user);
  return user;
}

/** The value of -J. Throws UsageError. */
function jumpArgument(jump: string, { proxy }: SshSettings): string {
  const hops = proxy.kind === 'jump' ? proxy.hops : [];
  return checkJump(jump)
    .split(',')
    .map((hop) => {
      const [, user, place] = /^(.*)@([^@]+)$/.exec(hop) ?? [];
      if (user === undefined || place === undefined || !user.includes('\\')) return hop;
      const found = hops.find((settings) => settings.user === user);
      // A line of ssh_config may have an escaped backslash, and ours counts for all of that name.
      const others = hops.filter(({ name }) => name === found?.name);
      if (found === undefined || others.length > 1 || user.includes('\\\\'))
        throw unfit('jump host', hop);
      return place;
    })
    .join(',');
}

function checkJump(jump: string): string {
  for (const hop of jump.split(',')) {
    if (
      hop === '' ||
      hop.startsWith('-') ||
      /@-|\s/.test(hop) ||
      SHELL_CHARACTERS.test(hop.replaceAll('\\', ''))
    )
      throw unfit('jump host', jump);
  }
  return jump;
}

function checkOption(option: string): string {
  if (!/^[^\s="]+[ \t]*[= \t]/.test(option) || /[\r\n\0]/.test(option))
    throw new UsageError(`-o: "${printable(option)}" is not an option of ssh`, {
      hint: 'write it as ssh does: -o Key=Value',
    });
  return option;
}

function checkCommand(command: readonly string[]): void {
  const [program = ''] = command;
  if (program === '' || program.startsWith('-') || command.some((word) => word.includes('\0')))
    throw new UsageError(`-e: "${printable(program)}" is not a command`, {
      hint: 'for example -e "ssh -v"',
    });
  const off = command.find((word) => /stricthostkeychecking[= \t"]*(no|off)\b/i.test(word));
  if (off !== undefined) {
    throw new UsageError(`-e: "${printable(off)}" would turn off host key checking`, {
      hint: 'use -o StrictHostKeyChecking=accept-new, or --host-key',
    });
  }
}
