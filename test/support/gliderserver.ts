/** Builds the program in gliderserver/, whose library is fetched from the Go module proxy. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, SEARCH_PATH } from './process.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const BUILD_TIMEOUT_MS = 180_000;

export type GliderServer = { readonly program: string } | { readonly unavailable: string };

/**
 * The program's path, or why it can't be built here: without a network the library can't be
 * fetched. Needs `go`.
 */
export async function buildGliderServer(): Promise<GliderServer> {
  const home = join(ROOT, 'dist/gliderserver');
  const program = join(home, 'gliderserver');
  const { status, stderr } = await run(
    ['go', 'build', '-C', join(ROOT, 'test/support/gliderserver'), '-o', program, '.'],
    {
      env: {
        ...(process.env as Record<string, string>),
        PATH: SEARCH_PATH,
        HOME: home,
        GOPATH: join(home, 'path'),
        GOCACHE: join(home, 'cache'),
        GOFLAGS: '-mod=readonly -modcacherw',
        GOTOOLCHAIN: 'local',
        CGO_ENABLED: '0',
      },
      timeout: BUILD_TIMEOUT_MS,
    },
  );
  if (status === 0) return { program };
  return { unavailable: `gliderlabs/ssh can't be built here: ${stderr.trim().split('\n').at(-1)}` };
}
