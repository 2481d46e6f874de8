/**
 * Tells when this machine's resolvers become others: a laptop that joins another network gets them,
 * by a file that is written, moved into place, or linked to: resolv.conf, or the list of
 * systemd-resolved. Directories are watched, because a file that is replaced takes its own watch
 * along.
 */
import { type FSWatcher, realpathSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Observer } from '../../observe/observer.ts';
import { RESOLV_CONF } from './file.ts';

/** Whoever writes it may write several times; then once is enough to look. */
const SETTLE_MS = 50;

/**
 * Calls `changed` until the result is called. Where it can't be watched, that is logged, and no
 * more.
 */
export function watchResolvers(
  changed: () => void,
  observer: Observer,
  paths: readonly string[] = [RESOLV_CONF],
): () => void {
  let watchers: FSWatcher[] = [];
  let timer: NodeJS.Timeout | undefined;
  const stop = () => {
    for (const watcher of watchers) watcher.close();
    watchers = [];
  };
  const start = () => {
    stop();
    for (const file of new Set(paths.flatMap((path) => [path, resolved(path)]))) {
      try {
        const watcher = watch(dirname(file), { persistent: false }, (_event, name) => {
          if (name !== null && name !== basename(file)) return;
          clearTimeout(timer);
          timer = setTimeout(() => {
            start(); // a link may lead elsewhere now
            changed();
          }, SETTLE_MS).unref();
        });
        watcher.on('error', (error) => observer.log('debug', `${file}: ${error.message}`));
        watchers.push(watcher);
      } catch (error) {
        observer.log('debug', `${file} can't be watched: ${String(error)}`);
      }
    }
  };
  start();
  return () => {
    clearTimeout(timer);
    stop();
  };
}

/** Where a link leads; the path itself where there is none, or nothing at its end. */
function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
