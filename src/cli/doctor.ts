/** `tunnel doctor`: its options, and its report as a table or as JSON. */
import type { Command } from 'commander';
import type { DoctorOptions } from '../config/doctoroptions.ts';
import { printable } from '../observe/printable.ts';
import type { Diagnosis } from '../system/doctor/diagnosis.ts';

export type DoctorAction = (targets: readonly string[], options: DoctorOptions) => Promise<void>;

const AFTER = `
Looks at this machine, by trying where only that tells, and changes nothing. With TARGETs
it also says which of this machine's routes and rules would win over the tunnel's; with -r,
where the jump host is found, as ssh_config has it, and whether the keys of -i can be used,
connecting to nothing.

Exit codes: 0 "tunnel connect" or "tunnel exec" can capture here; 6 neither can.
`;

/** The options of `connect` that say where the jump host is, and who one is there. */
const SHARED = ['--remote', '--identity', '--port', '--jump', '--ssh-config', '--ssh-option'];

/** Adds the command. `connect` has the options that both share. */
export function addDoctorCommand(program: Command, connect: Command, action: DoctorAction): void {
  const command = program
    .command('doctor')
    .description('say which captures are possible on this machine, and why not')
    .usage('[-r REMOTE] [options] [TARGET...]')
    .argument('[targets...]')
    .option('--json', 'print the report as JSON')
    .helpOption('-h, --help', 'show this help')
    .addHelpText('after', AFTER)
    .action((targets: string[], options: DoctorOptions) => action(targets, options));
  for (const option of connect.options) {
    if (option.long !== undefined && SHARED.includes(option.long)) command.addOption(option);
  }
}

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
