/**
 * Listening on a Unix socket whose path the user has chosen. Such a socket outlives a process that
 * is killed, so the next one makes room for its own.
 *
 *   makeRoomForSocket()   removes what a killed run has left, and nothing else
 *   listenOnSocket()      listens, and knows its own socket again
 *   ListenedPath.close()  closes the server: Node removes whatever is at the path by then, so the
 *                         socket of somebody else is taken aside for that moment
 *
 * Others may be able to write to the directory. So a socket is known by its inode and not by its
 * path, and no mode is set by a path.
 */
import { randomBytes } from 'node:crypto';
import {
  type BigIntStats,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  renameSync,
  unlinkSync,
} from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { isLinux } from './platform.ts';

/** open(2) of Linux: refers to a file of any kind, and doesn't open it. Node has no name for it. */
const O_PATH = 0o10000000;

/** What a path can't be listened on for. The message completes "PATH: ...". */
export class SocketPathError extends Error {}

/**
 * Removes the socket of a run that was killed. Rejects with SocketPathError if there is anything
 * else or somebody listens, or with the system's error.
 */
export async function makeRoomForSocket(path: string): Promise<void> {
  const found = statOf(path);
  if (found === undefined) {
    // Node would say "permission denied".
    if (!existsSync(dirname(path))) throw new SocketPathError('its directory does not exist');
    return;
  }
  if (!found.isSocket()) throw new SocketPathError('there is another file, which is no socket');
  if (!isOwn(found))
    throw new SocketPathError(`the socket that is there belongs to user ${found.uid}`);
  if (await answers(path)) throw new SocketPathError('another program listens there');
  // While we asked, another run may have made room as well, and listens by now.
  const now = statOf(path);
  if (now === undefined) return;
  if (!isSame(now, found) || now.ctimeNs !== found.ctimeNs)
    throw new SocketPathError('another program has just begun to listen there');
  unlinkSync(path);
}

/** A path that a server listens on. */
export class ListenedPath {
  readonly #server: Server;
  readonly #path: string;
  readonly #file: BigIntStats;

  constructor(server: Server, path: string, file: BigIntStats) {
    this.#server = server;
    this.#path = path;
    this.#file = file;
  }

  /** Calls back when the last connection has ended. The path is free at once. Throws nothing. */
  close(closed: () => void): void {
    const aside = this.#takeAside();
    this.#server.close(closed);
    if (aside === undefined) return;
    try {
      // Unless somebody has made a third one in this moment.
      if (statOf(this.#path) === undefined) renameSync(aside, this.#path);
      else unlinkSync(aside);
    } catch {
      // Its owner has removed it.
    }
  }

  /** Where the file that isn't ours is by now; undefined: there is none. */
  #takeAside(): string | undefined {
    const aside = join(dirname(this.#path), `.${randomBytes(6).toString('hex')}`);
    try {
      const found = statOf(this.#path);
      if (found === undefined || isSame(found, this.#file)) return undefined;
      renameSync(this.#path, aside);
      return aside;
    } catch {
      return undefined; // the directory can't be read or changed: Node can't remove it either
    }
  }
}

/**
 * Listens, with that mode from the first moment on. Rejects with the system's error, or with
 * SocketPathError if others interfere. Handlers of the server's 'error' are the caller's; none is
 * left behind.
 */
export async function listenOnSocket(
  server: Server,
  path: string,
  mode = 0o600,
): Promise<ListenedPath> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // bind(2) is called before listen() returns.
    const mask = process.umask(0o777 & ~mode);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(mask);
    }
  });
  try {
    return new ListenedPath(
      server,
      path,
      isLinux() ? settle(path, mode) : own(lstatSync(path, BIGINT)),
    );
  } catch (error) {
    server.close();
    throw error;
  }
}

/** Also where the directory has a default ACL: then the kernel doesn't look at the umask. */
function settle(path: string, mode: number): BigIntStats {
  const file = openSync(path, O_PATH | constants.O_NOFOLLOW);
  try {
    const found = own(fstatSync(file, BIGINT));
    if (Number(found.mode & 0o777n) !== mode) chmodSync(`/proc/self/fd/${file}`, mode);
    return found;
  } finally {
    closeSync(file);
  }
}

function own(found: BigIntStats): BigIntStats {
  if (found.isSocket() && isOwn(found)) return found;
  throw new SocketPathError('somebody else has put another file in its place');
}

const BIGINT = { bigint: true } as const;

function statOf(path: string): BigIntStats | undefined {
  return lstatSync(path, { ...BIGINT, throwIfNoEntry: false });
}

function isOwn({ uid }: BigIntStats): boolean {
  return Number(uid) === process.geteuid?.();
}

/** An inode's number is given again, but not while a socket is bound to the inode. */
function isSame(one: BigIntStats, other: BigIntStats): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/** Whether somebody listens. What says neither yes nor no counts as yes. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', (error) => {
      resolve(!('code' in error && (error.code === 'ECONNREFUSED' || error.code === 'ENOENT')));
    });
  });
}
