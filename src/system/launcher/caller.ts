/**
 * Under sudo and doas `tunnel exec` needs root only to make the command's network. After that both
 * the SSH connection and the command run as the user who called sudo or doas, with that user's keys
 * and known_hosts.
 */
import { TunnelError } from '../../errors/errors.ts';
import { addon } from '../../native/addon.ts';
import type { Observer } from '../../observe/observer.ts';
import { identity } from '../loginvariables.ts';
import type { CommandUser, Variables } from './protocol.ts';

/** Documented since Node 0.9.4, but missing from its types. */
type WithInitgroups = NodeJS.Process & { initgroups(user: number, extraGroup: number): void };

/** The first libuv that uses io_uring only where it is asked to (UV_USE_IO_URING). */
const IO_URING_ON_REQUEST = [1, 49] as const;

/**
 * Has this process open files as that user, until the function that is returned is called. It is
 * still root for everything that then needs it. Throws if it may not change users.
 */
export function actAs({ uid, gid }: CommandUser): () => void {
  const { setgroups, setegid, seteuid, getgroups } = process;
  if (process.geteuid?.() === uid || !setgroups || !setegid || !seteuid || !getgroups)
    return () => {};
  const groups = getgroups();
  takeGroups(uid, gid);
  change(
    () => {
      setegid(gid);
      seteuid(uid);
    },
    () => addon().setEffectiveUser(uid, gid),
  );
  return () => {
    change(
      () => {
        seteuid(0);
        setegid(0);
        setgroups(groups);
      },
      () => {
        addon().setEffectiveUser(0, 0);
        addon().setGroups(new Uint8Array(Uint32Array.from(groups).buffer));
      },
    );
  };
}

/** The user's supplementary groups. */
function takeGroups(uid: number, gid: number): void {
  const byNode = () => {
    process.setgroups?.([]);
    try {
      (process as WithInitgroups).initgroups(uid, gid);
    } catch (error) {
      // The user isn't in the user database, and so has no other groups.
      if (!(error instanceof Error && 'code' in error && error.code === 'ERR_UNKNOWN_CREDENTIAL'))
        throw error;
    }
  };
  change(byNode, () => addon().initGroups(uid, gid));
}

/**
 * Node refuses to change users where libuv may use io_uring, whose kernel threads would keep the
 * former rights (CVE-2024-22017). It takes any libuv but its own for such a one, also that of
 * Debian 13, which uses io_uring only where it is asked to. There the addon makes the change.
 */
function change(byNode: () => void, byAddon: () => void): void {
  try {
    byNode();
  } catch (error) {
    const refused = error instanceof Error && 'code' in error && error.code === 'ERR_INVALID_STATE';
    if (!refused) throw error;
    if (mayUseIoUring())
      throw new TunnelError('launcher-privileges', `Node changes no users: ${error.message}`, {
        hint: 'unset UV_USE_IO_URING, or use a Node that has its own libuv',
        cause: error,
      });
    byAddon();
  }
}

function mayUseIoUring(): boolean {
  const [major = 0, minor = 0] = process.versions.uv.split('.').map(Number);
  const [firstMajor, firstMinor] = IO_URING_ON_REQUEST;
  const onRequest = major > firstMajor || (major === firstMajor && minor >= firstMinor);
  return !onRequest || Number(process.env['UV_USE_IO_URING'] ?? 0) !== 0;
}

/**
 * Switches this process to the command's user for good, if it runs as another one; neither it nor
 * what it starts can become root again. Variables that
 * sudo has set for root are set for the user instead: in this process, and in the result, for the
 * command.
 */
export function becomeUser({ uid, gid }: CommandUser, observer: Observer): Variables {
  if (process.getuid === undefined || process.getuid() === uid) return {};
  const before = identity();
  takeGroups(uid, gid);
  change(
    () => {
      process.setgid?.(gid);
      process.setuid?.(uid);
    },
    () => addon().setUser(uid, gid),
  );
  addon().lockPrivileges();
  const after = identity();
  const replaced = Object.entries(after).filter(([name]) => process.env[name] === before[name]);
  const variables = Object.fromEntries(replaced);
  Object.assign(process.env, variables);
  const via = process.env['SUDO_UID'] === undefined ? 'doas' : 'sudo';
  const who = after['USER'] ?? `uid ${uid}`;
  observer.log('notice', `the command and the SSH connection run as ${who}, who called ${via}`);
  return variables;
}
