/**
 * Reads YAML that people write by hand as settings, with the line of everything.
 *
 *   text ─► depth.ts ─► yaml's parser, without types ─► texts, lists and mappings, each with a line
 *
 * A scalar is the text that is written there: `0022` is no number, `no` is no truth value, and
 * `12:30` is no time. Who reads it knows what it should be. Anchors, aliases, tags and `<<` are
 * refused: they hide where a value comes from, and a few of them stand for gigabytes.
 */
import { isAlias, isMap, isNode, isScalar, isSeq, type LineCounter, Scalar } from 'yaml';
import { isShallowText, MAX_DEPTH } from './depth.ts';
import { parseText } from './text.ts';

export interface YamlText {
  readonly kind: 'text';
  readonly text: string;
  /** Without quotes. */
  readonly plain: boolean;
  /** The first is 1. */
  readonly line: number;
}

export interface YamlList {
  readonly kind: 'list';
  readonly items: readonly YamlNode[];
  readonly line: number;
}

export interface YamlMapping {
  readonly kind: 'mapping';
  readonly entries: readonly YamlEntry[];
  readonly line: number;
}

export interface YamlEntry {
  readonly key: string;
  readonly line: number;
  readonly value: YamlNode;
}

/** Nothing is written there. */
export interface YamlNothing {
  readonly kind: 'nothing';
  readonly line: number;
}

export type YamlNode = YamlText | YamlList | YamlMapping | YamlNothing;

/** Where and why a text can't be read. */
export class YamlError extends Error {
  readonly line: number;
  readonly hint: string;

  constructor(line: number, message: string, hint: string) {
    super(message);
    this.line = line;
    this.hint = hint;
  }
}

const CHECK_LINE = 'check this line and the one before it: indentation, quotes, brackets';

/** Throws YamlError. */
export function readTree(text: string): YamlNode {
  if (!isShallowText(text)) {
    throw new YamlError(
      1,
      `it is nested more than ${MAX_DEPTH} deep`,
      'check that it is the right file',
    );
  }
  const { document, lines, problem } = parseText(text, '1.2');
  if (problem !== undefined)
    throw new YamlError(problem.line, `malformed YAML: ${problem.what}`, CHECK_LINE);
  return convert(document.contents, lines, 1);
}

/** `line`: of what is around it. */
function convert(node: unknown, lines: LineCounter, line: number): YamlNode {
  if (!isNode(node)) return { kind: 'nothing', line };
  const at = node.range === undefined || node.range === null ? line : lineOf(node.range[0], lines);
  if (isAlias(node)) {
    throw new YamlError(
      at,
      'an alias (*NAME) is not read here',
      'if the value begins with *, put it in quotes; to share settings, use "extends"',
    );
  }
  if ('anchor' in node && node.anchor !== undefined) {
    throw new YamlError(
      at,
      'an anchor (&NAME) is not read here',
      'if the value begins with &, put it in quotes; to share settings, use "extends"',
    );
  }
  if ('tag' in node && node.tag !== undefined) {
    throw new YamlError(
      at,
      'a tag (!NAME) is not read here',
      'if the value begins with !, put it in quotes',
    );
  }
  if (isScalar(node)) return convertScalar(node, at, line);
  if (isSeq(node))
    return {
      kind: 'list',
      items: node.items.map((item) => convert(item, lines, at)),
      line: at,
    };
  if (!isMap(node))
    throw new YamlError(at, 'it is neither text nor a list nor a mapping', CHECK_LINE);
  const entries: YamlEntry[] = [];
  const seen = new Map<string, number>();
  for (const pair of node.items) {
    const key = convert(pair.key, lines, at);
    if (key.kind !== 'text') throw new YamlError(key.line, 'a key is not text', CHECK_LINE);
    const before = seen.get(key.text);
    if (before !== undefined) {
      throw new YamlError(
        key.line,
        `${JSON.stringify(key.text)} is written twice, the first time in line ${before}`,
        'leave one of them out; several values of one key are a list: [a, b]',
      );
    }
    seen.set(key.text, key.line);
    const value = convert(pair.value, lines, key.line);
    entries.push({ key: key.text, line: key.line, value });
  }
  return { kind: 'mapping', entries, line: at };
}

/** `around`: the line of its key. A key without a value has its own line. */
function convertScalar(node: Scalar, line: number, around: number): YamlText | YamlNothing {
  const plain = node.type === Scalar.PLAIN || node.type === undefined;
  const text = typeof node.value === 'string' ? node.value : '';
  if (plain && text === '') return { kind: 'nothing', line: around };
  if (text.includes('\0'))
    throw new YamlError(line, 'a value has a NUL character', 'take it out: no option has one');
  return { kind: 'text', text, plain, line };
}

function lineOf(offset: number, lines: LineCounter): number {
  return lines.linePos(offset).line;
}
