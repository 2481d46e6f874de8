/**
 * What a person has chosen in the view, and how keys change it.
 *
 *   tunnels ── Enter ──► flows ── Enter ──► flow
 *                          └───── r ──────► refusals
 *
 * Escape goes back; with one tunnel the view begins at its flows. The cursor stays on the flow that
 * it stands on, wherever sorting puts it.
 */
import type { Unanswering } from '../../control/client.ts';
import type { FlowStatus } from '../../control/status.ts';
import type { WatchedTunnel } from './history.ts';

export type Page = 'tunnels' | 'flows' | 'flow' | 'refusals';
export type Sort = 'rate' | 'bytes' | 'age' | 'destination';

/** All that is shown, beside the choices. */
export interface Model {
  readonly tunnels: readonly WatchedTunnel[];
  readonly silent: readonly Unanswering[];
  /** In milliseconds since 1970. */
  readonly now: number;
}

export interface ViewState {
  readonly page: Page;
  readonly help: boolean;
  /** The tunnel that is shown. */
  readonly pid: number | undefined;
  /** The flow that the cursor is on; undefined: whichever is in `row`. */
  readonly flow: number | undefined;
  /** Of the cursor. */
  readonly row: number;
  readonly sort: Sort;
  readonly filter: string;
  /** Whether keys go to the filter. */
  readonly typing: boolean;
}

export interface Key {
  /** As node:readline names it; undefined: a character without a name. */
  readonly name: string | undefined;
  readonly text: string;
  readonly ctrl: boolean;
}

export const MAX_FILTER_LENGTH = 64;
/** How far Page Up and Page Down go. */
const PAGE_ROWS = 10;

const SORT_KEYS: Readonly<Record<string, Sort>> = {
  s: 'rate',
  b: 'bytes',
  a: 'age',
  d: 'destination',
};

export function firstState(model: Model): ViewState {
  const several = model.tunnels.length + model.silent.length > 1;
  return {
    page: several ? 'tunnels' : 'flows',
    help: false,
    pid: several ? undefined : model.tunnels[0]?.pid,
    flow: undefined,
    row: 0,
    sort: 'rate',
    filter: '',
    typing: false,
  };
}

/** The tunnel that the view shows. */
export function chosenTunnel({ tunnels }: Model, { pid }: ViewState): WatchedTunnel | undefined {
  return tunnels.find((tunnel) => tunnel.pid === pid);
}

/** Shows the list where the tunnel that was shown has ended. */
export function settle(state: ViewState, model: Model): ViewState {
  if (state.page === 'tunnels' || chosenTunnel(model, state) !== undefined) return state;
  return { ...state, page: 'tunnels', typing: false, row: 0 };
}

/** Filtered and sorted. */
export function shownFlows(tunnel: WatchedTunnel, { sort, filter }: ViewState): FlowStatus[] {
  const wanted = filter.toLowerCase();
  const matches = ({ destination, names, source, way, state }: FlowStatus): boolean =>
    [destination, source, way, state, ...names].some((it) => it.toLowerCase().includes(wanted));
  const all = tunnel.status.flows.list;
  const flows = wanted === '' ? [...all] : all.filter(matches);
  if (sort === 'destination') {
    const order = new Intl.Collator('en', { numeric: true });
    return flows.sort((a, b) => order.compare(a.destination, b.destination) || a.id - b.id);
  }
  const size: Readonly<Record<Exclude<Sort, 'destination'>, (flow: FlowStatus) => number>> = {
    rate: (flow) => tunnel.rateOf(flow).sent + tunnel.rateOf(flow).received,
    bytes: (flow) => flow.sentBytes + flow.receivedBytes,
    age: (flow) => flow.askedAt,
  };
  const of = size[sort];
  return flows.sort((a, b) => of(b) - of(a) || b.id - a.id);
}

/** The row of the cursor among `flows`. */
export function cursorIn(flows: readonly FlowStatus[], { flow, row }: ViewState): number {
  const at = flows.findIndex(({ id }) => id === flow);
  return at === -1 ? Math.max(0, Math.min(row, flows.length - 1)) : at;
}

/** undefined: the view ends. */
export function press(before: ViewState, key: Key, model: Model): ViewState | undefined {
  const state = settle(before, model);
  if (state.typing) return type(state, key);
  if (key.text === 'q') return undefined;
  if (state.help) return { ...state, help: false };
  if (key.text === '?') return { ...state, help: true };
  const steps = stepsOf(key);
  if (steps !== undefined) return move(state, steps, model);
  if (key.name === 'escape' || key.name === 'left' || key.name === 'backspace')
    return back(state, model);
  if (key.name === 'return' || key.name === 'right') return open(state, model);
  if (key.name === 'tab') return next(state, model);
  if (state.page === 'tunnels') return state;
  if (key.text === 'r')
    return { ...state, page: state.page === 'refusals' ? 'flows' : 'refusals', row: 0 };
  if (state.page !== 'flows') return state;
  if (key.text === '/') return { ...state, typing: true };
  const sort = SORT_KEYS[key.text];
  return sort === undefined ? state : { ...state, sort, flow: undefined, row: 0 };
}

function type(state: ViewState, { name, text, ctrl }: Key): ViewState {
  if (name === 'return') return { ...state, typing: false };
  if (name === 'escape') return { ...state, typing: false, filter: '' };
  if (name === 'backspace') return { ...state, filter: state.filter.slice(0, -1) };
  if (ctrl && name === 'u') return { ...state, filter: '' };
  if (ctrl || text < ' ' || text.startsWith('\x7f')) return state;
  return { ...state, filter: (state.filter + text).slice(0, MAX_FILTER_LENGTH), row: 0 };
}

function stepsOf({ name, text }: Key): number | undefined {
  if (name === 'up' || text === 'k') return -1;
  if (name === 'down' || text === 'j') return 1;
  if (name === 'pageup') return -PAGE_ROWS;
  if (name === 'pagedown') return PAGE_ROWS;
  if (name === 'home') return Number.NEGATIVE_INFINITY;
  return name === 'end' ? Number.POSITIVE_INFINITY : undefined;
}

function move(state: ViewState, steps: number, model: Model): ViewState {
  const within = (row: number, length: number): number =>
    Math.max(0, Math.min(row + steps, length - 1));
  if (state.page === 'tunnels') return { ...state, row: within(state.row, model.tunnels.length) };
  const tunnel = chosenTunnel(model, state);
  if (tunnel === undefined || state.page === 'flow') return state;
  if (state.page === 'refusals')
    return { ...state, row: within(state.row, tunnel.status.refusals.length) };
  const flows = shownFlows(tunnel, state);
  const row = within(cursorIn(flows, state), flows.length);
  return { ...state, row, flow: flows[row]?.id };
}

function back(state: ViewState, { tunnels, silent }: Model): ViewState {
  if (state.page === 'flow') return { ...state, page: 'flows' };
  if (state.page === 'refusals') return { ...state, page: 'flows', row: 0 };
  if (state.page === 'tunnels') return state;
  if (state.filter !== '') return { ...state, filter: '' };
  if (tunnels.length + silent.length < 2) return state;
  const row = tunnels.findIndex(({ pid }) => pid === state.pid);
  return { ...state, page: 'tunnels', flow: undefined, row: Math.max(0, row) };
}

function open(state: ViewState, model: Model): ViewState {
  if (state.page === 'tunnels') {
    const { pid } = model.tunnels[Math.min(state.row, model.tunnels.length - 1)] ?? {};
    return pid === undefined ? state : { ...state, page: 'flows', pid, flow: undefined, row: 0 };
  }
  const tunnel = chosenTunnel(model, state);
  if (state.page !== 'flows' || tunnel === undefined) return state;
  const flows = shownFlows(tunnel, state);
  const flow = flows[cursorIn(flows, state)]?.id;
  return flow === undefined ? state : { ...state, page: 'flow', flow };
}

function next(state: ViewState, model: Model): ViewState {
  const { tunnels } = model;
  if (state.page === 'tunnels' || tunnels.length < 2) return state;
  const at = tunnels.findIndex(({ pid }) => pid === chosenTunnel(model, state)?.pid);
  const pid = tunnels[(at + 1) % tunnels.length]?.pid;
  return { ...state, page: 'flows', pid, flow: undefined, row: 0 };
}
