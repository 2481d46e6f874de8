/**
 * Reads the text of a config.yaml into profiles. Whatever it says wrongly is a UsageError with
 * file, line and key.
 *
 *   defaults:               below every profile of the file
 *     keepalive: 10
 *   profiles:
 *     office:
 *       extends: base       one, or a list
 *       remote: user@jumphost
 *       targets: [10.0.0.0/8, api.example.com:443]
 *       dns: true
 *
 * Values stay texts, as on a command line, each with its place: the readers of the options judge
 * them later. A name of a file begins at the directory of the file that it is written in, unless it
 * begins with `/` or `~/`.
 */
import { dirname, join } from 'node:path';
import { UsageError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { formatPlace, oneOf, type Place } from '../../net/place.ts';
import { homeDirectory } from '../../system/home.ts';
import { readTree, YamlError, type YamlMapping, type YamlNode } from '../../yaml/tree.ts';
import type { Entry } from '../argsfile.ts';
import { readProfileName } from '../profileoptions.ts';
import {
  beginsWithPath,
  KEYS_ARE,
  keyMeant,
  OWN_KEYS,
  PROFILE_KEYS,
  type ProfileKey,
  requireKey,
  TUNNEL_COMMAND_NAMES,
  type TunnelCommand,
} from './keys.ts';

/** What a profile says about one option, or about the targets. */
export interface Setting {
  /** For an option without a value, an entry for each use. Empty: it is switched off. */
  readonly entries: readonly Entry[];
  readonly place: Place;
}

/** Names of options, each with its place. */
export type Names = readonly Entry[];

export interface Profile {
  /** undefined: the defaults of a file. */
  readonly name: string | undefined;
  readonly place: Place;
  readonly command: { readonly value: TunnelCommand; readonly place: Place } | undefined;
  readonly extends: Names;
  readonly without: Names;
  /** By key. */
  readonly settings: ReadonlyMap<string, Setting>;
}

export interface ConfigFile {
  readonly path: string;
  readonly defaults: Profile | undefined;
  readonly profiles: ReadonlyMap<string, Profile>;
}

const SHAPE = 'write "profiles:", below it the name of a profile, and its options below that';

/** Throws UsageError. */
export function parseConfig(path: string, text: string): ConfigFile {
  let tree: YamlNode;
  try {
    tree = readTree(text);
  } catch (error) {
    if (!(error instanceof YamlError)) throw error;
    throw new UsageError(`${path}:${error.line}: ${error.message}`, { hint: error.hint });
  }
  const reader = new DocumentReader(path);
  const profiles = new Map<string, Profile>();
  let defaults: Profile | undefined;
  for (const { key, line, value } of reader.entriesOf(tree, undefined)) {
    const place = reader.place(line, key);
    if (key === 'defaults') defaults = reader.profile(undefined, place, value);
    else if (key === 'profiles') {
      for (const entry of reader.entriesOf(value, key)) {
        const name = readProfileName(entry.key, reader.place(entry.line));
        profiles.set(name, reader.profile(name, reader.place(entry.line, name), entry.value));
      }
    } else throw unknownKey(key, reader.place(line), ['defaults', 'profiles'], SHAPE);
  }
  return { path, defaults, profiles };
}

class DocumentReader {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  place(line: number, key?: string): Place {
    return {
      kind: 'file',
      path: this.#path,
      line,
      ...(key === undefined ? {} : { option: key }),
    };
  }

  /** `key`: whose value it is; undefined: the whole file. A file may be empty, and so may a key. */
  entriesOf(node: YamlNode, key: string | undefined): YamlMapping['entries'] {
    if (node.kind === 'nothing') return [];
    if (node.kind === 'mapping') return node.entries;
    const what = node.kind === 'list' ? 'a list' : 'a text';
    throw new UsageError(
      `${formatPlace(this.place(node.line, key))}: ${what} is in the place of keys and values`,
      { hint: key === undefined || key === 'profiles' ? SHAPE : 'write its options as KEY: VALUE' },
    );
  }

  profile(name: string | undefined, place: Place, node: YamlNode): Profile {
    const settings = new Map<string, Setting>();
    let command: Profile['command'];
    let parents: Names = [];
    let without: Names = [];
    for (const { key, line, value } of this.entriesOf(node, name ?? 'defaults')) {
      const at = this.place(line, key);
      const known = PROFILE_KEYS.get(key);
      if (known !== undefined) settings.set(key, this.#setting(known, at, value));
      else if (key === 'command') command = this.#command(at, value);
      else if (key === 'without') without = this.#options(at, value);
      else if (key === 'extends' && name !== undefined) parents = this.#texts(at, value);
      else {
        const ownKeys = Object.keys(OWN_KEYS).filter(
          (own) => name !== undefined || own !== 'extends',
        );
        throw unknownKey(key, this.place(line), [...PROFILE_KEYS.keys(), ...ownKeys], KEYS_ARE);
      }
    }
    return { name, place, command, extends: parents, without, settings };
  }

  #command(place: Place, node: YamlNode): Profile['command'] {
    const [entry, ...others] = this.#texts(place, node);
    if (entry === undefined || others.length > 0 || node.kind === 'list')
      throw wrongType(place, node, `one of ${TUNNEL_COMMAND_NAMES.join(', ')}`);
    const hint = `a profile is for a command that runs a tunnel: ${TUNNEL_COMMAND_NAMES.join(', ')}`;
    return { value: oneOf(TUNNEL_COMMAND_NAMES, entry.text, entry.place, hint), place };
  }

  #options(place: Place, node: YamlNode): Names {
    const names = this.#texts(place, node);
    for (const { text, place: at } of names) requireKey(text, at);
    return names;
  }

  #setting(key: ProfileKey, place: Place, node: YamlNode): Setting {
    return { entries: this.#entries(key, place, node), place };
  }

  #entries(key: ProfileKey, place: Place, node: YamlNode): readonly Entry[] {
    switch (key.kind) {
      case 'switch': {
        const isOn = truthOf(node);
        if (isOn === undefined) throw wrongType(place, node, 'true or false');
        return isOn ? [{ text: '', place }] : [];
      }
      case 'counted': {
        const isOn = truthOf(node);
        const text = node.kind === 'text' && node.plain ? node.text : '';
        const count =
          isOn === undefined ? (/^[0-9]$/.test(text) ? Number(text) : undefined) : Number(isOn);
        if (count === undefined)
          throw wrongType(place, node, 'a number from 0 to 9, true or false');
        return Array.from({ length: count }, () => ({ text: '', place }));
      }
      case 'once': {
        if (node.kind !== 'text') throw wrongType(place, node, 'one value', onceHint(key));
        return [this.#value(key, { text: node.text, place })];
      }
      case 'repeated':
        return this.#texts(place, node).map((entry) => this.#value(key, entry));
    }
  }

  /** One text, or a list of some. */
  #texts(place: Place, node: YamlNode): readonly Entry[] {
    if (node.kind === 'text') return [{ text: node.text, place }];
    if (node.kind !== 'list') throw wrongType(place, node, 'a value, or a list of values');
    if (node.items.length === 0) {
      throw new UsageError(`${formatPlace(place)}: the list is empty`, {
        hint: 'leave the key out; "without: [KEY]" drops what another profile says',
      });
    }
    return node.items.map((item) => {
      const at = place.kind === 'file' ? { ...place, line: item.line } : place;
      if (item.kind === 'text') return { text: item.text, place: at };
      throw wrongType(at, item, 'a value in the list', TEXT_HINT);
    });
  }

  #value(key: ProfileKey, { text, place }: Entry): Entry {
    if (!beginsWithPath(key, text)) return { text, place };
    if (text.startsWith('~/')) return { text: join(homeDirectory(), text.slice(2)), place };
    return { text: text.startsWith('/') ? text : join(dirname(this.#path), text), place };
  }
}

const TEXT_HINT = 'a value with ": " or " #" in it needs quotes';

function onceHint({ name }: ProfileKey): string {
  return name === 'allow'
    ? 'name a file; rules themselves are a list of "allow-rule"'
    : `it is given once: write ${name}: VALUE; ${TEXT_HINT}`;
}

/** undefined: it is no truth value. Only these words are, and not in quotes. */
function truthOf(node: YamlNode): boolean | undefined {
  if (node.kind !== 'text' || !node.plain || !/^(true|false)$/.test(node.text)) return undefined;
  return node.text === 'true';
}

function wrongType(place: Place, node: YamlNode, expected: string, hint?: string): UsageError {
  const found =
    node.kind === 'nothing'
      ? 'nothing'
      : node.kind === 'text'
        ? `${quoted(node.text)}${node.plain ? '' : ' in quotes'}`
        : `a ${node.kind}`;
  return new UsageError(`${formatPlace(place)}: expected ${expected}, not ${found}`, {
    hint:
      hint ??
      (node.kind === 'nothing' ? 'write a value, or leave the key out' : `write ${expected}`),
  });
}

function unknownKey(
  key: string,
  place: Place,
  known: readonly string[],
  otherwise: string,
): UsageError {
  const meant = keyMeant(key, known);
  return new UsageError(`${formatPlace(place)}: there is no key ${quoted(key)}`, {
    hint: meant === undefined ? otherwise : `did you mean "${meant}"?`,
  });
}
