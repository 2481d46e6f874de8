/**
 * The only place that knows where the native files are: the addon and the small programs.
 *
 *   dist/native/                      made by "npm run build:native", if somebody has run it
 *   prebuilds/<platform>-<arch>/      made by "npm run prebuilds" (scripts/prebuilds); the package
 *   prebuilds/linux-<arch>-musl/      has them, so that installing it takes no compiler
 *
 * All files come from one of these folders: the programs and the addon speak with each other, and
 * must be of one build. A build of one's own comes first, since nobody has one without wanting it.
 *
 * The package's folder is found by its package.json, so it doesn't matter how deep below it this
 * file is, or the bundle that it is part of.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readSync,
} from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reasonOf, systemCodeOf } from '../errors/reason.ts';
import { shellPath } from '../net/notation.ts';

const ADDON = 'tunnel.node';
/** Where scripts/deb puts the program. */
const DEBIAN_ROOT = '/usr/lib/tunnel-vpn';

/** The folder of the package, or of the checkout. */
export function packageRoot(from = fileURLToPath(import.meta.url)): string {
  for (let at = dirname(from); ; at = dirname(at)) {
    if (existsSync(join(at, 'package.json'))) return at;
    // Copied out of its package: the files are looked for beside it.
    if (dirname(at) === at) return dirname(from);
  }
}

/** What the native files depend on, as Node names it: `linux-x64`, `linux-x64-musl`. */
export function platformName(
  platform: string = process.platform,
  architecture: string = process.arch,
  executable = '/proc/self/exe',
): string {
  const name = `${platform}-${architecture}`;
  return platform === 'linux' && isMusl(executable) ? `${name}-musl` : name;
}

/**
 * The folder of `root` that has the native files; if none has them, the one that a build would
 * fill. `name` is asked only if it matters.
 */
export function nativeFolder(root: string, name: () => string = platformName): string {
  const built = join(root, 'dist', 'native');
  if (existsSync(join(built, ADDON))) return built;
  const prebuilt = join(root, 'prebuilds', name());
  return existsSync(join(prebuilt, ADDON)) ? prebuilt : built;
}

let folder: string | undefined;

/** The path of a native file, which need not be there. */
export function nativeFile(name: string): string {
  folder ??= nativeFolder(packageRoot());
  return join(folder, name);
}

export function addonFile(): string {
  return nativeFile(ADDON);
}

/**
 * What to do where the native files are missing, or are not for this machine. Debian's package has
 * no sources of them, so it is installed again.
 */
export function nativeHint(root = packageRoot()): string {
  if (!existsSync(join(root, 'native', 'Makefile'))) {
    const again = 'install the package again, that for this kind of processor';
    return root === DEBIAN_ROOT
      ? `${again}: "apt install ./tunnel-vpn_VERSION_$(dpkg --print-architecture).deb" as root`
      : again;
  }
  const installed = root.split(sep).includes('node_modules');
  const where = installed ? `--prefix ${shellPath(root)} ` : '';
  const whose = mayWrite(root) ? '' : 'as root ';
  return `build it ${whose}with "npm ${where}run build:native" (needs a C compiler and make)`;
}

/** Why a native file can't be loaded or run, by what Node has thrown, and what to do about it. */
export function nativeFault(
  path: string,
  cause: unknown,
): { readonly reason: string; readonly hint: string } {
  const code = systemCodeOf(cause);
  if (code === 'MODULE_NOT_FOUND' || code === 'ENOENT')
    return { reason: 'it is not there', hint: nativeHint() };
  const [line = ''] = (code === 'EACCES' ? code : reasonOf(cause)).split('\n', 1);
  const reason = line.startsWith(`${path}: `) ? line.slice(path.length + 2) : line;
  // What mmap(2) and execve(2) say there, and the loaders of glibc and musl after them.
  const mayNotRun = /^EACCES$|failed to map segment|Operation not permitted/.test(reason);
  const hint = mayNotRun
    ? `install the program where programs may run: "findmnt -T ${shellPath(path)}" says "noexec" if they may not, or else the file's mode is wrong`
    : nativeHint();
  return { reason, hint };
}

function mayWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    // Whatever the reason is, this user can't.
    return false;
  }
}

/**
 * Whether a program is linked with musl: the interpreter that it names says so (elf(5)). False for
 * what is no such program, or can't be read.
 */
function isMusl(executable: string): boolean {
  try {
    const fd = openSync(executable, 'r');
    try {
      return interpreter(fd).includes('/ld-musl-');
    } finally {
      closeSync(fd);
    }
  } catch {
    // Without /proc, or with a header that leads nowhere: most systems have glibc.
    return false;
  }
}

/**
 * Throws an Error if the end of a 64-bit file is missing, as after a copy for which the disk had no
 * room: what is mapped beyond its end kills the process with SIGBUS. The table of sections comes
 * last. What can't be read, or is no ELF file, is left to the loader to tell.
 */
export function refuseTruncated(path: string): void {
  let length: number;
  let header: Buffer;
  try {
    const fd = openSync(path, 'r');
    try {
      length = fstatSync(fd).size;
      header = readAt(fd, 0, ELF_HEADER_BYTES);
    } finally {
      closeSync(fd);
    }
  } catch {
    return;
  }
  if (header.length < ELF_HEADER_BYTES || header.readUInt32LE(0) !== ELF_MAGIC) return;
  if (header[4] !== ELF_CLASS_64) return;
  const end =
    Number(header.readBigUInt64LE(40)) + header.readUInt16LE(58) * header.readUInt16LE(60);
  if (length < end) throw new Error(`it is cut off after ${length} of ${end} bytes`);
}

const ELF_MAGIC = 0x464c457f;
const ELF_CLASS_64 = 2;
const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PT_INTERP = 3;
const MAX_PATH_BYTES = 4096;

/** The path of a 64-bit little-endian program's interpreter; empty if it has none. */
function interpreter(fd: number): string {
  const header = readAt(fd, 0, ELF_HEADER_BYTES);
  if (header.readUInt32LE(0) !== ELF_MAGIC || header[4] !== ELF_CLASS_64) return '';
  const table = Number(header.readBigUInt64LE(32));
  const count = header.readUInt16LE(56);
  const entries = readAt(fd, table, count * PROGRAM_HEADER_BYTES);
  for (let at = 0; at < entries.length; at += PROGRAM_HEADER_BYTES) {
    if (entries.readUInt32LE(at) !== PT_INTERP) continue;
    const length = Math.min(Number(entries.readBigUInt64LE(at + 32)), MAX_PATH_BYTES);
    return readAt(fd, Number(entries.readBigUInt64LE(at + 8)), length).toString('latin1');
  }
  return '';
}

/** Less than `length` at the end of the file. */
function readAt(fd: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, position));
}
