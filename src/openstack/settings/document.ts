/**
 * The values of a YAML file, as PyYAML's safe loader makes them, which all OpenStack clients in
 * Python use.
 *
 *   text ─► characters, tabs ─► yaml's parser, as text only ─► scalars.ts, tags, anchors, `<<`
 *
 * Where PyYAML refuses a file, it is refused here: tabs between values, tags such as `!vault`,
 * aliases without anchor. An anchor may be used as often as one likes: what it stands for is made
 * once and shared, as in PyYAML. Messages never quote the text: it may be a password.
 *
 * What PyYAML takes and this doesn't: an alias inside its own anchor, `!!binary`, `!!set`, `!!omap`
 * and `!!pairs`, a key that is empty or a list, a lone `-` in brackets. Keys are text as written:
 * `123:` is "123" here, and a number in Python, which no client finds by name.
 */
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  type LineCounter,
  type Node,
  Scalar,
  type YAMLMap,
} from 'yaml';
import { MAX_VALUES } from '../../yaml/depth.ts';
import { parseText } from '../../yaml/text.ts';
import { plainScalar, type ScalarValue, taggedScalar } from './scalars.ts';

/** Where and why a text isn't YAML that the clients can read. */
export class UnreadableYaml extends Error {
  readonly line: number;
  readonly column: number;
  /** false: it is YAML, but not what a clouds.yaml can contain. */
  readonly malformed: boolean;

  constructor(message: string, { line, col }: { line: number; col: number }, malformed = true) {
    super(message);
    this.line = line;
    this.column = col;
    this.malformed = malformed;
  }
}

/** An alias inside its own anchor: such a value has no end. */
export class EndlessYaml extends Error {}

/** `<<` brings more keys than a file may have values. */
export class OversizeYaml extends Error {}

/** The parser takes more: a password that begins with `&` would be an anchor without a value. */
const ANCHOR = /^[-0-9A-Za-z_]+$/;
/** Text for YAML 1.2 and the parser, but not for PyYAML inside of brackets. */
const ODD_IN_FLOW = /^:|\?/;
const NEEDS_QUOTES = 'a value that needs quotes';
const YAML_TAG = 'tag:yaml.org,2002:';
/** PyYAML's own list, from the specification of YAML 1.1. */
const UNPRINTABLE = /[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u;
/** Line breaks for YAML 1.1, text for YAML 1.2 and for the parser. */
const OTHER_BREAKS = /[\x85\u2028\u2029]/;

/**
 * The values: mappings are objects without prototype's names, lists are arrays, leaves are
 * ScalarValues. Throws UnreadableYaml, EndlessYaml and OversizeYaml. The depth must have been
 * checked before.
 */
export function readYaml(text: string): unknown {
  // Python reads text files so.
  const unified = text.replaceAll('\r\n', '\n').replaceAll('\r', '\n');
  refuseCharacters(unified);
  refuseTabs(unified);
  const { document, lines, problem } = parseText(unified, '1.1');
  if (problem !== undefined)
    throw new UnreadableYaml(problem.what, { line: problem.line, col: problem.column });
  return new Construction(document, lines).value(document.contents);
}

function refuseCharacters(text: string): void {
  const found = UNPRINTABLE.exec(text) ?? OTHER_BREAKS.exec(text);
  if (found === null) return;
  const code = (found[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  throw new UnreadableYaml(`the character U+${code} is not allowed`, positionOf(text, found.index));
}

/** A tab may be in quotes, in a comment, or in a block of text, and nowhere else. */
function refuseTabs(text: string): void {
  if (!text.includes('\t')) return;
  let offset = 0;
  let afterMark = false;
  let block = false;
  for (const lexeme of new Lexer().lex(text)) {
    // Marks of the lexer: a document begins, a flow ends early, a scalar follows.
    if (lexeme === '\u0002' || lexeme === '\u0018') continue;
    if (lexeme === '\u001f') {
      afterMark = true;
      continue;
    }
    const free = !/^["'#]/.test(lexeme) && !(afterMark && block);
    if (free && lexeme.includes('\t')) {
      const at = offset + lexeme.indexOf('\t');
      throw new UnreadableYaml('a tab outside of quotes', positionOf(text, at));
    }
    block = afterMark ? false : /^[|>]/.test(lexeme) || block;
    afterMark = false;
    offset += lexeme.length;
  }
}

function positionOf(text: string, offset: number): { line: number; col: number } {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, col: (before.at(-1)?.length ?? 0) + 1 };
}

class Construction {
  readonly #lines: LineCounter;
  readonly #anchors = new Map<string, Node>();
  readonly #made = new Map<Node, unknown>();
  readonly #open = new Set<Node>();
  readonly #merging = new Set<Node>();
  readonly #pairs = new Map<Node, ReadonlyMap<string, unknown>>();
  /** Keys that all `<<` have brought. */
  #merged = 0;

  constructor(document: Document, lines: LineCounter) {
    this.#lines = lines;
    this.#inspect(document.contents, false);
  }

  /**
   * Collects anchors, before the values are made: an alias may be met in a mapping that is merged,
   * before its anchor is. Refuses what the parser takes for text, and PyYAML doesn't.
   */
  #inspect(node: unknown, inFlow: boolean): void {
    if (!isNode(node)) return;
    if ('anchor' in node && typeof node.anchor === 'string') {
      if (!ANCHOR.test(node.anchor))
        throw this.#unreadable(node, 'an anchor (&NAME) of odd letters');
      if (this.#anchors.has(node.anchor)) throw this.#unreadable(node, 'an anchor twice');
      this.#anchors.set(node.anchor, node);
    }
    const odd =
      isScalar(node) &&
      (node.tag === '!' || (isPlain(node) && ODD_IN_FLOW.test(node.source ?? '')));
    if (inFlow && odd) throw this.#unreadable(node, `${NEEDS_QUOTES} inside of brackets`, false);
    const flow = inFlow || ((isSeq(node) || isMap(node)) && node.flow === true);
    if (isSeq(node)) for (const item of node.items) this.#inspect(item, flow);
    if (!isMap(node)) return;
    for (const { key, value } of node.items) {
      this.#inspect(key, flow);
      this.#inspect(value, flow);
    }
  }

  value(node: unknown): unknown {
    if (!isNode(node)) return null;
    const target = this.#target(node);
    if (this.#made.has(target)) return this.#made.get(target);
    if (this.#open.has(target)) throw new EndlessYaml();
    this.#open.add(target);
    const value = this.#make(target);
    this.#open.delete(target);
    this.#made.set(target, value);
    return value;
  }

  #target(node: Node): Node {
    if (!isAlias(node)) return node;
    const target = this.#anchors.get(node.source);
    const before = (target?.range?.[0] ?? 0) <= (node.range?.[0] ?? 0);
    if (target === undefined || !before)
      throw this.#unreadable(node, 'an alias (*NAME) without anchor');
    return target;
  }

  #make(node: Node): unknown {
    if (isScalar(node)) return this.#scalar(node);
    if (isSeq(node)) {
      if (!isOwnTag(node.tag, 'seq')) throw this.#wrongTag(node);
      return node.items.map((item) => this.value(item));
    }
    if (!isMap(node)) throw this.#unreadable(node, 'neither text nor a list nor a mapping');
    return Object.fromEntries(
      [...this.#pairsOf(node)].map(([key, value]) => [key, this.value(value)]),
    );
  }

  #scalar(node: Scalar): ScalarValue {
    const text = node.source ?? '';
    const { tag } = node;
    const value =
      tag === '!' || (tag === undefined && isPlain(node))
        ? plainScalar(text)
        : tag === undefined
          ? text
          : tag.startsWith(YAML_TAG)
            ? taggedScalar(tag.slice(YAML_TAG.length), text)
            : undefined;
    if (value !== undefined) return value;
    if (tag !== undefined && tag !== '!') throw this.#wrongTag(node);
    throw this.#unreadable(node, NEEDS_QUOTES, false);
  }

  /** The keys of a mapping with those that `<<` brings; its own win, and then the first merged. */
  #pairsOf(node: YAMLMap): ReadonlyMap<string, unknown> {
    const known = this.#pairs.get(node);
    if (known !== undefined) return known;
    if (!isOwnTag(node.tag, 'map')) throw this.#wrongTag(node);
    if (this.#merging.has(node)) throw new EndlessYaml();
    this.#merging.add(node);
    const merged = new Map<string, unknown>();
    const own = new Map<string, unknown>();
    for (const { key, value } of node.items) {
      if (isMergeKey(key)) this.#merge(node, value, merged);
      else own.set(this.#key(key, node), value);
    }
    this.#merging.delete(node);
    const pairs = new Map([...merged, ...own]);
    this.#pairs.set(node, pairs);
    return pairs;
  }

  #merge(into: YAMLMap, value: unknown, merged: Map<string, unknown>): void {
    const target = isNode(value) ? this.#target(value) : undefined;
    const sources = isSeq(target) ? target.items.toReversed() : [target];
    for (const item of sources) {
      const source = isNode(item) ? this.#target(item) : undefined;
      if (!isMap(source)) throw this.#unreadable(into, '"<<" takes mappings only');
      const pairs = this.#pairsOf(source);
      this.#merged += pairs.size;
      if (this.#merged > MAX_VALUES) throw new OversizeYaml();
      for (const [key, inner] of pairs) merged.set(key, inner);
    }
  }

  #key(key: unknown, mapping: YAMLMap): string {
    const target = isNode(key) ? this.#target(key) : undefined;
    if (!isScalar(target)) throw this.#unreadable(mapping, 'a key that is not text');
    const { source = '' } = target;
    if (source === '' && isPlain(target)) throw this.#unreadable(target, 'a key that is empty');
    // Python's parser has `=` as a key, and not as a value.
    if (target.tag !== undefined || (isPlain(target) && source !== '=')) this.#scalar(target);
    return source;
  }

  #wrongTag(node: Node): UnreadableYaml {
    const tag = (node.tag ?? '').replace(YAML_TAG, '!!');
    // A tag may be the beginning of a password that lacks its quotes.
    const known = /^!(?:vault|!(?:binary|set|omap|pairs))$/.test(tag);
    const what = known ? `the tag ${tag}` : 'a tag (!NAME)';
    return this.#unreadable(node, `${what}, which OpenStack's clients can't read`, false);
  }

  #unreadable(node: Node, what: string, malformed = true): UnreadableYaml {
    return new UnreadableYaml(what, this.#lines.linePos(node.range?.[0] ?? 0), malformed);
  }
}

function isOwnTag(tag: string | undefined, kind: 'map' | 'seq'): boolean {
  return tag === undefined || tag === '!' || tag === `${YAML_TAG}${kind}`;
}

function isPlain(node: Scalar): boolean {
  return node.type === Scalar.PLAIN || node.type === undefined;
}

function isMergeKey(key: unknown): boolean {
  return isScalar(key) && key.source === '<<' && key.tag === undefined && isPlain(key);
}
