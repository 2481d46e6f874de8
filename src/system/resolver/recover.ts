/**
 * Undoes what programs that died have left behind. Run by `tunnel clean`, and at each start before
 * anything is changed.
 *
 * Several tunnels may have died, and each has its entry about resolv.conf:
 *
 *   with the same text   they ran beside each other: undone, and told, once
 *   with other texts     one has rewritten what another one had written: the last one first
 */
import { reasonOf } from '../../errors/reason.ts';
import type { Observer } from '../../observe/observer.ts';
import {
  isSameResolvConf,
  nextResolvConf,
  RESOLV_CONF,
  RESOLV_CONF_KIND,
  recoverResolvConf,
} from './file.ts';
import { type AbandonedEntry, Journal } from './journal.ts';

export interface RecoveryReport {
  /** One sentence each. None is there twice, though several entries may be about one file. */
  readonly done: readonly string[];
  /** What could not be undone. The journal entries stay. */
  readonly failed: readonly string[];
}

/** `path`: the only file that is restored. */
export function recover(
  observer: Observer,
  journal: Journal = new Journal(),
  path: string = RESOLV_CONF,
): RecoveryReport {
  const done: string[] = [];
  const failed: string[] = [];
  let abandoned: AbandonedEntry[] = [];
  let running: AbandonedEntry[] = [];
  try {
    abandoned = journal.abandoned();
    running = journal.running();
  } catch (error) {
    failed.push(reasonOf(error));
  }
  const files = abandoned.filter(({ kind }) => kind === RESOLV_CONF_KIND);
  const others = abandoned.filter((it) => !files.includes(it));
  const undone: AbandonedEntry[] = [];
  for (const entry of inOrder(files, path, others)) {
    try {
      if (entry.kind === RESOLV_CONF_KIND) {
        if (!undone.some((other) => isSameResolvConf(entry, other)))
          done.push(recoverResolvConf(entry, path, running));
        undone.push(entry);
      } else if (entry.kind === 'unreadable') {
        done.push('an unfinished journal entry was removed');
      } else {
        failed.push(`a journal entry of the kind "${entry.kind}" is not known to this version`);
        continue;
      }
      entry.remove();
      observer.count('tunnel_recovered_total');
    } catch (error) {
      failed.push(reasonOf(error));
    }
  }
  return { done: [...new Set(done)], failed: [...new Set(failed)] };
}

/**
 * Entries about resolv.conf, then the others. Undo each one before you take the next: which that
 * is depends on the text that the file then has.
 */
function* inOrder(
  files: readonly AbandonedEntry[],
  path: string,
  others: readonly AbandonedEntry[],
): Generator<AbandonedEntry> {
  const left = [...files];
  for (;;) {
    const entry = nextResolvConf(left, path);
    if (entry === undefined) break;
    left.splice(left.indexOf(entry), 1);
    yield entry;
  }
  yield* others;
}
