/** Where the user's own files are. */
import { homedir, userInfo } from 'node:os';

/**
 * $HOME, else (also where it is empty) what the passwd file says. A container may run the program
 * as a user who has neither: then it is `/`, as container runtimes have it, where there is nothing
 * of the user's and nothing can be written.
 */
export function homeDirectory(): string {
  try {
    return homedir() || userInfo().homedir || '/';
  } catch {
    return '/'; // ENOENT: no HOME, no passwd entry
  }
}
