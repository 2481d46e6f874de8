/**
 * Undoes what programs that died have left behind. Run by `tunnel clean`, and at each start before
 * anything is changed.
 */
import { reasonOf } from '../../errors/reason.ts';
import type { Observer } from '../../observe/observer.ts';
import { RESOLV_CONF, RESOLV_CONF_KIND, recoverResolvConf } from './file.ts';
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
  for (const entry of abandoned) {
    try {
      if (entry.kind === RESOLV_CONF_KIND) done.push(recoverResolvConf(entry, path, running));
      else if (entry.kind === 'unreadable') done.push('an unfinished journal entry was removed');
      else {
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
