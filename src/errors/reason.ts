/** Describes a caught value, which may be anything. */
import { isAbsolute } from 'node:path';

/** Causes of an error that are looked at, with itself: they may form a ring. */
const MAX_CAUSES = 8;

/** An error, its cause, and so on. */
export function* causesOf(error: unknown): Generator<Error> {
  let cause = error;
  for (let depth = 0; cause instanceof Error && depth < MAX_CAUSES; depth++) {
    yield cause;
    cause = cause.cause;
  }
}

/** The message of an error; the text of anything else that was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * The system's name for an error, such as `ENOENT`: shorter than Node's message, which repeats the
 * path. Without a `code`, the text of the value.
 */
export function systemCodeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

/** Why a file that the user has named can't be read, in words where they are known. */
export function fileReasonOf(error: unknown): string {
  const code = systemCodeOf(error);
  return FILE_REASONS[code] ?? code;
}

/** The same, of a file that is made or written to. */
export function writeReasonOf(error: unknown): string {
  const code = systemCodeOf(error);
  return code === 'ENOENT'
    ? 'its directory does not exist'
    : (FILE_REASONS[code] ?? reasonOf(error));
}

/** For a file that can't be read. In a profile its path has been made absolute. */
export function fileHintOf(path: string): string {
  return isAbsolute(path)
    ? 'check the path and its permissions'
    : 'check the path, which is relative to the current directory, and its permissions';
}

const FILE_REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EPERM: 'the system does not permit it',
  ENOTDIR: 'a part of its path is no directory',
  ELOOP: 'its symbolic links lead in a circle',
  ENAMETOOLONG: 'its name is too long',
  EROFS: 'its file system is read-only',
  ENOSPC: 'no space left on its file system',
  EDQUOT: 'the quota of its file system is used up',
  EIO: 'its disk has failed',
  EISDIR: 'it is a directory',
  EAGAIN: 'it is in non-blocking mode and has nothing to read',
};
