/**
 * A machine with Debian of its own, as far as packages and programs go: a root of Debian's packages
 * in the network of a namespace of the lab, on this machine's kernel.
 *
 *   packages   scripts/test archives them (archive_package_roots of scripts/lib/setup.sh): the
 *              archive package-RELEASE has what the package and its tests need, lintian-RELEASE
 *              has lintian
 *   root       an overlay; what is written goes with it. By pivot_root(2), since who is in a
 *              chroot(2) may make no user namespace
 *   processes  a pid namespace of their own; they end with the first one
 *
 * There is no systemd: services are not started.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LabError } from './laberror.ts';
import type { Namespace } from './namespace.ts';
import { Child, type ExecResult, mustRun, run } from './process.ts';

const ARCHIVES = fileURLToPath(new URL('../../debian', import.meta.url));
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const START_TIMEOUT_MS = 30_000;
/** Generous: the disk may be busy, and dpkg waits for it. */
const COMMAND_TIMEOUT_MS = 180_000;

/** $1: the unpacked packages; $2: an empty directory. */
const ENTER = `set -e
image=$1 work=$2
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/layer" "$work/root"
mount -t overlay overlay "$work/root" \\
  -o "lowerdir=$image,upperdir=$work/upper,workdir=$work/layer"
cd "$work/root"
mount -t proc proc proc
mount --rbind /sys sys
# Everybody may open /dev/net/tun, as udev has it.
mount -t tmpfs -o mode=755 tmpfs dev
while read -r name major minor; do
  mkdir -p "dev/$(dirname "$name")"
  mknod -m 666 "dev/$name" c "$major" "$minor"
done <<EOF
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
net/tun 10 200
EOF
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
pivot_root . mnt
umount -l mnt
echo entered
exec sleep infinity
`;

/** False, or why there is no root of this archive. */
export function rootMissing(archive: string): string | false {
  return (
    !existsSync(rootArchive(archive)) &&
    `no ${archive} here: scripts/test archives it by mmdebstrap, if apt knows where`
  );
}

/** The packages as a file of tar(1). */
export function rootArchive(archive: string): string {
  return join(ARCHIVES, `${archive}.tar`);
}

export class DebianRoot {
  readonly #process: Child;
  readonly #inside: number;

  private constructor(process: Child, inside: number) {
    this.#process = process;
    this.#inside = inside;
  }

  /** `directory` is made; it needs half a gigabyte. */
  static async start(
    namespace: Namespace,
    archive: string,
    directory: string,
  ): Promise<DebianRoot> {
    const image = join(directory, 'image');
    const work = join(directory, 'work');
    mkdirSync(image, { recursive: true });
    mkdirSync(work);
    await mustRun(['tar', '-xf', rootArchive(archive), '-C', image, '--exclude=./dev/*'], {
      timeout: COMMAND_TIMEOUT_MS,
    });
    const process = await namespace.spawn([
      ...['unshare', '--mount', '--pid', '--ipc', '--fork', '--kill-child'],
      ...['--propagation', 'private', 'sh', '-c', ENTER, 'sh', image, work],
    ]);
    await process.waitForLine(/^entered$/m, START_TIMEOUT_MS);
    const children = `/proc/${process.pid}/task/${process.pid}/children`;
    const root = new DebianRoot(process, Number(readFileSync(children, 'utf8')));
    // The machine's resolv.conf is nobody's there.
    root.write('/etc/resolv.conf', '# no resolver: unknown names fail at once\n');
    return root;
  }

  /** As root, or as another user. */
  exec(argv: readonly string[], { user }: { readonly user?: string } = {}): Promise<ExecResult> {
    return run(this.#command(argv, user), { env: environment(user), timeout: COMMAND_TIMEOUT_MS });
  }

  /** A shell's lines, all of which must succeed; returns what they print. */
  async script(lines: string, options: { readonly user?: string } = {}): Promise<string> {
    const { status, stdout, stderr } = await this.exec(['sh', '-ec', lines], options);
    if (status !== 0) throw new LabError('lab-command', `${lines}\n${stdout}${stderr}`);
    return stdout;
  }

  spawn(argv: readonly string[], { user }: { readonly user?: string } = {}): Promise<Child> {
    return Child.start(this.#command(argv, user), { env: environment(user) });
  }

  write(path: string, text: string): void {
    writeFileSync(this.#path(path), text);
  }

  copy(from: string, to: string): void {
    copyFileSync(from, this.#path(to));
  }

  async close(): Promise<void> {
    await this.#process.stop('SIGKILL');
  }

  #path(path: string): string {
    return join(`/proc/${this.#inside}/root`, path);
  }

  #command(argv: readonly string[], user?: string): string[] {
    const enter = ['nsenter', '-t', String(this.#inside), '-m', '-p', '-n', '-i', '-r', '-w'];
    if (user === undefined) return [...enter, ...argv];
    return [...enter, 'setpriv', '--reuid', user, '--regid', user, '--init-groups', ...argv];
  }
}

function environment(user = 'root'): Record<string, string> {
  const home = user === 'root' ? '/root' : `/home/${user}`;
  return { PATH, HOME: home, USER: user, LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' };
}
