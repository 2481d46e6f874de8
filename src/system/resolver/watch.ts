/**
 * Reports when this machine's resolvers change, as when a laptop joins another network. Then
 * resolv.conf or the list of systemd-resolved is written, replaced, or linked elsewhere. The
 * directories are watched, because a watch on a file stays with the old file when it is replaced.
 * The files are watched as well, because a file that is a mount (in containers, under `ip netns
 * exec`) is written in another directory.
 */
import { type FSWatcher, realpathSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Observer } from '../../observe/observer.ts';
import { RESOLV_CONF } from './file.ts';

/** Several writes in a row become one change. */
const SETTLE_MS = 50;

/**
 * Calls `changed` for each change until the function that it returns is called. If a file can't be
 * watched, that is only logged.
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
    for (const file of new Set(paths.flatMap((path) => [path, resolved(path)])))
      for (const watched of [dirname(file), file]) look(watched, basename(file));
  };
  const look = (watched: string, expected: string) => {
    try {
      const watcher = watch(watched, { persistent: false }, (_event, name) => {
        if (name !== null && name !== expected) return;
        clearTimeout(timer);
        timer = setTimeout(() => {
          start(); // a link may now lead elsewhere
          changed();
        }, SETTLE_MS).unref();
      });
      watcher.on('error', (error) => observer.log('debug', `${watched}: ${error.message}`));
      watchers.push(watcher);
    } catch (error) {
      observer.log('debug', `${watched} can't be watched: ${String(error)}`);
    }
  };
  start();
  return () => {
    clearTimeout(timer);
    stop();
  };
}

/** The file that a link leads to; the path itself if it isn't a link or leads to no file. */
function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
