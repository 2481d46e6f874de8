/**
 * Finds and reads the files that openstacksdk reads, in the same places and in the same way.
 *
 *   clouds         OS_CLIENT_CONFIG_FILE    the clouds, by name
 *   secure OS_CLIENT_SECURE_FILE the same shape, merged over it: passwords, in a
 *                                           separate file
 *   clouds-public  -                        profiles that a cloud may name
 *
 * Each is searched for separately in the working directory,
 * `${XDG_CONFIG_HOME:-~/.config}/openstack`, `~/.config/openstack`, `/etc/xdg/openstack` and
 * `/etc/openstack`, as .yaml, .yml and .json; the first one that exists and can be read counts. The
 * variable takes precedence over all of these. It may name a file that doesn't exist.
 */
import { closeSync, openSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import { readAtMost } from '../../base/boundedread.ts';
import { TunnelError } from '../../errors/errors.ts';
import { systemCodeOf } from '../../errors/reason.ts';
import { isShallowText, isShallowValue, MAX_DEPTH } from './depth.ts';

/** Nobody has a larger configuration. */
const MAX_CLOUDS_FILE_BYTES = 1024 * 1024;
/** A few lines of YAML with aliases can stand for gigabytes. */
const MAX_YAML_ALIASES = 100;
const SUFFIXES = ['.yaml', '.yml', '.json'] as const;
export const SITE_DIRECTORY = '/etc/openstack';
const DEFAULT_XDG_CONFIG_DIRS = '/etc/xdg';

/** What the search depends on. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The working directory. */
  readonly directory: string;
  readonly home: string;
  /** Default: /etc/openstack. */
  readonly site?: string;
}

/** A file's content as written: any keys and values that the user has put there. */
export type Raw = Readonly<Record<string, unknown>>;

export interface CloudsFile {
  readonly path: string;
  readonly content: Raw;
}

export type FileKind = 'clouds' | 'secure' | 'clouds-public';

const OVERRIDES: Readonly<Record<FileKind, string | undefined>> = {
  clouds: 'OS_CLIENT_CONFIG_FILE',
  secure: 'OS_CLIENT_SECURE_FILE',
  'clouds-public': undefined,
};

/** The paths to search for a kind of file, in order. */
function searchPath(kind: FileKind, { env, directory, home, site }: Surroundings): string[] {
  const user = join(home, '.config');
  const system = (env['XDG_CONFIG_DIRS'] || DEFAULT_XDG_CONFIG_DIRS).split(':');
  const directories = [
    directory,
    join(env['XDG_CONFIG_HOME'] || user, 'openstack'),
    join(user, 'openstack'),
    ...system.map((path) => join(path, 'openstack')),
    site ?? SITE_DIRECTORY,
  ];
  const override = OVERRIDES[kind] === undefined ? undefined : env[OVERRIDES[kind]];
  const found = directories.flatMap((path) =>
    SUFFIXES.map((suffix) => join(path, `${kind}${suffix}`)),
  );
  return override ? [resolve(directory, override), ...found] : found;
}

/**
 * The first file of the kind; undefined: there is none. A file that can't be read is skipped with a
 * warning (openstacksdk skips it without one). Throws TunnelError `openstack-config` for a file
 * that is not a mapping in YAML or JSON.
 */
export function findFile(
  kind: FileKind,
  surroundings: Surroundings,
  warn: (message: string) => void,
): CloudsFile | undefined {
  for (const path of new Set(searchPath(kind, surroundings))) {
    let text: string | undefined;
    try {
      text = readBounded(path);
    } catch (error) {
      if (error instanceof TunnelError) throw error;
      warn(`${path} can't be read and is skipped (${systemCodeOf(error)})`);
      continue;
    }
    if (text !== undefined) return { path, content: parse(path, text) };
  }
  return undefined;
}

/** undefined: there is no such file. */
function readBounded(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT' || systemCodeOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
  try {
    const bytes = readAtMost(fd, MAX_CLOUDS_FILE_BYTES);
    if (bytes !== undefined) return bytes.toString('utf8');
    throw new TunnelError(
      'openstack-config',
      `${path} is larger than ${MAX_CLOUDS_FILE_BYTES >> 20} MiB`,
      {
        hint: 'check whether this is the file that you mean',
      },
    );
  } finally {
    closeSync(fd);
  }
}

function parse(path: string, text: string): Raw {
  if (!isShallowText(text)) throw tooDeep(path);
  const content = path.endsWith('.json') ? parseJson(path, text) : parseYaml(path, text);
  if (!isShallowValue(content)) throw tooDeep(path);
  // An empty file counts as a file without clouds.
  if (content === null || content === undefined) return {};
  if (!isMapping(content)) {
    throw new TunnelError('openstack-config', `${path} is not a mapping, but ${shapeOf(content)}`, {
      hint: 'a clouds.yaml begins with "clouds:" and has the clouds below it, each with its name',
    });
  }
  return content;
}

/**
 * YAML 1.1, as in the clients' own parsers: `yes` and `no` are booleans, `<<` merges. The parser's
 * own messages are not shown: they quote the text at the error, which may be a password that begins
 * with `*` or `!`.
 */
function parseYaml(path: string, text: string): unknown {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, {
    version: '1.1',
    uniqueKeys: false,
    lineCounter,
    prettyErrors: false,
  });
  const [error] = document.errors;
  if (error !== undefined) {
    const { line, col } = lineCounter.linePos(error.pos[0]);
    throw malformed(
      `${path}:${line}:${col}`,
      'YAML',
      error.code.toLowerCase().replaceAll('_', ' '),
    );
  }
  try {
    return document.toJS({ maxAliasCount: MAX_YAML_ALIASES });
  } catch {
    // Only aliases are resolved this late: one has no anchor, or there are more than
    // MAX_YAML_ALIASES.
    throw malformed(path, 'YAML', 'an alias (*NAME) stands for nothing, or for too much');
  }
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // This message quotes the text, too, and has no line. The YAML parser knows the line.
    const lineCounter = new LineCounter();
    const [error] = parseDocument(text, {
      schema: 'json',
      lineCounter,
      prettyErrors: false,
    }).errors;
    const place = error === undefined ? path : `${path}:${lineCounter.linePos(error.pos[0]).line}`;
    throw malformed(place, 'JSON', 'something is missing or in the wrong place');
  }
}

function tooDeep(path: string): TunnelError {
  return new TunnelError('openstack-config', `${path} is nested more than ${MAX_DEPTH} deep`, {
    hint: 'check whether this is the file that you mean; the settings of a cloud have few levels',
  });
}

function malformed(place: string, language: string, what: string): TunnelError {
  return new TunnelError('openstack-config', `${place}: malformed ${language}: ${what}`, {
    hint: 'correct this line or the text before it; a value that begins with * & ! @ or % needs quotes',
  });
}

function shapeOf(content: unknown): string {
  return Array.isArray(content) ? 'a list' : `a ${typeof content}`;
}

export function isMapping(value: unknown): value is Raw {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
  );
}
