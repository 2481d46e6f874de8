/** `tunnel doctor`: its options, and its report as a table or as JSON. */
import { DOCTOR_GROUPS } from '../config/doctoroptions.ts';
import { printable } from '../observe/printable.ts';
import type { Diagnosis } from '../system/doctor/diagnosis.ts';
import type { CommandDeclaration } from './command.ts';

const AFTER = `
Checks this machine, by trial where nothing else can tell, and changes nothing. With
TARGETs it also says which of this machine's routes and rules would win over the
tunnel's. With -r it says which address ssh_config gives for the jump host, and whether
the keys of -i can be used. It connects to nothing.

Exit codes: 0 "tunnel connect" or "tunnel exec" can capture here; 6 neither can.
`;

export const DOCTOR: CommandDeclaration = {
  name: 'doctor',
  description: 'show which kinds of capture work on this machine, and why the others do not',
  usage: '[-r REMOTE] [options] [TARGET...]',
  takesOperands: true,
  groups: DOCTOR_GROUPS,
  answersSshuttle: false,
  after: AFTER,
};

const MARKS = { ok: 'ok', note: 'note', warning: 'warning', failed: 'no' } as const;
const INDENT = '  ';

/** Ends in a newline. */
export function formatTable({ captures, findings }: Diagnosis): string {
  const rows = [
    ...captures.map(
      ({ name, possible, why }) => [name, possible ? 'yes' : 'no', why, undefined] as const,
    ),
    undefined,
    ...findings.map(({ name, state, detail, hint }) => [name, MARKS[state], detail, hint] as const),
  ];
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row?.[column]?.length ?? 0)));
  const lines = rows.flatMap((row) => {
    if (row === undefined) return [''];
    const [name, mark, detail, hint] = row;
    const begin = `${name.padEnd(widths[0] ?? 0)}${INDENT}${mark.padEnd(widths[1] ?? 0)}${INDENT}`;
    return [
      `${begin}${printable(detail)}`.trimEnd(),
      ...(hint === undefined ? [] : [`${' '.repeat(begin.length)}-> ${printable(hint)}`]),
    ];
  });
  return `${lines.join('\n')}\n`;
}

export function formatJson(diagnosis: Diagnosis): string {
  return `${JSON.stringify(diagnosis, undefined, 2)}\n`;
}
