/**
 * Builds the program in gophercloud/, from Debian's own packages of the library: no module is
 * fetched.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mustRun, SEARCH_PATH } from './process.ts';
import { labUnavailable } from './requirements.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const LIBRARY = '/usr/share/gocode';
/** The first build compiles the library as well: half a minute on a slow machine. */
const BUILD_TIMEOUT_MS = 180_000;

/** False, or what is lacking. */
export function gophercloudUnavailable(): string | false {
  const missing = labUnavailable('go');
  if (missing !== false) return missing;
  const library = join(LIBRARY, 'src/github.com/gophercloud/utils/terraform/auth');
  return !existsSync(library) && 'this test lacks golang-github-gophercloud-utils-dev';
}

/** The program's path. */
export async function buildGophercloud(): Promise<string> {
  const program = join(ROOT, 'dist/gophercloud/gophercloud');
  await mustRun(['go', 'build', '-o', program, join(ROOT, 'test/support/gophercloud/main.go')], {
    env: {
      PATH: SEARCH_PATH,
      HOME: join(ROOT, 'dist/gophercloud'),
      GOCACHE: join(ROOT, 'dist/gophercloud/cache'),
      GOPATH: LIBRARY,
      GO111MODULE: 'off',
      CGO_ENABLED: '0',
    },
    timeout: BUILD_TIMEOUT_MS,
  });
  return program;
}
