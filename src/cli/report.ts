/** Shows a failure: one line with the code, one with what to do next. */
import { TunnelError, UsageError } from '../errors/errors.ts';
import { causesOf } from '../errors/reason.ts';
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

function stackLines(error: unknown): string[] {
  return [...causesOf(error)].flatMap((cause, depth) => {
    const prefix = depth === 0 ? '' : 'caused by ';
    return `${prefix}${cause.stack ?? String(cause)}`
      .split('\n')
      .map((line) => `tunnel:   ${printable(line)}`);
  });
}
