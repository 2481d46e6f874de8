/** Where the program listens for its helper. */
import { lstatSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { systemCodeOf } from '../../errors/reason.ts';

/** Makes a private directory for the helper's socket, with mode 0700. */
export async function makeDirectory(): Promise<string> {
  const parent = socketParent();
  try {
    return await mkdtemp(join(parent, 'tunnel-'));
  } catch (cause) {
    throw new TunnelError(
      'capture-failed',
      `can't make a directory in ${parent} (${systemCodeOf(cause)})`,
      {
        hint: 'set TMPDIR to a directory that can be written to',
        cause,
      },
    );
  }
}

/** The user's runtime directory if it is safe to use, else the directory for temporary files. */
function socketParent(): string {
  const directory = process.env['XDG_RUNTIME_DIR'];
  if (directory?.startsWith('/')) {
    const status = lstatSync(directory, { throwIfNoEntry: false });
    if (
      status?.isDirectory() &&
      status.uid === process.geteuid?.() &&
      (status.mode & 0o022) === 0
    ) {
      return directory;
    }
  }
  return tmpdir();
}
