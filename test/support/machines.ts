/**
 * Machines on which the installed package is tried: a Node, and beside it no compiler, no make and
 * no Python. scripts/lib/nodes.sh fetches them.
 *
 *   glibc   this machine's files, with a PATH of a few programs
 *   musl    a root of its own, with musl and busybox
 *   arm64   Node in qemu-user; it can't start other programs for arm64, unless the kernel is told
 *           how to (binfmt_misc)
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SEARCH_PATH } from './process.ts';

const NODES = fileURLToPath(new URL('../../nodes/', import.meta.url));
const ARM64_LIBRARIES = '/usr/aarch64-linux-gnu';
const QEMU = '/usr/bin/qemu-aarch64-static';

export interface Machine {
  readonly name: string;
  /** Of Node, as it says it in process.version. */
  readonly major: number;
  /** What prebuilds/ calls it. */
  readonly platform: string;
  /** Why it can't be had here; false if it can. */
  readonly missing: string | false;
  /** It may start programs of its own platform, and has the system's ssh. */
  readonly starts: boolean;
  readonly hasSsh: boolean;
  /** A command that prints what is at a URL. */
  readonly get: readonly string[];
  /** The command that runs `argv` there. */
  on(argv: readonly string[], installed: Installed): string[];
}

export interface Installed {
  /** What npm installed with --prefix. */
  readonly prefix: string;
  /** With .ssh. */
  readonly home: string;
  /** For what a machine needs, until the test ends. */
  readonly scratch: string;
}

/** What a bare machine has at the least: coreutils and a shell. */
const PROGRAMS = ['sh', 'readlink', 'dirname', 'id', 'env', 'cat', 'mkfifo', 'uname', 'sed'];

/** A directory with links to these programs and nothing else. */
export function bareDirectory(directory: string, programs: readonly string[]): string {
  if (existsSync(directory)) return directory;
  mkdirSync(directory, { recursive: true });
  for (const program of [...PROGRAMS, ...programs]) {
    const found = SEARCH_PATH.split(':').find((folder) => existsSync(join(folder, program)));
    if (found === undefined) throw new Error(`${program} is not installed`);
    symlinkSync(realpathSync(join(found, program)), join(directory, program));
  }
  return directory;
}

const environment = (path: string, home: string) => ['env', '-i', `PATH=${path}`, `HOME=${home}`];

function glibc(major: number): Machine {
  const folder = join(NODES, `linux-x64-${major}`);
  return {
    name: `Node ${major} with glibc`,
    major,
    platform: 'linux-x64',
    missing: !existsSync(join(folder, 'node')) && `there is no Node ${major} in dist/nodes`,
    starts: true,
    hasSsh: true,
    get: ['curl', '-sS', '--max-time', '20'],
    on(argv, { home, scratch }) {
      const programs = bareDirectory(join(scratch, 'bin'), ['curl', 'ssh']);
      return [...environment(`${folder}:${programs}`, home), ...argv];
    },
  };
}

/** In a mount namespace; the rest is the command. */
const ENTER_ROOT = `set -e
root=$1 prefix=$2 home=$3
shift 3
mount --bind "$root" "$root"
for name in proc sys dev; do mount --rbind "/$name" "$root/$name"; done
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$prefix" "$root/usr/local"
mount --bind "$home" "$root/root"
cd "$root"
pivot_root . old
cd /
exec /bin/busybox sh -c 'umount -l /old && exec "$@"' sh "$@"`;

const MUSL_ROOT = join(NODES, 'musl');

const musl: Machine = {
  name: 'Node 22 with musl',
  major: 22,
  platform: 'linux-x64-musl',
  missing: !existsSync(MUSL_ROOT) && 'there is no Node for musl in dist/nodes',
  starts: true,
  hasSsh: false,
  get: ['wget', '-qO-', '-T', '20'],
  on(argv, { prefix, home }) {
    const inside = argv.map((word) => word.replace(prefix, '/usr/local'));
    return [
      ...['unshare', '--mount', 'sh', '-c', ENTER_ROOT, 'sh', MUSL_ROOT, prefix, home],
      ...environment('/usr/bin', '/root'),
      ...inside,
    ];
  },
};

const arm64Node = join(NODES, 'linux-arm64-24/node');

/** Runs a program for arm64. */
export const ARM64 = [QEMU, '-L', ARM64_LIBRARIES] as const;

const arm64: Machine = {
  name: 'Node 24 on arm64',
  major: 24,
  platform: 'linux-arm64',
  missing:
    ![arm64Node, QEMU, join(ARM64_LIBRARIES, 'lib/libstdc++.so.6')].every(existsSync) &&
    'there is no Node for arm64 in dist/nodes, or no qemu-user-static',
  starts: false,
  hasSsh: false,
  get: [],
  on(argv, { home, scratch }) {
    const programs = bareDirectory(join(scratch, 'bin-arm64'), []);
    const node = join(programs, 'node');
    if (!existsSync(node)) {
      writeFileSync(node, `#!/bin/sh\nexec ${[...ARM64, arm64Node].join(' ')} "$@"\n`);
      chmodSync(node, 0o755);
    }
    return [...environment(programs, home), ...argv];
  },
};

export const MACHINES: readonly Machine[] = [glibc(20), glibc(22), glibc(24), musl, arm64];
