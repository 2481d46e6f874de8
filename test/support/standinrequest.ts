/**
 * What the services of the stand-in cloud (standincloud.ts) have in common: requests, answers, and
 * checks of a body against what the API reference lists. What isn't listed is refused.
 */

export interface ApiRequest {
  readonly method: string;
  /** Below the service's version: `['ports', ID]`. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
  /** undefined: none was sent. */
  readonly body: unknown;
}

export interface ApiAnswer {
  readonly status: number;
  readonly body?: object;
}

/** Is answered as an error of the service. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'Refusal';
    this.status = status;
  }
}

export type Fields = Readonly<Record<string, unknown>>;
/** Throws Refusal. `at` says where the value is. */
export type Check = (value: unknown, at: string) => void;

function bad(at: string, what: string, value: unknown): Refusal {
  return new Refusal(400, `${at}: ${JSON.stringify(value)} is not ${what}`);
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object `name` of a body that has nothing else. */
export function bodyOf(body: unknown, name: string, also: readonly string[] = []): Fields {
  if (!isFields(body)) throw bad('body', 'an object', body);
  const unknown = Object.keys(body).filter((key) => key !== name && !also.includes(key));
  if (unknown.length > 0) throw new Refusal(400, `unknown in the body: ${unknown.join(', ')}`);
  const inner = body[name];
  if (!isFields(inner)) throw bad(name, 'an object', inner);
  return inner;
}

/** Each field is known and of its form, and no required one is missing. */
export function checkFields(
  fields: unknown,
  at: string,
  required: Readonly<Record<string, Check>>,
  optional: Readonly<Record<string, Check>> = {},
): void {
  if (!isFields(fields)) throw bad(at, 'an object', fields);
  for (const name of Object.keys(required))
    if (!(name in fields)) throw new Refusal(400, `${at}.${name} is missing`);
  for (const [name, value] of Object.entries(fields)) {
    const check = required[name] ?? optional[name];
    if (check === undefined) throw new Refusal(400, `${at}.${name} is unknown`);
    check(value, `${at}.${name}`);
  }
}

export function text(least: number, most: number): Check {
  return (value, at) => {
    if (typeof value !== 'string' || value.length < least || value.length > most)
      throw bad(at, `a text of ${least} to ${most} characters`, value);
  };
}

export const uuid: Check = (value, at) => {
  if (typeof value !== 'string' || !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value))
    throw bad(at, 'a UUID', value);
};

export const boolean: Check = (value, at) => {
  if (typeof value !== 'boolean') throw bad(at, 'true or false', value);
};

export function integer(least: number, most: number): Check {
  return (value, at) => {
    if (!Number.isInteger(value) || Number(value) < least || Number(value) > most)
      throw bad(at, `a number from ${least} to ${most}`, value);
  };
}

export function oneOf(...values: readonly unknown[]): Check {
  return (value, at) => {
    if (!values.includes(value)) throw bad(at, `one of ${values.join(', ')}`, value);
  };
}

export function orNull(check: Check): Check {
  return (value, at) => {
    if (value !== null) check(value, at);
  };
}

export function listOf(check: Check): Check {
  return (value, at) => {
    if (!Array.isArray(value)) throw bad(at, 'a list', value);
    for (const [i, element] of value.entries()) check(element, `${at}[${i}]`);
  };
}

/** By its id, or 404. */
export function found<T>(of: ReadonlyMap<string, T>, id: string | undefined, what: string): T {
  const one = of.get(id ?? '');
  if (one === undefined) throw new Refusal(404, `no ${what} ${id}`);
  return one;
}

/** Those whose fields are as the query has them; a parameter that is no field is refused. */
export function filtered<T extends object>(
  all: Iterable<T>,
  query: URLSearchParams,
  names: readonly (keyof T & string)[],
): T[] {
  const wanted = [...query].map(([name, value]) => {
    const known = names.find((one) => one === name);
    if (known === undefined) throw new Refusal(400, `unknown parameter ${name}`);
    return [known, value] as const;
  });
  return [...all].filter((one) => wanted.every(([name, value]) => String(one[name]) === value));
}
