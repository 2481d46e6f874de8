/**
 * The command line of the system's ssh: pure, from what was asked for to an argument vector. No
 * shell sees it.
 *
 *   COMMAND  what the tunnel rests on  what the user gave  -p PORT -l USER -- HOST
 *
 * For most options ssh takes the first value that it is given, so what the tunnel rests on comes
 * first and neither -o nor a configuration file changes it. Only a custom command (-e) stands
 * before, with its own arguments: it is the user's program, and it may do as it likes, but for
 * switching the check of host keys off in plain sight.
 *
 * ClearAllForwardings would clear our -D too, so it is set to no, and what LocalForward and
 * RemoteForward of a configuration ask for is set up as for any ssh; ExitOnForwardFailure is no, so
 * that a port which another ssh to this host has taken doesn't end this one. Our own listener is
 * checked by connecting to it.
 *
 * The jumps of -J and ProxyJump are processes that ssh starts with nothing but a -F of its own.
 * With jumps, -F is therefore a file of ours (hopConfiguration) that sets how each hop's key is
 * checked, and includes what would have been read otherwise.
 */

import { resolve } from 'node:path';
import { UsageError } from '../../errors/errors.ts';
import { printable } from '../../observe/printable.ts';
import type { OpensshFiles } from '../privatedirectory.ts';
import type { SshSettings } from '../settings.ts';

/** What the user gave beside what `SshSettings` say; ssh reads its configuration files itself. */
export interface GivenOptions {
  /**
   * -e: a program and its first arguments; undefined: `ssh`. It starts an ssh of this machine, and
   * ends when that does.
   */
  readonly command: readonly [string, ...string[]] | undefined;
  /** -F; `none`: no file is read. */
  readonly configFile: string | undefined;
  /** -o, each `Key=Value` or `Key Value`. */
  readonly options: readonly string[];
  /** -J */
  readonly jump: string | undefined;
  /** -i, in order. */
  readonly identityFiles: readonly string[];
  /**
   * Stand for ssh's default identities, where no identity is named; undefined: those are the right
   * ones.
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
   * The fingerprint that all addresses of the jump host show; undefined: that isn't known yet, or
   * there is one address.
   */
  readonly replica?: string | undefined;
  readonly version: OpensshVersion;
}

/** [9, 2] for OpenSSH_9.2p1. */
export type OpensshVersion = readonly [major: number, minor: number];

/** accept-new came with it (and -J in 7.3, -D with a path in 6.7). */
export const OLDEST_OPENSSH: OpensshVersion = [7, 6];
const KNOWN_HOSTS_COMMAND: OpensshVersion = [8, 5];
const FORK_OPTION: OpensshVersion = [8, 7];

export function atLeast(
  [major, minor]: OpensshVersion,
  [least, leastMinor]: OpensshVersion,
): boolean {
  return major > least || (major === least && minor >= leastMinor);
}

/**
 * The program and its arguments. Throws UsageError for what ssh would read as something else than
 * it is meant to be.
 */
export function opensshArguments(options: ArgumentOptions): [string, ...string[]] {
  const { settings, given, files } = options;
  const { authentication, keepalive } = settings;
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
    // In this form fingerprints are compared, with pins and between replicas.
    ['FingerprintHash', 'sha256'],
    ['BatchMode', yesNo(authentication.batch)],
    ['ConnectTimeout', connectTimeout(settings)],
    ['ServerAliveInterval', Math.ceil(keepalive.interval)],
    // The interval in which ssh asks first is one more, in which nothing was heard either.
    ['ServerAliveCountMax', keepalive.count - 1],
    ['NoHostAuthenticationForLocalhost', 'no'],
    ['HashKnownHosts', yesNo(settings.hostKeys.hashNames)],
    ...hostKeyOptions(options),
  ];
  const configFile =
    settings.proxy.kind === 'jump' && settings.proxy.hops.length > 0
      ? files.hopConfiguration
      : given.configFile;
  return [
    ...(given.command ?? (['ssh'] as const)),
    ...['-N', '-T', '-a', '-x', '-E', files.log, '-D', files.socks],
    ...set.flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ...(configFile === undefined ? [] : ['-F', configFile]),
    ...[...given.identityFiles, ...defaultIdentities(settings, given)].flatMap((path) => [
      '-i',
      path,
    ]),
    ...(given.jump === undefined ? [] : ['-J', checkJump(given.jump)]),
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

/**
 * Whatever runs under a custom command can't be relied on to end with us, so ssh itself starts what
 * ends it (native/guard.c), when it has logged in.
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
 * One word for any shell, also for csh and fish, which read a backslash or "!" in quotes in ways of
 * their own.
 */
function shellWord(path: string): string {
  if (/['\\!\p{Cc}]/u.test(path)) throw unfit('file', path);
  return `'${path}'`;
}

/**
 * Seconds. ssh's counts from its start to the server's identification, which comes through all
 * hops: where they may ask somebody for something, it is given the time for that.
 */
function connectTimeout({ proxy, connectTimeout: own, authentication }: SshSettings): number {
  if (proxy.kind === 'direct' || authentication.batch) return Math.max(1, Math.ceil(own));
  const hops = proxy.kind === 'jump' ? proxy.hops : [];
  return Math.ceil(hops.reduce((sum, hop) => sum + hop.connectTimeout + hop.authTimeout, own));
}

/**
 * Pins are all that is known then, but for what is revoked: whole keys in a file of our own,
 * fingerprints through native/hostpin.c, to which ssh gives the fingerprint of the key that it has
 * before it.
 */
function hostKeyOptions(options: ArgumentOptions): [string, string][] {
  const { settings, files, hostpin, version } = options;
  const { pins, strict, userFiles, globalFiles } = settings.hostKeys;
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
  const command = hostpinCommand(hostpin, 'only', fingerprints);
  return [
    ['StrictHostKeyChecking', 'yes'],
    ['UserKnownHostsFile', fileName(escapeTokens(files.knownHosts))],
    ['GlobalKnownHostsFile', 'none'],
    ...(hasCommand ? [pair('KnownHostsCommand', fingerprints.length > 0 ? command : 'none')] : []),
    ['VerifyHostKeyDNS', 'no'],
    ['UpdateHostKeys', 'no'],
  ];
}

/**
 * Has ssh refuse whatever key differs from what the jump host has shown under another address. The
 * Start checks that too (dial.ts), but ssh knows it before it sends the user's name. Beside a
 * KnownHostsCommand of the user's there is no room for it.
 */
function replicaOptions({
  settings,
  hostpin,
  version,
  replica,
}: ArgumentOptions): [string, string][] {
  const taken = settings.onlyOpenssh.includes('KnownHostsCommand');
  if (replica === undefined || taken || !atLeast(version, KNOWN_HOSTS_COMMAND)) return [];
  return [['KnownHostsCommand', hostpinCommand(hostpin, 'revoke-others', [replica])]];
}

function hostpinCommand(
  program: string,
  mode: 'only' | 'revoke-others',
  fingerprints: readonly string[],
): string {
  return [fileName(escapeTokens(program)), mode, '%f', '%H', '%t', '%K', ...fingerprints].join(' ');
}

function pair(name: string, value: string): [string, string] {
  return [name, value];
}

/** The private known_hosts with the keys of --host-key, for whatever name ssh looks up. */
export function pinnedKnownHosts(settings: SshSettings): string {
  return settings.hostKeys.pins
    .flatMap(({ key }) =>
      key === undefined ? [] : [`* ${key.type} ${key.blob.toString('base64')}\n`],
    )
    .join('');
}

/**
 * For -F when there are hops. ssh takes the first value, so what is set here wins over what is
 * included.
 */
export function hopConfiguration(settings: SshSettings, given: GivenOptions): string {
  const hops = settings.proxy.kind === 'jump' ? settings.proxy.hops : [];
  const included =
    given.configFile === undefined
      ? ['~/.ssh/config', '/etc/ssh/ssh_config']
      : given.configFile === 'none'
        ? []
        : [resolve(given.configFile)];
  const lines = [
    ...hops.flatMap((hop) => [
      `Host ${checkHost(hop.name)}`,
      `  StrictHostKeyChecking ${hop.hostKeys.strict}`,
      '  NoHostAuthenticationForLocalhost no',
      ...defaultIdentities(hop, given).map(
        (path) => `  IdentityFile ${fileName(escapeTokens(path))}`,
      ),
    ]),
    'Match all',
    ...included.map((path) => `Include ${includeName(path)}`),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/** Empty where ssh is to use its own, or none at all. */
function defaultIdentities(
  { authentication }: SshSettings,
  given: GivenOptions,
): readonly string[] {
  const named = authentication.identityFiles.length > 0 || authentication.noIdentityFiles === true;
  return named ? [] : (given.defaultIdentities ?? []);
}

const PLAIN = /^[\w@%+:,./=~-]+$/;

/** As one word of a configuration line. */
function fileName(path: string): string {
  if (PLAIN.test(path)) return path;
  if (/["\\\p{Cc}]|\$\{/u.test(path)) throw unfit('file', path);
  return `"${path}"`;
}

/** Include takes patterns (glob(7)). */
function includeName(path: string): string {
  if (/[*?[\]]/.test(path)) throw unfit('configuration file', path);
  return fileName(path);
}

/** ssh expands %-tokens in this value. */
function escapeTokens(path: string): string {
  return path.replaceAll('%', '%%');
}

/**
 * An option may end up in a command that a shell reads (%h and %r in ProxyCommand), so ssh refuses
 * these too.
 */
const SHELL_CHARACTERS = /['"`$;&<>|(){}\\\p{Cc}]/u;

/**
 * The host's name as the user wrote it, safe as ssh's argument: not an option, not user@host, not a
 * URI, not a pattern. Throws UsageError.
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

/** Throws UsageError. A backslash is usual between domain and user, and no harm but at the end. */
function checkUser(user: string): string {
  if (user === '' || /^-|\s-|\\$/.test(user) || SHELL_CHARACTERS.test(user.replaceAll('\\', '')))
    throw unfit('user', user);
  return user;
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
  if (!/^[A-Za-z][A-Za-z0-9]*[ \t]*[= \t]/.test(option) || /[\r\n\0]/.test(option))
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
    throw new UsageError(`-e: "${printable(off)}" would switch the check of host keys off`, {
      hint: 'use -o StrictHostKeyChecking=accept-new, or --host-key',
    });
  }
}

function unfit(what: string, text: string): UsageError {
  return new UsageError(`the ${what} "${printable(text)}" can't be passed to ssh`, {
    hint: `give a ${what} without quotes, spaces and the shell's special characters, and not beginning with "-"`,
  });
}
