/**
 * Which copy of the privileged helper is run: an installed one of the same version that only root
 * can replace.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HELPER_PATH } from '../../src/native/addon.ts';
import { HELPER_VERSION } from '../../src/system/helper/protocol.ts';
import { SUDOERS, UID, USER, withEtc } from '../support/etc.ts';
import {
  CLIENT,
  type HelperClient,
  type HelperNamespace,
  inNamespace,
} from '../support/helperlab.ts';
import { mustRun } from '../support/process.ts';
import { closedToOthers, labUnavailable } from '../support/requirements.ts';

const skip = labUnavailable('unshare', 'cc', 'make', 'sudo') || closedToOthers(CLIENT);
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
/** Generous: this doesn't test a compiler on a busy machine. */
const COMPILER_TIMEOUT_MS = 300_000;
const INSTALLED = '/usr/local/libexec/tunnel-helper';
const PACKAGED = '/usr/libexec/tunnel-helper';

let directory = '';
/** Builds a helper with the next protocol version. */
let newer = '';

before(async () => {
  if (skip !== false) return;
  directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
  const sources = join(directory, 'native');
  cpSync(join(ROOT, 'native'), sources, { recursive: true, dereference: true });
  const header = join(sources, 'helper/protocol.h');
  const text = readFileSync(header, 'utf8').replace(
    /#define HELPER_VERSION .*/,
    `#define HELPER_VERSION ${HELPER_VERSION + 1}u`,
  );
  writeFileSync(header, text);
  newer = join(directory, 'bin', 'tunnel-helper');
  await mustRun(['make', '-s', '-C', sources, newer, `OUT=${join(directory, 'bin')}`, 'HEADERS='], {
    timeout: COMPILER_TIMEOUT_MS,
  });
  await mustRun(['chmod', '755', directory, join(directory, 'bin')]);
});

after(() => {
  if (directory !== '') rmSync(directory, { recursive: true });
});

/**
 * Lets a process put files into /usr/local and /usr/libexec of its own mount namespace, which have
 * the machine's contents without any installed helper. `work` is an empty directory.
 */
const SHADOW = `
shadow() {
  old=$(mktemp -d -p "$work")
  mount --bind "$1" "$old"
  mount -t tmpfs -o mode=755 none "$1"
  for part in "$old"/*; do
    name=$1/\${part##*/}
    if [ -L "$part" ]; then cp -P "$part" "$name"
    elif [ "$part" = "$old/tunnel-helper" ] || [ "$part" = "$old/libexec" ]; then :
    elif [ -d "$part" ]; then mkdir "$name"; mount --rbind "$part" "$name"
    elif [ -e "$part" ]; then : > "$name"; mount --bind "$part" "$name"
    fi
  done
}
set -e
shadow /usr/local
shadow /usr/libexec
mkdir -m 755 /usr/local/libexec
`;

/** Starts a client after the shell commands `setUp` have installed something. */
function client(
  namespace: HelperNamespace,
  setUp: string,
  wrap: (argv: string[]) => string[] = (argv) => argv,
): Promise<HelperClient> {
  const work = mkdtempSync(join(directory, 'work-'));
  const script = `work=${work}\n${SHADOW}\n${setUp}\nexec "$@"`;
  return namespace.client((argv) => ['unshare', '-m', 'sh', '-c', script, 'sh', ...wrap(argv)]);
}

const install = (path: string, from = HELPER_PATH) =>
  `install -o root -g root -m 755 ${from} ${path}`;

/** The file that the started helper was run from. */
async function executable(client: HelperClient): Promise<string> {
  const { pid } = (await client.must('start')) as { pid: number };
  // The path in its own mount namespace.
  const path = await mustRun(['nsenter', '-t', String(pid), '-m', 'readlink', `/proc/${pid}/exe`]);
  return path.trim();
}

const asUser = (argv: string[]) => [
  ...argv.slice(0, 4),
  'setpriv',
  `--reuid=${UID}`,
  `--regid=${UID}`,
  '--clear-groups',
  '--',
  ...argv.slice(4),
];

describe('helper: which copy is run', { skip }, () => {
  for (const [what, setUp, expected] of [
    ['the built one where none is installed', '', HELPER_PATH],
    ['an administrator’s', install(INSTALLED), INSTALLED],
    ['a package’s', install(PACKAGED), PACKAGED],
    [
      'the administrator’s rather than the package’s',
      `${install(PACKAGED)}\n${install(INSTALLED)}`,
      INSTALLED,
    ],
    [
      'that to which a link leads',
      `mkdir /usr/local/lib/t; ${install('/usr/local/lib/t/helper')}; ln -s /usr/local/lib/t/helper ${INSTALLED}`,
      '/usr/local/lib/t/helper',
    ],
  ] as const) {
    it(what, () =>
      inNamespace([], async (namespace) => {
        const setUpLib = setUp.includes('/usr/local/lib/t')
          ? 'mount -t tmpfs -o mode=755 none /usr/local/lib\n'
          : '';
        assert.equal(await executable(await client(namespace, setUpLib + setUp)), expected);
      }),
    );
  }

  for (const [what, setUp, weak] of [
    ['the group can write', `${install(INSTALLED)}; chmod 775 ${INSTALLED}`, INSTALLED],
    ['is a user’s', `${install(INSTALLED)}; chown ${UID} ${INSTALLED}`, INSTALLED],
    [
      'lies in a directory for all',
      `${install(INSTALLED)}; chmod 1777 /usr/local/libexec`,
      '/usr/local/libexec',
    ],
    ['lies in a user’s directory', `${install(INSTALLED)}; chown ${UID} /usr/local`, '/usr/local'],
    [
      'is a link to where a user can write',
      `mkdir /usr/local/open; chown ${UID} /usr/local/open; ${install('/usr/local/open/h')}; ln -s /usr/local/open/h ${INSTALLED}`,
      '/usr/local/open',
    ],
  ] as const) {
    it(`not one that ${what}`, () =>
      inNamespace([], async (namespace) => {
        const started = await client(namespace, setUp);
        assert.equal(await executable(started), HELPER_PATH);
        const [, warning] = await started.child.waitForLine(/^! \{"warning":"(.*)"\}/m);
        assert.equal(
          warning,
          `${INSTALLED} is not used: users other than root can replace ${weak}`,
        );
      }));
  }

  it('says so when the installed one has another version', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      const started = await client(namespace, install(INSTALLED, newer));
      const error = await started.fails('start');
      assert.equal(error.code, 'helper-version');
      assert.ok(error.message.includes(INSTALLED), error.message);
      assert.match(
        error.message,
        new RegExp(`version ${HELPER_VERSION + 1} .* version ${HELPER_VERSION}$`),
      );
      assert.ok(
        error.hint?.includes(`install -D -o root -g root -m 755 ${HELPER_PATH} ${INSTALLED}`),
        error.hint,
      );
      assert.equal(await namespace.state(), before);
    }));

  it('is the file that a sudo rule permits, and that the hint for a rule names', () =>
    inNamespace([], async (namespace) => {
      const etc = withEtc(directory, {
        sudoers: `${SUDOERS}${USER} ALL=(root) NOPASSWD: ${INSTALLED}\n`,
      });
      const inEtc = (argv: string[]) => ['setsid', ...etc(asUser(argv))];
      const permitted = await client(namespace, install(INSTALLED), inEtc);
      assert.equal(await executable(permitted), INSTALLED);

      const refused = await client(namespace, install(PACKAGED), inEtc);
      const { code, hint = '' } = await refused.fails('start');
      assert.equal(code, 'capture-privileges');
      assert.ok(hint.includes(`permit ${PACKAGED} in`), hint);

      // The hint never permits a file that a user can replace.
      const own = join(directory, 'own-helper');
      await mustRun(['install', '-o', String(UID), '-m', '755', HELPER_PATH, own]);
      const advice = (await refused.fails('start', own)).hint ?? '';
      assert.ok(advice.includes(`install -D -o root -g root -m 755 ${own} ${INSTALLED}`), advice);
      assert.ok(advice.includes(`permit ${INSTALLED} in`), advice);
    }));
});
