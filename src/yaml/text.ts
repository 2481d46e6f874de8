/** YAML as its parser has it before anything is made of it: every scalar is text. */
import { type Document, LineCounter, type ParsedNode, parseDocument } from 'yaml';

export interface ParsedText {
  readonly document: Document.Parsed<ParsedNode>;
  readonly lines: LineCounter;
  /** The first place where it is malformed; lines and columns begin at 1. */
  readonly problem:
    | { readonly what: string; readonly line: number; readonly column: number }
    | undefined;
}

/** Throws nothing. `version`: of YAML. */
export function parseText(text: string, version: '1.1' | '1.2'): ParsedText {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    version,
    schema: 'failsafe',
    resolveKnownTags: false,
    merge: false,
    uniqueKeys: false,
    lineCounter: lines,
    prettyErrors: false,
  });
  const [error] = document.errors;
  if (error === undefined) return { document, lines, problem: undefined };
  const { line, col: column } = lines.linePos(error.pos[0]);
  return {
    document,
    lines,
    problem: { what: error.code.toLowerCase().replaceAll('_', ' '), line, column },
  };
}
