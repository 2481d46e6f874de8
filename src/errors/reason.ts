/** What is caught may be anything: these say it in words. */

/** The message of an error; the text of anything else that was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * The name that the system has for an error, such as `ENOENT`: shorter than Node's message, which
 * repeats the path. The text of what has no `code`.
 */
export function systemCodeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
