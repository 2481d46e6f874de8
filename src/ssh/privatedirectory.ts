/**
 * A directory of our own for one ssh: its log, its SOCKS socket, and what it reads from us (a copy
 * of ssh_config, too). Mode 0700, in $XDG_RUNTIME_DIR (which the system empties at the latest at
 * logout) or /tmp.
 *
 *   tunnel-ssh-NS-PID-START-RANDOM   the tunnel's process id, the namespace in which it is one
 *                                    (containers may share the directory above), and when the
 *                                    process began (proc(5), stat, field 22); base 36
 *
 * A tunnel that was killed leaves it behind. The next one removes those directories of the same
 * user whose process no longer is, or is another one by now.
 */
import { lstatSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { TunnelError } from '../errors/errors.ts';
import type { Observer } from '../observe/observer.ts';
import { processStat } from '../system/process.ts';

const PREFIX = 'tunnel-ssh-';
const NAME = /^tunnel-ssh-([a-z0-9]+)-([a-z0-9]+)-([a-z0-9]+)-[A-Za-z0-9]{6}$/;
/**
 * A socket's path has 107 characters at most (unix(7)); the directory's name and the socket's take
 * up to 48.
 */
const MAX_BASE_LENGTH = 50;

/** The files of one ssh. */
export interface OpensshFiles {
  readonly log: string;
  readonly socks: string;
  readonly knownHosts: string;
  readonly hopConfiguration: string;
}

export interface PrivateDirectory extends OpensshFiles {
  readonly path: string;
  /** May be repeated. Never throws: what can't be removed now is left to the next start. */
  remove(): void;
}

/**
 * `bases`: where to look and to make it, the first that will do. Throws TunnelError
 * `openssh-directory`.
 */
export function makePrivateDirectory(
  observer: Observer,
  bases: readonly string[] = defaultBases(process.env),
): PrivateDirectory {
  let cause: unknown;
  for (const base of bases) {
    try {
      sweep(base, observer);
      const identity = [pidNamespace(), process.pid, processStat(process.pid)?.startTime ?? 0];
      const name = identity.map((number) => number.toString(36)).join('-');
      return describeDirectory(mkdtempSync(join(base, `${PREFIX}${name}-`)), observer);
    } catch (error) {
      cause ??= error;
    }
  }
  throw new TunnelError(
    'openssh-directory',
    `no private directory can be made in ${bases.join(' or ')}`,
    {
      hint: 'set XDG_RUNTIME_DIR to a directory that you may write to',
      cause,
    },
  );
}

/** ssh expands tokens and variables in some of these paths: only a plain one is used. */
export function defaultBases(environment: NodeJS.ProcessEnv): string[] {
  const runtime = environment['XDG_RUNTIME_DIR'] ?? '';
  const fit = runtime.length <= MAX_BASE_LENGTH && /^\/[\w./-]+$/.test(runtime);
  return fit ? [runtime, '/tmp'] : ['/tmp'];
}

function describeDirectory(path: string, observer: Observer): PrivateDirectory {
  return {
    path,
    log: join(path, 'log'),
    socks: join(path, 'socks'),
    knownHosts: join(path, 'known_hosts'),
    hopConfiguration: join(path, 'config'),
    remove: () => {
      try {
        rmSync(path, { recursive: true, force: true });
      } catch (error) {
        observer.log('debug', `${path} can't be removed`, { error: String(error) });
      }
    },
  };
}

function sweep(base: string, observer: Observer): void {
  const here = pidNamespace().toString(36);
  for (const name of readdirSync(base)) {
    const [, namespace, pid = '', start] = NAME.exec(name) ?? [];
    if (
      namespace !== here ||
      processStat(Number.parseInt(pid, 36))?.startTime.toString(36) === start
    )
      continue;
    const path = join(base, name);
    try {
      const status = lstatSync(path);
      if (!status.isDirectory() || status.uid !== process.getuid?.()) continue;
      rmSync(path, { recursive: true, force: true });
      observer.log('debug', `removed ${path}, which a tunnel that was killed has left`);
    } catch {
      // Another tunnel is removing it as well.
    }
  }
}

function pidNamespace(): number {
  return statSync('/proc/self/ns/pid').ino;
}
