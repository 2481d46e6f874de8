/**
 * Listening on a Unix socket whose path the user has chosen. Such a socket outlives a process that
 * is killed, so the next one makes room for its own.
 */
import { chmodSync, existsSync, lstatSync, type Stats, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';

/** What a path can't be listened on for. The message completes "PATH: ...". */
export class SocketPathError extends Error {}

/**
 * Removes the socket of a run that was killed. Rejects with SocketPathError if there is anything
 * else or somebody listens, or with the system's error.
 */
export async function makeRoomForSocket(path: string): Promise<void> {
  const found: Stats | undefined = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) {
    // Node would say "permission denied".
    if (!existsSync(dirname(path))) throw new SocketPathError('its directory does not exist');
    return;
  }
  if (!found.isSocket()) throw new SocketPathError('there is another file, which is no socket');
  if (found.uid !== process.geteuid?.())
    throw new SocketPathError(`the socket that is there belongs to user ${found.uid}`);
  if (await answers(path)) throw new SocketPathError('another program listens there');
  unlinkSync(path);
}

/**
 * Listens, with that mode from the first moment on. Rejects with the system's error. Handlers of
 * the server's 'error' are the caller's; none is left behind.
 */
export async function listenOnSocket(server: Server, path: string, mode = 0o600): Promise<void> {
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
  chmodSync(path, mode);
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
