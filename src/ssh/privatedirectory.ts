/**
 * A private directory for one ssh process: its log, its SOCKS socket, and the files that it reads
 * from us (such as a copy of ssh_config). Mode 0700, in $XDG_RUNTIME_DIR (which the system empties
 * at logout at the latest) or in /tmp.
 *
 *   tunnel-ssh-NS-PID-START-RANDOM   NS: the pid namespace (containers may share the directory
 *                                    above); PID: the tunnel's process id; START: when the process
 *                                    began (proc(5), stat, field 22). All in base 36
 *
 * A tunnel that is killed leaves its directory behind. The next one removes the directories of the
 * same user whose process no longer exists, or whose process id now belongs to another process. On
 * other systems NS and START are 0, and only the first is known. On a Linux without proc(5), such
 * as a bare chroot, it isn't known which processes they mean, so they stay.
 */
import { lstatSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isLinux } from '../base/platform.ts';
import { TunnelError } from '../errors/errors.ts';
import type { Observer } from '../observe/observer.ts';
import { isRunning, processStat } from '../system/process.ts';

const PREFIX = 'tunnel-ssh-';
const NAME = /^tunnel-ssh-([a-z0-9]+)-([a-z0-9]+)-([a-z0-9]+)-[A-Za-z0-9]{6}$/;
/**
 * A socket's path has at most 107 characters (unix(7)); the names of the directory and the socket
 * take up to 48 of them.
 */
const MAX_BASE_LENGTH = 50;

/** The files of one ssh process. */
export interface OpensshFiles {
  readonly log: string;
  readonly socks: string;
  readonly askpass: string;
  readonly knownHosts: string;
  readonly hopConfiguration: string;
}

export interface PrivateDirectory extends OpensshFiles {
  readonly path: string;
  /**
   * May be called more than once. Never throws: if something can't be removed now, the next start
   * removes it.
   */
  remove(): void;
}

/**
 * Removes old directories and makes a new one in the first of `bases` where that works. Throws
 * TunnelError `openssh-directory`.
 */
export function makePrivateDirectory(
  observer: Observer,
  bases: readonly string[] = defaultBases(process.env),
): PrivateDirectory {
  let cause: unknown;
  for (const base of bases) {
    try {
      sweep(base, observer);
      const identity = [pidNamespace() ?? 0, process.pid, processStat(process.pid)?.startTime ?? 0];
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
      hint: 'set XDG_RUNTIME_DIR to a directory that you may write to; a container whose root is read only needs --tmpfs /tmp',
      cause,
    },
  );
}

/** ssh expands tokens and variables in some of these paths, so only a plain path is used. */
export function defaultBases(environment: NodeJS.ProcessEnv): string[] {
  const runtime = environment['XDG_RUNTIME_DIR'] ?? '';
  const fit = runtime.length <= MAX_BASE_LENGTH && /^\/[\w./-]+$/.test(runtime);
  const temporary = process.platform === 'win32' ? tmpdir() : '/tmp';
  return fit ? [runtime, temporary] : [temporary];
}

function describeDirectory(path: string, observer: Observer): PrivateDirectory {
  return {
    path,
    log: join(path, 'log'),
    socks: join(path, 'socks'),
    askpass: join(path, 'ask'),
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
  const here = pidNamespace()?.toString(36);
  if (here === undefined) return;
  const runs = (pid: number, start: string | undefined) =>
    isLinux() ? processStat(pid)?.startTime.toString(36) === start : isRunning(pid);
  for (const name of readdirSync(base)) {
    const [, namespace, pid = '', start] = NAME.exec(name) ?? [];
    if (namespace !== here || runs(Number.parseInt(pid, 36), start)) continue;
    const path = join(base, name);
    try {
      const status = lstatSync(path);
      // Windows has no such users, and a directory for temporary files of each one's own.
      const isOthers = process.getuid !== undefined && status.uid !== process.getuid();
      if (!status.isDirectory() || isOthers) continue;
      rmSync(path, { recursive: true, force: true });
      observer.log('debug', `removed ${path}, left behind by a tunnel that was killed`);
    } catch {
      // Another tunnel is removing it as well.
    }
  }
}

/** Only Linux has several. undefined: there is no proc(5). */
function pidNamespace(): number | undefined {
  return isLinux() ? statSync('/proc/self/ns/pid', { throwIfNoEntry: false })?.ino : 0;
}
