import { userInfo } from 'node:os';

/**
 * The variables that login(1) sets for the current user; none if the user isn't in the user
 * database.
 */
export function identity(): Readonly<Record<string, string>> {
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
