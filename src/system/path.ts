/** Finds programs in PATH. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where execvp(3) looks if PATH isn't set. */
const DEFAULT_PATH = '/bin:/usr/bin';

/** The directories of PATH in order. As for execvp(3), an empty one is the working directory. */
export function pathDirectories(path = process.env['PATH'] ?? DEFAULT_PATH): string[] {
  return path.split(delimiter).map((directory) => (directory === '' ? '.' : directory));
}

/** The first program with this name that this user may execute. */
export function findProgram(name: string, directories = pathDirectories()): string | undefined {
  return directories
    .map((directory) => join(directory, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return statSync(file).isFile();
      } catch {
        return false; // not there, or not for this user
      }
    });
}
