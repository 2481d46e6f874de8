/** The `%` tokens, `~` and `${NAME}` of ssh_config(5), TOKENS and ENVIRONMENT VARIABLES. */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { UsageError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';

export interface TokenValues {
  /** %h */
  readonly hostName: string;
  /** %n */
  readonly name: string;
  readonly port: number;
  /** %r */
  readonly user: string;
  /** %k */
  readonly hostKeyAlias: string | undefined;
  /** %j: the last hop's host, or nothing. */
  readonly jumpHost: string;
  /** %d */
  readonly home: string;
  /**
   * %u. Called only if needed, since some machines have no name for the current user. Throws
   * UsageError.
   */
  readonly localUser: () => string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * For file names and the agent's socket: expands all tokens, variables, and `~/` at the beginning.
 * Throws UsageError.
 */
export function expandPath(text: string, values: TokenValues, keyword: string): string {
  return withHome(expandSocketPath(text, values, keyword), values);
}

/** For the sockets of forwards, in which ssh takes `~` literally. Throws UsageError. */
export function expandSocketPath(text: string, values: TokenValues, keyword: string): string {
  return expandTokens(expandVariables(text, values, keyword), pathTokens(values), keyword);
}

/**
 * A path with the home directory for a leading `~`. Of other users, those that are known here have
 * been looked up where the file was read; a file that isn't found would be passed over. Throws
 * UsageError.
 */
export function withHome(path: string, { home }: Pick<TokenValues, 'home'>): string {
  if (path === '~' || path.startsWith('~/')) return join(home, path.slice(1));
  if (!path.startsWith('~')) return path;
  throw new UsageError(`ssh_config: in ${quoted(path)}, the user's home directory isn't known`, {
    hint: 'write the full path',
  });
}

/** For HostName: expands `%h` to the name that the user gave. */
export function expandHostName(text: string, name: string): string {
  return expandTokens(text, { h: name }, 'HostName');
}

/** For ProxyJump: expands `%h %n %p %r`. */
export function expandJump(text: string, values: TokenValues): string {
  return expandTokens(text, commandTokens(values), 'ProxyJump');
}

/**
 * For ProxyCommand: expands `%h %n %p %r`. A shell reads the result, so the values must not contain
 * shell special characters. Otherwise an alias or a user from a URI could run commands. Throws
 * UsageError.
 */
export function expandCommand(text: string, values: TokenValues): string {
  const tokens = commandTokens(values);
  for (const [token, value] of Object.entries(tokens)) {
    if (!new RegExp(`%${token}`).test(text.replaceAll('%%', '')) || SAFE_IN_SHELL.test(value))
      continue;
    throw new UsageError(
      `ProxyCommand: %${token} would put ${quoted(value)}, which has special characters of the shell, into a shell command`,
      { hint: 'use a Host alias whose HostName and User are plain, or ProxyJump' },
    );
  }
  return expandTokens(text, tokens, 'ProxyCommand');
}

/**
 * For KnownHostsCommand: expands all tokens and variables in the words after the first. %% and the
 * tokens of one check (%H %I %t %f %K) stay for the time when it is run. Throws UsageError.
 */
export function expandCheckCommand(
  [program, ...args]: readonly [string, ...string[]],
  values: TokenValues,
): [string, ...string[]] {
  const keyword = 'KnownHostsCommand';
  const tokens = pathTokens(values);
  const escaped = (text: string): string => text.replaceAll('%', '%%');
  const expand = (word: string): string =>
    word.replace(/%(.?)|\$\{[^}]*\}/gs, (part, token: string | undefined) => {
      if (token === undefined) return escaped(expandVariables(part, values, keyword));
      // The others are read only if they are used: not every user has a name, for %u.
      return /^[HItfK%]$/.test(token) ? part : escaped(expandTokens(part, tokens, keyword));
    });
  return [program, ...args.map(expand)];
}

const SAFE_IN_SHELL = /^(?!-)[^\s'"`$\\;&<>|(){}*?[\]!#~]*$/u;

function commandTokens({
  hostName,
  name,
  port,
  user,
}: TokenValues): Readonly<Record<string, string>> {
  return { h: hostName, n: name, p: String(port), r: user };
}

function pathTokens(values: TokenValues): Readonly<Record<string, string>> {
  const { hostName, port, user, jumpHost } = values;
  const localHost = hostname();
  return {
    ...commandTokens(values),
    d: values.home,
    get u() {
      return values.localUser();
    },
    i: String(process.getuid?.() ?? ''),
    l: localHost,
    L: localHost.split('.', 1)[0] ?? '',
    k: values.hostKeyAlias ?? values.name,
    j: jumpHost,
    C: createHash('sha1').update(`${localHost}${hostName}${port}${user}${jumpHost}`).digest('hex'),
  };
}

function expandTokens(
  text: string,
  tokens: Readonly<Record<string, string>>,
  keyword: string,
): string {
  return text.replace(/%(.?)/gs, (_, token: string) => {
    const value = token === '%' ? '%' : tokens[token];
    if (value !== undefined) return value;
    throw new UsageError(`${keyword}: %${token} in ${quoted(text)} is not a known token`, {
      hint: 'a literal % is written as %%',
    });
  });
}

function expandVariables(text: string, { environment }: TokenValues, keyword: string): string {
  return text.replace(/\$\{([^}]*)\}/g, (_, name: string) => {
    const value = environment[name];
    if (value !== undefined) return value;
    throw new UsageError(
      `${keyword}: the environment variable ${name} in ${quoted(text)} isn't set`,
      {
        hint: 'set it, or write the full path',
      },
    );
  });
}
