/**
 * Whether an answer is a status. Root asks the tunnels of all users, and those may answer anything:
 * what has another shape would make trouble wherever it is shown.
 *
 * A tunnel runs on when the program is upgraded, and is still to be seen and stopped. So a field
 * that a later version adds to Status must be one that may be missing.
 */
import type { Status } from './status.ts';
import { fieldOf } from './wire.ts';

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isNumber: Check = (value) => Number.isFinite(value);
const isTruth: Check = (value) => typeof value === 'boolean';

/** JSON leaves out what is undefined. */
function maybe(check: Check): Check {
  return (value) => value === undefined || check(value);
}

function listOf(check: Check): Check {
  return (value) => Array.isArray(value) && value.every(check);
}

function recordOf(check: Check): Check {
  return (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every(check);
}

/** The checks have the names of the type's fields, so that none is forgotten. */
function shapeOf<T>(checks: Readonly<Record<keyof T & string, Check>>): Check {
  const all = Object.entries<Check>(checks);
  return (value) =>
    typeof value === 'object' &&
    value !== null &&
    all.every(([name, check]) => check(fieldOf(value, name)));
}

const isLink = shapeOf<Status['link']>({
  state: isText,
  since: isNumber,
  upSince: maybe(isNumber),
  attempt: isNumber,
  error: maybe(shapeOf<NonNullable<Status['link']['error']>>({ code: isText, message: isText })),
  holdSeconds: isNumber,
  held: isNumber,
  holdEndsAt: maybe(isNumber),
  redialAt: maybe(isNumber),
  roundTripMs: maybe(isNumber),
  at: maybe(isText),
  via: listOf(isText),
  user: maybe(isText),
  client: maybe(isText),
  server: maybe(isText),
  keyExchange: maybe(isText),
  cipher: maybe(isText),
  hostKey: maybe(isText),
});

const isAsked = shapeOf<NonNullable<Status['asked']>>({
  text: isText,
  at: isText,
  since: isNumber,
});

const isFlow = shapeOf<Status['flows']['list'][number]>({
  id: isNumber,
  state: isText,
  way: isText,
  source: isText,
  destination: isText,
  names: listOf(isText),
  askedAt: isNumber,
  openedAt: maybe(isNumber),
  sentBytes: isNumber,
  receivedBytes: isNumber,
});

const isFlows = shapeOf<Status['flows']>({
  live: isNumber,
  opening: isNumber,
  opened: isNumber,
  refused: isNumber,
  sentBytes: isNumber,
  receivedBytes: isNumber,
  list: listOf(isFlow),
});

const isRefusal = shapeOf<Status['refusals'][number]>({
  at: isNumber,
  id: isNumber,
  source: isText,
  destination: isText,
  refusal: isText,
  by: isText,
  why: isText,
});

const isCheck = shapeOf<Status['checks'][number]>({
  name: isText,
  state: isText,
  detail: isText,
  hint: maybe(isText),
});

const isAnyStatus = shapeOf<Status>({
  name: isText,
  command: isText,
  pid: isNumber,
  version: isText,
  startedAt: isNumber,
  at: isNumber,
  ready: isTruth,
  remote: isText,
  targets: listOf(isText),
  device: maybe(isText),
  proxies: listOf(isText),
  forwards: listOf(isText),
  link: isLink,
  asked: maybe(isAsked),
  flows: isFlows,
  refusals: listOf(isRefusal),
  counters: recordOf(isNumber),
  checks: listOf(isCheck),
});

/** Whether it is the status of the tunnel with this process id. */
export function isStatus(value: unknown, pid: number): value is Status {
  return isAnyStatus(value) && fieldOf(value, 'pid') === pid;
}
