/** Lines of spans as a terminal takes them: with colours and Unicode where it has them. */
import { inAscii, type Line, type Style } from './text.ts';

export const PLAIN = '\x1b[0m';
const CODES: Readonly<Record<Style, string>> = {
  plain: '',
  bold: '\x1b[1m',
  dim: '\x1b[2m',
  reverse: '\x1b[7m',
  good: '\x1b[32m',
  warning: '\x1b[33m',
  bad: '\x1b[31m',
};
const COLOURS: ReadonlySet<Style> = new Set(['good', 'warning', 'bad']);

/** By the locale and NO_COLOR (https://no-color.org). */
export function encoder(env: NodeJS.ProcessEnv): (line: Line) => string {
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  const unicode = /utf-?8/i.test(locale);
  const colours = (env['NO_COLOR'] ?? '') === '';
  return (line) =>
    line
      .map(({ text, style }) => {
        const shown = unicode ? text : inAscii(text);
        const code = COLOURS.has(style) && !colours ? '' : CODES[style];
        return code === '' ? shown : `${code}${shown}${PLAIN}`;
      })
      .join('');
}

/** Whether a terminal of this TERM can move its cursor. */
export function movesCursor({ TERM }: NodeJS.ProcessEnv): boolean {
  return TERM !== undefined && TERM !== '' && TERM !== 'dumb';
}
