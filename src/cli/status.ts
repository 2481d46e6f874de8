/** `tunnel status`, `stop`, `down`, `reconnect` and `reload`: the running tunnels of this user. */
import { CONTROL_GROUPS, STATUS_GROUPS } from '../config/controloptions.ts';
import type { Found, RunningTunnel, Unanswering } from '../control/client.ts';
import type { AskedStatus, Glance, LinkStatus, Status } from '../control/status.ts';
import { printable, printableJson } from '../observe/printable.ts';
import type { CommandDeclaration } from './command.ts';

const NAMES = `
NAME is what --name says, or else the profile, or else the remote as it was given; a
process id does as well.
`;
const ONE = `${NAMES}Without NAME it is the only tunnel of whoever runs the command. Root names those of other
users: "tunnel status" shows root all of them.
`;

export const STATUS: CommandDeclaration = {
  name: 'status',
  description: 'show the running tunnels: links, flows, what was refused and why',
  purpose: 'Look',
  usage: '[NAME] [--json] [--watch]',
  takesOperands: true,
  operands: ['tunnel', 'none'],
  groups: STATUS_GROUPS,
  answersSshuttle: false,
  examples: `\
Examples:
  tunnel status
      all tunnels of this user
  tunnel status --watch
      on the whole screen, every second: rates, flows, refusals; ? shows the keys
  tunnel status --watch | tee status.log
      the same text every second, where standard output is no terminal
  tunnel status --json | jq '.tunnels[].flows.live'
      for programs; docs/operations.md explains the fields
`,
  after: `${NAMES}Without NAME all are shown, to root those of all users.

The exit status is 0 if the link of each tunnel stands, or is made on demand, 5 if one
does not, and 2 if there is no such tunnel. With --watch it is 0 after q, and when the
last tunnel has ended, or nobody reads the output any more. With --watch --json each
status is one line.
`,
};

const STOP_DESCRIPTION = 'stop a running tunnel in order, and wait until it has ended';

export const STOP: CommandDeclaration = {
  name: 'stop',
  description: STOP_DESCRIPTION,
  purpose: 'Run',
  usage: '[NAME]',
  takesOperands: true,
  operands: ['tunnel', 'none'],
  groups: CONTROL_GROUPS,
  answersSshuttle: false,
  after: ONE,
};

export const DOWN: CommandDeclaration = {
  ...STOP,
  name: 'down',
  description: `${STOP_DESCRIPTION}, as "tunnel stop"`,
  summary: 'the same as stop',
};

export const RECONNECT: CommandDeclaration = {
  name: 'reconnect',
  description: 'have a running tunnel connect to its jump host again, now',
  purpose: 'Run',
  usage: '[NAME]',
  takesOperands: true,
  operands: ['tunnel', 'none'],
  groups: CONTROL_GROUPS,
  answersSshuttle: false,
  after: `${ONE}
Connections through the tunnel are reset. Passwords and second factors are asked for at
this terminal. If nobody answers, the tunnel runs on without a link, and the next
"tunnel reconnect" asks again at once. After a refused login it waits for some minutes,
so that the jump host doesn't shut this address out.
`,
};

export const RELOAD: CommandDeclaration = {
  name: 'reload',
  description: 'have a running tunnel read its targets and its allow-list again',
  purpose: 'Run',
  usage: '[NAME]',
  takesOperands: true,
  operands: ['tunnel', 'none'],
  groups: CONTROL_GROUPS,
  answersSshuttle: false,
  after: `${ONE}
It reads its command line again, with the @FILEs, the profile, the files of -s, -X and
--allow, and the cloud's catalog. Connections go on; what is new holds for the next one.
What needs a restart is named. If something is wrong, nothing changes.
`,
};

/** Flows and refusals that the text shows; JSON has all. */
const SHOWN = 10;

/** Ends in a newline. */
export function formatStatusJson({ tunnels, silent }: Found): string {
  const all = { tunnels: tunnels.map(({ status }) => status), silent };
  return `${printableJson(all, 2)}\n`;
}

/** The same in one line, for --watch. */
export function formatStatusLine({ tunnels, silent }: Found): string {
  return `${printableJson({ tunnels: tunnels.map(({ status }) => status), silent })}\n`;
}

/** Ends in a newline. */
export function formatStatus({ tunnels, silent }: Found): string {
  if (tunnels.length + silent.length === 0) return 'no tunnel runs\n';
  return `${[...tunnels.map(formatTunnel), ...silent.map(formatSilent)].join('\n')}`;
}

/** Whether programs can rely on it now. */
export function isWell({ status }: RunningTunnel): boolean {
  return ['up', 'probing', 'idle'].includes(status.link.state);
}

function formatSilent({ pid, why }: Unanswering): string {
  return `${printable(`pid ${pid}: does not answer: ${why}`)}\n`;
}

function formatTunnel({ status, user }: RunningTunnel): string {
  return `${statusLines(status, user === process.geteuid?.() ? undefined : user).join('\n')}\n`;
}

/**
 * What is shown of one tunnel, printable. `user`: whose it is, where that is to be told.
 *
 * Any text of a status may come from another user (control/shape.ts). So no part of a line is made
 * printable by itself: line() does it for each line as a whole.
 */
export function statusLines(status: Status, user?: number): readonly string[] {
  const { name, command, pid, at, startedAt, device, proxies, forwards, flows } = status;
  const captured = [device, ...proxies.map((address) => `proxy at ${address}`)].filter(
    (it) => it !== undefined,
  );
  const what = carried(status);
  const protectedBy = protection(status.link);
  const question = describeQuestion(status);
  const rows: (readonly [string, string])[] = [
    ['link', describeLink(status.link, at)],
    ...(question === undefined ? [] : [['question', question] as const]),
    ...(protectedBy === undefined ? [] : [['protected by', protectedBy] as const]),
    ...(what === undefined ? [] : [['targets', what] as const]),
    ...(captured.length === 0 ? [] : [['captured by', captured.join(', ')] as const]),
    ...forwards.map((forward) => ['forwarding', forward] as const),
    ['flows', describeFlows(flows)],
    ...status.checks.map(({ name: check, detail }) => ['check', `${check}: ${detail}`] as const),
  ];
  const whose = user === undefined ? '' : `, user ${user}`;
  const head = `${name} (${command}, pid ${pid}${whose}, for ${duration(at - startedAt)}${status.ready ? '' : ', not ready'})`;
  return [
    line(head),
    ...rows.map(([label, text]) => line(`${label.padEnd(14)}${text}`, 2)),
    ...[...busiest(status), ...refused(status)].map((text) => line(text, 4)),
  ];
}

/** The indent is ours; whatever the text is, it adds no spaces to that. */
function line(text: string, indent = 0): string {
  return `${' '.repeat(indent)}${printable(text)}`;
}

export function describeLink(link: LinkStatus, at: number): string {
  const { error, upSince } = link;
  const parts = [
    describeState(link, at),
    describeHeld(link, at),
    error === undefined || upSince !== undefined ? undefined : error.message,
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}

/** Without what waits for it, and why there is none. */
export function describeState(link: LinkStatus, at: number): string {
  const { state, since, upSince, roundTripMs, attempt, redialAt } = link;
  const from = `for ${duration(at - (upSince ?? since))}`;
  const parts = [
    `${state === 'idle' ? 'idle (connects when needed)' : state} ${from}`,
    link.at === undefined || link.user === undefined ? link.at : `${link.user}@${link.at}`,
    link.via.length === 0 ? undefined : `through ${link.via.join(', ')}`,
    roundTripMs === undefined ? undefined : `round trip ${roundTripMs.toFixed(1)} ms`,
    state !== 'waiting' || redialAt === undefined
      ? undefined
      : `tried again in ${duration(redialAt - at)}`,
    attempt > 1 ? `attempt ${attempt}` : undefined,
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}

/** What waits for an answer, and where it can be given; undefined: nothing. */
export function describeQuestion({ name, asked, link, at }: Glance | Status): string | undefined {
  if (asked !== undefined)
    return `${asked.text} (asked at ${askedAt(asked)}, for ${duration(at - asked.since)})`;
  const { state, error } = link;
  const unanswered = state === 'waiting' && error !== undefined && lacksAnswer(error);
  return unanswered ? answerBy(name) : undefined;
}

export function askedAt({ at }: AskedStatus): string {
  return at === 'tunnel' ? "the tunnel's own terminal" : 'the terminal that wants a new link';
}

/** There is no link because a question was not answered. */
export function lacksAnswer({ code }: { readonly code: string }): boolean {
  return code === 'no-terminal' || code === 'auth-cancelled';
}

export function answerBy(name: string): string {
  return `the login wants an answer: "tunnel reconnect ${name}" asks at its terminal`;
}

/** Connections that wait for the link, and what is left of their time; undefined: none. */
export function describeHeld({ held, holdEndsAt }: LinkStatus, at: number): string | undefined {
  if (held === 0 || Number.isNaN(held)) return undefined;
  const [who, first] =
    held === 1 ? ['1 connection waits', ''] : [`${held} connections wait`, ', the first one'];
  return holdEndsAt === undefined
    ? `${who} for it`
    : `${who} for it${first} for ${duration(holdEndsAt - at)} more`;
}

/** What protects the link; undefined: nothing is known of it. */
export function protection(link: LinkStatus): string | undefined {
  const { server, keyExchange, cipher, hostKey } = link;
  const parts = [server, keyExchange, cipher, hostKey].filter((part) => part !== undefined);
  return parts.length === 0 ? undefined : parts.join(', ');
}

/** undefined: only what is forwarded. */
function carried({ targets, proxies, forwards }: Status): string | undefined {
  if (targets.length > 0) return some(targets);
  return forwards.length > 0 && proxies.length === 0 ? undefined : 'everything';
}

function describeFlows(flows: Status['flows']): string {
  const { live, opening, opened, refused: no, sentBytes, receivedBytes } = flows;
  return `${count(live)} live (${count(opening)} being opened), ${count(opened)} opened, ${count(no)} refused; ${formatBytes(sentBytes)} sent, ${formatBytes(receivedBytes)} received`;
}

function busiest({ flows, at }: Status): string[] {
  const carried = (flow: (typeof flows.list)[number]) => flow.sentBytes + flow.receivedBytes;
  const most = [...flows.list].sort((a, b) => carried(b) - carried(a)).slice(0, SHOWN);
  return most.map((flow) => {
    const names = flow.names.length === 0 ? '' : ` (${flow.names[0]})`;
    const bytes = `${formatBytes(flow.sentBytes)} up, ${formatBytes(flow.receivedBytes)} down`;
    const from = `${flow.destination}${names} from ${flow.source}`;
    return `${from}: ${flow.state}, ${bytes}, ${duration(at - flow.askedAt)}`;
  });
}

function refused({ refusals, at }: Status): string[] {
  return refusals
    .slice(0, SHOWN)
    .map(({ at: when, refusal, why }) => `${refusal} ${duration(at - when)} ago: ${why}`);
}

function some(all: readonly string[]): string {
  const more = all.length - SHOWN;
  return `${all.slice(0, SHOWN).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** What an unknown number (control/shape.ts) is shown as. */
const UNKNOWN = '?';

export function count(number: number): string {
  return Number.isNaN(number) ? UNKNOWN : String(number);
}

/** `1.5 MB`: decimal, as ssh clients and network tools have it. */
export function formatBytes(bytes: number): string {
  if (Number.isNaN(bytes)) return `${UNKNOWN} bytes`;
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

/** `ms` in its two largest units: `3 h 12 min`. */
export function duration(ms: number): string {
  if (Number.isNaN(ms)) return UNKNOWN;
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24
    ? `${hours} h ${minutes % 60} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
