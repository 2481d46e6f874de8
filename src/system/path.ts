/** Programs in PATH. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where execvp(3) looks when there is no PATH. */
const DEFAULT_PATH = '/bin:/usr/bin';

/** The directories of PATH in their order, as execvp(3) takes them: an empty one is this one. */
export function pathDirectories(path = process.env['PATH'] ?? DEFAULT_PATH): string[] {
  return path.split(delimiter).map((directory) => (directory === '' ? '.' : directory));
}

/** The first program of that name that this user may execute. */
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
