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
import { chmodSync, lstatSync, mkdirSync, opendirSync, readdirSync, rmdirSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { isLinux } from '../base/platform.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import { hasNotEnded, isRunning, runsOn } from '../system/process.ts';

const NAME = 'tunnel';
/** Of tunnels that root starts, and of tunnel-helper.socket. */
const OF_ROOT = `/run/${NAME}`;
const MODE = 0o700;
const MODE_OF_ROOT = 0o755;
/** The directories whose names tell their users. */
const OF_USER = /^\/(?:tmp\/tunnel-|run\/user\/)([0-9]+)(?:\/|$)/;
const SOCKET = /^([1-9][0-9]{0,9})\.sock$/;
/** A socket's path has at most 107 octets (unix(7)). */
const MAX_PATH_BYTES = 107;
/** Of one directory: whoever owns it could fill it. The rest is left out, and that is said. */
export const MAX_SOCKETS = 64;
/** Names that are read of one directory, whatever they are. */
export const MAX_NAMES = 4096;

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
  /** By its name: the process that is to listen. */
  readonly pid: number;
  /** Whose directory it is in: the user who is to listen. */
  readonly user: number;
}

export interface Sockets {
  readonly directory: string;
  /** Of MAX_SOCKETS at most. */
  readonly files: readonly SocketFile[];
  /** The others. */
  readonly leftOut: readonly SocketFile[];
}

export function socketIn(directory: string, pid: number): string {
  return join(directory, `${pid}.sock`);
}

/**
 * The sockets in each directory that nobody but its owner can have changed. Root takes those of
 * other users as well, but in /tmp only a directory with the number of its owner.
 */
export function socketsIn(directories: readonly string[], { uid }: Whose): readonly Sockets[] {
  return directories.flatMap((directory) => {
    const user = uid === 0 ? ownerOf(directory) : uid;
    if (user === undefined || untrusted(directory, user) !== undefined) return [];
    const all = someNamesIn(directory).flatMap((name) => {
      const pid = SOCKET.exec(name)?.[1];
      return pid === undefined ? [] : [{ path: join(directory, name), pid: Number(pid), user }];
    });
    return [{ directory, files: all.slice(0, MAX_SOCKETS), leftOut: all.slice(MAX_SOCKETS) }];
  });
}

/** undefined: there is none, or it says that it is another user's. */
function ownerOf(directory: string): number | undefined {
  const owner = lstatSync(directory, { throwIfNoEntry: false })?.uid;
  const said = OF_USER.exec(directory)?.[1];
  return said === undefined || Number(said) === owner ? owner : undefined;
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

function someNamesIn(path: string): readonly string[] {
  const names: string[] = [];
  try {
    const directory = opendirSync(path);
    try {
      let entry = directory.readSync();
      for (; entry !== null && names.length < MAX_NAMES; entry = directory.readSync())
        names.push(entry.name);
    } finally {
      directory.closeSync();
    }
  } catch {
    // It has gone, or may not be read.
  }
  return names;
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

/** Whether the process runs. */
export function lives(pid: number): boolean {
  return isLinux() ? hasNotEnded(pid) : isRunning(pid);
}

/** Whether the process runs, and doesn't end either. */
export function livesOn(pid: number): boolean {
  return isLinux() ? runsOn(pid) : isRunning(pid);
}
