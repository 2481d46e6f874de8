/**
 * Reads the status out of an answer. Two kinds of tunnels answer otherwise than this version does:
 *
 *   of another version   a tunnel runs on when the program is upgraded, and is still to be seen
 *                        and stopped. What it doesn't tell is unknown; what is new is left out
 *   of another user      root asks the tunnels of all users, and those may answer anything. What
 *                        has another type would make trouble wherever it is shown: it is no status
 *
 * Unknown is the text `unknown`, NaN as a number (`null` in JSON), and an empty list. Two fields
 * differ: `targets` has the text `unknown`, because none would mean everything; `ready` is true.
 */
import type { Status } from './status.ts';
import { fieldOf } from './wire.ts';

/** undefined: it was not told. Throws WrongShape. */
type Reader<T> = (told: unknown) => T;

class WrongShape extends Error {}

function of<T>(isRight: (told: unknown) => boolean, unknown: T): Reader<T> {
  return (told) => {
    if (told === undefined) return unknown;
    if (!isRight(told)) throw new WrongShape();
    return told as T;
  };
}

const isText = (told: unknown): boolean => typeof told === 'string';
const text = of(isText, 'unknown');
const number = of(Number.isFinite, Number.NaN);
const truth = (unknown: boolean): Reader<boolean> =>
  of((told) => typeof told === 'boolean', unknown);

/** One of some words, to which a later version may add. */
function word<T extends string>(): Reader<T> {
  return of(isText, 'unknown' as T);
}

function maybe<T>(reader: Reader<T>): Reader<T | undefined> {
  return (told) => (told === undefined ? undefined : reader(told));
}

/** What can't be shown without. */
function needed<T>(reader: Reader<T>): Reader<T> {
  return (told) => {
    if (told === undefined) throw new WrongShape();
    return reader(told);
  };
}

function listOf<T>(reader: Reader<T>, unknown: readonly T[] = []): Reader<readonly T[]> {
  const one = needed(reader);
  return (told) => {
    if (told === undefined) return unknown;
    if (!Array.isArray(told)) throw new WrongShape();
    return told.map((value: unknown) => one(value));
  };
}

function recordOf<T>(reader: Reader<T>): Reader<Readonly<Record<string, T>>> {
  const one = needed(reader);
  return (told) => {
    if (told === undefined) return {};
    if (!isObject(told)) throw new WrongShape();
    return Object.fromEntries(Object.entries(told).map(([name, value]) => [name, one(value)]));
  };
}

/** The readers have the names of the type's fields, so that none is forgotten. */
function objectOf<T>(readers: { readonly [Name in keyof T & string]: Reader<T[Name]> }): Reader<T> {
  const all = Object.entries<Reader<unknown>>(readers);
  return (told = {}) => {
    if (!isObject(told)) throw new WrongShape();
    return Object.fromEntries(
      // JSON has no undefined, and `null` for NaN.
      all.map(([name, reader]) => [name, reader(fieldOf(told, name) ?? undefined)]),
    ) as T;
  };
}

function isObject(told: unknown): told is object {
  return typeof told === 'object' && told !== null && !Array.isArray(told);
}

const link = objectOf<Status['link']>({
  state: text,
  since: number,
  upSince: maybe(number),
  attempt: number,
  error: maybe(objectOf<NonNullable<Status['link']['error']>>({ code: text, message: text })),
  holdSeconds: number,
  held: number,
  holdEndsAt: maybe(number),
  redialAt: maybe(number),
  roundTripMs: maybe(number),
  at: maybe(text),
  via: listOf(text),
  user: maybe(text),
  client: maybe(text),
  server: maybe(text),
  keyExchange: maybe(text),
  cipher: maybe(text),
  hostKey: maybe(text),
});

const asked = objectOf<NonNullable<Status['asked']>>({
  text,
  at: word(),
  since: number,
});

const flow = objectOf<Status['flows']['list'][number]>({
  id: needed(number),
  state: word(),
  way: text,
  source: text,
  destination: text,
  names: listOf(text),
  askedAt: number,
  openedAt: maybe(number),
  sentBytes: number,
  receivedBytes: number,
});

const flows = objectOf<Status['flows']>({
  live: number,
  opening: number,
  opened: number,
  refused: number,
  sentBytes: number,
  receivedBytes: number,
  list: listOf(flow),
});

const refusal = objectOf<Status['refusals'][number]>({
  at: number,
  id: number,
  source: text,
  destination: text,
  refusal: text,
  by: text,
  why: text,
});

const check = objectOf<Status['checks'][number]>({
  name: text,
  state: text,
  detail: text,
  hint: maybe(text),
});

const anyStatus = objectOf<Status>({
  name: needed(text),
  command: word(),
  pid: needed(number),
  version: text,
  startedAt: number,
  at: number,
  // Every version tells it; one that is not ready says so.
  ready: truth(true),
  remote: text,
  // No targets at all would mean everything.
  targets: listOf(text, ['unknown']),
  device: maybe(text),
  proxies: listOf(text),
  forwards: listOf(text),
  link,
  asked: maybe(asked),
  flows,
  refusals: listOf(refusal),
  counters: recordOf(number),
  checks: listOf(check),
});

/** The status of the tunnel with this process id. undefined: it is none. */
export function readStatus(told: unknown, pid: number): Status | undefined {
  try {
    const status = needed(anyStatus)(told);
    return status.pid === pid ? status : undefined;
  } catch (error) {
    if (error instanceof WrongShape) return undefined;
    throw error;
  }
}
