/**
 * Builds the program in golookup/ with both of Go's resolvers in it: its own, and the C library's.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mustRun, SEARCH_PATH } from './process.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
/** The first build compiles the network packages as well. */
const BUILD_TIMEOUT_MS = 180_000;

/** The program's path; needs `go` and `cc`. */
export async function buildGoLookup(): Promise<string> {
  const program = join(ROOT, 'dist/golookup/golookup');
  await mustRun(['go', 'build', '-o', program, join(ROOT, 'test/support/golookup/main.go')], {
    env: {
      PATH: SEARCH_PATH,
      HOME: join(ROOT, 'dist/golookup'),
      GOCACHE: join(ROOT, 'dist/golookup/cache'),
      GO111MODULE: 'off',
      CGO_ENABLED: '1',
    },
    timeout: BUILD_TIMEOUT_MS,
  });
  return program;
}
