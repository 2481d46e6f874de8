/** Markdown, as marked reads it, to the macros of man(7): what the documents here use of it. */
import type { Token, Tokens } from 'marked';

const WIDTH = 78;

/** Text in which nothing is a macro or an escape, for filled lines and arguments. */
export function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha')
    .replaceAll('`', '\\(ga')
    .replaceAll('"', '\\(dq')
    .replaceAll("'", '\\(aq');
}

/** One argument of a macro. */
export function verbatim(text: string): string {
  return `"${escaped(text)}"`;
}

/** Lines of text that is filled; it is escaped already. */
export function filled(text: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/).filter((part) => part !== '')) {
    if (line !== '' && line.length + word.length >= WIDTH) {
      lines.push(line);
      line = '';
    }
    line += line === '' ? word : ` ${word}`;
  }
  if (line !== '') lines.push(line);
  return lines.map(withoutMacro);
}

/** Lines as they are. */
export function literal(text: string): string[] {
  const lines = text.replace(/\n+$/, '').split('\n');
  return ['.nf', ...lines.map((line) => withoutMacro(escaped(line) || '\\&')), '.fi'];
}

function withoutMacro(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}

/** `heading`: the macro of the headings that come first; those below them are subsections. */
export function blocks(tokens: readonly Token[], heading: 'SH' | 'SS'): string[] {
  const depths = tokens.flatMap((token) => (token.type === 'heading' ? [token.depth] : []));
  const top = Math.min(...depths);
  return tokens.flatMap((token): string[] => {
    switch (token.type) {
      case 'heading':
        return token['depth'] === top && heading === 'SH'
          ? [`.SH ${verbatim(String(token['text']).toUpperCase())}`]
          : [`.SS ${verbatim(plainText(String(token['text'])))}`];
      case 'paragraph':
        return ['.PP', ...filled(inline(token['tokens'] ?? []))];
      case 'code':
        return ['.PP', '.RS 4', ...literal(String(token['text'])), '.RE'];
      case 'list':
        return listed(token as Tokens.List);
      case 'table':
        return rows(token as Tokens.Table);
      case 'space':
        return [];
      default:
        throw new Error(`manual pages have no form for ${token.type}: ${token.raw}`);
    }
  });
}

/** Text of Markdown without its marks. */
export function plainText(text: string): string {
  return text.replace(/[`*]/g, '').replace(/\[([^\]]*)\]\([^)]*\)/g, '$1');
}

function listed({ items }: Tokens.List): string[] {
  return items.flatMap(({ tokens }) => {
    const [first, ...rest] = tokens;
    const text = first !== undefined && 'tokens' in first ? inline(first.tokens ?? []) : '';
    const more = blocks(rest, 'SS');
    return [
      '.IP \\(bu 2',
      ...filled(text),
      ...(more.length === 0 ? [] : ['.RS 2', ...more, '.RE']),
    ];
  });
}

/** The first cell is the tag. Of more than two columns each has its heading before it. */
function rows({ header, rows: all }: Tokens.Table): string[] {
  return all.flatMap(([first, ...others]) => {
    const cells = others.flatMap((cell, index) => {
      const text = inline(cell.tokens);
      const title = inline(header[index + 1]?.tokens ?? []);
      if (text === '') return [];
      return others.length > 1 && title !== '' ? [`\\fI${title}\\fR: ${text}`] : [text];
    });
    const tag = filled(inline(first?.tokens ?? []) || '\\&');
    const [text = ['\\&'], ...more] = cells.map(filled);
    const body = [...text, ...more.flatMap((cell) => ['.br', ...cell])];
    // A tag is one line of the source.
    return tag.length === 1 ? ['.TP', ...tag, ...body] : ['.PP', ...tag, '.RS', ...body, '.RE'];
  });
}

function inline(tokens: readonly Token[]): string {
  return tokens
    .map((token): string => {
      switch (token.type) {
        case 'codespan':
        case 'strong':
          return `\\fB${escaped(plainText(unescapedEntities(String(token['text']))))}\\fR`;
        case 'em':
          return `\\fI${escaped(plainText(String(token['text'])))}\\fR`;
        case 'link':
          return inline(token['tokens'] ?? []);
        case 'text':
        case 'escape':
          return 'tokens' in token && token.tokens !== undefined
            ? inline(token.tokens)
            : escaped(unescapedEntities(String(token['text'])));
        case 'br':
          return ' ';
        default:
          return escaped(token.raw);
      }
    })
    .join('')
    .replace(/\n/g, ' ');
}

function unescapedEntities(text: string): string {
  return text
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&');
}
