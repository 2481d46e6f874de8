/**
 * resolv.conf rewritten to name the tunnel's DNS server: the last resort, where programs ask a
 * resolver on this machine itself.
 *
 *   apply()      journal entry with what was there -> a new file is moved into its place
 *   undo()       what was there is moved back, link or file; but only if the file still is ours
 *   recoverResolvConf()  the same for the entry of a program that died, by `tunnel clean` and at
 *                        the next start
 *
 * One tunnel at a time: two that end in another order than they began would leave one's server
 * behind. Where the file can't be replaced because it is a mount of its own (containers), it is
 * written in place.
 */
import { lstatSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import { overwriteDurably, syncDirectory, writeDurably } from './durable.ts';
import type { HostChange } from './hostchange.ts';
import { isRecord, type Journal } from './journal.ts';
import { parseResolvConf, resolvConfText } from './resolvconf.ts';

export const RESOLV_CONF = '/etc/resolv.conf';
export const RESOLV_CONF_KIND = 'resolv.conf';
/** Its octets are kept, whatever they are. */
const ENCODING = 'latin1';
const COMMENT =
  '# Written by tunnel while it runs; "tunnel clean" brings back what was here before.';

type Before =
  | { readonly link: string }
  | { readonly text: string; readonly mode: number; readonly uid: number; readonly gid: number };

interface Entry {
  readonly path: string;
  readonly before: Before;
  /** What was written: a file with another text isn't ours any more. */
  readonly after: string;
}

export interface ResolvConfOptions {
  /** Addresses of the tunnel's DNS server. */
  readonly servers: readonly string[];
  readonly journal: Journal;
  readonly path?: string;
}

export class ResolvConfFile implements HostChange {
  readonly #options: ResolvConfOptions;
  #undo: (() => void) | undefined;

  constructor(options: ResolvConfOptions) {
    this.#options = options;
  }

  describe(): string {
    return this.#options.path ?? RESOLV_CONF;
  }

  /** Rejects with TunnelError `dns-resolv-conf`. */
  async apply(): Promise<void> {
    const { servers, journal, path = RESOLV_CONF } = this.#options;
    try {
      const before = stateOf(path);
      if (before === undefined) throw new Error('there is no such file');
      const text = readFileSync(path, ENCODING);
      // Entries of programs that died were undone at the start. Two that run could end in the wrong
      // order.
      if (text.startsWith(COMMENT)) {
        throw new TunnelError('dns-resolv-conf', `another tunnel has rewritten ${path}`, {
          hint: 'end it, or use "tunnel exec", which has a resolver of its own; run "sudo tunnel clean" if there is none',
        });
      }
      const after = resolvConfText(servers, parseResolvConf(text).lines, COMMENT);
      const entry: Entry = { path, before, after };
      const forget = journal.record(RESOLV_CONF_KIND, entry);
      this.#undo = () => {
        restore(entry);
        forget();
      };
      replace(path, { text: after, mode: 0o644, uid: 0, gid: 0 });
    } catch (cause) {
      const left = await this.undo().then(() => undefined, reasonOf);
      if (cause instanceof TunnelError && left === undefined) throw cause;
      const also = left === undefined ? '' : `; nor can what was done be taken back: ${left}`;
      throw new TunnelError(
        'dns-resolv-conf',
        `${path} can't be rewritten: ${reasonOf(cause)}${also}`,
        {
          hint:
            left === undefined
              ? 'run tunnel as root, or use "tunnel exec", which has a resolver of its own'
              : 'look at the file; "sudo tunnel clean" brings back what was there',
          cause,
        },
      );
    }
  }

  /** Rejects with what the file system says; then it may be tried again. */
  async undo(): Promise<void> {
    this.#undo?.();
    this.#undo = undefined;
  }
}

/**
 * Undoes what a journal entry tells of. Returns what was done, as a sentence. Throws what the file
 * system says.
 */
export function recoverResolvConf(data: unknown): string {
  if (!isEntry(data)) return 'a journal entry about resolv.conf could not be read';
  switch (restore(data)) {
    case 'restored':
      return `${data.path} is as before`;
    case 'changed':
      return `${data.path} was changed by somebody else meanwhile`;
    case 'removed':
      return `${data.path} was removed by somebody else meanwhile`;
  }
}

/** Only a file that still is ours is restored. */
function restore({ path, before, after }: Entry): 'restored' | 'changed' | 'removed' {
  const now = stateOf(path);
  if (now === undefined) return 'removed';
  if (!('text' in now) || now.text !== after) return 'changed';
  replace(path, before);
  return 'restored';
}

/** undefined: there is no such file. */
function stateOf(path: string): Before | undefined {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined) return undefined;
  const { mode, uid, gid } = status;
  if (status.isSymbolicLink()) return { link: readlinkSync(path) };
  return { text: readFileSync(path, ENCODING), mode: mode & 0o777, uid, gid };
}

/** Whoever reads the file meanwhile sees the old one or the new one, nothing between. */
function replace(path: string, state: Before): void {
  const beside = `${path}.tunnel-${process.pid}`;
  rmSync(beside, { force: true });
  try {
    if ('link' in state) symlinkSync(state.link, beside);
    else writeDurably(beside, state.text, { mode: state.mode, owner: state, encoding: ENCODING });
    renameSync(beside, path);
    syncDirectory(dirname(path));
  } catch (error) {
    rmSync(beside, { force: true });
    // A mount can't be replaced, but a file that is one can be written.
    if (!isBusy(error) || 'link' in state) throw error;
    overwriteDurably(path, state.text, ENCODING);
  }
}

function isEntry(data: unknown): data is Entry {
  if (!isRecord(data) || typeof data['path'] !== 'string' || typeof data['after'] !== 'string')
    return false;
  const { before } = data;
  if (!isRecord(before)) return false;
  if (typeof before['link'] === 'string') return true;
  const { text, mode, uid, gid } = before;
  return typeof text === 'string' && [mode, uid, gid].every((value) => typeof value === 'number');
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EBUSY';
}
