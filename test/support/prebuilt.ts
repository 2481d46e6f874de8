/** The native files of the package, and what makes them: scripts/prebuilds. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const PLATFORMS = ['linux-x64', 'linux-x64-musl', 'linux-arm64'] as const;

const COMPILERS = ['x86_64-linux-gnu-gcc', 'musl-gcc', 'aarch64-linux-gnu-gcc'];
const absent = COMPILERS.filter((name) => spawnSync(name, ['--version']).error !== undefined);

/** Why the package can't be made here; false if it can. */
export const compilersMissing: string | false =
  absent.length > 0 && `not installed: ${absent.join(', ')}`;

const made = (platform: string): boolean =>
  existsSync(fileURLToPath(new URL(`../../../prebuilds/${platform}/tunnel.node`, import.meta.url)));

/** Which native files must be made first; false if none. */
export const prebuildsMissing: string | false =
  !PLATFORMS.every(made) && 'not all native files are prebuilt: npm run prebuilds';
