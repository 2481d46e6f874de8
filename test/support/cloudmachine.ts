/**
 * A machine that boots an image with user-data, as far as cloud-init and sshd go: the lab's jump
 * host, with a root of its own.
 *
 *   overlay of this machine's /       what is written stays in a tmpfs, and goes with it
 *   own pid, uts, mount namespaces    all its processes end with it
 *   cloud-init's own stages           local, init, config, final, with the modules that matter
 *   systemctl, apt-get                stand-ins that note how they were called; the first runs sshd
 *
 * What cloud-init and its scripts say on the console is the output of the first process.
 *
 * Limits: no systemd, no packages are installed; those that a rendering needs must be installed on
 * this machine.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cloudInitRoot, UNPACKED } from './cloudinit.ts';
import type { Lab } from './lab.ts';
import { LabError } from './laberror.ts';
import { type Child, type ExecResult, run } from './process.ts';
import { HOSTS_FILE } from './sshd.ts';

/** The image's own user. */
export const ADMINISTRATOR = 'debian';

export interface CloudImage {
  readonly userData: string;
  /** A public key that the cloud puts in, for the administrator. */
  readonly key: string;
  /** /etc/ssh/sshd_config; by default Debian's. */
  readonly sshdConfig?: string;
  /** systemd listens for sshd. */
  readonly sshSocket?: boolean;
  /** Files of the image. */
  readonly files?: Readonly<Record<string, string>>;
}

const BOOT_TIMEOUT_MS = 60_000;
const SSHD_LOG = '/var/log/sshd.log';
/** How the stand-ins were called, a line each. */
const CALLS = '/var/log/calls';

const CLOUD_INIT_PATHS = [
  'usr/bin/cloud-init',
  'usr/lib/cloud-init',
  'usr/libexec/cloud-init',
  'usr/lib/python3',
];
const LOGGING = 'etc/cloud/cloud.cfg.d/05_logging.cfg';
const CLOUD_CONFIG = `datasource_list: [NoCloud]
network: {config: disabled}
users: [default]
disable_root: true
preserve_hostname: true
cloud_init_modules: [write-files, users-groups, ssh]
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [write-files-deferred, scripts-user, keys-to-console]
system_info:
  distro: debian
  default_user:
    name: ${ADMINISTRATOR}
    lock_passwd: true
    gecos: Debian
    groups: [adm, sudo]
    shell: /bin/bash
  paths: {cloud_dir: /var/lib/cloud, templates_dir: /etc/cloud/templates}
  ssh_svcname: ssh
`;

/** $1: a directory for the root; $2: the files that go into it. */
const BOOT = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
files=$2
cd "$1/root"
rm -rf etc/ssh/ssh_host_* etc/ssh/sshd_config.d/* etc/cloud var/lib/cloud var/log/cloud-init*
cp -r "$files/." .
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
# cloud-init's sign of systemd; without it, it asks for services as SysV had them.
mkdir -p run/systemd/system
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for device in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "dev/\${device%:*}" c 1 "\${device#*:}"
done
mknod -m 666 dev/tty c 5 0
ip link set lo up
exec chroot . /bin/sh -c '
  export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
  cd /
  # What logger(1) and sshd say is taken, as by any syslog.
  python3 -c "$1" &
  until [ -S /dev/log ]; do sleep 0.05; done
  stage() { cloud-init "$@" || echo "stage $* failed"; }
  stage init --local
  stage init
  systemctl start ssh
  stage modules --mode=config
  stage modules --mode=final
  echo booted
  exec sleep infinity' sh "$3"
`;
const SYSLOG = `import socket
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
with open("/var/log/syslog", "ab", 0) as file:
    while True: file.write(log.recv(65536) + b"\\n")
`;

/** As ssh.service: sshd's files are checked first (ExecStartPre), a reload goes to the process. */
const SYSTEMCTL = `#!/bin/sh
echo "systemctl $*" >>${CALLS}
running() { [ -f /run/sshd.pid ] && kill -0 "$(cat /run/sshd.pid)" 2>/dev/null; }
start() {
  mkdir -p /run/sshd
  /usr/sbin/sshd -t && /usr/sbin/sshd -E ${SSHD_LOG}
}
stop() {
  running || return 0
  kill "$(cat /run/sshd.pid)"
  while running; do sleep 0.05; done
  rm -f /run/sshd.pid
}
case "$*" in
  'cat ssh.service') ;;
  'is-enabled --quiet ssh.socket') [ -f /etc/ssh-socket-enabled ] ;;
  'disable --now ssh.socket') rm /etc/ssh-socket-enabled ;;
  'start ssh') running || start ;;
  restart*ssh*) stop && start ;;
  'reload-or-restart ssh' | 'reload ssh')
    if running; then /usr/sbin/sshd -t && kill -HUP "$(cat /run/sshd.pid)"; else start; fi ;;
esac
`;
const NOTED = `#!/bin/sh
echo "\${0##*/} $*" >>${CALLS}
`;

export class CloudMachine {
  readonly #process: Child;
  readonly #inside: number;

  private constructor(process: Child, inside: number) {
    this.#process = process;
    this.#inside = inside;
  }

  /** Resolves when the last stage has ended, whatever came of it. The lab's own sshd is ended. */
  static async boot(lab: Lab, name: string, image: CloudImage): Promise<CloudMachine> {
    await lab.sshd.kill();
    const directory = join(lab.directory, name);
    const files = join(directory, 'files');
    mkdirSync(join(directory, 'root'), { recursive: true });
    for (const [path, { text, mode }] of Object.entries(filesOf(image))) {
      mkdirSync(dirname(join(files, path)), { recursive: true });
      writeFileSync(join(files, path), text, { mode });
    }
    if (cloudInitRoot() === UNPACKED) {
      for (const path of CLOUD_INIT_PATHS)
        if (existsSync(join(UNPACKED, path)))
          cpSync(join(UNPACKED, path), join(files, path), { recursive: true });
    }
    const namespaces = ['--mount', '--uts', '--pid', '--fork', '--kill-child'];
    const process = await lab.jumphost.spawn([
      ...['unshare', ...namespaces, 'sh', '-c', BOOT, 'sh'],
      ...[join(directory, 'root'), files, SYSLOG],
    ]);
    await process.waitForLine(/^booted$/m, BOOT_TIMEOUT_MS);
    const path = `/proc/${process.pid}/task/${process.pid}/children`;
    return new CloudMachine(process, Number(readFileSync(path, 'utf8')));
  }

  /** What has been said since the machine was switched on. */
  get console(): string {
    return this.#process.stdout;
  }

  /** As root, there. */
  exec(argv: readonly string[], input = ''): Promise<ExecResult> {
    const enter = ['nsenter', '-t', String(this.#inside), '-m', '-u', '-p', '-n', '-r', '-w'];
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' };
    return run([...enter, ...argv], { input, env });
  }

  /** A shell's lines, all of which must succeed; returns what they print. */
  async script(lines: string): Promise<string> {
    const { status, stdout, stderr } = await this.exec(['sh', '-ec', lines]);
    if (status !== 0) throw new LabError('lab-command', `${lines}\n${stdout}${stderr}`);
    return stdout;
  }

  log(): Promise<string> {
    return this.script(`cat ${SSHD_LOG}`);
  }

  /** How the stand-ins were called so far. */
  calls(): Promise<string> {
    return this.script(`cat ${CALLS}`);
  }

  async close(): Promise<void> {
    await this.#process.stop('SIGKILL');
  }
}

function filesOf({ userData, key, sshdConfig, sshSocket, files = {} }: CloudImage) {
  const text = (content: string, mode = 0o644) => ({ text: content, mode });
  const seed = 'var/lib/cloud/seed/nocloud';
  return {
    ...accounts(),
    'etc/hosts': text(HOSTS_FILE),
    'etc/resolv.conf': text('# no resolver: unknown names fail at once\n'),
    'etc/ssh/sshd_config': text(
      sshdConfig ?? readFileSync('/usr/share/openssh/sshd_config', 'utf8'),
    ),
    'etc/cloud/cloud.cfg': text(CLOUD_CONFIG),
    [LOGGING]: text(readFileSync(join(cloudInitRoot() ?? '/', LOGGING), 'utf8')),
    [`${seed}/meta-data`]: text(`instance-id: i-1\npublic-keys: [${JSON.stringify(key)}]\n`),
    [`${seed}/user-data`]: text(userData),
    'usr/bin/systemctl': text(SYSTEMCTL, 0o755),
    'usr/bin/apt-get': text(NOTED, 0o755),
    ...(sshSocket === true ? { 'etc/ssh-socket-enabled': text('') } : {}),
    ...Object.fromEntries(Object.entries(files).map(([path, content]) => [path, text(content)])),
  };
}

/** Those of this machine without people: an image has nobody yet. */
function accounts() {
  const lines = (file: string) => readFileSync(file, 'utf8').trim().split('\n');
  const isSystem = (line: string) => {
    const [name = '', , id = ''] = line.split(':');
    return (Number(id) < 1000 || id === '65534') && !/^(tunnel|debian)/.test(name);
  };
  const passwd = lines('/etc/passwd').filter(isSystem);
  const names = new Set(passwd.map((line) => line.split(':', 1)[0]));
  const shadow = lines('/etc/shadow').filter((line) => names.has(line.split(':', 1)[0]));
  const group = lines('/etc/group').filter(isSystem);
  const file = (content: readonly string[], mode: number) => ({
    text: `${content.join('\n')}\n`,
    mode,
  });
  return {
    'etc/passwd': file(passwd, 0o644),
    'etc/group': file(group, 0o644),
    'etc/shadow': file(shadow, 0o600),
    'etc/gshadow': file([], 0o600),
  };
}
