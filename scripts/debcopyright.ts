/**
 * The copyright file of the Debian package (scripts/deb), on standard output, in Debian's format
 * 1.0: this program's licence, then that of each package in the bundle, by what scripts/bundle.ts
 * has collected from them.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { licenceOf, manifestAt } from './sbom.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const COLLECTED = 'dist/program/LICENSES.txt';
const RULE = /\n-{80}\n\n/;
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

/** Throws if something in the bundle isn't in the lock file. */
export function copyrightFile(collected: string): string {
  const own = readFileSync(join(ROOT, 'LICENSE'), 'utf8');
  const [, ...packages] = collected.split(RULE);
  const parts: Part[] = [
    { files: '*', holders: holdersIn(own), licence: 'MIT', text: own },
    {
      files: 'src/openstack/settings/vendors.ts',
      comment: 'Its head says what comes from openstacksdk, and what was changed.',
      holders: ['the contributors of openstacksdk', ...holdersIn(own)],
      licence: 'Apache-2.0',
      text: APACHE_TEXT,
    },
    ...packages.map(partOf),
  ];
  const head = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: tunnel-vpn
Comment: What is below node_modules are npm packages of these names and versions, as package-lock.json
 has them. They are part of the files in /usr/lib/tunnel-vpn/dist/program.
`;
  return [head, ...parts.map(paragraph)].join('\n');
}

/** A package's name and version, and after an empty line the text of its licence. */
function partOf(section: string): Part {
  const [heading = ''] = section.split('\n', 1);
  const path = installedAt(heading);
  const licence = licenceOf(manifestAt(path));
  const text = section.slice(heading.length).trim();
  const holders = licence === 'Unlicense' ? ['none: public domain'] : holdersIn(text);
  return {
    files: `${path}/*`,
    holders: holders.length > 0 ? holders : [`the authors of ${heading}`],
    licence,
    text: licence === 'Apache-2.0' ? APACHE_TEXT : text,
  };
}

/** Where the lock file has "NAME VERSION". */
function installedAt(heading: string): string {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  const path = Object.keys(packages).find(
    (key) => heading === `${key.replace(/^.*node_modules\//, '')} ${packages[key].version}`,
  );
  if (path === undefined) throw new Error(`${heading} is not in package-lock.json`);
  return path;
}

/** Who is named after "Copyright" in the text of a licence. */
function holdersIn(text: string): string[] {
  return [
    ...text.matchAll(/^\s*Copyright (?:\(c\) ?)?((?!notice|owner|holder|licen[cs]e)[^[].*)$/gim),
  ].map(([, holder = '']) => holder.replace(/[.,]? All rights reserved\.?/i, '').trim());
}

function paragraph({ files, comment, holders, licence, text }: Part): string {
  const lines = text.trim().split(/\r?\n/);
  return `Files: ${files}
Copyright: ${holders.join('\n           ')}
License: ${DEBIAN_NAMES[licence] ?? licence}
${lines.map((line) => (line.trim() === '' ? ' .' : ` ${line.trimEnd()}`)).join('\n')}
${comment === undefined ? '' : `Comment: ${comment}\n`}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  process.stdout.write(copyrightFile(readFileSync(join(ROOT, COLLECTED), 'utf8')));
