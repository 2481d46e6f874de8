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
import {
  chmodSync,
  chownSync,
  lstatSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { TunnelError } from '../../errors/errors.ts';
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
      await this.undo();
      if (cause instanceof TunnelError) throw cause;
      throw new TunnelError('dns-resolv-conf', `${path} can't be rewritten: ${reason(cause)}`, {
        hint: 'run tunnel as root, or use "tunnel exec", which has a resolver of its own',
        cause,
      });
    }
  }

  async undo(): Promise<void> {
    const undo = this.#undo;
    this.#undo = undefined;
    undo?.();
  }
}

/**
 * Undoes what a journal entry tells of. Returns what was done, as a sentence. Throws what the file
 * system says.
 */
export function recoverResolvConf(data: unknown): string {
  if (!isEntry(data)) return 'a journal entry about resolv.conf could not be read';
  return restore(data)
    ? `${data.path} is as before`
    : `${data.path} was changed by somebody else meanwhile`;
}

/** Whether the file was ours, so that it could be restored. */
function restore({ path, before, after }: Entry): boolean {
  const now = stateOf(path);
  if (!('text' in now) || now.text !== after) return false;
  replace(path, before);
  return true;
}

function stateOf(path: string): Before {
  const status = lstatSync(path);
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
    else {
      writeFileSync(beside, state.text, { encoding: ENCODING, flag: 'wx', mode: state.mode });
      chmodSync(beside, state.mode); // whatever the umask
      chownSync(beside, state.uid, state.gid);
    }
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    // A mount can't be replaced, but a file that is one can be written.
    if (!isBusy(error) || 'link' in state) throw error;
    writeFileSync(path, state.text, ENCODING);
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

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
