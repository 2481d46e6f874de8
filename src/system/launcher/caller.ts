/**
 * Under sudo and doas `tunnel exec` needs root until the command's network is made, and no longer:
 * what speaks SSH is then the user who has called them, as the command is, with his keys and his
 * known_hosts.
 */
import { userInfo } from 'node:os';
import type { Observer } from '../../observe/observer.ts';
import type { CommandUser, Variables } from './protocol.ts';

/** Documented since Node 0.9.4, and missing in its types. */
type WithInitgroups = NodeJS.Process & { initgroups(user: number, extraGroup: number): void };

/**
 * Becomes the user of the command, for good, if this process isn't his. What sudo has set in the
 * environment for root is set for him: here, and in what is returned, for the command.
 */
export function becomeUser({ uid, gid }: CommandUser, observer: Observer): Variables {
  if (process.getuid?.() === uid) return {};
  const before = identity();
  process.setgroups?.([]);
  try {
    (process as WithInitgroups).initgroups(uid, gid);
  } catch (error) {
    // The user database doesn't know him: then he has no other groups.
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_UNKNOWN_CREDENTIAL'))
      throw error;
  }
  process.setgid?.(gid);
  process.setuid?.(uid);
  const after = identity();
  const replaced = Object.entries(after).filter(([name]) => process.env[name] === before[name]);
  const variables = Object.fromEntries(replaced);
  Object.assign(process.env, variables);
  const via = process.env['SUDO_UID'] === undefined ? 'doas' : 'sudo';
  const who = after['USER'] ?? `uid ${uid}`;
  observer.log(
    'notice',
    `the command and the SSH connection are those of ${who}, who has called ${via}`,
  );
  return variables;
}

/**
 * What login(1) tells programs of the present user; nothing if the user database doesn't know him.
 */
function identity(): Readonly<Record<string, string>> {
  try {
    const { username, homedir, shell } = userInfo();
    return {
      HOME: homedir,
      USER: username,
      LOGNAME: username,
      ...(shell === null ? {} : { SHELL: shell }),
    };
  } catch {
    return {}; // ENOENT
  }
}
