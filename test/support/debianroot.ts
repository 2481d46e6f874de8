/**
 * A machine with Debian of its own, as far as packages and programs go: a root of Debian's packages
 * in the network of a namespace of the lab, on this machine's kernel.
 *
 *   packages   scripts/test archives them (archive_package_roots of scripts/lib/setup.sh): the
 *              archive package-RELEASE has what the package and its tests need, systemd-RELEASE the
 *              same with systemd, lintian-RELEASE has lintian
 *   root       an overlay; what is written goes with it. By pivot_root(2), since who is in a
 *              chroot(2) may make no user namespace
 *   processes  a pid namespace of their own; they end with the first one
 *
 *   services   none: there is no systemd, as in a container or a chroot. Except with `systemd`,
 *              where that is the first process; what of it would change this machine is masked
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ControlGroup } from './controlgroup.ts';
import { LabError } from './laberror.ts';
import type { Namespace } from './namespace.ts';
import { Child, type ExecResult, mustRun, run, SEARCH_PATH } from './process.ts';

const ARCHIVES = fileURLToPath(new URL('../../debian', import.meta.url));
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const START_TIMEOUT_MS = 30_000;
/** Generous: the disk may be busy, and dpkg waits for it. */
const COMMAND_TIMEOUT_MS = 180_000;
const POLL_MS = 50;

/** Units that change the kernel's settings, mount its file systems or want a terminal. */
const MASKED = [
  'dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount sys-kernel-config.mount',
  'sys-kernel-debug.mount sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount',
  'systemd-binfmt.service systemd-modules-load.service systemd-random-seed.service',
  'systemd-sysctl.service systemd-remount-fs.service systemd-networkd.service',
  'systemd-networkd.socket systemd-timesyncd.service systemd-logind.service getty.target',
  'console-getty.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer',
].join(' ');

/** $1: the unpacked packages; $2: an empty directory; $3: systemd, or nothing. */
const ENTER = `set -e
image=$1 work=$2 init=$3
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/layer" "$work/root"
mount -t overlay overlay "$work/root" \\
  -o "lowerdir=$image,upperdir=$work/upper,workdir=$work/layer"
cd "$work/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
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
if [ -z "$init" ]; then
  echo entered
  exec sleep infinity
fi
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for unit in ${MASKED}; do ln -sf /dev/null "etc/systemd/system/$unit"; done
echo 0123456789abcdef0123456789abcdef >etc/machine-id
export container=tunnel-test PATH=${PATH}
# As systemd does outside of containers: it mounts credentials in a namespace of their own.
mount --make-rshared .
echo entered
exec setpriv --clear-groups /lib/systemd/systemd --system --unit=multi-user.target
`;

/** Joins the control group $1, and becomes the rest. */
const JOIN = 'echo 0 >"$1/cgroup.procs" && shift && exec "$@"';

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
  readonly #group: ControlGroup | undefined;

  private constructor(process: Child, inside: number, group: ControlGroup | undefined) {
    this.#process = process;
    this.#inside = inside;
    this.#group = group;
  }

  /**
   * `directory` is made; it needs half a gigabyte. With `systemd` that has started when the promise
   * resolves; the archive must have it.
   */
  static async start(
    namespace: Namespace,
    archive: string,
    directory: string,
    { systemd = false }: { readonly systemd?: boolean } = {},
  ): Promise<DebianRoot> {
    const image = join(directory, 'image');
    const work = join(directory, 'work');
    mkdirSync(image, { recursive: true });
    mkdirSync(work);
    await mustRun(['tar', '-xf', rootArchive(archive), '-C', image, '--exclude=./dev/*'], {
      timeout: COMMAND_TIMEOUT_MS,
    });
    const group = systemd ? ControlGroup.make() : undefined;
    const joined = group === undefined ? [] : ['sh', '-c', JOIN, 'sh', group.path];
    const own = systemd ? ['--cgroup', '--uts'] : [];
    // Not by ip-netns(8), which hides the control groups.
    const process = await Child.start(
      [
        ...['nsenter', `--net=/run/netns/${namespace.name}`, '--', ...joined],
        ...['unshare', '--mount', '--pid', '--ipc', ...own, '--fork', '--kill-child'],
        ...['--propagation', 'private', 'sh', '-c', ENTER, 'sh', image, work],
        systemd ? 'systemd' : '',
      ],
      { env: { PATH: SEARCH_PATH, HOME: namespace.home, LANG: 'C.UTF-8' } },
    );
    try {
      await process.waitForLine(/^entered$/m, START_TIMEOUT_MS);
      const children = `/proc/${process.pid}/task/${process.pid}/children`;
      const root = new DebianRoot(process, Number(readFileSync(children, 'utf8')), group);
      // The machine's resolv.conf is nobody's there.
      root.write('/etc/resolv.conf', '# no resolver: unknown names fail at once\n');
      if (systemd) await root.#booted();
      return root;
    } catch (error) {
      await process.stop('SIGKILL');
      await group?.remove();
      throw error;
    }
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

  /** `stdin`: as Child has it. */
  spawn(
    argv: readonly string[],
    { user, ...options }: { readonly user?: string; readonly stdin?: 'open' } = {},
  ): Promise<Child> {
    return Child.start(this.#command(argv, user), { env: environment(user), ...options });
  }

  write(path: string, text: string): void {
    writeFileSync(this.#path(path), text);
  }

  read(path: string): string {
    return readFileSync(this.#path(path), 'utf8');
  }

  copy(from: string, to: string): void {
    copyFileSync(from, this.#path(to));
  }

  async close(): Promise<void> {
    await this.#process.stop('SIGKILL');
    await this.#group?.remove();
  }

  async #booted(): Promise<void> {
    const end = performance.now() + COMMAND_TIMEOUT_MS;
    for (;;) {
      const { stdout } = await this.exec(['systemctl', 'is-system-running']);
      if (/^(running|degraded)/.test(stdout)) return;
      if (performance.now() > end || this.#process.ended !== undefined)
        throw new LabError('lab-command', `systemd has not started: ${this.#process.stderr}`);
      await delay(POLL_MS);
    }
  }

  #path(path: string): string {
    return join(`/proc/${this.#inside}/root`, path);
  }

  #command(argv: readonly string[], user?: string): string[] {
    const own = this.#group === undefined ? [] : ['-C', '-u'];
    const enter = [
      'nsenter',
      '-t',
      String(this.#inside),
      '-m',
      '-p',
      '-n',
      '-i',
      ...own,
      '-r',
      '-w',
    ];
    if (user === undefined) return [...enter, ...argv];
    return [...enter, 'setpriv', '--reuid', user, '--regid', user, '--init-groups', ...argv];
  }
}

function environment(user = 'root'): Record<string, string> {
  const home = user === 'root' ? '/root' : `/home/${user}`;
  return { PATH, HOME: home, USER: user, LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' };
}
