/**
 * Writes manifests as YAML that parsers of 1.1 (kubectl) and 1.2 read alike.
 *
 *   strings        plain where they can be nothing else; otherwise in double quotes
 *   several lines  as a literal block, `|`, so that a configuration can be read in the manifest
 *   comments       a key that begins with "#": its text stands above what follows it
 */

import { comment } from '../plan.ts';
import { blockLines, quotedScalar } from '../yaml.ts';

export type Yaml = string | number | boolean | YamlMap | readonly Yaml[];
export interface YamlMap {
  readonly [key: string]: Yaml;
}

/** One document, with lines of comment before it, without the `---`. */
export function document(about: readonly string[], value: YamlMap): string {
  return `${yamlComment(about)}${mapLines(value, '').join('\n')}\n`;
}

/** YAML 1.1 also ends lines, and so comments, at U+2028 and U+2029. */
export function yamlComment(lines: readonly string[]): string {
  return `${comment(...lines)}\n`.replace(/[\u2028\u2029]/g, '?');
}

function mapLines(map: YamlMap, indent: string): string[] {
  return Object.entries(map).flatMap(([key, value]) =>
    key.startsWith('#')
      ? commentLines(value, indent)
      : entryLines(`${indent}${scalar(key)}:`, value, indent),
  );
}

function commentLines(text: Yaml, indent: string): string[] {
  const lines = yamlComment(String(text).split('\n')).trimEnd().split('\n');
  return lines.map((line) => indent + line);
}

/** `head` is what stands before the value: `key:`, or `-`. */
function entryLines(head: string, value: Yaml, indent: string): string[] {
  const body = typeof value === 'string' ? blockLines(value) : undefined;
  if (body !== undefined) {
    return [`${head} |`, ...body.map((line) => (line === '' ? '' : `${indent}  ${line}`))];
  }
  if (typeof value !== 'object') return [`${head} ${scalar(value)}`];
  if (isList(value)) {
    if (value.length === 0) return [`${head} []`];
    return [head, ...value.flatMap((item) => itemLines(item, `${indent}  `))];
  }
  const inner = mapLines(value, `${indent}  `);
  return inner.length === 0 ? [`${head} {}`] : [head, ...inner];
}

/** An item that is a map has at least one key. */
function itemLines(item: Yaml, indent: string): string[] {
  if (typeof item !== 'object' || isList(item)) return entryLines(`${indent}-`, item, indent);
  const entries = Object.entries(item);
  const leading = entries.findIndex(([key]) => !key.startsWith('#'));
  const comments = mapLines(Object.fromEntries(entries.slice(0, leading)), indent);
  const [first = '', ...rest] = mapLines(Object.fromEntries(entries.slice(leading)), `${indent}  `);
  return [...comments, `${indent}- ${first.trimStart()}`, ...rest];
}

function isList(value: YamlMap | readonly Yaml[]): value is readonly Yaml[] {
  return Array.isArray(value);
}

/** Letters first, so that it is no number, date or symbol; no `: ` and no ` #`. */
const PLAIN = /^[A-Za-z/][A-Za-z0-9_./@-]*(:[A-Za-z0-9_./@-]+)*$/;
/** What YAML 1.1 or 1.2 takes for something else (yaml.org/type/bool.html, null.html). */
const RESERVED = /^(y|n|yes|no|on|off|true|false|null)$/i;

function scalar(value: string | number | boolean): string {
  if (typeof value !== 'string') return String(value);
  return PLAIN.test(value) && !RESERVED.test(value) ? value : quotedScalar(value);
}
