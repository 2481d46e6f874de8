/** Shows a failure: one line with the code, one with what to do next. */
import { TunnelError, UsageError } from '../errors/errors.ts';
import { printable } from '../observe/printable.ts';

/** For a wrong argument whose message needs no hint of its own. */
const USAGE_HINT = '"tunnel --help" shows how arguments are written';

/** `detailed` (-vv) adds stacks and causes. Ends in a newline. */
export function reportError(error: unknown, detailed = false): string {
  const lines = [];
  if (error instanceof TunnelError) {
    lines.push(`tunnel: error [${printable(error.code)}]: ${printable(error.message)}`);
    const hint = error.hint ?? (error instanceof UsageError ? USAGE_HINT : undefined);
    if (hint !== undefined) lines.push(`tunnel: hint: ${printable(hint)}`);
  } else {
    lines.push(`tunnel: error [unexpected]: ${printable(describe(error))}`);
    lines.push(
      detailed
        ? 'tunnel: hint: this is a bug in the program, please report it with the lines below'
        : 'tunnel: hint: this is a bug in the program; run it again with -vv to see where',
    );
  }
  if (detailed) lines.push(...stackLines(error));
  return `${lines.join('\n')}\n`;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message === '' ? error.name : error.message;
}

/** Shows at most this many causes of an error: they may form a ring. */
const MAX_CAUSES = 8;

function stackLines(error: unknown): string[] {
  const lines: string[] = [];
  let current = error;
  for (let depth = 0; current instanceof Error && depth < MAX_CAUSES; depth += 1) {
    const prefix = depth === 0 ? '' : 'caused by ';
    lines.push(
      ...`${prefix}${current.stack ?? String(current)}`
        .split('\n')
        .map((line) => `tunnel:   ${printable(line)}`),
    );
    current = current.cause;
  }
  return lines;
}
