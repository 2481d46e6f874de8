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
import {
  isBoundedValue,
  isShallowText,
  isShallowValue,
  MAX_DEPTH,
  MAX_VALUES,
} from '../../yaml/depth.ts';
import { EndlessYaml, OversizeYaml, readYaml, UnreadableYaml } from './document.ts';
import { jsonNumber, Unquoted } from './scalars.ts';

/** Nobody has a larger configuration. */
const MAX_CLOUDS_FILE_BYTES = 1024 * 1024;
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

/** The variable that names a file of the kind, and its value. undefined: it isn't set. */
export function namedFile(
  kind: FileKind,
  env: Surroundings['env'],
): { readonly variable: string; readonly path: string } | undefined {
  const variable = OVERRIDES[kind];
  const path = variable === undefined ? undefined : env[variable];
  return variable === undefined || path === undefined || path === ''
    ? undefined
    : { variable, path };
}

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
  const override = namedFile(kind, env)?.path;
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
    if (bytes !== undefined) return decoded(path, bytes);
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

/** A wrong byte in a password would otherwise become another password. */
function decoded(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new TunnelError('openstack-config', `${path} is not text in UTF-8`, {
      hint: 'save the file as UTF-8',
    });
  }
}

function parse(path: string, text: string): Raw {
  if (!isShallowText(text)) throw tooDeep(path);
  const content = path.endsWith('.json') ? parseJson(path, text) : parseYaml(path, text);
  if (!isShallowValue(content)) throw tooDeep(path);
  if (!isBoundedValue(content)) throw tooMany(path);
  // An empty file counts as a file without clouds.
  if (content === null || content === undefined) return {};
  if (!isMapping(content)) {
    throw new TunnelError('openstack-config', `${path} is not a mapping, but ${shapeOf(content)}`, {
      hint: 'a clouds.yaml begins with "clouds:" and has the clouds below it, each with its name',
    });
  }
  return content;
}

function parseYaml(path: string, text: string): unknown {
  try {
    return readYaml(text);
  } catch (error) {
    if (error instanceof EndlessYaml) throw tooDeep(path);
    if (error instanceof OversizeYaml) throw tooMany(path);
    if (!(error instanceof UnreadableYaml)) throw error;
    const { line, column, message } = error;
    const what = error.malformed ? `malformed YAML: ${message}` : message;
    throw malformed(`${path}:${line}:${column}`, what);
  }
}

/** Marks numbers while JSON is parsed: the parser would lose how they are written. */
const NUMBER_MARK = '\u0000number:';
const JSON_STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/g;

function parseJson(path: string, text: string): unknown {
  try {
    JSON.parse(text);
  } catch {
    // The message quotes the text, and has no line. The YAML parser knows the line.
    const lineCounter = new LineCounter();
    const [error] = parseDocument(text, {
      schema: 'json',
      lineCounter,
      prettyErrors: false,
    }).errors;
    const place = error === undefined ? path : `${path}:${lineCounter.linePos(error.pos[0]).line}`;
    throw malformedJson(place, text);
  }
  const marked = text.replace(JSON_STRING_OR_NUMBER, (token) =>
    token.startsWith('"') ? token : JSON.stringify(NUMBER_MARK + token),
  );
  return JSON.parse(marked, (_, value: unknown) =>
    typeof value === 'string' && value.startsWith(NUMBER_MARK)
      ? jsonNumber(value.slice(NUMBER_MARK.length))
      : value,
  );
}

function tooDeep(path: string): TunnelError {
  return new TunnelError('openstack-config', `${path} is nested more than ${MAX_DEPTH} deep`, {
    hint: 'check whether this is the file that you mean; the settings of a cloud have few levels',
  });
}

function tooMany(path: string): TunnelError {
  return new TunnelError(
    'openstack-config',
    `${path} stands for more than ${MAX_VALUES} values, through aliases (*NAME)`,
    { hint: 'an anchor may be used often, but not by aliases that multiply each other' },
  );
}

function malformed(place: string, what: string): TunnelError {
  return new TunnelError('openstack-config', `${place}: ${what}`, {
    hint: 'correct this line or the text before it; a value that begins with * & ! @ = or % needs quotes',
  });
}

function malformedJson(place: string, text: string): TunnelError {
  const what = text.startsWith('\ufeff')
    ? 'it begins with a byte-order mark'
    : 'something is missing or in the wrong place';
  return new TunnelError('openstack-config', `${place}: malformed JSON: ${what}`, {
    hint: 'JSON has no byte-order mark, no comments, and no comma before a bracket that closes',
  });
}

function shapeOf(content: unknown): string {
  if (content instanceof Unquoted) return `a ${content.kind}`;
  return Array.isArray(content) ? 'a list' : `a ${typeof content}`;
}

export function isMapping(value: unknown): value is Raw {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Unquoted)
  );
}

/** The clouds of a file by name; empty: it has none. Throws TunnelError `openstack-config`. */
export function cloudsOf(file: CloudsFile | undefined, key: 'clouds' | 'public-clouds'): Raw {
  const clouds = file?.content[key];
  if (file === undefined || clouds === undefined || clouds === null) return {};
  if (isMapping(clouds)) return clouds;
  throw new TunnelError(
    'openstack-config',
    `${file.path}: "${key}" is not a mapping of names to clouds`,
    { hint: 'write each cloud as "NAME:" below it, with its settings indented' },
  );
}
