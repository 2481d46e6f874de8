/**
 * From the options as they were written to a checked `Configuration`. Everything that can be wrong
 * with the command line is found here, before anything is started; only descriptors and the files
 * that hold targets are touched.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { oneOf, type Place, readAt } from '../net/place.ts';
import { parsePort } from '../net/ports.ts';
import type { Level } from '../observe/observer.ts';
import { parseSshOption } from '../ssh/config/keywords.ts';
import { parseHostKeyPin } from '../ssh/keys/pin.ts';
import {
  DEFAULT_AUTH_TIMEOUT,
  DEFAULT_RECONNECT_HOLD,
  type Remote,
  TRANSPORTS,
  type WantedTransport,
} from '../ssh/options.ts';
import { parseJump, parseRemote } from '../ssh/remote.ts';
import { homeDirectory } from '../system/home.ts';
import { type AllowOptionTexts, readAllowOptions } from './allowfile.ts';
import { type Entry, readTargetsFile, splitWords } from './argsfile.ts';
import type { Configuration, Target } from './configuration.ts';
import { type DnsOptionTexts, readDnsOptions } from './dnsoptions.ts';
import { type OpenStackOptionTexts, readOpenStackOptions } from './openstackoptions.ts';
import { type ProxyOptionTexts, readProxyOptions, separateNames } from './proxyoptions.ts';
import { type ParsedTarget, parseExclusion, parseTarget } from './target.ts';
import { readWindowOptions, type WindowOptionTexts } from './windowoptions.ts';

export const MAX_TIMEOUT = 3600;
/** More addresses of one jump host than this are taken for a mistake. */
export const MAX_REMOTES = 16;

/** The options of `connect` as commander hands them over: text, in the order written. */
export interface ConnectOptions
  extends ProxyOptionTexts,
    DnsOptionTexts,
    OpenStackOptionTexts,
    AllowOptionTexts,
    WindowOptionTexts {
  readonly remote?: readonly string[];
  readonly exclude?: readonly string[];
  readonly targetsFrom?: readonly string[];
  readonly excludesFrom?: readonly string[];
  readonly identity?: readonly string[];
  readonly port?: string;
  readonly jump?: string;
  readonly sshConfig?: string;
  readonly sshOption?: readonly string[];
  readonly transport?: string;
  readonly sshCmd?: string;
  readonly hostKey?: readonly string[];
  readonly connectTimeout?: string;
  readonly authTimeout?: string;
  readonly keepalive?: string;
  readonly reconnectHold?: string;
  /** False with --no-flush. */
  readonly flush?: boolean;
  /** How many -v. */
  readonly verbose?: number;
  readonly quiet?: boolean;
  readonly readyFd?: string;
}

/**
 * `placeOf` tells the `file:line` of an argument that came from an @FILE. `proxy` has proxies in
 * any case, needs no target, and may have targets that can't be captured by route. Throws
 * UsageError.
 */
export function buildConfiguration(
  targets: readonly string[],
  options: ConnectOptions,
  placeOf: (text: string) => Place | undefined = () => undefined,
  command: 'connect' | 'proxy' = 'connect',
): Configuration {
  const at = (text: string, option: Place): Entry & { readonly place: Place } => ({
    text,
    place: placeOf(text) ?? option,
  });
  requireOneStdin(options);
  const remotes = readRemotes((options.remote ?? []).map((text) => at(text, '-r')));
  const proxies = readProxyOptions(options, command);
  const included = separateNames([
    ...targets.map((text) => at(text, 'target')),
    ...(options.targetsFrom ?? []).flatMap((file) => readTargetsFile(file, '-s')),
  ]);
  const cloud = readOpenStackOptions(options);
  const parse = command === 'proxy' ? parseExclusion : parseTarget;
  const wanted = included.addresses.map(({ text, place }) => parse(text, place));
  const count = wanted.length + included.names.length + (cloud === undefined ? 0 : 1);
  requireSomeTarget(count, proxies?.onlyTargets ?? false, command);
  const left = separateNames([
    ...(options.exclude ?? []).map((text) => at(text, '-x')),
    ...(options.excludesFrom ?? []).flatMap((file) => readTargetsFile(file, '-X')),
  ]);
  const excluded = left.addresses.map(({ text, place }) => parseExclusion(text, place));
  const ssh = readTransport(options);
  return {
    ssh: {
      remotes,
      port: optional(options.port, (text) => readAt('-p', text, PORT_FORM, parsePort)),
      jump: optional(options.jump, (text) => parseJump(text, '-J')),
      configFile: optional(options.sshConfig, (path) => readPath('-F', 'configuration', path)),
      sshOptions: (options.sshOption ?? []).map((text) =>
        readAt('-o', text, OPTION_FORM, parseSshOption),
      ),
      ...ssh,
      identityFiles: (options.identity ?? []).map((path) => readPath('-i', 'key', path)),
      hostKeyPins: (options.hostKey ?? []).map(parseHostKeyPin),
      connectTimeout: optional(options.connectTimeout, (text) =>
        readTimeout(text, '--connect-timeout'),
      ),
      authTimeout:
        optional(options.authTimeout, (text) => readTimeout(text, '--auth-timeout')) ??
        DEFAULT_AUTH_TIMEOUT,
      keepalive: optional(options.keepalive, (text) => readSeconds(text, '--keepalive')),
      windows: readWindowOptions(options, ssh.transport === 'openssh'),
      flush: options.flush ?? true,
      reconnectHold:
        optional(options.reconnectHold, (text) => readSeconds(text, '--reconnect-hold')) ??
        DEFAULT_RECONNECT_HOLD,
    },
    targets: wanted.map(targetOf),
    exclusions: excluded.map(targetOf),
    nameTargets: included.names,
    nameExclusions: left.names,
    dns: readDnsOptions(options, placeOf),
    cloud,
    allow: readAllowOptions(options),
    proxies,
    logLevel: readLogLevel(options),
    readyFd: options.readyFd === undefined ? undefined : readDescriptor(options.readyFd),
    notices: [...wanted, ...excluded].flatMap(({ notes }) => notes),
  };
}

/** `count`: targets of all kinds; a cloud is one whose addresses are still to be found. */
function requireSomeTarget(
  count: number,
  onlyTargets: boolean,
  command: 'connect' | 'proxy',
): void {
  if (count > 0) return;
  if (command === 'proxy' && !onlyTargets) return;
  if (command === 'proxy') {
    throw new UsageError('--only-targets is given, but no target', {
      hint: 'name what may be reached',
    });
  }
  throw new UsageError('no target is given', {
    hint: 'name the networks to reach through the jump host, as in: tunnel -r user@jumphost 10.0.0.0/8; or a cloud with --os-cloud',
  });
}

function targetOf({ target }: ParsedTarget): Target {
  return target;
}

function requireOneStdin({
  targetsFrom = [],
  excludesFrom = [],
  allow = '',
}: ConnectOptions): void {
  if ([...targetsFrom, ...excludesFrom, allow].filter((file) => file === '-').length > 1) {
    throw new UsageError(
      'standard input ("-") is named more than once by -s, -X and --allow, it can be read only once',
      { hint: 'give the other list in a file' },
    );
  }
}

function readRemotes(
  entries: readonly (Entry & { readonly place: Place })[],
): readonly [Remote, ...Remote[]] {
  const [first, ...others] = entries.map(({ text, place }) => parseRemote(text, place));
  if (first === undefined) {
    throw new UsageError('no jump host is given', {
      hint: 'name it with -r, as in: tunnel -r user@jumphost 10.0.0.0/8',
    });
  }
  if (others.length >= MAX_REMOTES) {
    throw new UsageError(
      `-r is given ${entries.length} times, at most ${MAX_REMOTES} addresses are tried`,
      {
        hint: 'every -r names another address of the same jump host',
      },
    );
  }
  return [first, ...others];
}

function optional<T>(text: string | undefined, read: (text: string) => T): T | undefined {
  return text === undefined ? undefined : read(text);
}

function readPath(option: Place, kind: string, path: string): string {
  if (path === '')
    throw new UsageError(`${option}: the name of the ${kind} file is empty`, {
      hint: 'write a path; an empty one often is a variable of the shell that is not set',
    });
  if (path.includes('\0'))
    throw new UsageError(`${option}: the name of the ${kind} file has a NUL character`, {
      hint: 'check the file that the argument comes from',
    });
  // The shell has expanded it already, unless the argument came from a file.
  return path.startsWith('~/') ? join(homeDirectory(), path.slice(2)) : path;
}

/**
 * A command of one's own is a command for the system's ssh: it can't go with the embedded client.
 */
function readTransport({
  transport,
  sshCmd,
}: ConnectOptions): Pick<Configuration['ssh'], 'transport' | 'sshCommand'> {
  const chosen = optional(transport, readTransportName) ?? 'auto';
  if (sshCmd === undefined) return { transport: chosen, sshCommand: undefined };
  if (chosen === 'ssh2') {
    throw new UsageError(
      '-e and --transport ssh2 exclude each other: the embedded client runs no command',
      {
        hint: 'leave one of them out',
      },
    );
  }
  const [program, ...args] = readAt('-e', sshCmd, COMMAND_FORM, splitWords);
  if (program === undefined || program === '') {
    throw new UsageError(`-e: ${quoted(sshCmd)} names no program`, {
      hint: 'write it as in: -e "ssh -v"',
    });
  }
  return { transport: 'openssh', sshCommand: [program, ...args] };
}

function readTransportName(text: string): WantedTransport {
  return oneOf(TRANSPORTS, text, '--transport', 'leave it out, and the program chooses');
}

/** For readAt. */
const PORT_FORM = 'write a port from 1 to 65535, as in: -p 2222';
const OPTION_FORM = 'write it as ssh does: -o Key=Value';
const COMMAND_FORM = 'write it as for a shell, as in: -e "ssh -v"';

function readTimeout(text: string, option: Place): number {
  const seconds = secondsOf(text);
  if (seconds === undefined || seconds <= 0) {
    throw new UsageError(
      `${option}: ${quoted(text)} is not a number of seconds above 0 and up to ${MAX_TIMEOUT}`,
      { hint: `write it without a unit, as in: ${option} 15` },
    );
  }
  return seconds;
}

/** As readTimeout, with 0 for "off". */
function readSeconds(text: string, option: Place): number {
  const seconds = secondsOf(text);
  if (seconds === undefined)
    throw new UsageError(
      `${option}: ${quoted(text)} is not a number of seconds from 0 to ${MAX_TIMEOUT}`,
      {
        hint: `write it without a unit, as in: ${option} 15; 0 switches it off`,
      },
    );
  return seconds;
}

function secondsOf(text: string): number | undefined {
  const seconds = Number(text);
  return /^[0-9]+(\.[0-9]+)?$/.test(text) && seconds <= MAX_TIMEOUT ? seconds : undefined;
}

function readLogLevel({ verbose = 0, quiet = false }: ConnectOptions): Level {
  if (quiet && verbose > 0)
    throw new UsageError('-q and -v exclude each other', { hint: 'leave one of them out' });
  if (quiet) return 'warning';
  return (['notice', 'info'] as const)[verbose] ?? 'debug';
}

function readDescriptor(text: string): number {
  if (!/^(0|[1-9][0-9]{0,8})$/.test(text)) {
    throw new UsageError(`--ready-fd: ${quoted(text)} is not the number of a file descriptor`, {
      hint: 'open one for it, as in: --ready-fd 3 3>ready',
    });
  }
  const fd = Number(text);
  if (fd === 0 || fd === 2) {
    throw new UsageError(`--ready-fd: ${fd} is standard ${fd === 0 ? 'input' : 'error'}`, {
      hint: 'open another one for it, as in: --ready-fd 3 3>ready',
    });
  }
  if (!isWritable(fd)) {
    throw new UsageError(`--ready-fd: descriptor ${fd} isn't open for writing`, {
      hint: `open it for the program, as in: --ready-fd ${fd} ${fd}>ready`,
    });
  }
  return fd;
}

const ACCESS_MODE = 0o3;

/**
 * Whether the caller has opened it; the runtime's own descriptors (epoll, eventfd, ...) have low
 * numbers, too.
 */
function isWritable(fd: number): boolean {
  try {
    const flags =
      /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '0';
    const readOnly = (Number.parseInt(flags, 8) & ACCESS_MODE) === 0;
    return !readOnly && !readlinkSync(`/proc/self/fd/${fd}`).startsWith('anon_inode:');
  } catch {
    // ENOENT: it is not open.
    return false;
  }
}
