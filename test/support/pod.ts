/**
 * A pod of the Deployment that `tunnel jumphost kubernetes` renders, started as the kubelet and a
 * container runtime do, in a network namespace of the lab:
 *
 *   image     packages of Debian (scripts/test archives them), to which the Containerfile's RUN is
 *             done; instead of installing packages, it fails for one that isn't there
 *   volumes   podvolumes.ts
 *   process   PID 1 of its own pid, mount, ipc and uts namespaces, with a /proc and a small /dev
 *   rights    the fields of both securityContexts, except for the filter of system calls
 *
 * A container's standard error belongs to its user (fixStdioPermissions of runc), and is a pipe.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LabError } from './laberror.ts';
import type { Namespace } from './namespace.ts';
import {
  type Container,
  type PodManifest,
  readContainerfile,
  readPodManifest,
} from './podmanifests.ts';
import { makeVolume } from './podvolumes.ts';
import { type Child, type ExecResult, mustRun, run } from './process.ts';
import { allProcesses, withDescendants } from './processtable.ts';

export interface PodOptions {
  /** What `--output` of a rendering was. */
  readonly base: string;
  /** The private key that is put into the Secret. */
  readonly hostKey: string;
  /** Of the lab; it is made. */
  readonly directory: string;
  /** As unpackImage has left it. */
  readonly image: string;
  /** /etc/hosts, instead of the cluster's DNS. */
  readonly hosts: string;
}

const ARCHIVES = fileURLToPath(new URL('../../debian', import.meta.url));
const START_TIMEOUT_MS = 20_000;
const END_TIMEOUT_MS = 5_000;
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** In the image, while RUN is done: each package that is asked for must be there. */
const APT_GET = `#!/bin/sh
[ "$1" = install ] || exit 0
shift
for package; do case $package in -*) ;; *) dpkg-query -W "$package" >/dev/null || exit 1 ;; esac; done
`;

/**
 * $1: the pod's directory; $2: the image's packages; $3: whose the container is; $4: ro or rw; then
 * the command, as the container's root finds it.
 */
const ENTER = `set -e
work=$1 image=$2 owner=$3 access=$4
shift 4
root=$work/root
mkdir "$root" "$work/layers"
mount -t tmpfs -o mode=755 tmpfs "$work/layers"
mkdir "$work/layers/upper" "$work/layers/work"
mount -t overlay overlay "$root" \\
  -o "lowerdir=$image,upperdir=$work/layers/upper,workdir=$work/layers/work"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
while read -r name major minor; do
  mknod -m 666 "$root/dev/$name" c "$major" "$minor"
done <<EOF
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
EOF
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
cp "$work/apt-get" "$root/usr/bin/apt-get"
chroot "$root" /bin/sh -ec "$(cat "$work/run")"
rm "$root/usr/bin/apt-get"
while read -r source target mode; do
  target=$root$target
  if [ -d "$source" ]; then mkdir -p "$target"; else mkdir -p "\${target%/*}" && : >>"$target"; fi
  mount --bind "$source" "$target"
  [ "$mode" = rw ] || mount -o remount,bind,ro "$target"
done <"$work/mounts"
[ "$access" = rw ] || mount -o remount,bind,ro "$root"
chown "$owner" /proc/self/fd/2
exec chroot "$root" "$@"
`;

/** False, or why there can be no pod of this release. */
export function imageMissing(release: string): string | false {
  return (
    !existsSync(archiveOf(release)) &&
    `no packages of Debian's ${release} here: scripts/test archives them with mmdebstrap`
  );
}

/** Unpacks what the image of this base is made from, for any number of pods. */
export async function unpackImage(base: string, directory: string): Promise<void> {
  const { release } = readContainerfile(base);
  mkdirSync(directory);
  await mustRun(['tar', '-xf', archiveOf(release), '-C', directory, '--exclude=./dev/*']);
}

function archiveOf(release: string): string {
  return join(ARCHIVES, `${release}.tar`);
}

export class Pod {
  readonly namespace: Namespace;
  /** Of the container's first process, as this machine sees it. */
  readonly pid: number;
  readonly container: Container;
  readonly #rights: readonly string[];
  readonly #child: Child;

  private constructor(namespace: Namespace, manifest: PodManifest, child: Child, pid: number) {
    this.namespace = namespace;
    this.container = manifest.container;
    this.#rights = rightsOf(manifest);
    this.#child = child;
    this.pid = pid;
  }

  /** Resolves when sshd listens. Throws LabError when it ends instead. */
  static async start(namespace: Namespace, options: PodOptions): Promise<Pod> {
    const { directory } = options;
    const manifest = readPodManifest(options.base, options.hostKey);
    writePodFiles(manifest, options);
    const { runAsUser } = manifest.security;
    const access = manifest.container.securityContext.readOnlyRootFilesystem ? 'ro' : 'rw';
    const command = [...rightsOf(manifest), ...manifest.container.command];
    const unshare = 'unshare --mount --pid --ipc --uts --fork --kill-child';
    const child = await namespace.spawn([
      ...['sh', '-c', `${unshare} sh -c "$0" sh "$@" 2>&1 | cat`, ENTER],
      ...[directory, options.image, String(runAsUser), access, ...command],
    ]);
    await child.waitForLine(/Server listening on :: port \d+/, START_TIMEOUT_MS);
    const pid = [...withDescendants([child.pid], allProcesses())].find(isFirst);
    if (pid === undefined) throw new LabError('lab-pod', `no pod: ${child.stdout}`);
    return new Pod(namespace, manifest, child, pid);
  }

  /** What the container has written, as `kubectl logs` shows it. */
  log(): string {
    return this.#child.stdout;
  }

  async waitForLog(pattern: RegExp): Promise<void> {
    await this.#child.waitForLine(pattern);
  }

  /** As `kubectl exec` and exec probes: in the container, with its rights. */
  exec(argv: readonly string[]): Promise<ExecResult> {
    const inside = ['nsenter', '-t', String(this.pid), '-m', '-p', '-n', '-i', '-u', '-r', '-w'];
    return run([...inside, ...this.#rights, ...argv]);
  }

  /** As the loss of its node does, except that the kernel still closes its connections. */
  async kill(): Promise<void> {
    process.kill(this.pid, 'SIGKILL');
    await this.#child.exited;
  }

  /** As the kubelet does after preStop. Throws LabError when that takes END_TIMEOUT_MS. */
  async terminate(): Promise<void> {
    process.kill(this.pid, 'SIGTERM');
    await this.#child.wait(END_TIMEOUT_MS);
  }
}

/** Whether a process is the first of a pid namespace below this one. */
function isFirst(pid: number): boolean {
  const [, inside] =
    /^NSpid:\t\d+\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return inside === '1';
}

/** What both securityContexts leave to a process. */
function rightsOf({ security, container }: PodManifest): string[] {
  const { runAsNonRoot, runAsUser, runAsGroup, fsGroup } = security;
  const { allowPrivilegeEscalation, capabilities } = container.securityContext;
  if (runAsNonRoot && runAsUser === 0) throw new LabError('lab-pod', 'the kubelet refuses root');
  const dropped = capabilities.drop.map((name) => `-${name.toLowerCase()}`).join();
  return [
    ...['/usr/bin/env', '-i', PATH, 'setpriv', `--reuid=${runAsUser}`, `--regid=${runAsGroup}`],
    `--groups=${fsGroup}`,
    ...(dropped === ''
      ? []
      : ['inh-caps', 'ambient-caps', 'bounding-set'].map((set) => `--${set}=${dropped}`)),
    ...(allowPrivilegeEscalation ? [] : ['--no-new-privs']),
    '--',
  ];
}

function writePodFiles(manifest: PodManifest, { directory, hosts }: PodOptions): void {
  const { volumes, objects, security, container } = manifest;
  const own = (name: string) => join(directory, name);
  mkdirSync(own('volumes'), { recursive: true });
  writeFileSync(own('apt-get'), APT_GET);
  chmodSync(own('apt-get'), 0o755);
  writeFileSync(own('run'), manifest.image.run);
  writeFileSync(own('hosts'), hosts);
  writeFileSync(own('resolv.conf'), '# no resolver: unknown names fail at once\n');
  for (const volume of volumes)
    makeVolume(join(own('volumes'), volume.name), volume, objects, security.fsGroup);
  const mounts = container.volumeMounts.map(({ name, mountPath, subPath, readOnly }) => {
    // The kubelet follows the links of a subPath, and mounts the file itself.
    const source = realpathSync(join(own('volumes'), name, subPath ?? '.'));
    return `${source} ${mountPath} ${readOnly === true ? 'ro' : 'rw'}`;
  });
  const etc = ['hosts', 'resolv.conf'].map((name) => `${own(name)} /etc/${name} rw`);
  writeFileSync(own('mounts'), [...mounts, ...etc, ''].join('\n'));
}
