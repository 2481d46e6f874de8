/** `tunnel doctor`: its options, and its report as a table, as JSON, or as one line. */
import { isLinux } from '../base/platform.ts';
import { DOCTOR_GROUPS } from '../config/doctoroptions.ts';
import { EXIT, type ExitStatus, exitStatusOf } from '../errors/codes.ts';
import { printable, printableJson } from '../observe/printable.ts';
import { canCapture, type Diagnosis, type Finding } from '../system/doctor/diagnosis.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  tunnel doctor
      what works on this machine
  tunnel doctor -r user@jumphost 10.0.0.0/8 api.corp.example:443
      logs in, opens api.corp.example:443 and an address of 10.0.0.0/8 once, and tells what
      is in the way of each
  tunnel doctor -r user@jumphost --quiet api.corp.example:443
      for monitoring: one line, and the exit status
`;

const AFTER = `
Checks this machine, by trial where nothing else can tell, and changes nothing. With
TARGETs it also says which of this machine's routes and rules would win over the
tunnel's.

With -r it logs in once, as "tunnel connect" does, and asks as that does about a host
key that is not known. It opens each target that is an address or a name with a port,
and the first address of each range (more with --probe), and closes it again. A range
or name without ports is tried with port 443. It asks the resolvers of --dns and
--dns-server, and looks up the endpoints of --os-cloud. It runs nothing on the jump host.
It takes all options of "tunnel connect". --ready-fd has no effect, and nothing is left
listening. With --offline it looks the jump host up and connects to nothing.

Exit codes:
  0  no problem was found, and "tunnel connect" or "tunnel exec" can capture here
  2  usage                                4  host key rejected
  3  authentication failed                6  neither can capture here
  5  the jump host can't be reached, or a target or resolver can't through it
`;

export const DOCTOR: CommandDeclaration = {
  name: 'doctor',
  description: 'tell what works on this machine and at the jump host, and why the rest does not',
  summary: 'tell what works here and at the jump host, and why the rest does not',
  purpose: 'Look',
  usage: '[-r REMOTE] [options] [TARGET...]',
  takesOperands: true,
  groups: DOCTOR_GROUPS,
  answersSshuttle: true,
  examples: EXAMPLES,
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

/** Ends in a newline. `oneLine`: only the verdict, for monitoring. */
export function formatJson(diagnosis: Diagnosis, oneLine: boolean): string {
  const { state, exitStatus, line } = verdictOf(diagnosis);
  const verdict = { state, exitStatus, summary: line };
  return oneLine
    ? `${printableJson(verdict)}\n`
    : `${printableJson({ ...verdict, ...diagnosis }, 2)}\n`;
}

/** Ends in a newline. */
export function formatLine(diagnosis: Diagnosis): string {
  const { state, line } = verdictOf(diagnosis);
  return `${state}: ${printable(line)}\n`;
}

export interface DoctorVerdict {
  readonly state: 'ok' | 'problem';
  readonly exitStatus: ExitStatus;
  /** The first problem, or what is well. */
  readonly line: string;
}

/** A problem of the login comes first: the others may follow from it. */
export function verdictOf(diagnosis: Diagnosis): DoctorVerdict {
  const { findings } = diagnosis;
  const failed = findings.filter(({ state, name }) => state === 'failed' && !OF_CAPTURE.has(name));
  const [first] = failed;
  if (first !== undefined) {
    const more = failed.length > 1 ? ` (and ${failed.length - 1} more)` : '';
    return {
      state: 'problem',
      exitStatus: exitStatusFor(first),
      line: `${first.name}: ${first.detail}${more}`,
    };
  }
  // On other systems than Linux nothing is wrong with that.
  if (!canCapture(diagnosis) && isLinux()) {
    const whys = diagnosis.captures.filter(({ possible }) => !possible).map(({ why }) => why);
    return { state: 'problem', exitStatus: EXIT.capture, line: whys.join('; ') };
  }
  return { state: 'ok', exitStatus: EXIT.ok, line: describeWell(diagnosis) };
}

/** Whether these are problems is said by the captures that need them. */
const OF_CAPTURE: ReadonlySet<string> = new Set(['tun-device', 'helper', 'namespaces', 'kernel']);
/** An error that ends a run at its start has its own status. */
const ENDS_A_RUN: ReadonlySet<string> = new Set([
  'jump-host',
  'host-key',
  'algorithms',
  'authentication',
  'cloud',
  'proxies',
  'routes',
]);

function exitStatusFor({ name, code }: Finding): ExitStatus {
  return code !== undefined && ENDS_A_RUN.has(name) ? exitStatusOf(code) : EXIT.jumpHost;
}

function describeWell({ captures, findings }: Diagnosis): string {
  const detailOf = (name: string): string[] =>
    findings.filter((finding) => finding.name === name).map(({ detail }) => detail);
  const opened = findings.filter(({ name, state }) => name === 'forwarding' && state === 'ok');
  const warnings = findings.filter(({ state }) => state === 'warning').map(({ name }) => name);
  const [jumpHost] = detailOf('jump-host');
  const can = captures.filter(({ possible }) => possible).map(({ name }) => name);
  return [
    jumpHost ?? `${can.join(', ')} can be used here`,
    ...detailOf('latency'),
    ...(opened.length === 0 ? [] : [counted(opened.length)]),
    ...(warnings.length === 0 ? [] : [`warnings: ${[...new Set(warnings)].join(', ')}`]),
  ].join('; ');
}

function counted(opened: number): string {
  return `${opened} ${opened === 1 ? 'destination' : 'destinations'} forwarded`;
}
