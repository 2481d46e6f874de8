/**
 * The screen of `tunnel status --watch` as lines: a pure function of what is known, what is chosen,
 * and the size. Every line is exactly as wide as the screen.
 *
 *   title        name, process, for how long                 local time
 *   link         state, jump host, round trip, protection
 *   plots        received and sent, a column each second
 *   table        flows, a flow, refusals, or the tunnels
 *   keys
 */
import stringWidth from 'string-width';
import type { FlowStatus, Status } from '../../control/status.ts';
import {
  count,
  describeLink,
  describeQuestion,
  duration,
  formatBytes,
  protection,
} from '../status.ts';
import type { Rate, WatchedTunnel } from './history.ts';
import { chosenTunnel, cursorIn, type Model, settle, shownFlows, type ViewState } from './state.ts';
import { fit, type Line, plot, row, type Style } from './text.ts';

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export const LEAST_COLUMNS = 40;
export const LEAST_ROWS = 12;
/** From here on the flows' sources, ways and states are shown as well. */
const WIDE_COLUMNS = 120;
/** A tunnel that says nothing for so long is stopped, or its machine is busy. */
const SILENT_MS = 5_000;

const HELP = [
  'up, down, k, j      move; Page Up, Page Down, Home and End as well',
  'Enter               open what the cursor is on',
  'Escape              go back; ends a filter',
  'Tab                 the next tunnel',
  's b a d             sort by speed, bytes, age, destination',
  '/                   show the flows that contain a text',
  'r                   what was refused, and why',
  'q, Ctrl-C           leave',
] as const;

/** `size.rows` lines. */
export function render(model: Model, chosen: ViewState, size: Size): Line[] {
  const state = settle(chosen, model);
  const { columns, rows } = size;
  if (columns < LEAST_COLUMNS || rows < LEAST_ROWS) return tooSmall(size);
  const tunnel = chosenTunnel(model, state);
  const keys = [row(keysOf(state, model), columns, 'dim')];
  if (state.help) {
    const help = HELP.map((text) => row(text, columns));
    return [...filled([title('Keys', model, size), row('', columns), ...help], size), ...keys];
  }
  if (state.page === 'tunnels' || tunnel === undefined)
    return [...filled(tunnelList(model, state, size), size), ...keys];
  const head = [title(titleOf(tunnel), model, size), ...linkLines(tunnel, model, size)];
  const above = [...head, ...plots(tunnel, size)];
  const left = rows - above.length - 1;
  return [...filled([...above, ...pageOf(tunnel, model, state, size, left)], size), ...keys];
}

function tooSmall({ columns, rows }: Size): Line[] {
  const text = `too small: ${LEAST_COLUMNS}x${LEAST_ROWS} at least; q leaves`;
  return Array.from({ length: rows }, (_, line) => row(line === 0 ? text : '', columns));
}

/** All lines of the screen except the last. */
function filled(lines: readonly Line[], { columns, rows }: Size): Line[] {
  return Array.from({ length: rows - 1 }, (_, line) => lines[line] ?? row('', columns));
}

function title(text: string, { now }: Model, { columns }: Size): Line {
  const time = new Date(now);
  const parts = [time.getHours(), time.getMinutes(), time.getSeconds()];
  const clock = parts.map((part) => String(part).padStart(2, '0')).join(':');
  return [{ text: `${fit(text, columns - clock.length - 1)} ${clock}`, style: 'reverse' }];
}

function titleOf({ status }: WatchedTunnel): string {
  const { name, command, pid, at, startedAt, ready } = status;
  const since = duration(at - startedAt);
  return `${name} (${command}, pid ${pid}, for ${since}${ready ? '' : ', not ready'})`;
}

function styleOf({ status: { link } }: WatchedTunnel): Style {
  if (link.state === 'up' || link.state === 'idle') return 'good';
  return link.state === 'failed' || link.state === 'closed' ? 'bad' : 'warning';
}

function linkLines(tunnel: WatchedTunnel, { now }: Model, { columns }: Size): Line[] {
  const { status, heardAt } = tunnel;
  const { link, device, proxies, forwards, targets, flows, refusals } = status;
  const silent = now - heardAt > SILENT_MS;
  const state = silent
    ? `the tunnel has not answered for ${duration(now - heardAt)}`
    : [describeLink(link, status.at), describeQuestion(status)]
        .filter((part) => part !== undefined)
        .join('; ');
  const captured = [device, ...proxies.map((address) => `proxy at ${address}`)];
  const forwardedOnly = targets.length + proxies.length === 0 && forwards.length > 0;
  const by = captured.filter((it) => it !== undefined).join(', ');
  const what = targets.length === 0 ? 'everything' : targets.join(', ');
  const forwarded = forwards.join(', ');
  const besides = forwards.length === 0 ? '' : `; ${forwarded}`;
  const [last] = refusals;
  const labelled = (label: string, text: string, style: Style = 'plain'): Line => [
    { text: fit(label, Math.min(14, columns)), style: 'dim' },
    { text: fit(text, columns - 14), style },
  ];
  return [
    labelled('link', state, silent ? 'bad' : styleOf(tunnel)),
    labelled('protected by', protection(link) ?? 'nothing: there is no link'),
    forwardedOnly
      ? labelled('forwarding', forwarded)
      : labelled('captured', `${by === '' ? what : `${what} by ${by}`}${besides}`),
    labelled(
      'flows',
      `${count(flows.live)} live, ${count(flows.opened)} opened, ${count(flows.refused)} refused`,
    ),
    last === undefined
      ? labelled('last refusal', 'none')
      : labelled('last refusal', refusalText(last, status.at)),
  ];
}

function refusalText({ at, refusal, destination, why }: Status['refusals'][number], now: number) {
  return `${destination} ${duration(now - at)} ago: ${refusal}: ${why}`;
}

/** Received on the left, sent on the right, each with its peak. */
function plots({ rates }: WatchedTunnel, { columns, rows }: Size): Line[] {
  const height = Math.max(1, Math.min(8, Math.floor(rows / 8)));
  const width = Math.floor((columns - 2) / 2);
  const rest = columns - 2 - width;
  const panel = (label: string, of: (rate: Rate) => number, cells: number): string[] => {
    const values = rates.map(of);
    const most = Math.max(0, ...values.slice(-cells));
    const now = perSecond(values.at(-1) ?? 0);
    return [fit(`${label} ${now}, most ${perSecond(most)}`, cells), ...plot(values, cells, height)];
  };
  const received = panel('received', (rate) => rate.received, width);
  const sent = panel('sent', (rate) => rate.sent, rest);
  return received.map((text, line) => {
    const style = line === 0 ? 'bold' : 'good';
    return [
      { text, style },
      { text: '  ', style: 'plain' },
      { text: sent[line] ?? ' '.repeat(rest), style },
    ];
  });
}

function pageOf(
  tunnel: WatchedTunnel,
  { now }: Model,
  state: ViewState,
  size: Size,
  height: number,
): Line[] {
  if (state.page === 'flow') return flowDetail(tunnel, state, size);
  if (state.page === 'refusals') return refusalTable(tunnel, state, size, height, now);
  return flowTable(tunnel, state, size, height);
}

interface Column {
  readonly head: string;
  readonly width: number;
  readonly align?: 'right';
}

/** The first column without a width takes what the others leave. */
function cells(columns: readonly Column[], texts: readonly string[]): string {
  return columns.map(({ width, align }, at) => fit(texts[at] ?? '', width, align)).join(' ');
}

function table(
  columns: readonly Column[],
  rows: readonly { readonly texts: readonly string[]; readonly style: Style }[],
  { width, height, cursor }: { width: number; height: number; cursor: number },
): Line[] {
  const body = height - 1;
  const top = Math.max(0, Math.min(cursor - Math.floor(body / 2), rows.length - body));
  const heads = cells(
    columns,
    columns.map(({ head }) => head),
  );
  const blank = ' '.repeat(Math.max(0, width - stringWidth(heads)));
  return [
    [{ text: heads + blank, style: 'bold' }],
    ...rows.slice(top, top + body).map(({ texts, style }, at): Line => {
      const text = cells(columns, texts) + blank;
      return [{ text, style: top + at === cursor ? 'reverse' : style }];
    }),
  ];
}

/** Columns with widths that fill `width`: the one of width 0 takes the rest. */
function filling(width: number, columns: readonly Column[]): Column[] {
  const used = columns.reduce((sum, column) => sum + column.width + 1, -1);
  return columns.map((column) =>
    column.width === 0 ? { ...column, width: Math.max(1, width - used) } : column,
  );
}

function flowTable(
  tunnel: WatchedTunnel,
  state: ViewState,
  { columns }: Size,
  height: number,
): Line[] {
  const flows = shownFlows(tunnel, state);
  const wide = columns >= WIDE_COLUMNS;
  const layout = filling(columns, [
    { head: 'DESTINATION', width: 0 },
    ...(wide
      ? [
          { head: 'SOURCE', width: 28 },
          { head: 'WAY', width: 10 },
        ]
      : []),
    ...(columns >= 60 ? [{ head: 'AGE', width: 7, align: 'right' as const }] : []),
    { head: 'SENT', width: 7, align: 'right' },
    { head: 'RECEIVED', width: 8, align: 'right' },
    { head: 'RATE', width: 9, align: 'right' },
  ]);
  const now = tunnel.status.at;
  const rows = flows.map((flow) => {
    const { sent, received } = tunnel.rateOf(flow);
    const rate = flow.state === 'opening' ? 'opening' : perSecond(sent + received);
    return {
      texts: [
        named(flow),
        ...(wide ? [flow.source, flow.way] : []),
        ...(columns >= 60 ? [age(now - flow.askedAt)] : []),
        short(flow.sentBytes),
        short(flow.receivedBytes),
        rate,
      ],
      style: flow.state === 'opening' ? ('warning' as const) : ('plain' as const),
    };
  });
  const lines = table(layout, rows, { width: columns, height, cursor: cursorIn(flows, state) });
  if (flows.length > 0) return lines;
  const none = state.filter === '' ? 'no flow is open' : `no flow contains "${state.filter}"`;
  return [...lines, row(none, columns, 'dim')];
}

function named({ destination, names }: FlowStatus): string {
  return names.length === 0 ? destination : `${destination} (${names[0]})`;
}

function flowDetail(tunnel: WatchedTunnel, { flow: id }: ViewState, { columns }: Size): Line[] {
  const flow = tunnel.status.flows.list.find((it) => it.id === id);
  if (flow === undefined) return [row(`flow ${id} has ended`, columns, 'bold')];
  const { askedAt, openedAt, sentBytes, receivedBytes } = flow;
  const rate = tunnel.rateOf(flow);
  const opened =
    openedAt === undefined
      ? 'not yet: the far side has not answered'
      : `after ${count(openedAt - askedAt)} ms`;
  const facts: readonly (readonly [string, string])[] = [
    ['destination', flow.destination],
    ['names', flow.names.length === 0 ? 'none known' : flow.names.join(', ')],
    ['source', flow.source],
    ['way', flow.way],
    ['asked for', `${duration(tunnel.status.at - askedAt)} ago${instant(askedAt)}`],
    ['opened', opened],
    ['sent', `${formatBytes(sentBytes)}, ${perSecond(rate.sent)}`],
    ['received', `${formatBytes(receivedBytes)}, ${perSecond(rate.received)}`],
  ];
  return [
    row(`Flow ${flow.id}`, columns, 'bold'),
    ...facts.map(
      ([label, text]): Line => [
        { text: fit(label, 14), style: 'dim' },
        { text: fit(text, columns - 14), style: 'plain' },
      ],
    ),
  ];
}

function refusalTable(
  { status }: WatchedTunnel,
  state: ViewState,
  { columns }: Size,
  height: number,
  now: number,
): Line[] {
  const layout = filling(columns, [
    { head: 'AGO', width: 7, align: 'right' },
    { head: 'DESTINATION', width: Math.floor(columns / 3) },
    ...(columns >= WIDE_COLUMNS ? [{ head: 'SOURCE', width: 28 }] : []),
    { head: 'REFUSED', width: 12 },
    { head: 'WHY', width: 0 },
  ]);
  const rows = status.refusals.map(({ at, destination, source, refusal, why }) => ({
    texts: [age(now - at), destination, ...(columns >= WIDE_COLUMNS ? [source] : []), refusal, why],
    style: 'plain' as const,
  }));
  const cursor = Math.min(state.row, Math.max(0, rows.length - 1));
  const lines = table(layout, rows, { width: columns, height, cursor });
  return rows.length > 0 ? lines : [...lines, row('nothing was refused', columns, 'dim')];
}

function tunnelList(model: Model, state: ViewState, size: Size): Line[] {
  const { tunnels, silent } = model;
  const { columns, rows } = size;
  const layout = filling(columns, [
    { head: 'TUNNEL', width: 0 },
    { head: 'PID', width: 8, align: 'right' },
    { head: 'LINK', width: 10 },
    ...(columns >= 70 ? [{ head: 'ROUND TRIP', width: 10, align: 'right' as const }] : []),
    ...(columns >= 70 ? [{ head: 'FLOWS', width: 6, align: 'right' as const }] : []),
    { head: 'RATE', width: 9, align: 'right' },
  ]);
  const listed = tunnels.map((tunnel) => {
    const { status, rates, pid } = tunnel;
    const { sent, received } = rates.at(-1) ?? { sent: 0, received: 0 };
    const { roundTripMs, state: link } = status.link;
    const trip = roundTripMs === undefined ? '' : `${roundTripMs.toFixed(1)} ms`;
    const more = columns >= 70 ? [trip, count(status.flows.live)] : [];
    const texts = [status.name, String(pid), link, ...more, perSecond(sent + received)];
    return { texts, style: styleOf(tunnel) };
  });
  const cursor = Math.min(state.row, Math.max(0, listed.length - 1));
  const height = Math.max(2, rows - 2 - silent.length);
  return [
    title('Tunnels', model, size),
    ...table(layout, listed, { width: columns, height, cursor }),
    ...silent.map(({ pid, why }) => row(`pid ${pid} does not answer: ${why}`, columns, 'bad')),
  ];
}

function keysOf({ page, help, typing, filter, sort }: ViewState, { tunnels }: Model): string {
  if (help) return 'any key goes back';
  if (typing) return `/${filter}_  Enter keeps it, Escape ends it`;
  const always = '? help  q quit';
  if (page === 'tunnels') return `${always}  Enter open`;
  if (page === 'flow') return `${always}  Escape back`;
  if (page === 'refusals') return `${always}  r flows`;
  const others = tunnels.length > 1 ? '  Tab next tunnel' : '';
  const of = filter === '' ? '/ filter' : `/ filter: ${filter}`;
  return `${always}  s b a d sort: ${sort}  r refusals  Enter open${others}  ${of}`;
}

/** Empty for what is no time: a tunnel of another user may tell any number. */
function instant(ms: number): string {
  const time = new Date(ms);
  return Number.isNaN(time.getTime()) ? '' : `, ${time.toISOString()}`;
}

/** `1.5 MB`, `999 B`. */
function short(bytes: number): string {
  return formatBytes(bytes).replace(/ bytes$/, ' B');
}

function perSecond(bytes: number): string {
  return `${short(bytes)}/s`;
}

/** In its largest unit. */
function age(ms: number): string {
  return duration(ms).split(' ').slice(0, 2).join(' ');
}
