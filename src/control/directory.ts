/**
 * Where running tunnels have their sockets: DIRECTORY/PID.sock.
 *
 *   of root      /run/tunnel
 *   of a user    $XDG_RUNTIME_DIR/tunnel, /run/user/UID/tunnel, or /tmp/tunnel-UID
 *   of a unit    $RUNTIME_DIRECTORY, where systemd has made it (RuntimeDirectory=tunnel...)
 *
 * The directory is 0700 and its user's own, and a socket is 0600. So the kernel lets only that user
 * and root in. Root's is 0755, because the socket of tunnel-helper.socket is in it. In /tmp anybody
 * may have made it first: then it isn't used. A socket whose tunnel was killed is removed by its
 * user's next tunnel, and by whoever finds that nobody listens.
 */
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';

const NAME = 'tunnel';
/** Of tunnels that root starts, and of tunnel-helper.socket. */
const OF_ROOT = `/run/${NAME}`;
const MODE = 0o700;
const MODE_OF_ROOT = 0o755;
const SOCKET = /^([1-9][0-9]{0,9})\.sock$/;
/** A socket's path has at most 107 octets (unix(7)). */
const MAX_PATH_BYTES = 107;

type Environment = Readonly<Record<string, string | undefined>>;

export interface Whose {
  readonly env: Environment;
  readonly uid: number;
}

export function whoseProcess(): Whose {
  return { env: process.env, uid: process.geteuid?.() ?? 0 };
}

/** The directories that this user's tunnels may use, the one for a new tunnel first. */
export function ownDirectories({ env, uid }: Whose): readonly string[] {
  const ofUnit = (env['RUNTIME_DIRECTORY'] ?? '').split(':').filter(isAbsolute);
  if (uid === 0) return [...ofUnit, OF_ROOT];
  const runtime = env['XDG_RUNTIME_DIR'] ?? '';
  const places = [...(isAbsolute(runtime) ? [runtime] : []), `/run/user/${uid}`];
  return [...new Set([...ofUnit, ...places.map((place) => join(place, NAME)), inTmp(uid)])];
}

function inTmp(uid: number): string {
  return `/tmp/${NAME}-${uid}`;
}

/** Root sees those of all users. */
export function allDirectories(whose: Whose): readonly string[] {
  if (whose.uid !== 0) return ownDirectories(whose);
  return [
    ...new Set([
      ...ownDirectories(whose),
      ...namesIn('/run').filter((path) => /\/tunnel(-[^/]*)?$/.test(path)),
      ...namesIn('/run/user').map((path) => join(path, NAME)),
      ...namesIn('/tmp').filter((path) => /\/tunnel-[0-9]+$/.test(path)),
    ]),
  ];
}

/** Makes the first directory that can be used. Throws TunnelError `control-directory`. */
export function makeDirectory(whose: Whose): string {
  const problems: string[] = [];
  for (const path of ownDirectories(whose)) {
    const problem = prepare(path, whose.uid);
    if (problem === undefined) return path;
    problems.push(`${path}: ${problem}`);
  }
  throw new TunnelError('control-directory', problems.join('; '), {
    hint: 'without it the tunnel runs, but "tunnel status" does not see it; set XDG_RUNTIME_DIR',
  });
}

export interface SocketFile {
  readonly path: string;
  readonly pid: number;
}

export function socketIn(directory: string, pid: number): string {
  return join(directory, `${pid}.sock`);
}

/** The sockets in directories that nobody else can have made. */
export function socketsIn(directories: readonly string[], { uid }: Whose): readonly SocketFile[] {
  return directories.flatMap((directory) => {
    if (uid !== 0 && untrusted(directory, uid) !== undefined) return [];
    return namesIn(directory).flatMap((path) => {
      const pid = SOCKET.exec(path.slice(directory.length + 1))?.[1];
      return pid === undefined ? [] : [{ path, pid: Number(pid) }];
    });
  });
}

/** Why it can't be used; undefined: it can. */
function prepare(path: string, uid: number): string | undefined {
  if (Buffer.byteLength(socketIn(path, 2 ** 31)) > MAX_PATH_BYTES) return 'its path is too long';
  const mode = path === OF_ROOT ? MODE_OF_ROOT : MODE;
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST'))
      return reasonOf(error);
  }
  try {
    const problem = untrusted(path, uid);
    if (problem !== undefined) return problem;
    // Also whatever the umask is, and where systemd makes a RuntimeDirectory with 0755.
    chmodSync(path, mode);
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

/** Why its sockets may be somebody else's. Throws nothing. */
function untrusted(path: string, uid: number): string | undefined {
  try {
    const found = lstatSync(path);
    if (!found.isDirectory()) return 'it is no directory';
    if (found.uid !== uid) return `it belongs to user ${found.uid}`;
    return (found.mode & 0o022) === 0 ? undefined : 'others may write to it';
  } catch (error) {
    return reasonOf(error);
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory).map((name) => join(directory, name));
  } catch {
    return []; // it isn't there, or may not be read: then nothing of ours is in it
  }
}

/** The directory that makeDirectory() has made in /tmp goes with the last socket in it. */
export function removeIfTemporary(directory: string, { uid }: Whose): void {
  if (directory !== inTmp(uid)) return;
  try {
    rmdirSync(directory);
  } catch {
    // Another tunnel has its socket there.
  }
}

/** Whether the process runs. One that has ended is not waited for by everybody's parent. */
export function lives(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^ [ZX]/.test(stat.slice(stat.lastIndexOf(')') + 1));
  } catch {
    return false;
  }
}
