/**
 * Run by `npm run build:ts`: puts the program and the packages that it uses into few files, because
 * a start spends most of its time on finding, reading and linking some 500 modules (decision 58).
 *
 *   src/main.ts                 -> dist/program/main.cjs         --version
 *   src/entry/run.ts            -> dist/program/run.cjs          everything else
 *                               -> dist/program/run.cjs.cache    what V8 makes of that
 *   src/cli/completion/main.ts  -> dist/program/completion.cjs   `tunnel __complete`
 *   scripts/precompile.ts       -> dist/program/precompile.cjs   makes run.cjs.cache
 *   licences of what is inside  -> dist/program/LICENSES.txt
 *
 * `tunnel` starts these. The library, and the tests, use the modules of dist/src.
 *
 *   CommonJS       is loaded without the waits of Node's loader for modules
 *   one file       also what is imported late comes from it: a program that runs while its files
 *                  are replaced by an upgrade has all of its own by then
 *   not minified   traces name functions, and lines that can be read
 *   ASCII          V8 keeps and compiles it in half of the memory of other text
 *
 * A module finds files by its own place (import.meta.url). In the bundle each keeps the place that
 * it has in dist/src, whether or not it is there.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SOURCES = join(ROOT, 'src');
const OUTPUT = join(ROOT, 'dist/program');
const RUN = 'run.cjs';
/** In main.cjs it stands for src/entry/run.ts. */
const RUN_NAMESPACE = 'run';

/** Modules are strict; the directive counts only as the first thing in a file. */
const HEAD = `"use strict";
const placeOf = (path) =>
  require('node:url').pathToFileURL(require('node:path').join(__dirname, path)).href;`;

/** Of the module that loads ssh2 in pieces, in an order of its own. */
const OWN_REQUIRE = 'const require = createRequire(import.meta.url);\n';

const HEAD_OF_LICENCES = `The program in this folder contains these packages.

It also contains profiles of public clouds, from openstacksdk
(https://opendev.org/openstack/openstacksdk), Copyright its contributors, under the Apache License,
Version 2.0, whose text is below, at prom-client. They were changed: only the settings that matter
for addresses and logins were taken.
`;

/** A module of this program, as the bundle has it. `path`: relative to src/. */
function moduleText(path: string, text: string): string {
  const place = `placeOf(${JSON.stringify(join('../src', path.replace(/\.ts$/, '.js')))})`;
  if (path !== 'ssh/embedded/ssh2/library.ts') return text.replaceAll('import.meta.url', place);
  if (!text.includes(OWN_REQUIRE)) throw new Error(`${path} no longer has: ${OWN_REQUIRE}`);
  return text.replace(OWN_REQUIRE, '');
}

const ownModules: Plugin = {
  name: 'modules of this program',
  setup({ onLoad, onResolve }) {
    onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      contents: moduleText(relative(SOURCES, path), readFileSync(path, 'utf8')),
      loader: 'ts',
    }));
    onResolve({ filter: /\/entry\/run\.ts$/ }, ({ kind }) =>
      kind === 'entry-point' ? undefined : { path: RUN, namespace: RUN_NAMESPACE },
    );
    onLoad({ filter: /./, namespace: RUN_NAMESPACE }, () => ({
      contents: `import { load } from './programloader.ts';
export const { run } = load(require('node:path').join(__dirname, '${RUN}'));`,
      resolveDir: join(ROOT, 'scripts'),
    }));
  },
};

/**
 * What ssh2 takes only if somebody has compiled it. By its name Node would look for it in all
 * folders above, and in ~/.node_modules, where under sudo the caller could have put something that
 * root would run.
 */
const NATIVE_CIPHERS = `
const { existsSync } = require('node:fs');
const { basename, join } = require('node:path');
const file = 'ssh2/lib/protocol/crypto/build/Release/sshcrypto.node';
const root = join(__dirname, '../..');
const beside = join(root, '..');
const folders = [join(root, 'node_modules'), ...(basename(beside) === 'node_modules' ? [beside] : [])];
const found = folders.map((folder) => join(folder, file)).find((path) => existsSync(path));
if (found === undefined) throw new Error('nobody has compiled it');
module.exports = require(found);
`;

const optionalParts: Plugin = {
  name: 'optional parts of packages',
  setup({ onLoad, onResolve }) {
    const namespace = 'optional';
    onResolve({ filter: /\/sshcrypto\.node$|^cpu-features$/ }, ({ path }) => ({
      path: path.replace(/^.*\//, ''),
      namespace,
    }));
    onLoad({ filter: /^sshcrypto/, namespace }, () => ({ contents: NATIVE_CIPHERS }));
    // Which cipher is faster here: ssh2 orders its ciphers by that, and we give it another order.
    onLoad({ filter: /^cpu-features/, namespace }, () => ({
      contents: 'module.exports = () => {};',
    }));
  },
};

/**
 * Writes NAME.cjs. Returns the files that it is made of, relative to the root. `first` are asked
 * before the plugins of this file.
 */
export async function bundle(
  output: string,
  name: string,
  entry: string,
  first: readonly Plugin[] = [],
): Promise<readonly string[]> {
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: { [name]: entry },
    outdir: output,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    // import() of another file would load it by the loader for modules.
    supported: { 'dynamic-import': false },
    banner: { js: HEAD },
    legalComments: 'none',
    metafile: true,
    // The same output wherever the packages are linked from.
    preserveSymlinks: true,
    plugins: [...first, ownModules, optionalParts],
    logLevel: 'warning',
  });
  return Object.keys(metafile.inputs);
}

/** esbuild escapes what isn't ASCII, except in the comments that it leaves. Throws elsewhere. */
function makeAscii(path: string): void {
  const lines = readFileSync(path, 'utf8').split('\n');
  const ascii = lines.map((line) => {
    if (/^[\x00-\x7f]*$/.test(line)) return line;
    if (!/^\s*(\/\*|\*|\/\/)/.test(line)) throw new Error(`${path} is not in ASCII: ${line}`);
    return line.replace(/[^\x00-\x7f]/g, '?');
  });
  writeFileSync(path, ascii.join('\n'));
}

/** With the options of Node with which the program runs, because V8's cache is bound to them. */
function precompile(output: string): void {
  const [firstLine = ''] = readFileSync(join(output, 'main.cjs'), 'utf8').split('\n', 1);
  const options = firstLine.split(' ').filter((word) => word.startsWith('--'));
  const script = [join(output, 'precompile.cjs'), join(output, RUN)];
  const { status, stderr } = spawnSync(process.execPath, [...options, ...script], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${RUN} can't be precompiled: ${stderr}`);
}

/** The folder of the package that a file is of. undefined: of this program. */
function packageOf(file: string): string | undefined {
  return /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1];
}

/** What each package wants to be passed on with it. Throws if there is nothing. */
function licences(files: readonly string[]): string {
  const folders = new Set(files.flatMap((file) => packageOf(file) ?? []));
  const texts = [...folders].sort().map((folder) => {
    const { name, version } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
    const names = readdirSync(join(ROOT, folder)).filter((one) =>
      /^(licen[cs]e|notice)/i.test(one),
    );
    if (names.length === 0) throw new Error(`${folder} has no licence that could be passed on`);
    const parts = names.sort().map((one) => readFileSync(join(ROOT, folder, one), 'utf8').trim());
    return `${name} ${version}\n\n${parts.join('\n\n')}\n`;
  });
  const rule = `\n${'-'.repeat(80)}\n\n`;
  return [HEAD_OF_LICENCES, ...texts].join(rule);
}

/** Writes all files into `output`, a folder of dist/, in place of what is there. */
export async function bundleProgram(output = OUTPUT): Promise<void> {
  rmSync(output, { recursive: true, force: true });
  const files = await Promise.all([
    bundle(output, 'main', 'src/main.ts'),
    bundle(output, 'run', 'src/entry/run.ts'),
    bundle(output, 'completion', 'src/cli/completion/main.ts'),
    bundle(output, 'precompile', 'scripts/precompile.ts'),
  ]);
  makeAscii(join(output, RUN));
  writeFileSync(join(output, 'LICENSES.txt'), licences(files.flat()));
  precompile(output);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await bundleProgram();
