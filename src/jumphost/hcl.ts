/**
 * Text for HCL, Terraform's language (its specification: hclsyntax/spec.md of hashicorp/hcl). In
 * strings and in heredocs `${` and `%{` begin templates, unless the first character is doubled.
 */

/** A string in quotes. */
export function hclString(text: string): string {
  const escaped = Array.from(escapeTemplates(text), (character) => {
    if (character === '"' || character === '\\') return `\\${character}`;
    if (!/\p{C}|[\u2028\u2029]/u.test(character)) return character;
    return `\\U${(character.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`;
  });
  return `"${escaped.join('')}"`;
}

/**
 * A text of several lines as it is. `text` ends with a newline; a heredoc has no escape for other
 * control characters. `word` ends it, with underscores behind it where the text has such a line.
 */
export function hclHeredoc(text: string, word: string): string {
  const lines = new Set(text.split('\n').map((line) => line.trim()));
  let end = word;
  while (lines.has(end)) end += '_';
  return `<<${end}\n${escapeTemplates(text)}${end}`;
}

function escapeTemplates(text: string): string {
  return text.replace(/[$%](?=\{)/g, (introducer) => introducer + introducer);
}
