/**
 * Writes what a command line says into a config.yaml, as a profile.
 *
 *   line ─► settings ─► withEntry(): the other profiles and all comments stay ─► a new file beside
 *   it, with the rights of the old one or 0600, synced ─► rename
 *
 * What looks like a secret is refused: the file is copied to other machines, and kept in
 * repositories.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { UsageError } from '../../errors/errors.ts';
import { systemCodeOf, writeReasonOf } from '../../errors/reason.ts';
import { quoted } from '../../net/notation.ts';
import { formatPlace, type Place, placeOfOption } from '../../net/place.ts';
import { Accounts } from '../../system/accounts.ts';
import { withEntry, type YamlValue } from '../../yaml/edit.ts';
import { readTree, type YamlNode } from '../../yaml/tree.ts';
import type { GivenArguments } from '../option.ts';
import { layerOfLine } from './apply.ts';
import { parseConfig, type Setting } from './document.ts';
import { readConfigText } from './files.ts';
import {
  beginsWithPath,
  PROFILE_KEYS,
  type ProfileKey,
  TARGETS,
  type TunnelCommand,
} from './keys.ts';

export interface Saved {
  readonly name: string;
  readonly line: GivenArguments;
  readonly command: TunnelCommand;
  /** Of --profile: the new one extends it. */
  readonly extends: string | undefined;
  readonly path: string;
  /** --force */
  readonly replace: boolean;
  /** Of the schema, for editors. */
  readonly schema: string;
}

/** What a shell's `<(...)` stands for. */
const DESCRIPTOR = /^\/(?:dev\/(?:std|fd\/)|proc\/(?:self|[0-9]+)\/fd\/)/;
/** In `--ssh-cmd` and `--ssh-option`: sshpass -p, passphrase=, https://user:password@. */
const SECRET =
  /\bsshpass\s+-p|(pass(word|phrase|wd)?|secret|token)\s*[=:]\s*\S|:\/\/[^\s/:@]+:[^\s/@]+@/i;

/** Throws UsageError. */
export async function saveProfile(saved: Saved): Promise<void> {
  const { name, replace } = saved;
  const path = withoutLinks(resolve(saved.path));
  const value = profileOf(saved);
  const before = versionOf(path);
  const text = readConfigText(path, await Accounts.read(), false);
  const file = parseConfig(path, text ?? '');
  const taken = file.profiles.get(name);
  if (taken !== undefined && !replace) {
    throw new UsageError(`${formatPlace(taken.place)}: there is a profile of this name already`, {
      hint: `give --force to replace it, or save under another name than ${quoted(name)}`,
    });
  }
  const changed =
    text === undefined || text.trim() === ''
      ? `# yaml-language-server: $schema=${saved.schema}\n${withEntry('', ['profiles', name], value)}`
      : withEntry(text, ['profiles', name], value);
  requireOthersUnchanged(path, text ?? '', changed, name);
  replaceFile(path, changed, before);
}

function profileOf({ line, command, extends: parent }: Saved): YamlValue {
  const { settings, without } = layerOfLine(line);
  const own: [string, YamlValue][] = [];
  if (parent !== undefined) own.push(['extends', parent]);
  if (without.length > 0) own.push(['without', without.map(({ text }) => text)]);
  if (command !== 'connect') own.push(['command', command]);
  for (const [name, key] of PROFILE_KEYS) {
    const setting = settings.get(name);
    if (setting !== undefined) own.push([name, yamlOf(key, setting)]);
  }
  return Object.fromEntries(own);
}

function yamlOf(key: ProfileKey, { entries }: Setting): YamlValue {
  if (key.kind === 'switch') return 'true';
  if (key.kind === 'counted') return String(entries.length);
  const texts = entries.map(({ text, place }) => textFor(key, text, place));
  return texts.length === 1 && key.name !== TARGETS ? (texts[0] ?? '') : texts;
}

/** Throws UsageError for what a file can't hold. */
function textFor(key: ProfileKey, text: string, place: Place): string {
  const { isFile, name, options } = key;
  const at = formatPlace(placeOfOption(place, options[0]?.name ?? name));
  if (SECRET.test(text)) {
    throw new UsageError(`${at}: the value looks like it has a secret in it, which is not saved`, {
      hint: 'let the command read it from a file or an agent, or leave the option out of the profile',
    });
  }
  if (isFile && (text === '-' || DESCRIPTOR.test(resolve(text)))) {
    const what = text === '-' ? 'standard input ("-")' : quoted(text);
    throw new UsageError(`${at}: ${what} is another one each time`, {
      hint: 'put it into a file, and name that',
    });
  }
  return beginsWithPath(key, text) && !text.startsWith('~/') ? resolve(text) : text;
}

/** Dotfiles are often links into a repository: the file there is replaced, not the link. */
function withoutLinks(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // it is not there yet; what else is wrong, reading it says
  }
}

/** A mistake in changing the text must not cost anybody a profile. */
function requireOthersUnchanged(path: string, before: string, after: string, name: string): void {
  const others = (text: string): unknown =>
    withoutLines(readTree(text), (trail) => trail.join('/') !== `profiles/${name}`);
  const old = others(before);
  const isNew = typeof old !== 'object';
  if (isNew || isDeepStrictEqual({ profiles: {}, ...(old as object) }, others(after))) return;
  throw new UsageError(`${path} can't be changed without changing other profiles`, {
    hint: 'add the profile with an editor: --print-config shows it',
  });
}

/** As values, to be compared. */
function withoutLines(
  node: YamlNode,
  wanted: (trail: readonly string[]) => boolean,
  trail: readonly string[] = [],
): unknown {
  if (node.kind === 'text') return node.text;
  if (node.kind === 'nothing') return trail.length === 1 ? {} : null;
  if (node.kind === 'list') return node.items.map((item) => withoutLines(item, wanted, trail));
  const entries = node.entries
    .map(({ key, value }) => ({ key, value, path: [...trail, key] }))
    .filter(({ path }) => wanted(path));
  return Object.fromEntries(
    entries.map(({ key, value, path }) => [key, withoutLines(value, wanted, path)]),
  );
}

/** Tells whether somebody else has written a file meanwhile. */
function versionOf(path: string): string {
  try {
    const { ino, size, mtimeNs } = statSync(path, { bigint: true });
    return `${ino} ${size} ${mtimeNs}`;
  } catch {
    return ''; // there is none
  }
}

/** A service may read the file by its group or by its mode. Others may not write it any more. */
function takeRights(fd: number, path: string): void {
  const old = statSync(path, { throwIfNoEntry: false });
  if (old === undefined) return;
  const own = fstatSync(fd);
  try {
    if (old.uid !== own.uid || old.gid !== own.gid) fchownSync(fd, old.uid, old.gid);
  } catch {
    return; // only root may give it away: it is the caller's alone then
  }
  fchmodSync(fd, old.mode & 0o755);
}

/** The file is the old one or the new one, whatever happens. Throws UsageError. */
function replaceFile(path: string, text: string, before: string): void {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  let fd: number | undefined;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    fd = openSync(temporary, 'wx', 0o600);
    takeRights(fd, path);
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    fsyncSync(fd);
    if (versionOf(path) !== before) {
      throw new UsageError(`${path} has been changed meanwhile, and is left as it is`, {
        hint: 'save again',
      });
    }
    renameSync(temporary, path);
  } catch (cause) {
    rmSync(temporary, { force: true });
    if (cause instanceof UsageError) throw cause;
    throw new UsageError(`${path} can't be written: ${writeReasonOf(cause)}`, {
      hint: `check the permissions of its directory (${systemCodeOf(cause)}), or name another file with --config`,
      cause,
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
