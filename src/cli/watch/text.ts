/** Text for a screen of cells: wide characters take two of them. */
import stringWidth from 'string-width';
import { printable } from '../../observe/printable.ts';

export type Style = 'plain' | 'bold' | 'dim' | 'reverse' | 'good' | 'warning' | 'bad';

export interface Span {
  readonly text: string;
  readonly style: Style;
}

/** What stands in one row of the screen. */
export type Line = readonly Span[];

const characters = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
const BLOCKS = ' ▁▂▃▄▅▆▇█';
/** For terminals without Unicode, as high as the block in the same place. */
const ASCII_BLOCKS = ' ._-=+*##';
/** More is never seen: a character is rarely more than this many code units for each cell. */
const UNITS_A_CELL = 16;

/** Exactly `width` cells, made printable; text that is too long ends in `…`. */
export function fit(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const whole = printable(text.slice(0, UNITS_A_CELL * Math.max(width, 0) + UNITS_A_CELL));
  const shown = cut(whole, width);
  const blank = ' '.repeat(Math.max(0, width - stringWidth(shown)));
  return align === 'left' ? shown + blank : blank + shown;
}

function cut(text: string, width: number): string {
  if (stringWidth(text) <= width) return text;
  let kept = '';
  let used = 0;
  for (const { segment } of characters.segment(text)) {
    const cells = stringWidth(segment);
    if (used + cells > width - 1) break;
    kept += segment;
    used += cells;
  }
  return width > 0 ? `${kept}…` : '';
}

/** One span that fills the row. */
export function row(text: string, width: number, style: Style = 'plain'): Line {
  return [{ text: fit(text, width), style }];
}

/**
 * The last `width` values as columns of blocks, `height` rows, the latest one on the right. The
 * largest of `values` fills the height.
 */
export function plot(values: readonly number[], width: number, height: number): string[] {
  const shown = values.slice(-width);
  const most = Math.max(...shown, 1);
  const steps = shown.map((value) =>
    // What isn't nothing is seen.
    value <= 0 ? 0 : Math.max(1, Math.round((value / most) * height * 8)),
  );
  return Array.from({ length: height }, (_, line) => {
    const below = (height - 1 - line) * 8;
    const blocks = steps.map((step) => BLOCKS[Math.max(0, Math.min(8, step - below))] ?? ' ');
    return blocks.join('').padStart(width);
  });
}

/** For a terminal that shows ASCII only: as many cells, other characters as question marks. */
export function inAscii(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return text;
  return [...characters.segment(text)].map(({ segment }) => asciiOf(segment)).join('');
}

function asciiOf(character: string): string {
  const block = BLOCKS.indexOf(character);
  if (block !== -1) return ASCII_BLOCKS[block] ?? ' ';
  if (character === '…') return '~';
  return /^[\x20-\x7e]$/.test(character) ? character : '?'.repeat(stringWidth(character));
}
