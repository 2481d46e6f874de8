/**
 * What is said over the socket of a running tunnel: one JSON object a line, each way.
 *
 *   client                                     tunnel
 *   {"do":"status"}                        ->  {"ok":true,"status":{...}}
 *   {"do":"status","only":"link"}          ->  {"ok":true,"status":{"link":{...}}}, or all of it
 *                                              from a tunnel of an earlier version
 *   {"do":"stop"}                          ->  {"ok":true}              then it ends in order
 *   {"do":"reconnect"}                     ->  {"ask":{...}}            any number of times
 *   {"answer":"..."} or {"declined":true}  ->  {"ok":true} when the link stands, or an error
 *   {"do":"reload"}                        ->  the same, and {"ok":true,"reload":{...}}
 *   {"do":"watch","everyMs":1000}          ->  {"ok":true,"status":{...}} until the client leaves
 *
 *   any error                                  {"ok":false,"error":{code,message,hint}}
 */
import type { Socket } from 'node:net';

/** A line of a client. */
export const MAX_REQUEST_BYTES = 64 * 1024;
/** A line of a tunnel: the status of MAX_FLOWS flows has some 4 MiB. */
export const MAX_ANSWER_BYTES = 32 * 1024 * 1024;

/** A hint, for what is said over it and not understood. */
export const OTHER_VERSION =
  'one of the two is of another version: start the tunnel again with this one';

/** Notices for one caller: nobody has to answer them, so nothing else bounds how many come. */
export const MAX_NOTICES = 32;

/** A question for a person (ssh/prompter.ts). A notice is shown, and any answer says that it is. */
export interface WireQuestion {
  readonly kind: 'secret' | 'line' | 'confirm' | 'notice';
  readonly question: string;
  readonly preamble: readonly string[];
  readonly alternative: { readonly text: string; readonly name: string } | undefined;
}

/**
 * Reads lines of JSON. Calls `line` with each value, and `broken` once if a line is longer than
 * `limit` bytes or is no JSON.
 */
export function readLines(
  socket: Socket,
  limit: number,
  { line, broken }: { readonly line: (value: unknown) => void; readonly broken: () => void },
): void {
  let waiting: Buffer[] = [];
  let length = 0;
  let over = false;
  const fail = (): void => {
    if (over) return;
    over = true;
    broken();
  };
  const take = (text: Buffer): void => {
    let value: unknown;
    try {
      value = JSON.parse(text.toString());
    } catch {
      fail();
      return;
    }
    line(value);
  };
  socket.on('data', (chunk: Buffer) => {
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0 && !over; end = rest.indexOf(10)) {
      if (length + end > limit) return fail();
      take(Buffer.concat([...waiting, rest.subarray(0, end)]));
      waiting = [];
      length = 0;
      rest = rest.subarray(end + 1);
    }
    if (over || rest.length === 0) return;
    waiting.push(rest);
    length += rest.length;
    if (length > limit) fail();
  });
}

export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && name in value
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}

export function textOf(value: unknown, name: string): string | undefined {
  const field = fieldOf(value, name);
  return typeof field === 'string' ? field : undefined;
}
