/**
 * `tunnel status --watch` where standard output is no terminal, or with --json: a status at each
 * interval, for `tee`, a file, or a program that reads lines.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Found, findTunnels, tunnelNamed } from '../../control/client.ts';
import { formatStatus, formatStatusLine } from '../status.ts';

/** As on the screen. */
const EVERY_MS = 1_000;

export interface StreamOptions {
  /** undefined: all tunnels. */
  readonly name: string | undefined;
  readonly json: boolean;
  readonly signal: AbortSignal;
  /** False: nobody reads any more. */
  readonly print: (text: string) => boolean;
  /** Default: EVERY_MS. */
  readonly every?: number;
  readonly find?: () => Promise<Found>;
}

/**
 * Until the last tunnel has ended, or nobody reads. Rejects with TunnelError if there is no such
 * tunnel at the start, or with the signal's reason.
 */
export async function streamStatus(options: StreamOptions): Promise<void> {
  const { name, json, signal, print, every = EVERY_MS, find = findTunnels } = options;
  let begun = false;
  let pid: number | undefined;
  for (;;) {
    const found = await find();
    signal.throwIfAborted();
    const first = pid === undefined && name !== undefined ? tunnelNamed(found, name) : undefined;
    pid ??= first?.pid;
    const wanted = pid === undefined ? found : onlyOf(found, pid);
    const ended = wanted.tunnels.length + wanted.silent.length === 0;
    const text = json ? formatStatusLine(wanted) : formatStatus(wanted);
    if (!print(begun && !json ? `\n${text}` : text) || ended) return;
    begun = true;
    await delay(every, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

/** A tunnel of the same name that starts later is another one. */
function onlyOf({ tunnels, silent }: Found, pid: number): Found {
  return {
    tunnels: tunnels.filter((tunnel) => tunnel.pid === pid),
    silent: silent.filter((tunnel) => tunnel.pid === pid),
  };
}
