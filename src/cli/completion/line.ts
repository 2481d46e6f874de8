/**
 * A command line of bash, as far as it is typed, as words. Nothing is expanded: a `$(...)` stays as
 * it is, and is never run.
 */

interface ShellWord {
  /** As typed. */
  readonly raw: string;
  /** Without quotes. */
  readonly text: string;
  /** The quote that is still open at its end. */
  readonly open: '' | '"' | "'";
}

/** The last one is the word at the cursor, which may be empty. */
export function splitLine(line: string): ShellWord[] {
  const words: ShellWord[] = [];
  let raw = '';
  let text = '';
  let open: ShellWord['open'] = '';
  for (let at = 0; at < line.length; at += 1) {
    const character = line.charAt(at);
    const next = line.charAt(at + 1);
    if (open === '' && /[ \t\n]/.test(character)) {
      if (raw !== '') words.push({ raw, text, open });
      raw = '';
      text = '';
      continue;
    }
    raw += character;
    if (open === "'" ? character === open : open === '"' && character === open) open = '';
    else if (open === '' && (character === '"' || character === "'")) open = character;
    else if (character === '\\' && (open === '' || (open === '"' && /["\\$`]/.test(next)))) {
      raw += next;
      text += next;
      at += 1;
    } else text += character;
  }
  return [...words, { raw, text, open }];
}

/** Writes a text so that bash takes it literally where a quote of this kind is open. */
export function quotedFor(text: string, open: ShellWord['open']): string {
  if (open === "'") return text.replaceAll("'", "'\\''");
  if (open === '"') return text.replace(/["\\$`]/g, '\\$&');
  return text.replace(/[^\w@%+=:,./-]/g, '\\$&');
}
