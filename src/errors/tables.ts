/** The tables of docs/usage.md. A test compares them with the document. */
import { ERRORS, EXIT, EXIT_MEANINGS } from './codes.ts';

/** The table "Exit codes" of docs/usage.md. */
export function exitTable(): string {
  const names = Object.keys(EXIT_MEANINGS) as (keyof typeof EXIT)[];
  const rows = names.map((name) => `| ${EXIT[name]} | ${EXIT_MEANINGS[name]} |`);
  return ['| code | meaning |', '|---|---|', ...rows].join('\n');
}

/** The table "Errors" of docs/usage.md. */
export function errorTable(): string {
  const rows = ERRORS.map(
    ({ codes, exit, meaning }) =>
      `| ${codes.map((code) => `\`${code}\``).join(', ')} | ${exit} | ${meaning} |`,
  );
  return ['| code | exit status | what it means, what helps |', '|---|---|---|', ...rows].join(
    '\n',
  );
}
