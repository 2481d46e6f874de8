/**
 * The report of a run as lines: a pure function of what is known and of the terminal's size. It is
 * calm: few lines, the same ones in the same places, and none is longer than the terminal is wide.
 *
 *   10.0.0.0/8 by tun0, through user@jumphost              for 12 min 5 s
 *   link      up for 12 min 4 s, user@192.0.2.1:22, round trip 12.3 ms
 *   waiting   3 s for 192.0.2.1:22 to decide about the login         while it is made
 *   held      2 connections wait for it, the first one for 25 s more
 *   why       192.0.2.1:22 refused the connection                    while it is lost
 *   protected curve25519-sha256, aes128-gcm@openssh.com, ssh-ed25519 SHA256:...
 *   rates     down 1.5 MB/s ▁▂▅▇▆         up 20 kB/s ▁▁▂▁
 *   flows     3 live, 120 opened, 2 refused
 *             10.1.2.3:443 (api.example.com)        2 live   1.5 MB/s
 *   refused   10.1.2.4:22 5 s ago: refused: Connection refused
 *
 * It takes at most half of the terminal, and MAX_LINES. Where that is less than there is to say,
 * what is least important is left out. On less than LEAST it says nothing.
 */
import stringWidth from 'string-width';
import type { Glance, LinkStatus } from '../../control/status.ts';
import { describeHeld, describeQuestion, describeState, duration, formatBytes } from '../status.ts';
import type { Rate } from '../watch/history.ts';
import { fit, type Line, plot, row, type Span, type Style } from '../watch/text.ts';

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export const MAX_LINES = 12;
const LEAST: Size = { columns: 20, rows: 4 };
/** Lines for destinations, and for refusals. */
export const MAX_DESTINATIONS = 3;
export const MAX_REFUSALS = 2;
/** Lines for what is waited for. */
const MAX_WAITS = 2;
/** Refusals older than this are not news. */
const REFUSAL_MS = 60_000;
const LABEL_CELLS = 10;
/** Columns of a plot. */
const MAX_PLOT = 40;

export interface BusyDestination {
  /** The name first, where there is one. */
  readonly text: string;
  readonly live: number;
  readonly opened: number;
  /** Bytes a second, both ways. */
  readonly rate: number;
}

export interface Shown {
  readonly glance: Glance;
  /** One a second, the latest one last. */
  readonly rates: readonly Rate[];
  /** The busiest first. */
  readonly destinations: readonly BusyDestination[];
  /** What is waited for: each follows "waiting". */
  readonly waits: readonly string[];
}

interface Candidate {
  /** What is needed most has the smallest number. */
  readonly rank: number;
  readonly line: Line;
}

/** Lines that are narrower than the terminal, from the top. */
export function layout(shown: Shown, { columns, rows }: Size): Line[] {
  if (columns < LEAST.columns || rows < LEAST.rows) return [];
  // In the last column a terminal may begin the next line by itself.
  const width = columns - 1;
  const all = candidates(shown, width);
  const most = Math.min(MAX_LINES, Math.floor(rows / 2));
  const kept = new Set([...all].sort((a, b) => a.rank - b.rank).slice(0, most));
  return all.filter((it) => kept.has(it)).map(({ line }) => withoutEnd(line));
}

/** In the order of the report. */
function candidates(shown: Shown, width: number): Candidate[] {
  const { glance, rates, waits } = shown;
  const { link, at, flows, refusals } = glance;
  const protectedBy = protection(link);
  // What is asked at this terminal stands there.
  const question = glance.asked?.at === 'tunnel' ? undefined : describeQuestion(glance);
  // Until it has been there, what fails is said by the end of the run.
  const lost = glance.ready && link.upSince === undefined && link.state !== 'idle';
  const used = flows.opened + flows.refused + flows.live > 0;
  const recent = refusals.filter((refusal) => at - refusal.at < REFUSAL_MS).slice(0, MAX_REFUSALS);
  const line = (rank: number, label: string, text: string, style: Style = 'plain'): Candidate => ({
    rank,
    line: labelled(label, text, width, style),
  });
  return [
    { rank: 0, line: head(glance, width) },
    line(1, 'link', describeState(link, at), styleOf(link)),
    ...(question === undefined ? [] : [line(2, 'question', question, 'warning')]),
    ...waits.slice(0, MAX_WAITS).map((text, i) => line(2, i === 0 ? 'waiting' : '', text)),
    ...(lost ? [line(2, 'held', heldText(link, at), 'warning')] : []),
    ...(lost && link.error !== undefined ? [line(3, 'why', link.error.message)] : []),
    ...(protectedBy === undefined ? [] : [line(7, 'protected', protectedBy)]),
    ...(used ? [{ rank: 4, line: plots(rates, width) }] : []),
    ...(used ? [line(5, 'flows', flowsText(glance))] : []),
    ...shown.destinations
      .slice(0, MAX_DESTINATIONS)
      .map((it, i) => ({ rank: 8 + i, line: destination(it, width) })),
    ...recent.map(({ destination: to, refusal, why, at: when }, i) =>
      line(
        i === 0 ? 6 : 12,
        i === 0 ? 'refused' : '',
        `${to} ${duration(at - when)} ago: ${refusal}: ${withoutDestination(why, to)}`,
        'warning',
      ),
    ),
  ];
}

/** What is captured, through whom, and since when. */
function head(glance: Glance, width: number): Line {
  const { remote, startedAt, at } = glance;
  const since = `for ${duration(at - startedAt)}`;
  const through = `through ${remote}`;
  // The jump host is more than the tenth target.
  const rest = width - stringWidth(since) - stringWidth(through) - 4;
  const captured = capturedText(glance);
  const left =
    rest >= 8 ? `${fit(captured, Math.min(rest, stringWidth(captured)))}, ${through}` : through;
  return [
    { text: `${fit(left, width - stringWidth(since) - 1)} `, style: 'bold' },
    { text: since, style: 'dim' },
  ];
}

function heldText(link: LinkStatus, at: number): string {
  const none = link.holdSeconds === 0 ? 'are refused' : `wait for up to ${link.holdSeconds} s`;
  return describeHeld(link, at) ?? `new connections ${none}`;
}

function capturedText({ targets, device, proxies, forwards }: Glance): string {
  const by = [device, ...proxies].filter((it) => it !== undefined).join(', ');
  const onlyForwards = targets.length === 0 && by === '' && forwards.length > 0;
  const what = targets.length === 0 ? 'everything' : targets.join(', ');
  const captured = by === '' ? what : `${what} by ${by}`;
  return [...(onlyForwards ? [] : [captured]), ...forwards].join(', ');
}

function styleOf({ state, error }: LinkStatus): Style {
  if (state === 'up' || state === 'idle') return 'good';
  if (state === 'failed') return 'bad';
  return state === 'connecting' && error === undefined ? 'plain' : 'warning';
}

/** The key exchange first: who looks for it wants to know whether it stands quantum computers. */
function protection({ keyExchange, cipher, hostKey, server }: LinkStatus): string | undefined {
  const parts = [keyExchange, cipher, hostKey, server].filter((part) => part !== undefined);
  return parts.length === 0 ? undefined : parts.join(', ');
}

function flowsText({ flows }: Glance): string {
  const { live, opened, refused, sentBytes, receivedBytes } = flows;
  const bytes = `${formatBytes(receivedBytes)} received, ${formatBytes(sentBytes)} sent`;
  return `${live} live, ${opened} opened, ${refused} refused; ${bytes}`;
}

/** Received on the left, sent on the right; where there is little room, without plots. */
function plots(rates: readonly Rate[], width: number): Line {
  const half = Math.floor((width - LABEL_CELLS - 2) / 2);
  const panel = (label: string, of: (rate: Rate) => number, cells: number): Span[] => {
    const now = perSecond(of(rates.at(-1) ?? { sent: 0, received: 0 }));
    const text = fit(`${label} ${now}`, label.length + 10);
    const room = Math.min(MAX_PLOT, cells - stringWidth(text) - 1);
    if (room < 4) return [{ text: fit(`${label} ${now}`, cells), style: 'plain' }];
    const [columns = ''] = plot(rates.map(of), room, 1);
    return [
      { text: `${text} `, style: 'plain' },
      { text: columns.padEnd(cells - stringWidth(text) - 1), style: 'good' },
    ];
  };
  return [
    { text: fit('rates', LABEL_CELLS), style: 'dim' },
    ...panel('down', ({ received }) => received, half),
    { text: '  ', style: 'plain' },
    ...panel('up', ({ sent }) => sent, half),
  ];
}

function destination({ text, live, opened, rate }: BusyDestination, width: number): Line {
  const count = live > 0 ? `${live} live` : `${opened} opened`;
  const facts = `${count.padStart(10)} ${perSecond(rate).padStart(9)}`;
  const room = width - LABEL_CELLS - facts.length - 1;
  if (room < 12) return labelled('', text, width, 'plain');
  return [{ text: `${' '.repeat(LABEL_CELLS)}${fit(text, room)} ${facts}`, style: 'plain' }];
}

function labelled(label: string, text: string, width: number, style: Style): Line {
  const [name] = row(label, LABEL_CELLS, 'dim');
  const rest: Span = { text: fit(text, width - LABEL_CELLS), style };
  return name === undefined ? [rest] : [name, rest];
}

/** A terminal that is made narrower breaks lines, and blanks at their ends count. */
function withoutEnd(line: Line): Line {
  const last = line.findLastIndex(({ text }) => text.trimEnd() !== '');
  return line
    .slice(0, last + 1)
    .map((span, i) => (i === last ? { ...span, text: span.text.trimEnd() } : span));
}

function perSecond(bytes: number): string {
  return `${formatBytes(bytes).replace(/ bytes$/, ' B')}/s`;
}

/** Reasons begin with the destination, and a name after its address may be missing there. */
function withoutDestination(why: string, destination: string): string {
  const [address = ''] = destination.split(' ', 1);
  const prefix = `${address}: `;
  return why.startsWith(prefix) ? why.slice(prefix.length) : why;
}
