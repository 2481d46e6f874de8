/**
 * Changes one entry of a YAML file that people write by hand. Comments and the order of everything
 * else stay; indentation and quotes become the usual ones.
 */
import { isMap, parseDocument } from 'yaml';

/** Texts, and lists of texts. A text is written without quotes where it can be. */
export type YamlValue = string | readonly string[] | { readonly [key: string]: YamlValue };

/**
 * The text with this entry. One at the same place is replaced. `path`: the keys that lead to it.
 * The text must be readable by tree.ts.
 */
export function withEntry(text: string, path: readonly string[], value: YamlValue): string {
  const document = parseDocument(text, {
    schema: 'failsafe',
    resolveKnownTags: false,
    merge: false,
    prettyErrors: false,
  });
  const [first, ...rest] = path;
  // A key without a value ("profiles:") is no mapping yet.
  if (first !== undefined && !isMap(document.get(first)))
    document.set(first, document.createNode({}));
  document.setIn([first, ...rest], document.createNode(value));
  return document.toString({ lineWidth: 0 });
}

/** Plain text that can't be taken for anything else. */
const PLAIN = /^[\w./~+][\w./~+:@,=%-]*$/;

/** One text in YAML, for a line that is written by hand. */
export function yamlText(text: string): string {
  const other = /:$|^~$|^(true|false|null|yes|no|on|off)$/i;
  return PLAIN.test(text) && !other.test(text) ? text : JSON.stringify(text);
}
