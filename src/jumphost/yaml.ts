/**
 * Texts as scalars of YAML 1.1, as far as user-data and manifests need them. A text comes back from
 * any reader exactly as it was, or isn't rendered by these functions.
 */

/**
 * What PyYAML reads in a block as it stands: printable, and no line break except `\n`. Without
 * surrogates, byte order marks, and the breaks of Unicode (YAML 1.1, chapters 4.1 and 5.4).
 */
const PLAIN =
  /^[\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]*$/u;

/**
 * Lines of a literal block (`|`), without indentation. undefined for a text that a block can't
 * hold: without exactly one `\n` at its end, with a space at its beginning, or not PLAIN. Or one
 * that is not in Unicode's normal form C: what passes it on may change that, and Terraform does.
 */
export function blockLines(text: string): string[] | undefined {
  if (!/^\S/.test(text) || !/[^\n]\n$/.test(text) || !PLAIN.test(text)) return undefined;
  if (text.normalize('NFC') !== text) return undefined;
  return text.slice(0, -1).split('\n');
}

/** In double quotes, in ASCII alone. */
export function quotedScalar(text: string): string {
  const escaped = Array.from(text, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (character === '"' || character === '\\') return `\\${character}`;
    if (code >= 0x20 && code <= 0x7e) return character;
    return `\\U${code.toString(16).padStart(8, '0')}`;
  });
  return `"${escaped.join('')}"`;
}
