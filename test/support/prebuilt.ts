/** The native files of the package, and what makes them: scripts/prebuilds. */
import { spawnSync } from 'node:child_process';

export const PLATFORMS = ['linux-x64', 'linux-x64-musl', 'linux-arm64'] as const;

const COMPILERS = ['x86_64-linux-gnu-gcc', 'musl-gcc', 'aarch64-linux-gnu-gcc'];
const absent = COMPILERS.filter((name) => spawnSync(name, ['--version']).error !== undefined);

/** Why the package can't be made here; false if it can. */
export const compilersMissing: string | false =
  absent.length > 0 && `not installed: ${absent.join(', ')}`;
