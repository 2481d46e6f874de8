/**
 * The copyright file of the Debian package (scripts/deb), on standard output, in Debian's format
 * 1.0: this program's licence, then that of each bundled module, whose text comes from the module
 * itself.
 *
 *   node dist/scripts/debcopyright.js NODE_MODULES
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { licenceOf } from './sbom.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const APACHE_TEXT = `Licensed under the Apache License, Version 2.0. On Debian systems the full text is in
/usr/share/common-licenses/Apache-2.0.`;
/** Debian's names of licences that are called otherwise in SPDX. */
const DEBIAN_NAMES: Readonly<Record<string, string>> = {
  MIT: 'Expat',
  'BSD-2-Clause': 'BSD-2-clause',
  'BSD-3-Clause': 'BSD-3-clause',
};

interface Part {
  readonly files: string;
  readonly comment?: string;
  readonly holders: readonly string[];
  readonly licence: string;
  readonly text: string;
}

/** The copyright file for what `modules`, a folder node_modules, has. */
export function copyrightFile(modules: string): string {
  const own = readFileSync(join(ROOT, 'LICENSE'), 'utf8');
  const parts: Part[] = [
    { files: '*', holders: holdersIn(own), licence: 'MIT', text: own },
    {
      files: 'src/openstack/settings/vendors.ts',
      comment: 'Its head says what comes from openstacksdk, and what was changed.',
      holders: ['the contributors of openstacksdk', ...holdersIn(own)],
      licence: 'Apache-2.0',
      text: APACHE_TEXT,
    },
    ...modulesIn(modules).map((path) => partOf(modules, path)),
  ];
  const head = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: tunnel-vpn
Comment: The modules below node_modules come from https://registry.npmjs.org. Their sources are the
 files that are installed, except that what Node doesn't load is left out.
`;
  return [head, ...parts.map(paragraph)].join('\n');
}

/** Every package below a folder node_modules, by its path. */
function modulesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ name }) => {
      const path = join(folder, name);
      if (name.startsWith('@')) return modulesIn(path);
      const nested = join(path, 'node_modules');
      return [path, ...(existsSync(nested) ? modulesIn(nested) : [])];
    });
}

function partOf(modules: string, path: string): Part {
  const manifest = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
  const licence = licenceOf(manifest);
  const file = readdirSync(path).find((name) => /^licen[cs]e(\.md|\.txt)?$/i.test(name));
  if (file === undefined) throw new Error(`${manifest.name} has no text of its licence`);
  const text = readFileSync(join(path, file), 'utf8');
  const holders = licence === 'Unlicense' ? ['none: public domain'] : holdersIn(text);
  return {
    files: `node_modules/${relative(modules, path)}/*`,
    holders: holders.length > 0 ? holders : [`the authors of ${manifest.name}`],
    licence,
    text: licence === 'Apache-2.0' ? APACHE_TEXT : text,
  };
}

/** Who is named after "Copyright" in the text of a licence. */
function holdersIn(text: string): string[] {
  return [...text.matchAll(/^\s*Copyright (?:\(c\) ?)?((?!notice|owner|holder)[^[].*)$/gim)].map(
    ([, holder = '']) => holder.replace(/\.? All rights reserved\.?/i, '').trim(),
  );
}

function paragraph({ files, comment, holders, licence, text }: Part): string {
  const lines = text.trim().split(/\r?\n/);
  return `Files: ${files}
Copyright: ${holders.join('\n           ')}
License: ${DEBIAN_NAMES[licence] ?? licence}
${lines.map((line) => (line.trim() === '' ? ' .' : ` ${line.trimEnd()}`)).join('\n')}
${comment === undefined ? '' : `Comment: ${comment}\n`}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [modules] = process.argv.slice(2);
  if (modules === undefined) throw new Error('name a folder node_modules');
  process.stdout.write(copyrightFile(modules));
}
