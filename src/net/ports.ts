/** Port numbers and sets of them, as users write them: `443`, `8000-8100`, `80,443,8000-8100`. */
import { NotationError, quoted } from './notation.ts';

export const MAX_PORT = 65535;

/** Both ends included, 1-65535. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Throws NotationError. */
export function parsePort(text: string): number {
  if (text === '') throw new NotationError('the port is missing');
  if (!/^[0-9]+$/.test(text)) throw new NotationError(`${quoted(text)} is not a port number`);
  const port = Number(text);
  if (port < 1 || port > MAX_PORT) {
    throw new NotationError(`${text} is not a port number: ports are 1 to ${MAX_PORT}`);
  }
  return port;
}

/**
 * Reads a list of ports and ranges. The result is sorted, without overlaps. Throws NotationError.
 */
export function parsePorts(text: string): PortRange[] {
  return mergePorts(text.split(',').map(parseRange));
}

function parseRange(text: string): PortRange {
  const dash = text.indexOf('-');
  if (dash === -1) {
    const port = parsePort(text);
    return { first: port, last: port };
  }
  const first = parsePort(text.slice(0, dash));
  const last = parsePort(text.slice(dash + 1));
  if (first > last) {
    throw new NotationError(
      `the port range ${text} ends before it begins`,
      `write ${last}-${first}`,
    );
  }
  return { first, last };
}

/** The union: sorted, without overlaps, with adjacent ranges joined. */
export function mergePorts(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first)) {
    const before = merged.at(-1);
    if (before !== undefined && range.first <= before.last + 1) {
      merged[merged.length - 1] = { first: before.first, last: Math.max(before.last, range.last) };
    } else {
      merged.push(range);
    }
  }
  return merged;
}

export function portsInclude(ranges: readonly PortRange[], port: number): boolean {
  return ranges.some(({ first, last }) => first <= port && port <= last);
}

/** `80,8000-8100`, as `parsePorts` reads it. */
export function formatPorts(ranges: readonly PortRange[]): string {
  return ranges
    .map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`))
    .join(',');
}
