/** The user's home directory. */
import { homedir, userInfo } from 'node:os';

/**
 * $HOME, or if that is unset or empty, the directory in the passwd file. A container may run the
 * program as a user who has neither. Then it is `/`, as container runtimes do; it has none of the
 * user's files, and the user can't write to it.
 */
export function homeDirectory(): string {
  try {
    return homedir() || userInfo().homedir || '/';
  } catch {
    return '/'; // ENOENT: no HOME, no passwd entry
  }
}

/** undefined: this user has no passwd entry, and ssh would not even start. */
export function passwdHome(): string | undefined {
  try {
    return userInfo().homedir;
  } catch {
    return undefined;
  }
}
