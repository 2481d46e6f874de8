/** Where rendered files go. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UsageError } from '../errors/errors.ts';
import { systemCodeOf } from '../errors/reason.ts';
import type { RenderedFile } from './plan.ts';

/** All files as one text: with the name before each where there are several. */
export function printable(files: readonly RenderedFile[]): string {
  const [only, ...others] = files;
  if (only !== undefined && others.length === 0) return only.text;
  return files.map(({ path, text }) => `# ===== ${path}\n${text}`).join('\n');
}

/**
 * Writes the files below `directory`, which is made, or must be empty. Throws UsageError before
 * anything is written where that isn't possible.
 */
export function writeFiles(directory: string, files: readonly RenderedFile[]): void {
  try {
    mkdirSync(directory, { recursive: true });
    if (readdirSync(directory).length > 0) {
      throw new UsageError(`--output: ${directory} is not empty`, {
        hint: 'name a new directory: what is in it may be in use',
      });
    }
    for (const { path, mode, text } of files) {
      const target = join(directory, path);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, text, { mode, flag: 'wx' });
    }
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    throw new UsageError(`--output: ${directory} can't be written: ${systemCodeOf(cause)}`, {
      hint: 'check the path and its permissions',
      cause,
    });
  }
}
