/**
 * Rewrites resolv.conf to name the tunnel's DNS server. This is the last resort, for machines where
 * programs ask a resolver on the machine itself.
 *
 *   apply()              writes the old state to the journal, then moves a new file into place
 *   undo()               moves the old link or file back, but only if the file is still ours
 *   recoverResolvConf()  the same for the entry of a program that died, by `tunnel clean` and at
 *                        the next start
 *
 * Only one tunnel at a time may do this: if two ended in the order in which they started, the first
 * one's server would be left in the file.
 *
 * A file that can't be replaced because it is a mount (in containers) is overwritten in place. The
 * journal says so first, since that may be cut short: by a kill, or by a disk that is full. The
 * file then has octets of both texts, and is ours all the same.
 */
import { lstatSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { dirname } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import { isAddress } from '../../net/address.ts';
import { hostPrefix, type Prefix, parsePrefix, prefixContains } from '../../net/prefix.ts';
import { printable } from '../../observe/printable.ts';
import { overwriteDurably, syncDirectory, writeDurably } from './durable.ts';
import type { HostChange } from './hostchange.ts';
import { type AbandonedEntry, isRecord, type Journal, type JournalEntry } from './journal.ts';
import { parseResolvConf, resolvConfText } from './resolvconf.ts';

export const RESOLV_CONF = '/etc/resolv.conf';
export const RESOLV_CONF_KIND = 'resolv.conf';
/** Keeps all octets as they are. */
const ENCODING = 'latin1';
const COMMENT =
  '# Written by tunnel while it runs; "tunnel clean" brings back what was here before.';

type Before =
  | { readonly link: string }
  | { readonly text: string; readonly mode: number; readonly uid: number; readonly gid: number };

interface Entry {
  readonly path: string;
  readonly before: Before;
  /** The text that we wrote. A file with another text is no longer ours. */
  readonly after: string;
  /** The file is being overwritten, or has been: it may have some of both texts. */
  readonly inPlace?: boolean;
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
      // Entries of programs that died were undone at the start, so another tunnel is running. The
      // two could end in the wrong order.
      if (text.startsWith(COMMENT)) {
        throw new TunnelError('dns-resolv-conf', `another tunnel has rewritten ${path}`, {
          hint: 'end it, or use "tunnel exec", which has its own resolver; run "sudo tunnel clean" if no other tunnel runs',
        });
      }
      const after = resolvConfText(servers, parseResolvConf(text).lines, COMMENT);
      let entry: Entry = { path, before, after };
      const recorded = journal.record(RESOLV_CONF_KIND, entry);
      const markInPlace = () => {
        entry = marked(entry, recorded);
      };
      this.#undo = () => {
        restore(entry, markInPlace);
        recorded.remove();
      };
      replace(path, { text: after, mode: 0o644, uid: 0, gid: 0 }, markInPlace);
    } catch (cause) {
      const left = await this.undo().then(() => undefined, reasonOf);
      if (cause instanceof TunnelError && left === undefined) throw cause;
      const also = left === undefined ? '' : `; and the change can't be undone: ${left}`;
      throw new TunnelError(
        'dns-resolv-conf',
        `${path} can't be rewritten: ${reasonOf(cause)}${also}`,
        {
          hint:
            left === undefined
              ? 'run tunnel as root, or use "tunnel exec", which has its own resolver'
              : 'look at the file; "sudo tunnel clean" restores what was there before',
          cause,
        },
      );
    }
  }

  /** Rejects with the file system's error; then it may be tried again. */
  async undo(): Promise<void> {
    this.#undo?.();
    this.#undo = undefined;
  }
}

/**
 * Undoes the change in a journal entry about `path`. Returns what was done, as a sentence. Throws
 * the file system's error, or TunnelError `journal` for an entry about another file: what an entry
 * says must not decide which file root writes.
 */
export function recoverResolvConf(abandoned: AbandonedEntry, path: string): string {
  const { data } = abandoned;
  if (!isEntry(data)) return 'a journal entry about resolv.conf could not be read';
  if (data.path !== path)
    throw new TunnelError(
      'journal',
      `a journal entry is about ${printable(data.path)}, not ${path}`,
    );
  switch (restore(data, () => void marked(data, abandoned))) {
    case 'restored':
      return `${data.path} is as before`;
    case 'changed':
      return `${data.path} was changed by somebody else in the meantime`;
    case 'removed':
      return `${data.path} was removed by somebody else in the meantime`;
  }
}

/**
 * Whether the file is a tunnel's that is gone: its DNS servers are in no network of this machine.
 * Who can't read the journal sees at least that. `networks`: of this machine's devices.
 */
export function isAbandonedResolvConf(
  path: string = RESOLV_CONF,
  networks: readonly Prefix[] = deviceNetworks(),
): boolean {
  let text: string;
  try {
    text = readFileSync(path, ENCODING);
  } catch {
    return false; // there is none, or it can't be read: nobody can tell
  }
  if (!text.startsWith(COMMENT)) return false;
  return !parseResolvConf(text)
    .resolvers.filter(isAddress)
    .some((server) => networks.some((network) => prefixContains(network, hostPrefix(server))));
}

function deviceNetworks(): Prefix[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses = []) => addresses)
    .flatMap(({ cidr }) => (cidr === null ? [] : [parsePrefix(cidr).prefix]));
}

/** The entry with the mark that the file is overwritten, as it then also is in the journal. */
function marked(entry: Entry, recorded: JournalEntry): Entry {
  if (entry.inPlace === true) return entry;
  const inPlace: Entry = { ...entry, inPlace: true };
  recorded.replace(inPlace);
  return inPlace;
}

/**
 * Restores the file only if it is still ours. Throws the file system's error; then the entry must
 * be kept.
 */
function restore(entry: Entry, markInPlace: () => void): 'restored' | 'changed' | 'removed' {
  const { path, before } = entry;
  const now = stateOf(path);
  if (now === undefined) return 'removed';
  if (!('text' in now) || !isOurs(now.text, entry)) return 'changed';
  replace(path, before, markInPlace);
  return 'restored';
}

function isOurs(text: string, { before, after, inPlace }: Entry): boolean {
  if (text === after) return true;
  return inPlace === true && 'text' in before && isCutShort(text, [before.text, after]);
}

/** Whether each octet is that of one of the texts at its place; also of a file that is empty. */
function isCutShort(text: string, texts: readonly string[]): boolean {
  for (let at = 0; at < text.length; at++) {
    if (!texts.some((one) => one[at] === text[at])) return false;
  }
  return true;
}

/** undefined: the file doesn't exist. */
function stateOf(path: string): Before | undefined {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined) return undefined;
  const { mode, uid, gid } = status;
  if (status.isSymbolicLink()) return { link: readlinkSync(path) };
  return { text: readFileSync(path, ENCODING), mode: mode & 0o777, uid, gid };
}

/**
 * Replaces the file in one step: programs read either the old file or the new one. Calls
 * `markInPlace` before it does so in more than one step.
 */
function replace(path: string, state: Before, markInPlace: () => void): void {
  const temporary = `${path}.tunnel-${process.pid}`;
  rmSync(temporary, { force: true });
  try {
    if ('link' in state) symlinkSync(state.link, temporary);
    else
      writeDurably(temporary, state.text, { mode: state.mode, owner: state, encoding: ENCODING });
    renameSync(temporary, path);
    syncDirectory(dirname(path));
  } catch (error) {
    rmSync(temporary, { force: true });
    // A file that is a mount can't be replaced, but it can be overwritten.
    if (!isBusy(error) || 'link' in state) throw error;
    markInPlace();
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
