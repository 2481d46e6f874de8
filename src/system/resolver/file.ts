/**
 * Rewrites resolv.conf to name the DNS servers that all tunnels share (dns/server/
 * sharedaddresses.ts). This is the last resort, for machines where programs ask a resolver on the
 * machine itself.
 *
 *   apply()              writes the old state to the journal, then moves a new file into place
 *   undo()               moves the old link or file back, but only if the file is still ours
 *   recoverResolvConf()  the same for the entries of programs that died, by `tunnel clean` and at
 *                        the next start: first the one whose text the file has, until it has none's
 *
 * Several tunnels may want the file rewritten. It has the same text for all of them, and each has
 * its entry with what was there before the first one. The last one to end restores that:
 *
 *   event                                              the file       the entry
 *   the first tunnel starts                            is rewritten   written before
 *   another one starts                                 stays          a copy of that of the first
 *   one of them ends, or is found to have been killed  stays          removed
 *   the last one ends, or is found                     is as before   removed
 *
 * If somebody else has replaced the file, and a tunnel rewrites that, its entry has another text.
 * Then the former ones don't count: what is there is no longer theirs to restore.
 *
 * There is no lock. Whoever ends marks its entry first, and then looks for others that aren't
 * marked. Whoever joins writes its entry first, and then waits until marked ones are gone; if the
 * file was restored meanwhile, it is rewritten. So of one that ends and one that joins, at least
 * one sees the other.
 *
 * A file that can't be replaced because it is a mount (in containers) is overwritten in place. The
 * journal says so first, since that may be cut short: by a kill, or by a disk that is full. The
 * file then has octets of both texts, and is ours all the same.
 */
import { lstatSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import { type Prefix, parsePrefix, prefixContains } from '../../net/prefix.ts';
import { OWN_RANGES } from '../../net/special.ts';
import { printable } from '../../observe/printable.ts';
import { overwriteDurably, syncDirectory, writeDurably } from './durable.ts';
import type { HostChange } from './hostchange.ts';
import { type AbandonedEntry, isRecord, type Journal, type JournalEntry } from './journal.ts';
import {
  DEFAULT_RESOLVER,
  parseResolvConf,
  REWRITTEN_COMMENT,
  resolvConfText,
  rewrittenHead,
} from './resolvconf.ts';

export const RESOLV_CONF = '/etc/resolv.conf';
export const RESOLV_CONF_KIND = 'resolv.conf';
/** Keeps all octets as they are. */
const ENCODING = 'latin1';
/** For one that ends to be done with it. */
const JOIN_MS = 5000;
const JOIN_STEP_MS = 20;

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
  /** Its tunnel is ending: others that end don't count on it. */
  readonly ending?: boolean;
}

export interface ResolvConfOptions {
  /** Addresses of the tunnels' DNS server. */
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
      let entry = this.#planned(path, servers);
      const recorded = journal.record(RESOLV_CONF_KIND, entry);
      const markInPlace = () => {
        entry = marked(entry, recorded);
      };
      const { after } = entry;
      const others = () =>
        othersOf(journal, path, recorded.file).filter((it) => it.after === after);
      this.#undo = () => {
        if (!markEnding(entry, recorded, others).some((it) => it.ending !== true))
          restore(entry, markInPlace);
        recorded.remove();
      };
      const deadline = performance.now() + JOIN_MS;
      while (others().some(({ ending }) => ending === true) && performance.now() < deadline)
        await sleep(JOIN_STEP_MS);
      // Another tunnel has written it, and not taken it back.
      if (readFileSync(path, ENCODING) === entry.after) return;
      replace(path, { text: entry.after, mode: 0o644, uid: 0, gid: 0 }, markInPlace);
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

  /** The entry to write. Throws if there is no file, or it can't be known what was there before. */
  #planned(path: string, servers: readonly string[]): Entry {
    const before = stateOf(path);
    if (before === undefined) throw new Error('there is no such file');
    const text = readFileSync(path, ENCODING);
    if (!text.startsWith(REWRITTEN_COMMENT)) {
      const { resolvers, lines } = parseResolvConf(text);
      const former = resolvers.length === 0 ? [DEFAULT_RESOLVER] : resolvers;
      return { path, before, after: resolvConfText(servers, lines, rewrittenHead(former)) };
    }
    // Entries of programs that died were undone at the start, so another tunnel is running.
    const [first] = othersOf(this.#options.journal, path).filter(({ after }) => after === text);
    if (first === undefined)
      throw new TunnelError('dns-resolv-conf', `another tunnel has rewritten ${path}`, {
        hint: 'end it, or use "tunnel exec", which has its own resolver; run "sudo tunnel clean" if no other tunnel runs',
      });
    const { ending: _, ...same } = first;
    return same;
  }

  /** Rejects with the file system's error; then it may be tried again. */
  async undo(): Promise<void> {
    this.#undo?.();
    this.#undo = undefined;
  }
}

/**
 * Of entries, the newest first, the one to undo next: that whose text the file has. The newest one
 * if that is none's, or can't be read. undefined: there are no entries.
 */
export function nextResolvConf(
  entries: readonly AbandonedEntry[],
  path: string,
): AbandonedEntry | undefined {
  const now = textNow(path);
  const about = (isIts: (text: string, entry: Entry) => boolean) =>
    entries.find(
      ({ data }) => now !== undefined && isEntry(data) && data.path === path && isIts(now, data),
    );
  // Of a file that was cut short several may be the origin.
  return about((text, { after }) => text === after) ?? about(isOurs) ?? entries[0];
}

/** undefined: it is no file, or can't be read. */
function textNow(path: string): string | undefined {
  try {
    const now = stateOf(path);
    return now !== undefined && 'text' in now ? now.text : undefined;
  } catch {
    return undefined; // whoever restores it gets the error
  }
}

/** Whether both entries are of tunnels that ran beside each other, with one change of the file. */
export function isSameResolvConf(a: AbandonedEntry, b: AbandonedEntry): boolean {
  return (
    isEntry(a.data) &&
    isEntry(b.data) &&
    a.data.path === b.data.path &&
    a.data.after === b.data.after
  );
}

/**
 * Undoes the change in a journal entry about `path`. Returns what was done, as a sentence. Throws
 * the file system's error, or TunnelError `journal` for an entry about another file: what an entry
 * says must not decide which file root writes. `running`: entries of programs that still run.
 */
export function recoverResolvConf(
  abandoned: AbandonedEntry,
  path: string,
  running: readonly AbandonedEntry[] = [],
): string {
  const { data } = abandoned;
  if (!isEntry(data)) return 'a journal entry about resolv.conf could not be read';
  if (data.path !== path)
    throw new TunnelError(
      'journal',
      `a journal entry is about ${printable(data.path)}, not ${path}`,
    );
  const others = entriesAbout(path, running).filter(({ after }) => after === data.after);
  if (others.some(({ ending }) => ending !== true))
    return `${data.path} stays as it is for another tunnel, which runs`;
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
 * Whether the file is a tunnel's that is gone: this machine has no tunnel's device. Who can't read
 * the journal sees at least that. `networks`: of this machine's devices.
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
  if (!text.startsWith(REWRITTEN_COMMENT)) return false;
  const isTunnels = (network: Prefix) => OWN_RANGES.some((range) => prefixContains(range, network));
  return !networks.some(isTunnels);
}

/** Of tunnels that run, without the entry in the file `own`. */
function othersOf(journal: Journal, path: string, own?: string): Entry[] {
  return entriesAbout(
    path,
    journal.running().filter(({ file }) => file !== own),
  );
}

function entriesAbout(path: string, entries: readonly AbandonedEntry[]): Entry[] {
  return entries
    .filter(({ kind }) => kind === RESOLV_CONF_KIND)
    .map(({ data }) => data)
    .filter(isEntry)
    .filter((entry) => entry.path === path);
}

/**
 * Marks the entry, then returns those of others. Throws the file system's error if there are some
 * and it can't be marked.
 */
function markEnding(entry: Entry, recorded: JournalEntry, others: () => Entry[]): Entry[] {
  try {
    recorded.replace({ ...entry, ending: true });
  } catch (error) {
    if (others().length > 0) throw error;
  }
  return others();
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
  if (isSame(now, before)) return 'restored'; // of several tunnels that were killed
  if (!('text' in now) || !isOurs(now.text, entry)) return 'changed';
  replace(path, before, markInPlace);
  return 'restored';
}

function isOurs(text: string, { before, after, inPlace }: Entry): boolean {
  if (text === after) return true;
  return inPlace === true && 'text' in before && isCutShort(text, [before.text, after]);
}

function isSame(one: Before, other: Before): boolean {
  if ('link' in one) return 'link' in other && one.link === other.link;
  return 'text' in other && one.text === other.text;
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
