/**
 * The files of ssh_config(5): which ones exist, their lines, and the files that they include.
 *
 * They are read once, into a tree in memory. They can then be evaluated in two ways: as a copy for
 * `ssh -G` (writeConfig), or line by line in evaluate.ts. There are two reasons for the copy. For
 * the files, `~/` and relative Includes, ssh uses the home directory of the passwd entry, but this
 * program uses $HOME. And we can put our own values after the user's, where they act as defaults.
 * The copy keeps the line numbers, so ssh's error messages can be mapped back to the original
 * files.
 */
import { createReadStream, type Stats } from 'node:fs';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from '../../errors/errors.ts';
import { silentObserver } from '../../observe/observer.ts';
import { Accounts } from '../../system/accounts.ts';
import { refuseWritable } from '../../system/ownfile.ts';
import { globLiteral, globRegExp } from '../patterns.ts';
import { makePrivateDirectory } from '../privatedirectory.ts';
import { isPathList } from './keywordvalues.ts';
import { type Directive, parseDirective, quoteArgument } from './syntax.ts';

/** The same as ssh's (READCONF_MAX_DEPTH). */
export const MAX_INCLUDE_DEPTH = 16;
/** For one configuration with all its Includes. A directory full of fragments has dozens. */
export const MAX_CONFIG_FILES = 1000;
export const MAX_CONFIG_FILE_BYTES = 1024 * 1024;

/** Keywords whose values are file names, in which ssh expands a leading `~/`. */
const PATH_KEYWORDS = new Set([
  'identityfile',
  'identityfile2',
  'certificatefile',
  'identityagent',
  'userknownhostsfile',
  'globalknownhostsfile',
  'controlpath',
  'revokedhostkeys',
]);

export interface ConfigFile {
  readonly path: string;
  readonly lines: readonly ConfigLine[];
}

export interface ConfigLine {
  readonly number: number;
  /** As written, except for the names of files (withFullPaths). */
  readonly text: string;
  /** undefined: a comment, or blank. */
  readonly directive: Directive | undefined;
  /**
   * For an Include: the files that its patterns match, in order. undefined: it isn't an Include, or
   * it has tokens or variables, which only ssh expands.
   */
  readonly includes: readonly ConfigFile[] | undefined;
}

export interface ConfigPlaces {
  /** Default: those of this machine. */
  readonly accounts?: Accounts;
  /** -F; undefined: the user's and the system's files, `none`: no file. */
  readonly file: string | undefined;
  readonly home: string;
  /** Where the system's ssh_config is: /etc/ssh. */
  readonly systemDirectory: string;
  /** By `FILE:LINE`: the files of an Include that only ssh expands, where ssh has been asked. */
  readonly included?: ReadonlyMap<string, readonly string[]>;
}

/**
 * The top-level files that exist: the user's, and then the system's. Throws UsageError.
 */
export async function loadConfig({
  file,
  home,
  systemDirectory,
  accounts: given,
  included = new Map(),
}: ConfigPlaces): Promise<{
  readonly user: ConfigFile | undefined;
  readonly system: ConfigFile | undefined;
}> {
  if (file?.toLowerCase() === 'none') return { user: undefined, system: undefined };
  const userDirectory = join(home, '.ssh');
  const accounts = given ?? (await Accounts.read());
  const contextFor = (directory: string, isSystem: boolean): ReadContext => ({
    directory,
    isSystem,
    home,
    accounts,
    included,
    count: { files: 0 },
  });
  const users = contextFor(userDirectory, false);
  if (file !== undefined) {
    const top = await readConfigFile(file, users, { depth: 0, checked: false });
    if (top === undefined) {
      throw new UsageError(
        `-F: the configuration file ${file} can't be read: there is no such file`,
        {
          hint: 'check the path, or leave out -F to use ~/.ssh/config',
        },
      );
    }
    return { user: top, system: undefined };
  }
  return {
    user: await readConfigFile(join(userDirectory, 'config'), users, { depth: 0, checked: true }),
    system: await readConfigFile(
      join(systemDirectory, 'ssh_config'),
      contextFor(systemDirectory, true),
      { depth: 0, checked: false },
    ),
  };
}

interface ReadContext {
  /** Relative Includes start here. */
  readonly directory: string;
  /** Of the system's ssh_config: it may not name files in a home directory. */
  readonly isSystem: boolean;
  readonly home: string;
  readonly accounts: Accounts;
  readonly included: ReadonlyMap<string, readonly string[]>;
  readonly count: { files: number };
}

/** How a file is reached. */
interface Reached {
  /** How many Includes lead to it. */
  readonly depth: number;
  /**
   * Whether to refuse a file that other users may write, since its commands would be run
   * (ProxyCommand, Match exec). As in ssh: the user's own file, and all that is included, also by
   * the system's file and that of -F.
   */
  readonly checked: boolean;
}

async function readConfigFile(
  path: string,
  context: ReadContext,
  { depth, checked }: Reached,
): Promise<ConfigFile | undefined> {
  if (depth > MAX_INCLUDE_DEPTH) {
    throw new UsageError(
      `${path}: ssh_config files are nested more than ${MAX_INCLUDE_DEPTH} deep`,
      {
        hint: 'check whether a file includes itself',
      },
    );
  }
  const content = await readText(path, context.accounts, checked);
  if (content === undefined) return undefined;
  context.count.files += 1;
  if (context.count.files > MAX_CONFIG_FILES) {
    throw new UsageError(`${path}: the ssh_config includes more than ${MAX_CONFIG_FILES} files`, {
      hint: 'check whether files include each other',
    });
  }
  const lines: ConfigLine[] = [];
  for (const [index, line] of content.split('\n').entries()) {
    const number = index + 1;
    const place = `${path}:${number}`;
    const text = withFullPaths(line, context, place);
    const directive = parseDirective(text, place);
    const includes =
      directive?.keyword === 'include'
        ? await readIncludes(directive.args, context, depth + 1, place)
        : undefined;
    lines.push({ number, text, directive, includes });
  }
  return { path, lines };
}

/** undefined: there is no such file. */
async function readText(
  path: string,
  accounts: Accounts,
  checked: boolean,
): Promise<string | undefined> {
  try {
    const status = await stat(path);
    if (checked) refuseWritable(path, status, accounts);
    const isOnDisk = status.isFile() || status.isDirectory();
    const content = isOnDisk ? await readFrom(path) : await readPipe(path, status);
    refuseMarks(path, content);
    return content.toString();
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new UsageError(`the configuration file ${path} can't be read (${code})`, {
      hint: 'check its permissions, or name another one with -F',
      cause,
    });
  }
}

async function readFrom(path: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of createReadStream(path, { end: MAX_CONFIG_FILE_BYTES })) {
    parts.push(part);
    bytes += part.length;
  }
  if (bytes <= MAX_CONFIG_FILE_BYTES) return Buffer.concat(parts);
  throw new UsageError(
    `${path} is too large for an ssh_config (more than ${MAX_CONFIG_FILE_BYTES} bytes)`,
    { hint: 'check that it is the right file (-F, Include)' },
  );
}

/** `-F <(vagrant ssh-config)`: a pipe can be read once, and is needed for each jump host. */
const pipes = new Map<string, Promise<Buffer>>();

function readPipe(path: string, { dev, ino }: Stats): Promise<Buffer> {
  const key = `${dev}:${ino} ${path}`;
  const content = pipes.get(key) ?? readFrom(path);
  pipes.set(key, content);
  return content;
}

/** What some editors of Windows put in front, and ssh takes for a keyword. Throws UsageError. */
function refuseMarks(path: string, content: Buffer): void {
  const start = content.subarray(0, 3).toString('latin1');
  const is16 = /^(\xff\xfe|\xfe\xff)/.test(start);
  if (!is16 && start !== '\xef\xbb\xbf') return;
  const what = is16 ? 'is UTF-16' : 'begins with a byte-order mark';
  throw new UsageError(`${path} ${what}, which ssh refuses`, {
    hint: 'save it as UTF-8 without a byte-order mark (BOM)',
  });
}

/** undefined: only ssh knows which files these are. Throws UsageError. */
async function readIncludes(
  patterns: readonly string[],
  context: ReadContext,
  depth: number,
  place: string,
): Promise<ConfigFile[] | undefined> {
  if (patterns.includes(''))
    throw new UsageError(`${place}: include has an empty value`, { hint: 'leave the quotes out' });
  const asked = context.included.get(place);
  if (asked !== undefined) return readAllIncluded(asked, context, depth);
  // Newer versions of ssh expand tokens and variables here.
  if (patterns.some((pattern) => /%|\$\{/.test(pattern))) return undefined;
  const paths: string[] = [];
  for (const pattern of patterns) {
    if (pattern.startsWith('~') && context.isSystem)
      throw new UsageError(`${place}: the system's ssh_config includes ${pattern}`, {
        hint: 'there, write a full path, or one below /etc/ssh',
      });
    const absolute = absolutePattern(pattern, context);
    if (absolute === undefined) return undefined;
    paths.push(...(await expandPattern(absolute)));
  }
  return readAllIncluded(paths, context, depth);
}

async function readAllIncluded(
  paths: readonly string[],
  context: ReadContext,
  depth: number,
): Promise<ConfigFile[]> {
  const files: ConfigFile[] = [];
  for (const path of paths) {
    const file = await readIncluded(path, context, depth);
    if (file !== undefined) files.push(file);
  }
  return files;
}

/** undefined: a user that isn't known here. */
function absolutePattern(pattern: string, context: ReadContext): string | undefined {
  if (pattern.startsWith('~')) return inHome(pattern, context);
  return pattern.startsWith('/') ? pattern : join(context.directory, pattern);
}

/** A path that begins with `~` or `~user`, in that home directory. undefined: an unknown user. */
function inHome(
  path: string,
  { home, accounts }: Pick<ReadContext, 'home' | 'accounts'>,
): string | undefined {
  const [, user = '', rest = ''] = /^~([^/]*)(.*)$/s.exec(path) ?? [];
  const base = user === '' ? home : accounts.homeOf(user);
  return base === undefined ? undefined : join(base, rest);
}

/** As in ssh, a folder that a pattern matches has no lines, but others may not write it, either. */
async function readIncluded(
  path: string,
  context: ReadContext,
  depth: number,
): Promise<ConfigFile | undefined> {
  try {
    const status = await stat(path);
    if (status.isDirectory()) {
      refuseWritable(path, status, context.accounts);
      return undefined;
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    // Whatever is wrong with it, reading it says so.
  }
  return readConfigFile(path, context, { depth, checked: true });
}

/** The paths that match an absolute glob(7) pattern, sorted by name. */
async function expandPattern(pattern: string): Promise<string[]> {
  let paths = ['/'];
  for (const segment of pattern.split('/').filter((part) => part !== '')) {
    const literal = globLiteral(segment);
    if (literal !== undefined) {
      paths = paths.map((path) => join(path, literal));
      continue;
    }
    const found = [];
    for (const path of paths) {
      for (const name of await namesIn(path)) {
        if (name.startsWith('.') === segment.startsWith('.') && globRegExp(segment).test(name))
          found.push(join(path, name));
      }
    }
    paths = found;
  }
  return paths;
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch {
    return []; // glob(3) without GLOB_ERR: a directory that can't be read matches nothing
  }
}

/** A part of the file for `ssh -F`, in order. A string contains lines that apply to all hosts. */
export type ConfigPart = ConfigFile | string;

/**
 * What follows the parts: nothing; defaults; or defaults in a section of the second pass, which
 * they must be in if there is one, because a value of the first pass wins over those of the second.
 */
export type Ending = 'plain' | 'defaults' | 'final-defaults';

export interface WrittenConfig {
  /** For -F: one for each ending. */
  readonly paths: Readonly<Record<Ending, string>>;
  /** Replaces the names of the copies in a message from ssh by the original names. */
  readonly originalNames: (message: string) => string;
  /** Removes the copy. */
  readonly remove: () => Promise<void>;
}

/**
 * Writes the parts, followed by the lines of `defaults`, to a directory that only this user can
 * read. If this tunnel is killed, the next one removes it. Throws TunnelError `openssh-directory`
 * if the directory can't be created, and UsageError if the files can't be written.
 */
export async function writeConfig(
  parts: readonly ConfigPart[],
  defaults: readonly string[] = [],
): Promise<WrittenConfig> {
  const own = makePrivateDirectory(silentObserver);
  const directory = own.path;
  const originals: string[] = [];
  const writeCopy = async (file: ConfigFile): Promise<string> => {
    const copy = join(directory, String(originals.push(file.path)));
    const lines = [];
    for (const line of file.lines) lines.push(await renderLine(line, writeCopy));
    await writeFile(copy, lines.join('\n'), { mode: 0o600 });
    return copy;
  };
  const remove = async (): Promise<void> => own.remove();
  try {
    const lines: string[] = [];
    for (const part of parts) {
      lines.push(
        'Match all',
        typeof part === 'string' ? part : `Include ${quoteArgument(await writeCopy(part))}`,
      );
    }
    const write = async (ending: Ending, ...last: readonly string[]): Promise<string> => {
      const path = join(directory, ending);
      await writeFile(path, `${[...lines, ...last].join('\n')}\n`, { mode: 0o600 });
      return path;
    };
    const paths = {
      plain: await write('plain'),
      defaults: await write('defaults', 'Match all', ...defaults),
      'final-defaults': await write('final-defaults', 'Match final all', ...defaults),
    };
    const originalNames = (message: string): string =>
      originals.reduceRight(
        (text, original, index) => text.replaceAll(join(directory, String(index + 1)), original),
        message,
      );
    return { paths, originalNames, remove };
  } catch (error) {
    await remove();
    throw error instanceof UsageError ? error : copyError(directory, error);
  }
}

function copyError(directory: string, cause: unknown): UsageError {
  const { code = 'unknown' } = cause as NodeJS.ErrnoException;
  return new UsageError(`can't copy ssh_config to ${directory} to ask ssh about it (${code})`, {
    hint: 'free some space there, or set XDG_RUNTIME_DIR to another directory',
    cause,
  });
}

async function renderLine(
  { text, includes }: ConfigLine,
  writeCopy: (file: ConfigFile) => Promise<string>,
): Promise<string> {
  if (includes === undefined) return text;
  const copies = [];
  for (const file of includes) copies.push(quoteArgument(await writeCopy(file)));
  return copies.length === 0 ? '' : `Include ${copies.join(' ')}`;
}

/**
 * A line of ssh_config in which file names have the home directory for a leading `~`. In lists of
 * files they are absolute: ssh prints such a list without quotes, and what doesn't begin with a
 * slash would be taken for the rest of the name before it. Throws UsageError.
 */
function withFullPaths(
  line: string,
  context: Pick<ReadContext, 'home' | 'accounts'>,
  place: string,
): string {
  const directive = parseDirective(line, place);
  if (directive === undefined || !PATH_KEYWORDS.has(directive.keyword)) return line;
  const inList = isPathList(directive.keyword);
  const fullPath = (path: string): string => {
    if (path.startsWith('~')) return inHome(path, context) ?? path;
    if (!inList || /^(\/|%d|\$\{|none$|$)/i.test(path)) return path;
    const here = process.cwd();
    return join(directive.keyword === 'globalknownhostsfile' ? here : escapeTokens(here), path);
  };
  const paths = directive.args.map(fullPath);
  if (paths.join() === directive.args.join()) return line;
  return `${directive.keyword} ${paths.map(quoteArgument).join(' ')}`;
}

/** The lines of -o, with full paths as in files. Throws UsageError. */
export async function optionsWithFullPaths(
  options: readonly string[],
  home: string,
): Promise<string[]> {
  const accounts = await Accounts.read();
  return options.map((line) => withFullPaths(line, { home, accounts }, '-o'));
}

function escapeTokens(path: string): string {
  return path.replaceAll('%', '%%');
}
