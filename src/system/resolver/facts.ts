/** Reads the facts that detect.ts needs from this machine. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filtersAnywhere } from '../reversepath.ts';
import type { ResolverFacts } from './detect.ts';

/** Where systemd-resolved lists the servers that it asks. */
export const RESOLVED_UPLINKS = '/run/systemd/resolve/resolv.conf';

/** `root` is put before each path: for tests. */
export function readResolverFacts(root = '/'): ResolverFacts {
  return {
    resolvConf: read(join(root, 'etc/resolv.conf')),
    // systemd-resolved makes the socket when it starts; the directory is removed when it ends.
    resolved: existsSync(join(root, 'run/systemd/resolve/io.systemd.Resolve')),
    resolvedUplinks: read(join(root, RESOLVED_UPLINKS)),
    nsswitch: read(join(root, 'etc/nsswitch.conf')),
    filtersReversePath: filtersAnywhere(root),
  };
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined; // the same as no file: other programs can't read it either
  }
}
