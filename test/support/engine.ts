/**
 * An engine for containers in a namespace of the lab: buildah builds, podman runs. There is no
 * registry: the image that a recipe begins with is imported from an archive of Debian's packages.
 *
 *   network   that of the namespace, shared by all containers (--network host)
 *   storage   in a directory of the test's; mounts end with the command that made them
 *   cgroups   none; only their file system is there, since crun asks for that of version 2
 */
import { chownSync, copyFileSync, cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { rootArchive } from './debianroot.ts';
import type { Namespace } from './namespace.ts';
import { Child, type ExecResult, mustRun, run, SEARCH_PATH } from './process.ts';
import { missingPrograms } from './requirements.ts';

const BUILD_TIMEOUT_MS = 180_000;
/** In a mount namespace of its own. */
const ENTER = `set -e
umount -R /sys/fs/cgroup || :
mount -t cgroup2 none /sys/fs/cgroup
exec "$@"`;
/** The archive has what apt-get would fetch; lists of packages are not to be had. */
const APT_GET = '#!/bin/sh\n[ "$1" = update ] || exec /usr/bin/apt-get "$@"\n';
/** Limits above those of this machine's root need CAP_SYS_RESOURCE. */
const LIMITS = ['nofile=1024:1024', 'nproc=1024:1024'].flatMap((limit) => ['--ulimit', limit]);

/** False, or what of an engine is not installed. */
export function engineMissing(): string | false {
  return missingPrograms('buildah', 'podman', 'crun', 'nsenter', 'unshare', 'tar');
}

export class Engine {
  readonly #namespace: Namespace;
  readonly #directory: string;

  /** `directory` must exist; it needs a gigabyte, and is removed by the test. */
  constructor(namespace: Namespace, directory: string) {
    this.#namespace = namespace;
    this.#directory = directory;
  }

  /** The packages of `archive` (debianroot.ts) as the image `name`. */
  async import(archive: string, name: string): Promise<void> {
    const file = join(this.#directory, 'base.tar');
    const added = join(this.#directory, 'added');
    copyFileSync(rootArchive(archive), file);
    mkdirSync(join(added, 'usr/local/bin'), { recursive: true });
    writeFileSync(join(added, 'usr/local/bin/apt-get'), APT_GET, { mode: 0o755 });
    await mustRun(['tar', '-rf', file, '-C', added, './usr/local/bin/apt-get']);
    await mustRun(this.#inside('podman', 'import', file, name), this.#options());
  }

  /** Returns what the build printed. */
  build(recipe: string, context: string, name: string): Promise<string> {
    const argv = ['bud', '--isolation', 'chroot', '--network', 'host', '--pull=never', ...LIMITS];
    return mustRun(
      this.#inside('buildah', ...argv, '-f', recipe, '-t', name, context),
      this.#options(),
    );
  }

  /** `podman run`: the container is gone when it ends. */
  run(args: readonly string[]): Promise<Child> {
    const options = ['--rm', '--network', 'host', '--cgroups', 'disabled', ...LIMITS];
    return Child.start(this.#inside('podman', 'run', ...options, ...args), this.#options());
  }

  /** Another command of podman, about a container that runs. */
  podman(...args: readonly string[]): Promise<ExecResult> {
    return run(this.#inside('podman', ...args), this.#options());
  }

  /** A copy of a directory that `uid` owns, as a volume for it alone. */
  volumeOf(directory: string, uid: number): string {
    const copy = join(this.#directory, `volume-${uid}`);
    cpSync(directory, copy, { recursive: true });
    for (const file of ['', ...readdirSync(copy)]) chownSync(join(copy, file), uid, uid);
    return copy;
  }

  /** By nsenter, since `ip netns exec` would hide the file systems of cgroups. */
  #inside(program: 'buildah' | 'podman', ...args: readonly string[]): string[] {
    const storage = [
      ...['--root', join(this.#directory, 'storage')],
      ...['--runroot', join(this.#directory, 'run'), '--storage-driver', 'overlay'],
      ...(program === 'podman'
        ? ['--cgroup-manager', 'cgroupfs', '--events-backend', 'file', '--runtime', 'crun']
        : []),
    ];
    return [
      ...['nsenter', `--net=/run/netns/${this.#namespace.name}`],
      ...['unshare', '--mount', '--propagation', 'private', 'sh', '-c', ENTER, 'sh'],
      ...[program, ...storage, ...args],
    ];
  }

  #options(): { env: Record<string, string>; timeout: number } {
    return {
      env: { PATH: SEARCH_PATH, HOME: this.#directory, LANG: 'C.UTF-8' },
      timeout: BUILD_TIMEOUT_MS,
    };
  }
}
