/**
 * The files of ssh_config(5): which ones there are, their lines, and what they include.
 *
 * They are read once, into a tree in memory. From it come both ways of evaluating them: a copy for
 * `ssh -G` (writeConfig) and the lines for evaluate.ts. The copy exists because ssh looks for the
 * files, for `~/` and for relative Includes in the home directory of the passwd entry, where this
 * program has $HOME; and because values of our own can be put behind the user's, where they are
 * defaults. Line numbers stay the same, so that ssh's complaints can be led back.
 */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from '../../errors/errors.ts';
import { shellPath } from '../../net/notation.ts';
import { silentObserver } from '../../observe/observer.ts';
import { globRegExp } from '../patterns.ts';
import { makePrivateDirectory } from '../privatedirectory.ts';
import { type Directive, parseDirective, quoteArgument } from './syntax.ts';

/** As ssh has it (READCONF_MAX_DEPTH). */
export const MAX_INCLUDE_DEPTH = 16;
/** Of one configuration, all Includes together: a directory full of fragments has dozens. */
export const MAX_CONFIG_FILES = 1000;
export const MAX_CONFIG_FILE_BYTES = 1024 * 1024;

const OTHERS_MAY_WRITE = 0o022;
/** Whose values name files, where ssh expands a leading `~/`. */
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
  /** As it is written, but for a leading `~/` of the values that name files. */
  readonly text: string;
  /** undefined: a comment, or blank. */
  readonly directive: Directive | undefined;
  /**
   * For an Include: what its patterns match, in order; undefined: it has tokens or variables, which
   * only ssh expands.
   */
  readonly includes: readonly ConfigFile[] | undefined;
}

export interface ConfigPlaces {
  /** -F; undefined: the user's and the system's files, `none`: no file. */
  readonly file: string | undefined;
  readonly home: string;
  /** Where the system's ssh_config is: /etc/ssh. */
  readonly systemDirectory: string;
}

/**
 * The files at the top, as far as they are there: the user's, and the system's behind it. Throws
 * UsageError.
 */
export async function loadConfig({ file, home, systemDirectory }: ConfigPlaces): Promise<{
  readonly user: ConfigFile | undefined;
  readonly system: ConfigFile | undefined;
}> {
  if (file?.toLowerCase() === 'none') return { user: undefined, system: undefined };
  const userDirectory = join(home, '.ssh');
  const reading = (directory: string, checked: boolean): Reading => ({
    directory,
    home,
    checked,
    count: { files: 0 },
  });
  if (file !== undefined) {
    const given = await readConfigFile(file, reading(userDirectory, false), 0);
    if (given === undefined) {
      throw new UsageError(
        `-F: the configuration file ${file} can't be read: there is no such file`,
        {
          hint: 'check the path, or leave -F out for ~/.ssh/config',
        },
      );
    }
    return { user: given, system: undefined };
  }
  return {
    user: await readConfigFile(join(userDirectory, 'config'), reading(userDirectory, true), 0),
    system: await readConfigFile(
      join(systemDirectory, 'ssh_config'),
      reading(systemDirectory, false),
      0,
    ),
  };
}

interface Reading {
  /** Where relative Includes are. */
  readonly directory: string;
  readonly home: string;
  /**
   * Whether files that others may write are refused: what stands in them is run (ProxyCommand,
   * Match exec).
   */
  readonly checked: boolean;
  readonly count: { files: number };
}

async function readConfigFile(
  path: string,
  reading: Reading,
  depth: number,
): Promise<ConfigFile | undefined> {
  if (depth > MAX_INCLUDE_DEPTH) {
    throw new UsageError(
      `${path}: ssh_config files are nested more than ${MAX_INCLUDE_DEPTH} deep`,
      {
        hint: 'check whether a file includes itself',
      },
    );
  }
  const content = await readText(path, reading);
  if (content === undefined) return undefined;
  reading.count.files += 1;
  if (reading.count.files > MAX_CONFIG_FILES) {
    throw new UsageError(`${path}: the ssh_config includes more than ${MAX_CONFIG_FILES} files`, {
      hint: 'check whether files include each other',
    });
  }
  const lines: ConfigLine[] = [];
  for (const [index, line] of content.split('\n').entries()) {
    const number = index + 1;
    const place = `${path}:${number}`;
    const text = homeExpanded(line, reading.home, place);
    const directive = parseDirective(text, place);
    const includes =
      directive?.keyword === 'include'
        ? await readIncludes(directive.args, reading, depth)
        : undefined;
    lines.push({ number, text, directive, includes });
  }
  return { path, lines };
}

/** undefined: there is no such file. */
async function readText(path: string, reading: Reading): Promise<string | undefined> {
  try {
    const { size, uid, mode } = await stat(path);
    const ours = uid === 0 || uid === process.getuid?.();
    if (reading.checked && (!ours || (mode & OTHERS_MAY_WRITE) !== 0)) {
      throw new UsageError(
        `${path} belongs to somebody else or may be written by others; ssh refuses it, too`,
        {
          hint: `run: chmod go-w ${shellPath(path)}`,
        },
      );
    }
    if (size > MAX_CONFIG_FILE_BYTES) {
      throw new UsageError(
        `${path} is too large for an ssh_config (above ${MAX_CONFIG_FILE_BYTES} bytes)`,
        {
          hint: 'check that it is the right file (-F, Include)',
        },
      );
    }
    return await readFile(path, 'utf8');
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

async function readIncludes(
  patterns: readonly string[],
  reading: Reading,
  depth: number,
): Promise<ConfigFile[] | undefined> {
  // A `~user` needs the passwd file; newer ssh expands tokens and variables here.
  if (patterns.some((pattern) => /^~[^/]|%|\$\{/.test(pattern))) return undefined;
  const files: ConfigFile[] = [];
  for (const pattern of patterns) {
    const absolute = pattern.startsWith('/')
      ? pattern
      : pattern.startsWith('~/')
        ? join(reading.home, pattern.slice(2))
        : join(reading.directory, pattern);
    for (const path of await expandPattern(absolute)) {
      const file = await readConfigFile(path, reading, depth + 1);
      if (file !== undefined) files.push(file);
    }
  }
  return files;
}

/** Paths that an absolute pattern of glob(7) matches, in the order of their names. */
async function expandPattern(pattern: string): Promise<string[]> {
  let paths = ['/'];
  for (const segment of pattern.split('/').filter((part) => part !== '')) {
    if (!/[*?[]/.test(segment)) {
      paths = paths.map((path) => join(path, segment));
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

/** What `ssh -F` is given, in order; a text is lines that hold for all hosts. */
export type ConfigPart = ConfigFile | string;

export interface WrittenConfig {
  /** For -F. */
  readonly path: string;
  /** Names the files in a message of ssh's as the user knows them. */
  readonly originalNames: (message: string) => string;
  /** Removes the copy. */
  readonly remove: () => Promise<void>;
}

/**
 * Writes the parts to a directory that only this user can read, and which the next tunnel removes
 * if this one is killed. Throws TunnelError `openssh-directory` when there is no place for it,
 * UsageError when it can't be filled.
 */
export async function writeConfig(parts: readonly ConfigPart[]): Promise<WrittenConfig> {
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
    const lines = [];
    for (const part of parts) {
      lines.push(
        'Match all',
        typeof part === 'string' ? part : `Include ${quoteArgument(await writeCopy(part))}`,
      );
    }
    const path = join(directory, 'config');
    await writeFile(path, `${lines.join('\n')}\n`, { mode: 0o600 });
    const originalNames = (message: string): string =>
      originals.reduceRight(
        (text, original, index) => text.replaceAll(join(directory, String(index + 1)), original),
        message,
      );
    return { path, originalNames, remove };
  } catch (error) {
    await remove();
    throw error instanceof UsageError ? error : uncopied(directory, error);
  }
}

function uncopied(directory: string, cause: unknown): UsageError {
  const { code = 'unknown' } = cause as NodeJS.ErrnoException;
  return new UsageError(
    `ssh_config can't be copied to ${directory}, for ssh to be asked about it (${code})`,
    {
      hint: 'make room there, or set XDG_RUNTIME_DIR to another directory',
      cause,
    },
  );
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
 * A line of ssh_config with the home directory for a leading `~/` of the values that name files.
 * Throws UsageError.
 */
export function homeExpanded(line: string, home: string, place: string): string {
  const directive = parseDirective(line, place);
  if (directive === undefined || !PATH_KEYWORDS.has(directive.keyword)) return line;
  if (!directive.args.some((arg) => arg.startsWith('~/'))) return line;
  const absolute = directive.args.map((arg) =>
    arg.startsWith('~/') ? join(home, arg.slice(2)) : arg,
  );
  return `${directive.keyword} ${absolute.map(quoteArgument).join(' ')}`;
}
