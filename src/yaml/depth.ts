/**
 * Bounds how deeply YAML and JSON are nested, before and after they are parsed: the parser, and
 * what reads its result, descend by recursion, and 12 KB of brackets would overflow the stack.
 *
 *   text  -> Lexer -> Parser: its stack of open collections is its depth; nothing descends yet
 *   value -> an alias inside its own anchor is endless; other aliases nest what lies side by side
 */
import { Lexer, Parser } from 'yaml';

/** A cloud's settings have 6 levels. In the parser's stack each level is at most three entries. */
export const MAX_DEPTH = 32;
const ENTRIES_OF_A_LEVEL = 3;

/** Whether the text opens no more collections in one another than MAX_DEPTH, or a few more. */
export function isShallowText(text: string): boolean {
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(text)) {
    for (const document of parser.next(lexeme)) void document;
    if (parser.stack.length > MAX_DEPTH * ENTRIES_OF_A_LEVEL) return false;
  }
  return true;
}

/** Values in a file, with those that aliases repeat. Nobody has as many. */
export const MAX_VALUES = 1_000_000;

/**
 * Whether the value has at most MAX_VALUES, each alias counted with all that it stands for: a few
 * lines can stand for gigabytes. The value must be shallow.
 */
export function isBoundedValue(value: unknown): boolean {
  const sizes = new Map<object, number>();
  const sizeOf = (it: unknown): number => {
    if (typeof it !== 'object' || it === null) return 1;
    const known = sizes.get(it);
    if (known !== undefined) return known;
    const size = Object.values(it).reduce((sum: number, inner) => sum + sizeOf(inner), 1);
    sizes.set(it, size);
    return size;
  };
  return sizeOf(value) <= MAX_VALUES;
}

/** Whether nothing in the value is deeper than MAX_DEPTH. */
export function isShallowValue(value: unknown): boolean {
  let level: readonly unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) return false;
    // What aliases repeat is looked at once in a level.
    const containers = new Set(level.filter((it) => typeof it === 'object' && it !== null));
    level = [...containers].flatMap((it) => Object.values(it ?? {}));
  }
  return true;
}
