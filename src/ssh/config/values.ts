/**
 * Turns keywords and their values into typed settings. This is the only place that reads values of
 * ssh_config(5), both those from `ssh -G` and those from evaluate.ts. The two sources spell some
 * values differently (`yes` and `true`, `1G` and bytes), so both spellings are accepted.
 *
 * The keywords that appear here, in onlyopenssh.ts and in unobeyed.ts have an effect. Keywords for
 * sessions, for other forwards and for ssh's own output mean nothing to a tunnel. They are ignored,
 * with a line in the debug log (INERT_KEYWORDS in keywords.ts).
 */
import { userInfo } from 'node:os';
import { UsageError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { parsePort } from '../../net/ports.ts';
import { LONGEST_SECONDS } from '../limits.ts';
import type { Remote } from '../options.ts';
import { DEFAULT_PORT } from '../options.ts';
import {
  type AuthenticationSettings,
  type HostKeySettings,
  LEAST_RSA_BITS,
  type SshSettings,
} from '../settings.ts';
import { assembleAlgorithms, limitsAlgorithms } from './algorithms.ts';
import type { Written } from './evaluate.ts';
import { agentVariable, readTime } from './ignoredvalues.ts';
import { NUMBER, parseConfiguredJump, scaledBytes } from './keywordvalues.ts';
import { type KeywordValues, splitCommand } from './syntax.ts';
import {
  expandCheckCommand,
  expandJump,
  expandPath,
  type TokenValues,
  withHome,
} from './tokens.ts';

type Method = AuthenticationSettings['methods'][number];
const METHODS: readonly Method[] = ['publickey', 'keyboard-interactive', 'password'];
/** The keyword that turns each method on or off. */
const METHOD_SWITCHES: Readonly<Record<Method, string>> = {
  publickey: 'pubkeyauthentication',
  'keyboard-interactive': 'kbdinteractiveauthentication',
  password: 'passwordauthentication',
};

/** Larger numbers in ssh_config are treated as mistakes. In seconds, this is about 68 years. */
const MAX_NUMBER = 2 ** 31 - 1;

/** Reads single values. The result is undefined if a keyword is missing or `none`. */
export class Keywords {
  readonly #values: KeywordValues;

  constructor(values: KeywordValues) {
    this.#values = values;
  }

  all(keyword: string): readonly string[] {
    return this.#values.get(keyword) ?? [];
  }

  text(keyword: string): string | undefined {
    const value = this.#values.get(keyword)?.[0];
    return value === undefined || value.toLowerCase() === 'none' ? undefined : value;
  }

  /** For names of hosts and users: `none` is one like any other. */
  name(keyword: string): string | undefined {
    return this.all(keyword)[0];
  }

  isNone(keyword: string): boolean {
    return this.#values.get(keyword)?.[0]?.toLowerCase() === 'none';
  }

  flag(keyword: string, fallback: boolean): boolean {
    const value = this.text(keyword)?.toLowerCase();
    if (value === undefined) return fallback;
    return value === 'yes' || value === 'true';
  }

  number(keyword: string): number | undefined {
    const value = this.text(keyword);
    if (value === undefined) return undefined;
    if (!NUMBER.test(value) || Number(value) > MAX_NUMBER)
      throw invalidValue(keyword, value, 'a number');
    return Number(value);
  }

  /** Seconds, at most LONGEST_SECONDS; sshd_config(5), TIME FORMATS. */
  seconds(keyword: string): number | undefined {
    const value = this.text(keyword);
    return value === undefined ? undefined : Math.min(seconds(keyword, value), LONGEST_SECONDS);
  }
}

function invalidValue(keyword: string, value: string, expected: string): UsageError {
  return new UsageError(
    `ssh_config: ${keyword} has the value ${quoted(value)}, which is not ${expected}`,
    {
      hint: 'correct it in the ssh_config file (-F) or in -o',
    },
  );
}

function seconds(keyword: string, text: string): number {
  const read = readTime(text);
  if (read === undefined) throw invalidValue(keyword, text, 'a time such as 30, 5m or 1h30m');
  return read;
}

/** undefined (for `default`, `none` or 0): the transport decides. */
export function readRekey(keywords: Keywords): SshSettings['rekey'] {
  const [size = 'default', time = 'none'] = (keywords.all('rekeylimit')[0] ?? '')
    .split(/\s+/)
    .filter(Boolean);
  const bytes = size.toLowerCase() === 'default' ? 0 : scaledBytes(size);
  if (bytes === undefined) throw invalidValue('rekeylimit', size, 'a size such as 1G');
  const every = time.toLowerCase() === 'none' ? 0 : seconds('rekeylimit', time);
  return { bytes: bytes === 0 ? undefined : bytes, seconds: every === 0 ? undefined : every };
}

/** What tells a list that the user has set from a default of ssh. */
export interface UserLists {
  readonly keywords: Keywords;
  /** Those of this ssh without any configuration. */
  readonly defaults: Keywords;
  readonly written: ReadonlyMap<string, Written>;
}

/**
 * A list of algorithms. undefined: not set. If it isn't known whether it was, the default of this
 * ssh counts as not set.
 */
function readList(
  { keywords, defaults, written }: UserLists,
  keyword: string,
): readonly string[] | undefined {
  const printed = keywords.all(keyword)[0];
  if (printed === undefined) return undefined;
  // Up to OpenSSH 8.1, ssh printed some lists as they were written, with "+" or "-".
  const text = (/^[+^-]/.test(printed) && assembleAlgorithms(keyword, printed)) || printed;
  const own = written.get(keyword)?.text;
  const isDefault = text === defaults.all(keyword)[0];
  return isDefault && (own === undefined || !limitsAlgorithms(keyword, own))
    ? undefined
    : text.split(',');
}

export function readAlgorithms(set: UserLists): SshSettings['algorithms'] {
  return {
    kex: readList(set, 'kexalgorithms'),
    ciphers: readList(set, 'ciphers'),
    macs: readList(set, 'macs'),
    hostKeys: readList(set, 'hostkeyalgorithms'),
  };
}

/** RequiredRSASize. Bits. */
function readRsaBits(keywords: Keywords): number {
  const text = keywords.all('requiredrsasize')[0] ?? '0';
  if (!NUMBER.test(text) || Number(text) > MAX_NUMBER)
    throw invalidValue('requiredrsasize', text, 'a number of bits');
  return Math.max(LEAST_RSA_BITS, Number(text));
}

const HASHES = ['md5', 'sha1', 'sha256', 'sha384', 'sha512'];

function readKnownHostsCommand(
  keywords: Keywords,
  tokens: TokenValues,
): HostKeySettings['command'] {
  const text = keywords.text('knownhostscommand');
  if (text === undefined) return undefined;
  const fingerprintHash = (keywords.text('fingerprinthash') ?? 'sha256').toLowerCase();
  if (!HASHES.includes(fingerprintHash))
    throw invalidValue('fingerprinthash', fingerprintHash, `one of ${HASHES.join(', ')}`);
  const [program, ...args] = splitCommand(text, 'KnownHostsCommand');
  if (program === undefined) throw invalidValue('knownhostscommand', text, 'a command');
  return { words: expandCheckCommand([program, ...args], tokens), fingerprintHash };
}

/** The values of the tokens for this host. */
export function readTokens(
  { host }: Pick<Remote, 'host'>,
  keywords: Keywords,
  { home, environment }: Pick<TokenValues, 'home' | 'environment'>,
): TokenValues {
  const tokens = {
    hostName: keywords.name('hostname') ?? host,
    name: host,
    port: readPort(keywords),
    user: keywords.name('user') ?? localUser(environment),
    hostKeyAlias: keywords.name('hostkeyalias'),
    jumpHost: '',
    home,
    localUser: () => localUser(environment),
    environment,
  };
  return { ...tokens, jumpHost: readJumps(keywords, tokens).at(-1)?.host ?? '' };
}

/** ProxyJump: the hosts in the order in which the connection passes through them. */
export function readJumps(keywords: Keywords, tokens: TokenValues): Remote[] {
  const text = keywords.text('proxyjump');
  return text === undefined ? [] : parseConfiguredJump(expandJump(text, tokens), 'ProxyJump');
}

/** The name of the current user. Throws UsageError. */
export function localUser(environment: TokenValues['environment']): string {
  try {
    return userInfo().username;
  } catch (cause) {
    // No passwd entry, as in containers that run with an arbitrary user id.
    const name = environment['USER'] ?? environment['LOGNAME'];
    if (name !== undefined && name !== '') return name;
    throw new UsageError(
      'the user at the jump host is not known: this machine has no name for the calling user',
      {
        hint: 'name the user, as in: -r user@jumphost; or set USER',
        cause,
      },
    );
  }
}

function readPort(keywords: Keywords): number {
  const text = keywords.text('port');
  if (text === undefined) return DEFAULT_PORT;
  try {
    return parsePort(text);
  } catch {
    // The parser's error doesn't name the keyword.
    throw invalidValue('port', text, 'a port number');
  }
}

export function readAddressFamily(keywords: Keywords): SshSettings['addressFamily'] {
  const text = (keywords.text('addressfamily') ?? 'any').toLowerCase();
  if (text === 'any' || text === 'inet' || text === 'inet6') return text;
  throw invalidValue('addressfamily', text, 'any, inet or inet6');
}

/**
 * `pins` is left empty, since ssh_config can't set them. `warn` is called with a sentence if the
 * settings ask for weaker checks than we make.
 */
export function readHostKeys(
  { keywords, written }: UserLists,
  tokens: TokenValues,
  warn: (message: string) => void,
): HostKeySettings {
  const files = (keyword: string): readonly string[] =>
    keywords.isNone(keyword) ? [] : keywords.all(keyword);
  const userFiles = files('userknownhostsfile').filter((path) => path !== '/dev/null');
  let strict = readStrict(keywords, warn);
  if (strict === 'accept-new' && userFiles.length === 0) {
    // Every key would be new each time.
    warn('there is no UserKnownHostsFile to save host keys in: unknown ones are asked about');
    strict = 'ask';
  }
  return {
    alias: keywords.name('hostkeyalias'),
    userFiles: userFiles.map((path) => withHome(path, tokens)),
    globalFiles: files('globalknownhostsfile').map((path) => withHome(path, tokens)),
    strict,
    hashNames: keywords.flag('hashknownhosts', false),
    pins: [],
    revokedFiles: files('revokedhostkeys').map((path) =>
      expandPath(path, tokens, 'RevokedHostKeys'),
    ),
    command: readKnownHostsCommand(keywords, tokens),
    leastRsaBits: readRsaBits(keywords),
    fixedOrder: /^[^+-]/.test(written.get('hostkeyalgorithms')?.text ?? ''),
  };
}

function readStrict(
  keywords: Keywords,
  warn: (message: string) => void,
): HostKeySettings['strict'] {
  const text = (keywords.text('stricthostkeychecking') ?? 'ask').toLowerCase();
  switch (text) {
    case 'yes':
    case 'true':
      return 'yes';
    case 'no':
    case 'off':
    case 'false':
      warn(
        'StrictHostKeyChecking no is treated as accept-new: a host key that has changed is always refused',
      );
      return 'accept-new';
    case 'ask':
    case 'accept-new':
      return text;
    default:
      throw invalidValue('stricthostkeychecking', text, 'yes, ask or accept-new');
  }
}

/** `identityFiles`: those of the command line, which come before those of ssh_config. */
export function readAuthentication(
  set: UserLists,
  tokens: TokenValues,
  identityFiles: readonly string[],
): AuthenticationSettings {
  const { keywords, defaults } = set;
  const printed = keywords.all('identityfile');
  // ssh prints its defaults if none is set.
  const written = printed.join('\n') === defaults.all('identityfile').join('\n') ? [] : printed;
  const configured = written
    .filter((path) => path.toLowerCase() !== 'none')
    .map((path) => expandPath(path, tokens, 'IdentityFile'));
  const none =
    written.length > configured.length && configured.length === 0 && identityFiles.length === 0;
  return {
    identityFiles: [
      ...identityFiles.map((path) => ({ path, explicit: true })),
      ...configured
        .filter((path) => !identityFiles.includes(path))
        .map((path) => ({ path, explicit: false })),
    ],
    ...(none ? { noIdentityFiles: true } : {}),
    certificateFiles: keywords
      .all('certificatefile')
      .filter((path) => path.toLowerCase() !== 'none')
      .map((path) => expandPath(path, tokens, 'CertificateFile')),
    identitiesOnly: keywords.flag('identitiesonly', false),
    agentSocket: readAgent(keywords, tokens),
    methods: readMethods(keywords),
    numberOfPasswordPrompts: keywords.number('numberofpasswordprompts') ?? 3,
    batch: keywords.flag('batchmode', false),
    acceptedAlgorithms: readList(set, 'pubkeyacceptedalgorithms'),
    leastRsaBits: readRsaBits(keywords),
  };
}

/** `none`, `SSH_AUTH_SOCK`, `$NAME`, or a path. */
function readAgent(keywords: Keywords, { environment }: TokenValues): string | undefined {
  if (keywords.isNone('identityagent')) return undefined;
  const text = keywords.text('identityagent') ?? 'SSH_AUTH_SOCK';
  const variable = text === 'SSH_AUTH_SOCK' ? text : agentVariable(text);
  const path = variable === undefined ? text : environment[variable];
  return path === '' ? undefined : path;
}

function readMethods(keywords: Keywords): Method[] {
  // Here "none" is a method, with which nobody is let in. As in ssh, names are in lower case.
  const preferred = keywords.all('preferredauthentications')[0]?.split(',') ?? METHODS;
  return [...new Set(preferred)].flatMap((name) => {
    const method = METHODS.find((known) => known === name);
    // PubkeyAuthentication can also be `unbound` or `host-bound`, which both turn it on.
    return method === undefined ||
      /^(no|false)$/i.test(keywords.text(METHOD_SWITCHES[method]) ?? 'yes')
      ? []
      : [method];
  });
}
