/**
 * The Debian package that scripts/deb has built, for the tests of its life: other versions of it,
 * this Node as a package, and the user who tries it in a root of Debian (debianroot.ts).
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DebianRoot } from './debianroot.ts';
import type { Lab } from './lab.ts';

export const BUILT = fileURLToPath(new URL('../../deb', import.meta.url));
export const PACKAGE = 'tunnel-vpn';
export const ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch;
/** Who tries it. */
export const ALICE = 'alice';
const CONTROL = 'DEBIAN/control';

/** The package's file in BUILT; undefined if there is none for this architecture. */
export function packageName(architecture: string = ARCHITECTURE): string | undefined {
  if (!existsSync(BUILT)) return undefined;
  return readdirSync(BUILT).find((file) => file.endsWith(`_${architecture}.deb`));
}

/** For `skip`: false, or why there is no package. */
export function packageMissing(architecture: string = ARCHITECTURE): string | false {
  return (
    packageName(architecture) === undefined &&
    `no package for ${architecture} here: scripts/deb ${architecture} builds it`
  );
}

export function packageFile(architecture: string = ARCHITECTURE): string {
  return join(BUILT, packageName(architecture) ?? '');
}

/** Debian's own Node is linked with a library of its release; others run in each. */
const libraries = spawnSync('ldd', [process.execPath], { encoding: 'utf8' }).stdout ?? '';
export const nodeOfRelease =
  libraries.includes('libnode') && "this machine's Node is for its own release";

/**
 * The package as `version`, which the program says, too; with further changes of its files. Made in
 * `directory`; returns the file.
 */
export function packageAs(
  version: string,
  directory: string,
  change: (tree: string) => void = () => {},
): string {
  const tree = join(directory, `tree-${version}`);
  execFileSync('dpkg-deb', ['--raw-extract', packageFile(), tree]);
  replaceIn(join(tree, CONTROL), /^Version: .*$/m, `Version: ${version}-1`);
  replaceIn(
    join(tree, `usr/lib/${PACKAGE}/package.json`),
    /"version": ".*"/,
    `"version": "${version}"`,
  );
  change(tree);
  return pack(tree, join(directory, `${PACKAGE}-${version}.deb`));
}

/** The Node that runs the tests as Debian's package, made in `directory`. */
export function nodePackage(directory: string): string {
  const tree = join(directory, 'nodejs');
  mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  execFileSync('cp', ['--dereference', process.execPath, join(tree, 'usr/bin/node')]);
  const control = `Package: nodejs
Version: ${process.versions.node}-1
Architecture: ${ARCHITECTURE}
Multi-Arch: allowed
Maintainer: The test <test@localhost>
Depends: libc6, libstdc++6
Description: the Node that runs the tests
`;
  writeFileSync(join(tree, CONTROL), control);
  return pack(tree, join(directory, 'nodejs.deb'));
}

function pack(tree: string, file: string): string {
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', '-z1', '--build', tree, file]);
  return file;
}

function replaceIn(file: string, pattern: RegExp, by: string): void {
  writeFileSync(file, readFileSync(file, 'utf8').replace(pattern, by));
}

/** ALICE, who can log in at the lab's jump host; `sudoers`: her rule, after her name. */
export async function addAlice(root: DebianRoot, lab: Lab, sudoers?: string): Promise<void> {
  await root.script(`useradd --create-home --user-group --shell /bin/bash ${ALICE}
    install -d -m 700 -o ${ALICE} -g ${ALICE} /home/${ALICE}/.ssh`);
  if (sudoers !== undefined)
    await root.script(`echo '${ALICE} ${sudoers}' >/etc/sudoers.d/tunnel-test`);
  const from = join(lab.clientHome, '.ssh');
  for (const file of readdirSync(from)) root.copy(join(from, file), `/home/${ALICE}/.ssh/${file}`);
  await root.script(`cd /home/${ALICE}/.ssh && chown ${ALICE}: * && chmod 600 *`);
}
